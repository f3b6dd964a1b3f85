"""The record of a run from its raw files, and the seal that ends it.

`record_of` is a pure function of the run folder: manifest, traces and phase log hold everything that the record says, so
that the same version makes the same record again (``ebbench integrate RUN``).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench.board.state import board_state, facts
from ebbench.energy.account import account
from ebbench.energy.amplify import AmplifiedDraw, MeasuredBlock, estimate
from ebbench.energy.charge import charged
from ebbench.energy.estimate import UnitEnergies, estimated
from ebbench.energy.extrapolate import extrapolate
from ebbench.energy.phases import read_events
from ebbench.energy.traces.trace import compact
from ebbench.errors import ConfigError, UserError
from ebbench.protocols import Stage
from ebbench.records import ESTIMATED, SCHEMA_VERSION, EnergyAccount, RunRecord, worst
from ebbench.rundir import EXPORT, LOCK, RunDir, read_json, sha256_of, write_json
from ebbench.sealing.checks import check_run, run_ended
from ebbench.sealing.overhead import mask_distance_overhead
from ebbench.sharing.taken import check_of, notes_of
from ebbench.units import NS_PER_S

Event = Mapping[str, Any]


def record_of(rundir: RunDir, *, max_gap_s: Optional[float] = None, units: Optional[UnitEnergies] = None) -> RunRecord:
    """Integrate, check and put together the record of a run folder; nothing is written.

    `max_gap_s` overrides the bench's, `units` the table that a simulated arithmetic's energy is estimated from. A run that
    never said how it ended is ``aborted``.
    """
    manifest = read_json(rundir.manifest)
    events = read_events(rundir.phases)
    bench = manifest.get("bench") or {}
    measured = account(rundir, max_gap_s=max_gap_s if max_gap_s is not None else bench.get("max_gap_s"))
    taken = read_json(rundir.taken) if rundir.taken.exists() else None
    measured = measured if taken is None else charged(measured, taken)
    outcome = _last_mark(events, "outcome") or {}
    state = board_state(rundir.board)
    stop = _stop(events)
    whole, notes = _whole(measured, manifest, events, outcome)
    notes = [*outcome.get("notes", []), *(notes_of(taken) if taken else []), *notes]
    refused = (whole.extrapolation or {}).get("refused")
    energy = _estimated(whole, manifest, outcome, units)
    overhead = _overhead(whole, events, outcome)
    status, reason = stop.get("status", "aborted"), stop.get("reason")
    checks = [
        run_ended(status, reason),
        *check_run(
            measured,
            whole=whole,
            ticket=outcome.get("ticket"),
            overhead=overhead,
            facts=_facts(state, bench, events),
            is_estimated=energy.kind == ESTIMATED,
        ),
    ]
    checks += [check_of(taken)] if taken else []
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        run_id=manifest["run_id"],
        status="failed" if refused else status,
        kind=energy.kind,
        recipe=manifest.get("recipe") or {},
        board=manifest.get("board") or {},
        meters=manifest["meters"],
        energy=energy,
        duration_s=_duration_s(events),
        flops=_flops(outcome.get("flops"), taken),
        accuracy=None if whole.extrapolation else outcome.get("accuracy"),
        ticket=outcome.get("ticket"),
        mask_distance_overhead=overhead,
        verdict=worst([check.verdict for check in checks]),
        checks=checks,
        files=_hashes(rundir.path),
        environment=manifest.get("environment") or {},
        notes=notes,
        reason=refused or reason,
        board_state=state,
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
    return RunRecord.from_json(read_json(rundir.record))


def _estimated(
    measured: EnergyAccount, manifest: Mapping[str, Any], outcome: Mapping[str, Any], units: Optional[UnitEnergies]
) -> EnergyAccount:
    """The account of a run whose arithmetic was simulated; any other's is the measured one."""
    if "unit_energies" not in manifest:
        return measured
    return estimated(measured, outcome.get("work"), units or UnitEnergies(**manifest["unit_energies"]))


