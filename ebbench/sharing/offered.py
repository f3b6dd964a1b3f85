"""On a board: what a run shares with other jobs there, as its laptop offers it (`ebbench.remote.lending`).

The laptop knows which runs begin alike, and what the lender's first training cost. Here is looked at what only this machine can
tell: whether the lender's file is here and the one that the laptop saw, and whether the lender ran on this machine as it is now.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Mapping, Optional

from ebbench.config import Recipe, make_recipe
from ebbench.errors import UserError
from ebbench.protocols import Lending
from ebbench.rundir import RunDir, read_json, sha256_of
from ebbench.sharing.lending import differing, not_taken, take
from ebbench.training.draws import kept_name
from ebbench.unbegun import has_begun


def lending_from(offered: Path, recipe: Recipe, rundir: RunDir, say: Callable[[str], None]) -> Lending:
    """What the run in `rundir`, whose manifest is written, takes and keeps, of what the file `offered` says.

    A run that began keeps to what it began with. The first time, ``taken.json`` is written: from where, without its energy.
    Raises UserError where a run that goes on would take another file than it began with.
    """
    document = read_json(offered)
    if not has_begun(rundir):
        for offer in document["offers"]:
            reason = _why_not(offer, recipe, rundir)
            if reason is None:
                take(rundir, offer, say)
                break
            say(not_taken(offer["from"], reason))
    if not rundir.taken.exists():
        return Lending(rundir.kept, tuple(make_recipe(settings) for settings in document["wanted"]))
    taken = read_json(rundir.taken)
    kept = RunDir(taken["lender"]).kept / kept_name(recipe)
    if kept.exists() and sha256_of(kept) != taken["kept_sha256"]:
        raise UserError(f"{kept} is not the first training that was taken from {taken['from']}; give --no-share")
    return Lending(rundir.kept, (), kept)


def _why_not(offer: Mapping[str, Any], recipe: Recipe, rundir: RunDir) -> Optional[str]:
    """Why what is offered is not taken here; None where nothing is against it."""
    if offer["lender"] is None:
        return f"its job {offer['job']} is not on this machine"
    lender = RunDir(offer["lender"])
    path = lender.kept / kept_name(recipe)
    if not path.exists():
        return f"{path} is not there any more"
    if sha256_of(path) != offer["kept_sha256"]:
        return f"{path.name} is not the file that its record names"
    try:
        names = differing(read_json(lender.manifest), read_json(rundir.manifest))
    except UserError as error:
        return f"it cannot be read ({error})"
    return f"{', '.join(names)} differ" if names else None
