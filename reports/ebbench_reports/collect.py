"""Runs as a table: find the run folders, read their records, one row each. No trace is opened here."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import pandas as pd

from ebbench.config.method_settings import AUTO, reads
from ebbench.errors import InputError, UserError
from ebbench.quantity import MISSING_TEXT
from ebbench.records import MADE_ANEW, SCHEMA_VERSION, Check, RunRecord, account_from_json
from ebbench.rundir import MANIFEST, PHASES, RECORD, RunDir

log = logging.getLogger("ebbench.report")

#: the order of the paper's Table 2; methods that it does not know follow by name
METHODS = {
    "dense": "Dense",
    "lt": "Lottery ticket (one-shot)",
    "snip": "SNIP",
    "ns": "Network slimming",
    "thinet": "ThiNet",
    "sfp": "Soft filter pruning",
    "eb-reinit": "EB Train (re-init)",
    "eb-ff": "EB Train (FF)",
    "eb-lf": "EB Train (LF)",
    "eb-ll": "EB Train (LL)",
    "eb-wage": "EB Train (8-bit WAGE search)",
    "eb-amp": "EB Train (AMP)",
}
_NUMBERS = ("total_j", "uncertainty_j", "redone_j", "other_j", "net_j", "idle_power_w", "duration_s", "covered_s")


@dataclass(frozen=True)
class Run:
    """A run that ended. `number` is how tables and figures cite it; `record.energy.phases` is emptied, for thousands of runs."""

    number: int
    folder: Path
    record: RunRecord
    started: Optional[str] = None
    #: the accelerator that trained, from the manifest; None where that is not kept
    device: Optional[str] = None
    notes: Tuple[str, ...] = ()

    @property
    def energy_j(self) -> Optional[float]:
        """Training energy (J) without the work that was done twice: total - redone."""
        account = self.record.energy
        return None if account.total_j is None else account.total_j - (account.redone_j or 0.0)

    @property
    def charged(self) -> Optional[Mapping[str, Any]]:
        """What this run is charged for a first training that another run measured; None where it measured all itself."""
        account = self.record.energy
        return account.charged or (account.while_simulating or {}).get("charged")

    @property
    def measured(self) -> Mapping[str, Any]:
        """`kind` and `reference` of what the meter showed: of the simulation, where the energy is an estimate."""
        account = self.record.energy
        return account.while_simulating or {"kind": self.record.kind, "reference": account.reference}


@dataclass(frozen=True)
class Unread:
    """A run folder without a usable record, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class Collection:
    """All that was found: the runs that ended, in the order of the tables, and the folders that give none."""

    runs: Tuple[Run, ...]
    unread: Tuple[Unread, ...]


def collect(paths: Sequence[os.PathLike]) -> Collection:
    """Read every run in or under `paths`, each once.

    Raises InputError when a path is not there or nothing in it looks like a run. A record that cannot be read is one
    line in the log and one entry of `unread`.
    """
    found = _unique(folder for path in paths for folder in _run_folders(Path(path)))
    runs: List[Run] = []
    unread: List[Unread] = []
    for folder, record_path in found:
        try:
            runs.append(_read_run(folder, record_path))
        except UserError as error:
            unread.append(Unread(folder, str(error)))
            log.warning("%s", error)
    runs, copies = _without_copies(runs)
    runs.sort(key=_order)
    numbered = tuple(replace(run, number=i) for i, run in enumerate(runs, 1))
    return Collection(numbered, tuple(sorted(unread + copies, key=lambda u: str(u.folder))))