def _flops(flops: Optional[Mapping[str, Any]], taken: Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """The FLOPs of a run; those of a training that was taken name the run that did it."""
    if flops is None or taken is None:
        return None if flops is None else dict(flops)
    by_phase = {
        path: {**entry, "measured_by": taken["from"]} if path.split("/")[0] == taken["stage"] else entry
        for path, entry in flops["by_phase"].items()
    }
    return {**flops, "by_phase": by_phase}


def _facts(state: Optional[Mapping[str, Any]], bench: Mapping[str, Any], events: List[Event]) -> Dict[str, Any]:
    """What is known of the board during the run, for the checks."""
    found: Dict[str, Any] = facts(state, _duration_s(events))
    if bench.get("cooldown_c") is not None:
        found["start_limit_c"] = bench["cooldown_c"]
        found["start_c"] = (_last_mark(events, "start_temperature") or {}).get("celsius")
    return {**found, **(_last_mark(events, "bench_facts") or {})}


def _stages(events: List[Event]) -> List[Stage]:
    """What the run said of its stages; of one that was closed twice, after a kill, the last word."""
    found = [Stage(**e["values"]) for e in events if e["event"] == "mark" and e["name"] == "stage"]
    return list({stage.path: stage for stage in found}.values())


def _stop(events: Sequence[Event]) -> Event:
    """How the last start of the run ended; without a status where it never said."""
    return next((e for e in reversed(events) if e["event"] in ("stop", "start")), {})


def _whole(
    measured: EnergyAccount, manifest: Mapping[str, Any], events: Sequence[Event], outcome: Mapping[str, Any]
) -> Tuple[EnergyAccount, List[str]]:
    """The account of the whole schedule, where only some of its epochs were to be measured, and what is to be said of that."""
    if not (manifest.get("recipe") or {}).get("measure_epochs") or _stop(events).get("status") != "success":
        return measured, []
    stages = _stages(events)
    return extrapolate(measured, stages, _assumptions(outcome.get("ticket"))), _uncut(stages)


def _uncut(stages: List[Stage]) -> List[str]:
    """Why a run is whole although only some of its epochs were to be measured; nothing where it is not."""
    if any(stage.is_cut for stage in stages):
        return []
    why = "leaves out no epoch of this run" if stages else "means nothing to this method"
    return [f"measure_epochs {why}: all were trained and measured, and nothing is extrapolated"]


def _assumptions(ticket: Optional[Mapping[str, Any]]) -> List[str]:
    """What an extrapolation takes for granted beyond its epochs."""
    if not (ticket or {}).get("assumed"):
        return []
    assert ticket is not None
    distances = [d for d in ticket["distances"] if d is not None]
    last = f"; it differed from the one before in {100 * distances[-1]:.2g} % of the channels" if distances else ""
    return [
        f"the ticket is drawn at epoch {ticket['epoch']} (ticket_epoch or draw of the recipe)",
        f"the pruned network has the widths of the mask after {ticket['searched_epochs']} epochs of the search{last}",
    ]


def _last_mark(events: List[Event], name: str) -> Optional[Dict[str, Any]]:
    found = [e["values"] for e in events if e["event"] == "mark" and e["name"] == name]
    return dict(found[-1]) if found else None


def _duration_s(events: List[Event]) -> float:
    """Time during which the run's process lived, summed over its starts (s)."""
    total_ns, start_ns, last_ns = 0, None, 0
    for event in events:
        if event["event"] == "start":
            total_ns += last_ns - start_ns if start_ns is not None else 0
            start_ns = event["t_ns"]
        last_ns = event["t_ns"]
    return (total_ns + (last_ns - start_ns if start_ns is not None else 0)) * 1e-9


def _overhead(energy: EnergyAccount, events: List[Event], outcome: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    draw_cost = outcome.get("draw_cost")
    if not draw_cost:
        return None
    return mask_distance_overhead(
        energy,
        _amplified(energy, events),
        draw_cost,
        total_flops=(outcome.get("flops") or {}).get("total", 0.0),
        peak_memory_bytes=outcome.get("peak_memory_bytes"),
    )


def _amplified(energy: EnergyAccount, events: List[Event]) -> Optional[AmplifiedDraw]:
    """The estimate from the amplified blocks of the run's last start; None where there are none with energies."""
    last = max((i for i, e in enumerate(events) if e["event"] == "start"), default=0)
    segment = sum(e["event"] == "start" for e in events) - 1
    by_path = {p["path"]: p for p in energy.phases if p["segment"] == segment and p["path"].startswith("amplify/")}
    blocks: List[MeasuredBlock] = []
    for event in events[last:]:
        if event["event"] != "mark" or event["name"] != "block" or event["values"]["path"] not in by_path:
            continue
        values, phase = event["values"], by_path[event["values"]["path"]]
        if phase["energy_j"] is not None and phase["status"] == "ok":
            blocks.append(
                MeasuredBlock(
                    values["kind"],
                    values["repeats"],
                    phase["start_ns"] / NS_PER_S,
                    phase["duration_s"],
                    phase["energy_j"],
                    phase["uncertainty_j"] or 0.0,
                    phase["common_j"] or 0.0,
                    values.get("rested_s", 0.0),
                )
            )
    return estimate(blocks) if blocks else None


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
