"""A meter tried for some seconds, by itself: what it gives, and how fast."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import numpy as np

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.series import power_of, series_of
from ebbench.energy.traces.trace import Chunk, read_whole
from ebbench.errors import ConfigError, EbbenchError
from ebbench.meter_ref import Named
from ebbench.protocols import MeterInfo
from ebbench.units import MOST_HZ, NS_PER_S

#: how often whoever looks on is shown what there is, and how much of the time looking may take
LOOK_S, LOOK_SHARE = 0.5, 0.05

#: gets the meter, all readings so far, when they count from (ns) and what the sampler said last
Look = Callable[[MeterInfo, Chunk, int, Dict[str, Any]], None]


def sample(
    name: Named, seconds: float = 5.0, rate_hz: Optional[float] = None, board: str = "auto", look: Optional[Look] = None
) -> Dict[str, Any]:
    """Read the meter `name` (a URI, or a meter of a bench file) for `seconds` through the sampler, and say what it gave.

    ``{meter, scope, simulated, seconds, rate_hz, missed, rails: {name: {mean_w, min_w, max_w, readings}}, total_w}``: powers in W,
    `total_w` is the mean of the board's total and None where the meter has none. `look` is shown the readings as they come, and
    all of them at the end.
    """
    if not 0 < seconds <= 3600 or (rate_hz is not None and not 0 < rate_hz <= MOST_HZ):
        limits = f"sample between 0 and 3600 s, at a rate above 0 and at most {MOST_HZ:g}"
        raise ConfigError(f"seconds = {seconds:g}, rate = {rate_hz}: {limits}")
    ((called, factory, request),) = plugins.choose_meters([name], plugins.choose_board(board))
    with tempfile.TemporaryDirectory(prefix="ebbench-") as folder:
        trace = Path(folder) / "trace.arrows"
        sampler = Sampler.start(factory, request, trace, rate_hz, metadata={"name": called})
        try:
            info = sampler.wait_ready()
            start_ns = monotonic_ns()
            _wait(sampler, info, trace, start_ns, seconds, look)
            summary = sampler.stop()
        finally:
            sampler.kill()
        chunk = read_whole(trace)
    if look is not None:
        look(info, chunk, start_ns, summary)
    return summarise(info, chunk, start_ns, seconds, summary)


def _wait(sampler: Sampler, info: MeterInfo, trace: Path, start_ns: int, seconds: float, look: Optional[Look]) -> None:
    """Let `seconds` pass; whoever looks is shown the trace as it grows, the less often the longer reading it takes."""
    end_s = start_ns / NS_PER_S + seconds
    next_s = start_ns / NS_PER_S + LOOK_S
    while (left_s := end_s - monotonic_ns() / NS_PER_S) > 0:
        if look is None:
            time.sleep(left_s)
            continue
        time.sleep(min(left_s, max(0.0, next_s - monotonic_ns() / NS_PER_S)))
        begun_s = monotonic_ns() / NS_PER_S
        if sampler.error is not None or begun_s >= end_s:
            return
        look(info, read_whole(trace), start_ns, sampler.live() or {})
        took_s = monotonic_ns() / NS_PER_S - begun_s
        next_s = begun_s + max(LOOK_S, took_s / LOOK_SHARE)


def total_power(info: MeterInfo, chunk: Chunk, since_ns: int) -> Any:
    """Times (s since `since_ns`) and powers (W) of the meter's total, or of its first rail; of a counter its rise over time."""
    series = power_of(info, info.total or (info.rails[0].name,))
    if series is None:
        series = series_of(info, info.total or (info.rails[0].name,))
    times_s = (series.times_ns(chunk) - since_ns) / NS_PER_S
    values = series.values(chunk)
    read = np.isfinite(values) & (times_s >= 0)
    times_s, values = times_s[read], values[read]
    if series.is_counter:
        rises = np.flatnonzero(np.diff(values) != 0) + 1
        times_s, values = times_s[rises][1:], np.diff(values[rises]) / np.diff(times_s[rises])
    return times_s, values


def summarise(info: MeterInfo, chunk: Chunk, start_ns: int, seconds: float, summary: Dict[str, Any]) -> Dict[str, Any]:
    """What `sample` returns, from the readings within `seconds` of `start_ns` and the sampler's last words."""
    inside = (chunk.time_ns >= start_ns) & (chunk.time_ns < start_ns + seconds * NS_PER_S)
    count = int(inside.sum())
    missed = summary.get("missed")
    if missed is None:  # a meter with a schedule of its own: what its rate would have given
        missed = max(0, int(seconds * summary["asked_hz"]) - count)
    rails = {}
    for rail in info.rails:
        try:
            series = series_of(info, [rail.name])
        except EbbenchError:  # a rail of volts alone has no power to show
            continue
        rails[rail.name] = _statistics(series.values(chunk)[inside], series.times_ns(chunk)[inside], series.is_counter)
    means = [rails[name]["mean_w"] for name in info.total if name in rails]
    complete = bool(means) and len(means) == len(info.total) and None not in means
    return {
        "meter": info.name,
        "scope": info.scope,
        "simulated": info.simulated,
        "seconds": seconds,
        "rate_hz": count / seconds,
        "missed": missed,
        "rails": rails,
        "total_w": sum(means) if complete else None,
    }


def _statistics(values: np.ndarray, times_ns: np.ndarray, is_counter: bool) -> Dict[str, Any]:
    """Mean, least and greatest power (W) of a rail's readings; of a counter (J) only the mean, from its two ends."""
    read = np.isfinite(values)
    values, times_ns = values[read], times_ns[read]
    found: Dict[str, Any] = {"mean_w": None, "min_w": None, "max_w": None, "readings": len(values)}
    if is_counter and len(values) > 1 and times_ns[-1] > times_ns[0]:
        found["mean_w"] = float(values[-1] - values[0]) / (float(times_ns[-1] - times_ns[0]) / NS_PER_S)
    elif not is_counter and len(values):
        found.update(mean_w=float(values.mean()), min_w=float(values.min()), max_w=float(values.max()))
    return found
