"""``ebbench calibrate``: a load is switched on and off under a meter, and the meter's answer is fitted and kept."""

from __future__ import annotations

import dataclasses
import datetime
import random
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ebbench import plugins
from ebbench.calibration import store as calibration_store
from ebbench.calibration.fits import fit_of, own_fit, readings_of
from ebbench.clock import monotonic_ns
from ebbench.energy.calibration import FORMAT_VERSION, constitution
from ebbench.energy.phases import PhaseLog, intervals, read_events
from ebbench.energy.recording import Recording
from ebbench.energy.step_response.comparison import Comparison, compare
from ebbench.energy.step_response.plateaus import (
    BUSY,
    HALF,
    IDLE,
    Plateau,
    levels,
    step_w,
)
from ebbench.energy.traces.batches import Chunk
from ebbench.energy.traces.series import Series, power_of
from ebbench.energy.traces.trace import compact, read_whole
from ebbench.environment import package_version
from ebbench.errors import ConfigError
from ebbench.protocols import Board, MeterInfo, MeterRequest
from ebbench.rundir import RunDir
from ebbench.units import MOST_HZ, NS_PER_S

#: idle and busy in turn: eight edges up, eight down; with a reference half loads follow
CYCLES, HALF_CYCLES = 8, 3
#: plateaus are this much shorter or longer than their mean, at random, so that no reading falls in step with them
SPREAD = 0.25
LEAST_S, MOST_S, DEFAULT_S = 2.0, 3600.0, 60.0
SHARES = {IDLE: 0.0, HALF: 0.5, BUSY: 1.0}

