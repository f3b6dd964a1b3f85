"""The record of a run from its raw files, and the seal that ends it.

`record_of` is a pure function of the run folder: manifest, traces and phase log hold everything that the record says, so
that the same version makes the same record again (``ebbench integrate RUN``).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ebbench.energy.account import account, redone_outside
from ebbench.energy.charge import charged
from ebbench.energy.estimate import UnitEnergies, estimated
from ebbench.energy.extrapolate import extrapolate
from ebbench.energy.traces.trace import compact
from ebbench.errors import ConfigError, UserError
from ebbench.protocols import Stage
from ebbench.records import ESTIMATED, MADE_ANEW, SCHEMA_VERSION, Check, EnergyAccount, RunRecord, worst
from ebbench.rundir import EXPORT, LOCK, RunDir, read_json, sha256_of, write_json
from ebbench.sealing.amplified import amplified_draw
from ebbench.sealing.checks import check_run, command_ended, run_ended
from ebbench.sealing.overhead import mask_distance_overhead
from ebbench.sealing.raw import COMMAND_ENDED, RawRun
from ebbench.sharing.taken import check_of


def record_of(rundir: RunDir, *, max_gap_s: Optional[float] = None, units: Optional[UnitEnergies] = None) -> RunRecord:
    """Integrate, check and put together the record of a run folder; nothing is written.

    `max_gap_s` overrides the bench's, `units` the table that a simulated arithmetic's energy is estimated from. A run that
    never said how it ended is ``aborted``.
    """
    raw = RawRun.read(rundir)
    measured = _measured(rundir, raw, max_gap_s)
    whole, uncut = _whole(rundir, measured, raw)
    energy = _estimated(whole, raw, units)
    overhead = _overhead(whole, raw)
    checks = _checks(raw, measured, whole, overhead, is_estimated=energy.kind == ESTIMATED)
    refused = (whole.extrapolation or {}).get("refused")
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        run_id=raw.manifest["run_id"],
        status="failed" if refused else raw.status,
        kind=energy.kind,
        recipe=raw.recipe,
        board=raw.manifest.get("board") or {},
        meters=raw.manifest["meters"],
        energy=energy,
        duration_s=raw.duration_s,
        flops=raw.flops,
        accuracy=None if whole.extrapolation else raw.outcome.get("accuracy"),
        ticket=raw.outcome.get("ticket"),
        mask_distance_overhead=overhead,
        verdict=worst([check.verdict for check in checks]),
        checks=checks,
        files=_hashes(rundir.path),
        environment=raw.manifest.get("environment") or {},
        notes=[*raw.notes, *uncut],
        reason=refused or raw.stop.get("reason"),
        board_state=raw.board_state,
    )


def seal(rundir: RunDir) -> RunRecord:
    """Compact the traces, then write the record last: from now on the run has ended."""
    for path in rundir.traces():
        compact(path)
    record = record_of(rundir)
    write_json(rundir.record, record.to_json())
    return record


def integrate_again(
    rundir: RunDir, max_gap_s: Optional[float] = None, units: Optional[UnitEnergies] = None
) -> Tuple[RunRecord, Path]:
    """A new record from the same raw files, and where it is: beside the sealed one, or beside none where a run can be resumed.

    A measurement that ended without its record (its process was killed, the disk was full) is sealed. Raises UserError where
    another process is writing the folder.
    """
    if max_gap_s is not None and not max_gap_s > 0:
        raise ConfigError(f"max_gap_s = {max_gap_s:g} is not above 0")
    manifest = read_json(rundir.manifest)
    can_be_resumed = bool(manifest.get("recipe"))
    if units is not None and "unit_energies" not in manifest:
        raise ConfigError(f"--unit-energies: nothing in {rundir.path} is estimated, its arithmetic was not simulated")
    with contextlib.closing(rundir.lock()):
        if not rundir.is_sealed and not can_be_resumed and max_gap_s is None:
            return seal(rundir), rundir.record
        path, record = rundir.next_record(), record_of(rundir, max_gap_s=max_gap_s, units=units)
        write_json(path, record.to_json())
    return record, path


def load_record(rundir: RunDir) -> RunRecord:
    """The sealed record of a run folder, as objects."""
    if rundir.manifest.exists() and not rundir.is_sealed:
        raise UserError(
            f"{rundir.path} holds a run that did not end: go on with `ebbench run ... --resume`, "
            f"or see what there is with `ebbench integrate {rundir.path}`"
        )
    try:
        document = read_json(rundir.record)
    except UserError as error:
        if not rundir.record.is_file():
            raise
        raise UserError(f"{error}; {MADE_ANEW}") from error
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{rundir.record} has schema version {version} and this ebbench reads {SCHEMA_VERSION}; {MADE_ANEW}"
        )
    try:
        return RunRecord.from_json(document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{rundir.record} is damaged ({reason}); {MADE_ANEW}") from error


def _measured(rundir: RunDir, raw: RawRun, max_gap_s: Optional[float]) -> EnergyAccount:
    """What was measured in the run, and what is charged to it."""
    found = account(rundir, max_gap_s=max_gap_s if max_gap_s is not None else raw.bench.get("max_gap_s"))
    return found if raw.taken is None else charged(found, raw.taken)


def _whole(rundir: RunDir, measured: EnergyAccount, raw: RawRun) -> Tuple[EnergyAccount, List[str]]:
    """The account of the whole schedule, where only some of its epochs were to be measured, and what is to be said of that."""
    if not raw.recipe.get("measure_epochs") or raw.status != "success":
        return measured, []
    stages = raw.stages
    redone_j = redone_outside(rundir, [stage.path for stage in stages if stage.is_cut]) if measured.redone_j else 0.0
    return extrapolate(measured, stages, _assumptions(raw), redone_j), _uncut(stages)


def _estimated(whole: EnergyAccount, raw: RawRun, units: Optional[UnitEnergies]) -> EnergyAccount:
    """The account of a run whose arithmetic was simulated; any other's is the measured one."""
    if "unit_energies" not in raw.manifest:
        return whole
    return estimated(whole, raw.outcome.get("work"), units or UnitEnergies(**raw.manifest["unit_energies"]))


