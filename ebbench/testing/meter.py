"""The conformance suite of meters: what each must do, built in or from outside.

``check_meter(MeterCase("my_lab.supply:Supply", request, name="supply"))`` in a test of yours finds every broken rule at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.trace import read_whole
from ebbench.errors import ConfigError, EbbenchError
from ebbench.plugins import resolve
from ebbench.protocols import STATED, Availability, MeterInfo, MeterRequest
from ebbench.testing.described import SCOPES, block_faults, info_faults, reading_faults
from ebbench.testing.quiet import watched


@dataclass(frozen=True)
class MeterCase:
    """A meter whose other end is up: its class (``package.module:Name``) and a request with which it can be opened.

    `name` is the one that it is registered under. `options` are some that it knows, to be misspelt (default: those of the request).
    `broken` is a request that cannot be opened: nobody is there. `disturb` makes the other end fail from now on; then nothing
    may be read as 0. `in_sampler=False` leaves out the sampler's process, for an other end that exists in this one alone.
    `patience_s`: within it two readings must come, and close must have given back what open took.
    """

    factory: str
    request: MeterRequest
    name: Optional[str] = None
    options: Tuple[str, ...] = ()
    broken: Optional[MeterRequest] = None
    disturb: Optional[Callable[[], Any]] = None
    in_sampler: bool = True
    rate_hz: Optional[float] = None
    probe_within_s: float = 2.0
    stop_within_s: float = 1.0
    patience_s: float = 10.0


def check_meter(case: MeterCase) -> MeterInfo:
    """Raise AssertionError with every rule that the meter breaks, one a line; what it says of itself if it breaks none."""
    faults: List[str] = []
    infos: List[MeterInfo] = []
    for rule in (_probe, _options, _broken, _open_and_read, _sampler, _disturbed):
        try:
            faults += rule(case, infos)
        except Exception as error:  # noqa: BLE001 - whatever a meter raises is a finding, and the other rules still count
            faults.append(f"{rule.__name__.strip('_')} raises {type(error).__name__}: {error}")
    if faults:
        raise AssertionError("\n".join(f"{case.factory}: {fault}" for fault in dict.fromkeys(faults)))
    return infos[0]


def _probe(case: MeterCase, _: List[MeterInfo]) -> Iterator[str]:
    """It looks quickly; unless an address is named, it contacts, writes and starts nothing."""
    meter = resolve(case.factory)
    for request in (case.request, MeterRequest(board=case.request.board)):
        before, start_s = _open_files(), time.monotonic()
        with watched() as deeds:
            there = _probed(meter, request)
        elapsed_s = time.monotonic() - start_s
        if elapsed_s > case.probe_within_s:
            yield f"probe took {elapsed_s:.1f} s"
        if isinstance(there, str):  # without its address a meter may refuse to look
            yield from [f"probe raises {there}"] if request is case.request else _line_faults("probe's error", there)
            continue
        yield from _availability_faults(there, request)
        if request is case.request and not there.available:
            yield f"probe says that it cannot be used: {there.reason}"
        if request.address is None:
            yield from (f"probe without an address {deed}" for deed in deeds)
        if not _eventually(lambda before=before: _open_files() <= before, case.patience_s):
            yield "probe leaves a file or a connection open"


def _probed(meter: Any, request: MeterRequest) -> Any:
    """The availability, or the line of the error that it raises where a name is missing."""
    try:
        return meter.probe(request)
    except EbbenchError as error:
        return str(error)


def _availability_faults(there: Any, request: MeterRequest) -> Iterator[str]:
    if not isinstance(there, Availability):
        yield f"probe gives {type(there).__name__}, not an Availability"
        return
    yield from _line_faults("probe's reason", there.reason)
    if there.available and not there.present:
        yield "probe says that it can be used and is not there"
    if there.scope not in SCOPES and ("scope" in request.options or there.scope != STATED):
        yield f"probe's scope {there.scope!r} is none of {', '.join(SCOPES)}"


def _options(case: MeterCase, _: List[MeterInfo]) -> Iterator[str]:
    """An option that it does not know is refused before it is opened, with the nearest that it does."""
    meter, given = resolve(case.factory), dict(case.request.options)
    for known in (*(case.options or given), None):
        unknown = f"{known[:-1]}_" if known else "no_such_option"
        try:
            meter(dataclasses.replace(case.request, options={**given, unknown: "1"}))
        except ConfigError as error:
            yield from _line_faults("the refusal of an option", str(error))
            if unknown not in str(error) or (known and repr(known) not in str(error)):
                yield f"the refusal of option {unknown!r} does not name it and the nearest ({known}): {error}"
        else:
            yield f"option {unknown!r}, which nobody knows, is accepted"


def _broken(case: MeterCase, _: List[MeterInfo]) -> Iterator[str]:
    """Where nobody is there, it says so in one line."""
    if case.broken is None:
        return
    start_s = time.monotonic()
    try:
        with contextlib.closing(resolve(case.factory)(case.broken)) as meter:
            meter.open()
    except EbbenchError as error:
        yield from _line_faults("the error where nobody is there", str(error))
    else:
        yield "it opens although nobody is there"
    if time.monotonic() - start_s > case.patience_s:
        yield f"it took more than {case.patience_s:g} s to find that nobody is there"


def _open_and_read(case: MeterCase, infos: List[MeterInfo]) -> Iterator[str]:
    """Open, read, close twice, and all of it again as after a failure; nothing stays open."""
    gc.collect()
    before = _open_files()
    for _ in range(2):
        meter = resolve(case.factory)(dataclasses.replace(case.request, rate_hz=case.rate_hz))
        try:
            info = meter.open()
            faults = list(info_faults(info))
            yield from faults
            if not faults:
                infos.append(info)
                yield from _reads(case, meter, info)
        finally:
            meter.close()
            meter.close()
    if len(infos) == 2 and infos[0].columns != infos[1].columns:
        yield "it has other columns when it is opened again"
    if infos and case.name is not None and infos[0].name != case.name:
        yield f"it calls itself {infos[0].name!r} and is registered as {case.name!r}"
    if not _eventually(lambda: _open_files() <= before, case.patience_s):
        yield "after close a file or a connection is still open"


def _reads(case: MeterCase, meter: Any, info: MeterInfo) -> Iterator[str]:
    if not hasattr(meter, "drain"):
        for _ in range(3):
            yield from reading_faults(meter.read(), info.columns)
        if hasattr(meter, "files"):
            yield from _take_faults(meter, info)
        return
    rate_hz = case.rate_hz or info.default_rate_hz
    readings, last_ns, deadline_s = 0, -1, time.monotonic() + case.patience_s
    while readings < 2 and time.monotonic() < deadline_s:
        block = meter.drain(rate_hz)
        faults = list(block_faults(block, info, monotonic_ns(), last_ns))
        yield from faults
        if faults:
            return
        readings += len(block.time_ns)
        last_ns = int(block.time_ns[-1]) if len(block.time_ns) else last_ns
        time.sleep(0.01)
    if readings < 2:
        yield f"{readings or 'no'} reading came within {case.patience_s:g} s"


def _take_faults(meter: Any, info: MeterInfo) -> Iterator[str]:
    """A meter that hands over its files makes a reading of what stands in them."""
    texts = [b"nan" if file.next_in else os.pread(file.descriptor, 64, 0) for file in meter.files()]
    numbers = np.array([[float(text.split()[0]) for text in texts]])
    values, offsets_ns = meter.take(numbers, np.arange(len(texts))[None])
    for name, array in (("values", values), ("times", offsets_ns)):
        if np.shape(array) != (1, len(info.columns)):
            yield f"take gives {name} of shape {np.shape(array)} for one sweep of {len(info.columns)} columns"
            return
    yield from reading_faults([None if math.isnan(value) else value for value in values[0].tolist()], info.columns)


def _sampler(case: MeterCase, infos: List[MeterInfo]) -> Iterator[str]:
    """In the sampler's process, where it really runs: the same meter, readings in the trace, and an end without delay."""
    if not case.in_sampler:
        return
    with tempfile.TemporaryDirectory(prefix="ebbench-") as folder:
        trace = Path(folder) / "trace.arrows"
        sampler = Sampler.start(case.factory, case.request, trace, case.rate_hz)
        try:
            info = sampler.wait_ready()
            start_s = time.monotonic()
            summary = sampler.stop()
            elapsed_s = time.monotonic() - start_s
        finally:
            sampler.kill()
        if infos and info.columns != infos[0].columns:
            yield "in the sampler's process it has other columns"
        if summary["heavy_modules"]:
            yield f"it loads {', '.join(summary['heavy_modules'])} in the sampler's process"
        if summary["failures"]:
            yield f"in the sampler's process it fails: {summary['reason']}"
        values = read_whole(trace).values.values()
        if not any(np.isfinite(column).any() for column in values):
            yield "its trace holds no reading"
        last_reading_s = 2 / summary["scheduled_hz"]  # the sampler waits so long for one after the last edge
        if elapsed_s > case.stop_within_s + 0.5 + last_reading_s:
            yield f"it took {elapsed_s:.1f} s to stop"