def read_record(path: Path) -> RunRecord:
    """One record as objects; anything wrong with it is a UserError of one line."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if not isinstance(document, dict):
            raise ValueError(f"it holds a {type(document).__name__}, not a JSON object")
        version = document["schema_version"]
        if version != SCHEMA_VERSION:
            raise ValueError(f"it has schema version {version} and this ebbench reads {SCHEMA_VERSION}")
        for name in _NUMBERS:
            _check_number(name, document["energy"][name])
        document["energy"]["phases"] = []
        (document["energy"].get("while_simulating") or {}).pop("phases", None)
        fields = {
            **document,
            "energy": account_from_json(document["energy"]),
            "checks": [Check(**check) for check in document["checks"]],
        }
        return RunRecord(**fields)
    except FileNotFoundError:
        raise UserError(f"{path.parent} did not end: it has no {path.name}; `ebbench run --resume` ends it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UserError(f"{path} is damaged and was left out ({reason}); {MADE_ANEW}") from error


def frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, SI units, missing is NA."""
    table = pd.DataFrame([row(run) for run in runs], columns=list(row_names()))
    return table.astype({"run": "Int64", "seed": "Int64", "epochs": "Int64", "ticket_epoch": "Int64"})


def row_names() -> Tuple[str, ...]:
    """The columns of `frame`."""
    return tuple(_COLUMNS)


def row(run: Run) -> Dict[str, Any]:
    """What is known of one run, under the names of `frame`'s columns."""
    record, account = run.record, run.record.energy
    sources: Dict[str, Mapping[str, Any]] = {
        "run": {"number": run.number, "folder": str(run.folder), "started": run.started, "energy_j": run.energy_j},
        "record": {n: getattr(record, n) for n in ("run_id", "status", "kind", "verdict", "duration_s")},
        "board": record.board,
        "recipe": _read_settings(record.recipe),
        "reference": account.reference,
        "energy": {n: getattr(account, n) for n in (*_NUMBERS, "status")},
        "flops": record.flops or {},
        "accuracy": record.accuracy or {},
        "ticket": record.ticket or {},
        "overhead": record.mask_distance_overhead or {},
    }
    return {name: sources[source].get(key) for name, (source, key) in _COLUMNS.items()}


def _read_settings(recipe: Mapping[str, Any]) -> Dict[str, Any]:
    """The settings that mean something to the run's method."""
    return {name: value for name, value in recipe.items() if reads(str(recipe.get("method")), name)}


_COLUMNS = {
    "run": ("run", "number"), "run_id": ("record", "run_id"), "status": ("record", "status"),
    "kind": ("record", "kind"), "verdict": ("record", "verdict"),
    "method": ("recipe", "method"), "model": ("recipe", "model"), "dataset": ("recipe", "dataset"),
    "prune_ratio": ("recipe", "prune_ratio"), "seed": ("recipe", "seed"), "epochs": ("recipe", "epochs"),
    "board": ("board", "name"), "meter": ("reference", "meter"), "rail": ("reference", "rail"),
    "scope": ("reference", "scope"),
    "energy_j": ("run", "energy_j"), "uncertainty_j": ("energy", "uncertainty_j"),
    "total_j": ("energy", "total_j"), "redone_j": ("energy", "redone_j"), "other_j": ("energy", "other_j"),
    "net_j": ("energy", "net_j"), "idle_power_w": ("energy", "idle_power_w"),
    "energy_status": ("energy", "status"), "training_s": ("energy", "duration_s"),
    "covered_s": ("energy", "covered_s"), "duration_s": ("record", "duration_s"),
    "flops_total": ("flops", "total"), "flops_forward_dense": ("flops", "forward_dense"),
    "flops_forward_pruned": ("flops", "forward_pruned"),
    "accuracy_final": ("accuracy", "final"), "accuracy_best": ("accuracy", "best"),
    "top5_final": ("accuracy", "top5_final"), "ticket_epoch": ("ticket", "epoch"),
    "ticket_prune_ratio": ("ticket", "prune_ratio"),
    "overhead_energy_fraction": ("overhead", "energy_fraction"), "overhead_time_fraction": ("overhead", "time_fraction"),
    "overhead_flops_fraction": ("overhead", "flops_fraction"), "overhead_memory_fraction": ("overhead", "memory_fraction"),
    "started": ("run", "started"), "folder": ("run", "folder"),
}  # fmt: skip


def method_title(method: Optional[str]) -> str:
    """How the tables call a method."""
    return METHODS.get(method or "", method or "(no recipe)")