def _overhead(whole: EnergyAccount, raw: RawRun) -> Optional[Dict[str, Any]]:
    draw_cost = raw.outcome.get("draw_cost")
    if not draw_cost:
        return None
    return mask_distance_overhead(
        whole,
        amplified_draw(whole, raw.events),
        draw_cost,
        total_flops=(raw.outcome.get("flops") or {}).get("total", 0.0),
        peak_memory_bytes=raw.outcome.get("peak_memory_bytes"),
    )


def _checks(
    raw: RawRun,
    measured: EnergyAccount,
    whole: EnergyAccount,
    overhead: Optional[Mapping[str, Any]],
    *,
    is_estimated: bool,
) -> List[Check]:
    """All checks of the run, beginning with whether it ended."""
    of_run = check_run(
        measured,
        whole=whole,
        ticket=raw.outcome.get("ticket"),
        overhead=overhead,
        facts=raw.board_facts,
        is_estimated=is_estimated,
    )
    of_taken = [check_of(raw.taken)] if raw.taken else []
    command = raw.last_mark(COMMAND_ENDED)
    of_command = [] if command is None else [command_ended(int(command["exit_code"]))]
    return [run_ended(raw.status, raw.stop.get("reason")), *of_command, *of_run, *of_taken]


def _uncut(stages: List[Stage]) -> List[str]:
    """Why a run is whole although only some of its epochs were to be measured; nothing where it is not."""
    if any(stage.is_cut for stage in stages):
        return []
    why = "leaves out no epoch of this run" if stages else "means nothing to this method"
    return [f"measure_epochs {why}: all were trained and measured, and nothing is extrapolated"]


def _assumptions(raw: RawRun) -> List[str]:
    """What an extrapolation takes for granted beyond its epochs."""
    ticket = raw.outcome.get("ticket") or {}
    if not ticket.get("assumed"):
        return []
    stated = "draw" if raw.recipe.get("ticket_epoch") is None else "ticket_epoch"
    training = "search" if str(raw.recipe.get("method")).startswith("eb-") else "first training"
    distances = [d for d in ticket["distances"] if d is not None]
    of_mask = (
        "the mask of its weights is the one"
        if "kept_weights" in ticket
        else "the pruned network has the widths of the mask"
    )
    last = f"; it differed from the one before in {100 * distances[-1]:.2g} % of the channels" if distances else ""
    return [
        f"the ticket is drawn at epoch {ticket['epoch']} ({stated} of the recipe)",
        f"{of_mask} after {ticket['searched_epochs']} epochs of the {training}{last}",
    ]


def _hashes(folder: Path) -> Dict[str, str]:
    """SHA-256 of every raw file of the run; records, the lock and what was exported are left out."""
    files = [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.name != LOCK
        and p.relative_to(folder).parts[0] != EXPORT
        and not p.name.startswith(("record", "."))
    ]
    return {str(p.relative_to(folder)): sha256_of(p) for p in files}
