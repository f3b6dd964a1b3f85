"""On the laptop: from which run on the board a run takes its first training, and what it is charged.

What was measured lies here: the lender's sealed record and all traces, the laptop's own on the board's clock. What is taken lies
on the board, in the folder of the lender's job; the file of this machine, which is a copy, says which one it must be. The board
takes it or not (`ebbench.sharing.offered`), and what it took comes back with the run.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence

from ebbench.config import Bench, Recipe, run_id
from ebbench.energy.alignment.links import HOST, LAPTOP
from ebbench.energy.charge import without_energy
from ebbench.errors import UserError
from ebbench.rundir import RunDir, read_json, write_json
from ebbench.sharing.first_training import alike
from ebbench.sharing.lending import charge_of, measured_by, still_wanted


def offer(
    recipe: Recipe, bench: Bench, rundir: RunDir, among: Sequence[Recipe], is_new: bool, say: Callable[[str], None]
) -> Dict[str, Any]:
    """What the board is told: ``wanted``, the recipes to keep for, and ``offers``, charges without their energies, the first best.

    `rundir` is the run's folder here, with the meters of this machine in its manifest. Where the run `is_new` on the board the
    charges are made, and kept in ``offered.json``: one that was started keeps to them.
    """
    others, out = alike(recipe, among), rundir.path.parent
    if is_new:
        charges = (
            (lender, charge_of(lender, rundir, recipe, say, _differing))
            for lender in (RunDir(out / run_id(other, bench)) for other in others)
        )
        found = [{**charge, "job": _job_of(lender)} for lender, charge in charges if charge is not None]
        rundir.offered.unlink(missing_ok=True)
        if found:
            write_json(rundir.offered, {"offers": found})
    wanted = [other.settings() for other in still_wanted(others, bench, out)]
    return {
        "wanted": [{name: v for name, v in settings.items() if v is not None} for settings in wanted],
        "offers": [without_energy(charge) for charge in _offered(rundir)],
    }


def _job_of(lender: RunDir) -> str:
    return str(read_json(lender.manifest)["laptop"]["job"])


def _offered(rundir: RunDir) -> List[Dict[str, Any]]:
    """The charges that were offered, with their energies."""
    return list(read_json(rundir.offered)["offers"]) if rundir.offered.exists() else []


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> List[str]:
    """What of this machine must be the same for both runs; of the board, it is looked at there."""
    found = [name for name in ("ebbench", "bench") if one.get(name) != other.get(name)]
    # which of all meters counts is the bench's to say, and it is not known before the board has found its own
    meters = [[{**m, "reference": None} for m in each["meters"] if m.get(HOST) == LAPTOP] for each in (one, other)]
    hosts = [each["laptop"]["environment"]["host"] for each in (one, other)]
    if any(meters) and hosts[0] != hosts[1]:
        found.append("laptop")
    return found if measured_by(meters[0]) == measured_by(meters[1]) else [*found, "meters"]


def settle(rundir: RunDir) -> None:
    """Charge what was taken on the board, which has come back, and nothing else. Raises UserError where its energy is not here."""
    if not rundir.board_taken.exists():
        return
    there = read_json(rundir.board_taken)
    charge = next((each for each in _offered(rundir) if each["record_sha256"] == there["record_sha256"]), None)
    if charge is None:
        raise UserError(
            f"{rundir.offered} does not hold what the first training that was taken from {there['from']} cost; put it back, or "
            "run this again with another --out"
        )
    write_json(rundir.taken, charge)