def _disturbed(case: MeterCase, _: List[MeterInfo]) -> Iterator[str]:
    """What cannot be read is missing: None, NaN or an error of one line, and never 0."""
    if case.disturb is None:
        return
    meter = resolve(case.factory)(dataclasses.replace(case.request, rate_hz=case.rate_hz))
    try:
        info = meter.open()
        _values_of(meter, info)
        case.disturb()
        for _ in range(20):
            time.sleep(0.01 if hasattr(meter, "drain") else 0.0)  # what it gathers by itself takes its time to come
            try:
                values = _values_of(meter, info)
            except (EbbenchError, OSError) as error:
                if isinstance(error, EbbenchError):
                    yield from _line_faults("the error where it cannot be read", str(error))
                continue
            if any(value == 0 for value in values):
                yield "what cannot be read is read as 0"
    finally:
        meter.close()


def _values_of(meter: Any, info: MeterInfo) -> List[float]:
    """The numbers of one reading, or of one block."""
    if hasattr(meter, "drain"):
        return [float(v) for v in np.asarray(meter.drain(info.default_rate_hz).values).ravel() if not math.isnan(v)]
    return [float(value) for value in meter.read() if value is not None]


def _line_faults(what: str, text: str) -> Iterator[str]:
    if not text.strip() or "\n" in text or "Traceback" in text:
        yield f"{what} is not one line that says what to do: {text!r}"


def _open_files() -> int:
    """How many files and connections this process holds; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return 0


def _eventually(claim: Callable[[], bool], within_s: float) -> bool:
    """Whether the claim comes true: some libraries hang up in a thread of their own."""
    deadline_s = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline_s:
            return False
        gc.collect()
        time.sleep(0.02)
    return True
