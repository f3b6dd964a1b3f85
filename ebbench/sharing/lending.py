"""From which sealed run a run takes its first training.

`ebbench.sharing.first_training` says which runs begin alike; here is looked at what is on the disk. Nothing is taken from a run
whose verdict is FAIL, that was measured in another way, or whose files are not those of its record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ebbench.config import Bench, Recipe, run_id
from ebbench.energy.charge import part_of
from ebbench.errors import UserError
from ebbench.protocols import Lending
from ebbench.records import FAIL, WARN, worst
from ebbench.rundir import KEPT, RunDir, read_json, sha256_of, write_json
from ebbench.sharing.first_training import alike, stage_of
from ebbench.training.draws import kept_name
from ebbench.training.kept import read_kept
from ebbench.unbegun import has_begun

#: what must be the same on both sides, so that one energy can be charged for the other: keys of the manifest
_SAME = ("ebbench", "board", "device", "bench")
_SAME_ENVIRONMENT = ("host", "packages", "power_mode", "kernel", "cpu", "simulated_root")
#: what of a meter must be the same
_SAME_METER = ("name", "scope", "simulated", "identity", "rails", "calibration", "reference")
#: checks of what is not taken from a lender, nor charged: what it draws, and what it did again
_ITS_OWN = (
    "ticket found", "narrowest layer", "mask-distance overhead resolved", "mask-distance overhead both ways",
    "work done twice",
)  # fmt: skip


def lending_of(
    recipe: Recipe, bench: Bench, rundir: RunDir, among: Sequence[Recipe], say: Callable[[str], None]
) -> Lending:
    """What the run in `rundir`, whose manifest is written, takes and keeps; `among`: the recipes of its experiment.

    A run that began keeps to what it began with. The first time, ``taken.json`` is written: what is charged, and where it is from.
    """
    others = alike(recipe, among)
    folder = rundir.kept
    if rundir.taken.exists():
        taken = read_json(rundir.taken)
        return Lending(folder, (), rundir.path.parent / str(taken["from"]) / KEPT / kept_name(recipe))
    if not has_begun(rundir):
        for other in others:
            lender = RunDir(rundir.path.parent / run_id(other, bench))
            charge = charge_of(lender, rundir, recipe, say)
            if charge is not None:
                take(rundir, charge, say)
                return Lending(folder, (), lender.kept / kept_name(recipe))
    return Lending(folder, tuple(still_wanted(others, bench, rundir.path.parent)))


def still_wanted(others: Sequence[Recipe], bench: Bench, out: Path) -> List[Recipe]:
    """Those of the runs below `out` that are not sealed yet, and will take what is kept for them."""
    return [other for other in others if not RunDir(out / run_id(other, bench)).is_sealed]


def take(rundir: RunDir, charge: Dict[str, Any], say: Callable[[str], None]) -> None:
    """Write what the run in `rundir` takes, before it begins: a run that began keeps to it."""
    write_json(rundir.taken, charge)
    length = f"{charge['epochs']} epoch{'s' if charge['epochs'] > 1 else ''}"
    say(f"its first training ({length}) is taken from {charge['from']}, and charged")


def not_taken(name: str, reason: str) -> str:
    """The word why a run does not take what the run `name` kept."""
    return f"{name} begins with the same training, which is not taken: {reason}"


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> List[str]:
    """What is not the same in the manifests of two runs, and so keeps one's energy from standing for the other's."""
    found = [name for name in _SAME if one.get(name) != other.get(name)]
    environments = (one.get("environment") or {}, other.get("environment") or {})
    return found + [name for name in _SAME_ENVIRONMENT if environments[0].get(name) != environments[1].get(name)]


def measured_by(meters: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """What of the meters of a manifest must be the same."""
    return [{name: meter.get(name) for name in _SAME_METER} for meter in meters]


def charge_of(
    lender: RunDir,
    taker: RunDir,
    recipe: Recipe,
    say: Callable[[str], None],
    compare: Callable[[Mapping[str, Any], Mapping[str, Any]], List[str]] = differing,
) -> Optional[Dict[str, Any]]:
    """What is charged for the first training of `lender`; None, and a word why, where it is not taken.

    `compare` says what is not the same, and has to be, in the manifests of the two.
    """
    path = lender.kept / kept_name(recipe)
    if not lender.is_sealed or not path.exists():
        return None
    try:
        document = read_json(lender.record)
        reason = _why_not(document, lender, path)
        names = compare(read_json(lender.manifest), read_json(taker.manifest))
        reason = reason or (f"{', '.join(names)} differ" if names else None)
        if reason is None:
            kept = read_kept(path)
            energy = document["energy"].get("while_simulating") or document["energy"]
            part = part_of(lender, kept.document["stage"], kept.epochs, each=recipe.measure_epochs is not None)
            if part["is_whole"]:
                return {**_source(document, energy, part, lender, path), **part, "stage": stage_of(recipe)}
            reason = "its energy does not cover these epochs wholly"
    except (UserError, KeyError, TypeError) as error:
        reason = f"it cannot be read ({error})"
    say(not_taken(lender.path.name, reason))
    return None


def _source(
    record: Mapping[str, Any], energy: Mapping[str, Any], part: Mapping[str, Any], lender: RunDir, path: Path
) -> Dict[str, Any]:
    handed_on = [check for check in record["checks"] if check["name"] not in _ITS_OWN]
    idle_w, measured = energy["idle_power_w"], (energy.get("extrapolation") or {}).get("measured") or energy
    return {
        "from": record["run_id"],
        "record_sha256": sha256_of(lender.record),
        "kept_sha256": sha256_of(path),
        "verdict": worst([check["verdict"] for check in handed_on]),
        "doubts": [f"{check['name']}: {check['advice']}" for check in handed_on if check["verdict"] == WARN],
        "kind": measured["kind"],
        "reference": energy["reference"],
        "lender_stage": part["stage"],
        "net_j": None if idle_w is None else part["energy_j"] - idle_w * part["covered_s"],
    }


def _why_not(record: Mapping[str, Any], lender: RunDir, path: Path) -> Optional[str]:
    """Why what `lender` kept is not taken from anybody; None where nothing is against it."""
    if record["status"] != "success":
        return f"it {record['status']}"
    if record["verdict"] == FAIL:
        return "its verdict is FAIL (`ebbench check` says why)"
    if record["files"].get(str(path.relative_to(lender.path))) != sha256_of(path):
        return f"{path.name} is not the file that its record names"
    return None


def refuse_other_meters(rundir: RunDir, lending: Lending) -> None:
    """Raise UserError where the meters, now that they are open, are not those that measured what is taken."""
    if lending.taken is None:
        return
    lender = RunDir(lending.taken.parent.parent)
    one, other = (read_json(each.manifest)["meters"] for each in (lender, rundir))
    if measured_by(one) != measured_by(other):
        raise UserError(
            f"{lender.path.name}, whose first training was to be taken, was measured by other meters; give --no-share"
        )
