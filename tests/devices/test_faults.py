"""Every external meter under every fault of its other end: the run goes on, nothing is invented, and what follows is right.

All meters run at once, each through all faults in turn, over their real transports, with the sampler's own `Source` and trace
writer; time limits are scaled down. jtop goes through the same with the real service in `test_jtop`.
"""

from __future__ import annotations

import importlib.util
import threading
import time

import numpy as np
import pytest
from rigs import FAULTS, NEEDS, RIGS, Wt300Rig
from waves import constant

from ebbench.clock import monotonic_ns
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.sampler_process import source
from ebbench.energy.sampler_process.source import Source
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import power_of, series_of
from ebbench.energy.traces.trace import TraceReader, TraceWriter
from ebbench.plugins import resolve
from ebbench.protocols import Block
from ebbench.units import NS_PER_S
from ebbench_devices import wattsup
from ebbench_devices.instruments import joulescope_link
from ebbench_devices.meter import feed, gatherer
from ebbench_devices.plugs import polled

pytestmark = pytest.mark.realtime
POWER_W = 12.5
#: a hole is longer than this, and a fault at least twice as long
HOLE_S = 0.4
KINDS = {**RIGS, "scpi (WT300)": Wt300Rig}
HERE = [name for name in KINDS if importlib.util.find_spec(NEEDS.get(KINDS[name].name, "numpy"))]
#: the module's constants that are seconds, and what they are here
SCALED = [
    (source, "RETRY_NS", NS_PER_S // 20),
    (feed, "RETRY_NS", NS_PER_S // 20),
    (gatherer, "RETRY_S", 0.05),
    (polled, "MAX_RATE_HZ", 20.0),
    (wattsup, "TIMEOUT_S", 0.3),
    (feed, "SILENCE_S", 0.3),
    (joulescope_link, "SILENCE_S", 0.3),
]


class Recording(threading.Thread):
    """One meter, recorded while its other end goes through the faults one after the other."""

    def __init__(self, rig, path):
        super().__init__(daemon=True)
        self.rig, self.path = rig, path
        self.source = Source(resolve(rig.factory), rig.request)
        self.info = self.source.info
        self.writer = TraceWriter(path, self.info, {})
        self.notes, self.last_ns, self.count, self.error = [], 0, 0, None
        #: {fault: when it began, and when readings were there again (ns)}
        self.stretches = {}
        self.series = power_of(self.info, self.info.total) or series_of(self.info, self.info.total)

    def run(self):
        try:
            for fault in FAULTS:
                self.until(self.has_readings(5), f"no readings before {fault}")
                begin_ns = monotonic_ns()
                self.rig.spoil(fault)
                deadline_ns = begin_ns + round(2 * HOLE_S * NS_PER_S)
                self.until(
                    lambda t=deadline_ns, b=begin_ns: monotonic_ns() > t and self.noted_since(b),
                    f"nothing said of {fault}",
                )
                self.rig.mend()
                self.until(self.has_readings(2), f"no readings after {fault}")
                self.stretches[fault] = (begin_ns, self.last_ns)
            self.until(self.has_readings(5), "no readings at the end")
        except Exception as error:  # noqa: BLE001 - the tests show it
            self.error = error
        self.source.close()
        self.writer.close()

    def until(self, claim, what):
        deadline_s = time.monotonic() + 20.0
        while not claim():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{what}; said: {self.notes[-3:]}")
            self.take()
            time.sleep(0.01)

    def has_readings(self, count):
        wanted = self.count + count
        return lambda: self.count >= wanted

    def noted_since(self, begin_ns):
        return any(t_ns >= begin_ns for t_ns, _ in self.notes)

    def take(self):
        """As the sampler does: a block, or a sweep, or a note of why there is none."""
        now_ns = monotonic_ns()
        block = self.source.attempt(now_ns, self.block_of)
        if block is None:
            block = Block(
                np.array([], np.int64), np.zeros((0, len(self.info.columns))), ((now_ns, self.source.reason),)
            )
        for t_ns, reason in block.notes:
            self.writer.note(t_ns, reason)
        self.notes += [(now_ns, reason) for _, reason in block.notes if reason]
        time_ns, values = block.time_ns, np.asarray(block.values, float)
        self.writer.extend(time_ns, np.zeros_like(time_ns), np.zeros_like(time_ns), values)
        read = np.isfinite(values[:, 0])
        self.count += int(read.sum())
        self.last_ns = int(time_ns[read][-1]) if read.any() else self.last_ns

    def block_of(self, meter):
        if self.source.is_streamed:
            return meter.drain(self.rig.rate_hz or 10.0)
        now_ns = monotonic_ns()
        values = [[np.nan if v is None else v for v in meter.read()]]
        return Block(np.array([now_ns], np.int64), np.array(values, float))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """All meters that can be tried here, by name, once they have been through it all."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EBBENCH_SYSFS_ROOT", str(root))
        for module, name, value in SCALED:
            patch.setattr(module, name, value)
        rigs, running = {}, {}
        try:
            for name in HERE:
                folder = tmp_path_factory.mktemp("rig")
                rigs[name] = KINDS[name](folder, constant(POWER_W))
                running[name] = Recording(rigs[name], folder / "trace.arrows")
                running[name].start()
            for each in running.values():
                each.join(120.0)
        finally:
            for rig in rigs.values():
                rig.close()
    return running


@pytest.fixture
def recording(recordings, meter):
    if meter not in recordings:
        pytest.skip(f"{NEEDS[KINDS[meter].name]} is not installed: the faults of {meter} are NOT tested")
    return recordings[meter]


def found_in(recording, start_ns, end_ns):
    """The energy from the power, the holes longer than `HOLE_S` left out."""
    chunks = list(TraceReader(recording.path))
    edges = np.array([start_ns]), np.array([end_ns])
    (found,) = integrate(chunks, [recording.series], survey(chunks, [recording.series]), *edges, max_gap_s=HOLE_S)
    return found


@pytest.mark.parametrize("meter", KINDS)
def test_no_fault_ends_it_and_every_reading_is_the_power_that_was(recording):
    assert recording.error is None and set(recording.stretches) == set(FAULTS)
    chunks = list(TraceReader(recording.path))
    power_w = np.concatenate([recording.series.values(chunk) for chunk in chunks])
    assert np.isfinite(power_w).sum() > 30
    assert power_w[np.isfinite(power_w)] == pytest.approx(POWER_W, rel=1e-3)  # neither 0, nor half a number, nor 9.9e37
    times_ns = np.concatenate([chunk.time_ns for chunk in chunks])
    assert (np.diff(times_ns) > 0).all()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("meter", KINDS)
def test_a_fault_is_a_hole_with_its_reason_and_the_energy_is_that_of_the_rest(recording, fault):
    begin_ns, back_ns = recording.stretches[fault]
    found = found_in(recording, begin_ns, back_ns)
    assert found.is_partial[0] or found.is_missing[0]
    assert found.covered_s[0] < (back_ns - begin_ns) / NS_PER_S - HOLE_S
    if not found.is_missing[0]:
        assert found.energy_j[0] == pytest.approx(POWER_W * found.covered_s[0], rel=1e-3)
    assert recording.info.name in found.reason(0) and "\n" not in found.reason(0), found.reason(0)