#: works for a part of the time until a moment (ns): `training.load.Load.run`
Work = Callable[[int, float], None]
Say = Callable[[str], None]
_METER, _REFERENCE = "meter", "reference"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The document that is kept, and where; `path` is None where it was not to be kept."""

    document: Dict[str, Any]
    path: Optional[Path]


def calibrate(
    meter: str,
    against: Optional[str] = None,
    *,
    work: Work,
    seconds: float = DEFAULT_S,
    rate_hz: Optional[float] = None,
    board: str = "auto",
    device_uuid: Optional[str] = None,
    synchronize: Optional[Callable[[], None]] = None,
    keep: bool = True,
    say: Say = lambda line: None,
) -> Calibration:
    """Calibrate the meter named by a URI, against another one where that is given, and keep what was found.

    Raises ResultError, with the numbers, where the meter shows no distinct step; then nothing is kept.
    """
    if not LEAST_S <= seconds <= MOST_S:
        raise ConfigError(f"seconds = {seconds:g} is outside {LEAST_S:g}..{MOST_S:g}")
    if rate_hz is not None and not 0 < rate_hz <= MOST_HZ:
        raise ConfigError(f"rate_hz = {rate_hz:g} is not above 0 and at most {MOST_HZ:g}")
    chosen = plugins.choose_board(board)
    wanted = [(_METER, plugins.choose_meters([meter], chosen, device_uuid)[0])]
    if against is not None:
        wanted.append((_REFERENCE, plugins.choose_meters([against], chosen, device_uuid)[0]))
    with tempfile.TemporaryDirectory(prefix="ebbench-") as temporary:
        rundir = RunDir(Path(temporary) / "raw")
        rundir.create()
        infos = _record(rundir, wanted, rate_hz, seconds, work, synchronize, say)
        document = _document(rundir, meter, against, chosen, infos)
        path = None
        if keep:
            request = wanted[0][1][2]
            path = calibration_store.save(
                calibration_store.key(chosen.name if chosen else None, infos[0].name, request.address, request.options),
                document,
                rundir.path,
            )
    return Calibration(document, path)


def pattern(seconds: float, with_half: bool, seed: int = 1) -> List[Tuple[str, float]]:
    """The loads in their order, each with its length (s)."""
    names = [IDLE, BUSY] * CYCLES + [IDLE]
    if with_half:
        names += [HALF, IDLE] * HALF_CYCLES
    chance = random.Random(seed)
    parts = [chance.uniform(1 - SPREAD, 1 + SPREAD) for _ in names]
    return [(name, seconds * part / sum(parts)) for name, part in zip(names, parts)]


def _record(
    rundir: RunDir, wanted: Sequence[Tuple[str, Tuple[str, str, MeterRequest]]], rate_hz: Optional[float], seconds: float,
    work: Work, synchronize: Optional[Callable[[], None]], say: Say,
) -> List[MeterInfo]:  # fmt: skip
    """Drive the load under the meters' samplers; the raw files are in `rundir` afterwards."""
    phases = str(rundir.phases.resolve())
    seats = [
        (role, path, dataclasses.replace(request, phases=phases), rate_hz if role == _METER else None)
        for role, (_, path, request) in wanted
    ]
    recording = Recording(rundir, seats, synchronize=synchronize)
    recording.open()
    status, reason = "aborted", None
    try:
        _check_pair(recording.infos)
        say(f"idle and load in turn for {seconds:g} s; leave the machine alone")
        work(monotonic_ns() + NS_PER_S // 5, 1.0)  # libraries and clocks wake up with the first of it
        for name, length_s in pattern(seconds, len(seats) > 1):
            _hold(recording, name, length_s, work)
        status = "success"
    except BaseException as error:
        reason = type(error).__name__
        raise
    finally:
        recording.stop(status, reason)
    for path in rundir.traces():
        compact(path)
    return recording.infos


def _hold(recording: Recording, name: str, length_s: float, work: Work) -> None:
    log: PhaseLog = recording.phases
    with log.phase(name):
        work(monotonic_ns() + int(length_s * NS_PER_S), SHARES[name])
    recording.check()


def _check_pair(infos: Sequence[MeterInfo]) -> None:
    """Refuse a reference that measures something else, or that does not know itself."""
    if len(infos) < 2:
        return
    meter, reference = infos
    if meter.scope != reference.scope:
        raise ConfigError(
            f"the meter measures the {meter.scope} and the reference the {reference.scope}: what lies between them is no "
            "error of the meter; take a reference at the same place, or leave out --against"
        )
    for called, info in zip(("meter", "reference"), infos):
        if info.total and power_of(info, info.total) is None:
            raise ConfigError(
                f"the {called} ({info.name}) gives no power to compare, only an energy counter; leave out --against"
            )
    if meter.simulated != reference.simulated:
        raise ConfigError("one of the two meters is simulated; take a real or a simulated one for both")
    if not meter.total or not reference.total:
        raise ConfigError("one of the two meters has no total to compare; name the board with --board")
    rails = [rail for rail in reference.rails if rail.name in reference.total]
    if any(rail.gain_ratio is None or rail.offset_w is None for rail in rails):
        raise ConfigError(
            "the reference does not say how well it knows its gain and offset; state them from its data sheet as standard "
            f"uncertainties (k = 1): --against '{reference.name}...?gain_u=0.001&offset_u_w=0.01'"
        )


def _document(
    rundir: RunDir, meter: str, against: Optional[str], board: Optional[Board], infos: Sequence[MeterInfo]
) -> Dict[str, Any]:
    """All that was found, as JSON values. Raises ResultError where the total shows no distinct step."""
    plateaus = [Plateau(phase.path, phase.start_ns, phase.end_ns) for phase in intervals(read_events(rundir.phases))]
    chunk = read_whole(rundir.traces(_METER)[0])
    info = infos[0]
    total = info.total or (info.rails[0].name,)
    whole = power_of(info, total)
    fits = {"+".join(total): fit_of(chunk, info, total, plateaus)}
    for rail in info.rails:
        fits.update(own_fit(info, rail.name, chunk, plateaus, fits, total))
    comparison = None if whole is None or len(infos) < 2 else _compare(rundir, whole, chunk, infos, plateaus)
    is_single = len(total) == 1 and f"{total[0]}_j" not in [column.name for column in info.columns]
    return {
        "format_version": FORMAT_VERSION,
        "ebbench": package_version("ebbench"),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "board": board.name if board else None,
        "machine": calibration_store.machine(),
        "meter": meter,
        "simulated": info.simulated,
        "constitution": constitution(info),
        "plateaus": {"count": len(plateaus), "mean_s": float(np.mean([p.end_ns - p.start_ns for p in plateaus])) / NS_PER_S},
        "total": "+".join(total),
        "rails": fits,
        "reference": None if len(infos) < 2 else {"meter": against, "info": infos[1].to_json()},
        "comparison": comparison.to_json() if comparison is not None else None,
        "corrects_readings": comparison is not None and is_single,
        "raw_sha256": calibration_store.hashes(rundir.path),
    }  # fmt: skip


def _compare(
    rundir: RunDir, whole: Series, chunk: Chunk, infos: Sequence[MeterInfo], plateaus: Sequence[Plateau]
) -> Comparison:
    reference = power_of(infos[1], infos[1].total)
    assert reference is not None, "it was opened without a power"
    readings = readings_of(chunk, whole)
    others = readings_of(read_whole(rundir.traces(_REFERENCE)[0]), reference)
    resolution_w = whole.rail.resolution_w if whole.rail.resolution_w is not None else step_w(readings[1])
    return compare(levels(*readings, plateaus), levels(*others, plateaus), resolution_w or 0.0, reference.rail)