def ratio_text(runs: Sequence[Run]) -> str:
    """The prune ratio of replicates; one that they found themselves with a mark: ``0.7 (auto)``, ``0.6 to 0.7 (auto)``."""
    ratio = runs[0].record.recipe.get("prune_ratio")
    if ratio != AUTO:
        return MISSING_TEXT if ratio is None else f"{ratio:.4g}"
    found = [(run.record.ticket or {}).get("prune_ratio") for run in runs]
    known = sorted({f"{each:.4g}" for each in found if each is not None}, key=float)
    between = known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}" if known else MISSING_TEXT
    return f"{between} ({AUTO})"


def _order(run: Run) -> Tuple[Any, ...]:
    recipe = run.record.recipe
    method = str(recipe.get("method") or "")
    rank = list(METHODS).index(method) if method in METHODS else len(METHODS)
    names = (str(recipe.get("model") or ""), str(recipe.get("dataset") or ""))
    ratio = recipe.get("prune_ratio") or 0
    ratio = 1.0 if ratio == AUTO else ratio  # after all numbers
    draw = recipe.get("draw")
    drawn = draw[0] if isinstance(draw, list) and draw else 0 if draw == "early-bird" else recipe.get("epochs") or 0
    return (*names, rank, method, ratio, drawn, recipe.get("seed") or 0, run.record.run_id)


def _run_folders(path: Path) -> Iterator[Tuple[Path, Path]]:
    """The (folder, record) of every run at or below `path`; a record can be named itself (``record-2.json``)."""
    if path.is_file() and path.suffix == ".json":
        yield path.parent, path
        return
    if not path.is_dir():
        raise InputError(f"{path} is not a run folder or a folder of runs; name one that `ebbench run --out` made")
    count = 0
    for name, folders, files in os.walk(path):
        if {MANIFEST, PHASES, RECORD} & set(files):
            folders.clear()
            count += 1
            yield Path(name), Path(name) / RECORD
        folders[:] = sorted(f for f in folders if not f.startswith("."))
    if not count:
        raise InputError(f"{path} holds no run; name a folder that `ebbench run --out` or `ebbench measure` made")


def _unique(found: Iterator[Tuple[Path, Path]]) -> List[Tuple[Path, Path]]:
    return list({record.resolve(): (folder, record) for folder, record in found}.values())


def _read_run(folder: Path, record_path: Path) -> Run:
    notes = []
    newer = sorted(p.name for p in folder.glob("record-*.json") if p != record_path)
    if newer and record_path.name == RECORD:
        notes.append(f"{newer[-1]} was integrated later and is not used here; name that file to report it")
    return Run(0, folder, read_record(record_path), _started(folder), _device(folder), tuple(notes))


def _started(folder: Path) -> Optional[str]:
    """When the run's first process started (UTC), from the first line of its phases; None where that is not kept."""
    try:
        with open(RunDir(folder).phases, encoding="utf-8") as lines:
            wall_ns = json.loads(lines.readline())["wall_ns"]
        return datetime.fromtimestamp(wall_ns / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _device(folder: Path) -> Optional[str]:
    try:
        device = json.loads(RunDir(folder).manifest.read_text(encoding="utf-8"))["device"]
        return str(device.get("title") or device["name"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _without_copies(runs: Sequence[Run]) -> Tuple[List[Run], List[Unread]]:
    """Leave out copies of a run folder: pooled, they would look like replicates."""
    kept: Dict[Tuple[Any, ...], Run] = {}
    copies = []
    for run in runs:
        key = (run.record.run_id, run.record.energy.total_j, tuple(sorted(run.record.files.items())))
        if run.record.files and key in kept:
            copies.append(Unread(run.folder, f"{run.folder} is a copy of {kept[key].folder}; it counts once"))
        else:
            kept[key if run.record.files else (*key, run.folder)] = run
    return list(kept.values()), copies


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which JSON does not know")


def _check_number(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"energy.{name} is {value!r}, not a number")
