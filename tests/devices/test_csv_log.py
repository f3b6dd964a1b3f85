from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ebbench import plugins
from ebbench.clock import ClockReading, monotonic_ns
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.trace import read_whole
from ebbench.errors import ConfigError, InputError, MeterError
from ebbench.meter_ref import MeterRef
from ebbench.protocols import AVERAGE, INSTANT, MONOTONIC, REMOTE, MeterRequest
from ebbench_devices import csv_log
from ebbench_devices.csv_log import CsvLogMeter

S = 1_000_000_000
EPOCH_S = 1_700_000_000


class Clocks:
    """This machine's clocks, turned by hand: MONOTONIC began at 0, BOOTTIME 100 s and REALTIME `EPOCH_S` earlier."""

    def __init__(self):
        self.now_s, self.stepped_s = 0.0, 0.0

    def __call__(self):
        ns = round(self.now_s * S)
        return ClockReading(ns, ns + 100 * S, ns + round((EPOCH_S + self.stepped_s) * S))


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "power.csv"


@pytest.fixture
def follow(path, clocks, monkeypatch):
    """The meter of a log, opened without waiting for a row; `offset_bound_s` is stated unless a test says otherwise."""
    monkeypatch.setattr(CsvLogMeter, "_wait_for_a_row", lambda meter: None)
    made = []

    def build(text="time_s,A_w\n", **options):
        path.write_text(text)
        options = {"scope": "wall", "offset_bound_s": "0.01", **options}
        given = {key: value for key, value in options.items() if value is not None}
        made.append(CsvLogMeter(MeterRequest(address=str(path), options=given), clocks))
        return made[-1], made[-1].open()

    yield build
    for one in made:
        one.close()


@pytest.fixture
def say(path):
    def append(text):
        with open(path, "a") as file:
            file.write(text)

    return append


def readings(block):
    return list(zip((block.time_ns / S).tolist(), block.values[:, 0].tolist()))


def test_wall_clock_stamps_become_our_time_by_clocks_read_together(follow, say, clocks):
    meter, info = follow()
    clocks.now_s = 10.5
    say(f"{EPOCH_S + 10},5\n{EPOCH_S + 10.25},6\n")
    assert readings(meter.drain(1.0)) == [(10.0, 5.0), (pytest.approx(10.25, abs=1e-6), 6.0)]
    assert (info.scope, info.total, info.time_bound_s) == ("wall", ("A",), 0.01)


@pytest.mark.parametrize(("clock", "zero_s"), [("monotonic", 0), ("boottime", 100)])
def test_the_clocks_of_this_machine_need_no_bound(follow, say, clocks, clock, zero_s):
    meter, info = follow(clock=clock, offset_bound_s=None)
    clocks.now_s = 3.0
    say(f"{zero_s + 2},5\n")
    assert readings(meter.drain(1.0)) == [(2.0, 5.0)] and (info.time_bound_s, info.clock) == (0.0, MONOTONIC)


def test_a_wall_clock_that_nobody_vouches_for_is_another_one_to_be_aligned(follow, say):
    meter, info = follow(offset_bound_s=None)
    assert (info.clock, info.time_bound_s, info.identity["offset_bound_s"]) == (REMOTE, 0.0, None)
    say(f"{EPOCH_S + 4},5\n")  # as far ahead as such a clock may be
    assert readings(meter.drain(1.0)) == [(4.0, 5.0)]


def test_a_wall_clock_whose_bound_is_stated_is_taken_by_it(follow):
    for bound in ("0", "0.5"):
        info = follow(offset_bound_s=bound)[1]
        assert (info.clock, info.time_bound_s) == (MONOTONIC, float(bound))


def test_an_offset_is_added_to_the_logs_clock(follow, say, clocks):
    meter, _ = follow(offset_s="-3600")
    clocks.now_s = 10.0
    say(f"{EPOCH_S + 3609},5\n")
    assert readings(meter.drain(1.0)) == [(9.0, 5.0)]


def test_what_was_logged_before_is_no_reading_but_the_last_of_it(follow, clocks):
    clocks.now_s = 10.0
    meter, info = follow("time_s,A_w\n" + "".join(f"{EPOCH_S + t},{t}\n" for t in (7.0, 7.5, 8.0, 8.5)))
    assert readings(meter.drain(1.0)) == [(8.5, 8.5)] and info.default_rate_hz == pytest.approx(2.0)


def test_an_old_log_gives_nothing_and_says_so(follow, clocks):
    clocks.now_s = 1000.0
    meter, _ = follow(f"time_s,A_w\n{EPOCH_S},5\n")
    assert readings(meter.drain(1.0)) == []
    clocks.now_s += 6.0
    assert "nothing new" in meter.drain(1.0).notes[0][1]


def test_time_that_goes_back_or_stands_is_left_out_and_told(follow, say, clocks):
    meter, _ = follow()
    clocks.now_s = 10.0
    say("".join(f"{EPOCH_S + t},{t}\n" for t in (1, 2, 2, 1.5, 3)))
    block = meter.drain(1.0)
    assert [value for _, value in readings(block)] == [1.0, 2.0, 3.0]
    assert all("does not grow" in text for _, text in block.notes) and len(block.notes) == 2


def test_readings_of_the_future_are_no_readings(follow, say, clocks):
    """A log in local time, or in milliseconds that are taken for seconds."""
    meter, _ = follow()
    say(f"{EPOCH_S + 3600},5\n")
    block = meter.drain(1.0)
    assert readings(block) == [] and "1 h 00 min ahead of this machine; check time_unit=s" in block.notes[0][1]


def test_rows_from_before_the_run_are_no_readings_of_it(follow, say, clocks):
    clocks.now_s = 7200.0
    meter, _ = follow()
    say(f"{EPOCH_S},5\n")
    block = meter.drain(1.0)
    assert readings(block) == [] and "2 h 00 min old when they arrive; check time_unit" in block.notes[0][1]


@pytest.mark.parametrize(("text", "says"), [
    ("time_s,A_w\n", "nothing new in .*is it still written"), (f"time_s,A_w\n{EPOCH_S},5\n", "nothing new"),
    ("time_s,A_w\n99999999999,5\n", "ahead of this machine; check time_unit=s"),
])  # fmt: skip
def test_a_log_that_has_nothing_of_now_is_refused_before_the_run(path, monkeypatch, text, says):
    monkeypatch.setattr(csv_log, "MOST_PATIENCE_S", 0.0)
    path.write_text(text)
    with pytest.raises(MeterError, match=says):
        CsvLogMeter(MeterRequest(address=str(path), options={"scope": "wall"})).open()


def test_a_step_of_our_wall_clock_is_told_and_times_still_grow(follow, say, clocks):
    meter, _ = follow()
    clocks.now_s = 1.0
    say(f"{EPOCH_S + 1},5\n")
    assert readings(meter.drain(1.0)) == [(1.0, 5.0)]
    clocks.now_s, clocks.stepped_s = 2.0, -30.0
    say(f"{EPOCH_S + 2 - 30},6\n")  # the same machine's clock
    block = meter.drain(1.0)
    assert readings(block) == [(2.0, 6.0)] and "was set by -30 s" in block.notes[0][1]


def test_a_log_that_is_written_anew_each_time_is_read_without_repeats_or_noise(follow, path, clocks):
    """As rsync does: another file with all rows so far takes the place of the old one."""
    meter, _ = follow()
    got, notes = [], []
    for second in range(1, 5):
        clocks.now_s = second
        new = path.with_name("new")
        new.write_text("time_s,A_w\n" + "".join(f"{EPOCH_S + t},{t}\n" for t in range(1, second + 1)))
        new.replace(path)
        for _ in range(2):
            block = meter.drain(1.0)
            got += readings(block)
            notes += block.notes
    assert got == [(float(t), float(t)) for t in range(1, 5)] and notes == []


def test_rows_under_a_header_that_does_not_fit_are_never_believed(follow, path, say, clocks):
    meter, _ = follow()
    clocks.now_s = 5.0
    path.unlink()
    path.write_text(f"time_s,B_w\n{EPOCH_S + 1},99\n")
    blocks = [meter.drain(1.0) for _ in range(3)]
    say(f"{EPOCH_S + 2},99\n")
    blocks.append(meter.drain(1.0))
    assert all(readings(block) == [] for block in blocks)
    assert "no column 'A_w'" in blocks[-1].notes[0][1]
    path.unlink()
    path.write_text(f"A_w,time_s\n7,{EPOCH_S + 3}\n")
    meter.drain(1.0)
    assert readings(meter.drain(1.0)) == [(3.0, 7.0)]


def test_several_rails_need_a_total_that_is_named(follow):
    with pytest.raises(ConfigError, match="rails A, B; say which one is the whole: total=RAIL"):
        follow("time_s,A_w,B_w\n")
    _, info = follow("time_s,A_w,B_w\n", total="B")
    assert info.total == ("B",) and {r.name: r.scope for r in info.rails} == {"A": "rail", "B": "wall"}
    with pytest.raises(ConfigError, match="did you mean"):
        follow("time_s,A_w,B_w\n", total="BB")


def test_what_a_log_averages_over_and_how_late_it_is_nobody_but_the_user_knows(follow):
    rail = follow("time_s,A_w,A_j\n")[1].rails[0]
    assert (rail.kind, rail.averaging_s, rail.delay_s, rail.counter_averaging_s, rail.range_w) == (INSTANT, *[None] * 4)
    rail = follow("time_s,A_w,A_j\n", averaging_s="0.5", delay_s="0", range_w="75", gain_u="0.01")[1].rails[0]
    assert (rail.kind, rail.averaging_s, rail.delay_s, rail.range_w, rail.gain_ratio) == (AVERAGE, 0.5, 0.0, 75.0, 0.01)
    assert (rail.counter_averaging_s, rail.counter_delay_s) == (0.5, 0.0)
    assert follow(averaging_s="0")[1].rails[0].kind == INSTANT
    with pytest.raises(ConfigError, match="csv: averaging_s = -1 must be at least 0"):
        follow(averaging_s="-1")


def test_volts_and_amperes_are_a_power_and_a_counter_is_one_too(follow):
    _, info = follow("time_s,U,I,E\n", column="U:DC:V,I:DC:mA,E:DC:Wh")
    assert [c.name for c in info.columns] == ["DC_v", "DC_a", "DC_j"] and info.total == ("DC",)


@pytest.mark.parametrize(("uri", "says"), [
    ("csv:x", "say what it measures"), ("csv:x?scope=wall&clock=gps", "clock = 'gps'"),
    ("csv:x?scope=wall&time_unit=min", "time_unit = 'min'"), ("csv:x?scope=wall&offset_bound_s=-1", "at least 0"),
    ("csv:x?scope=wall&ofset_s=1", "did you mean 'offset_s'"),
])  # fmt: skip
def test_every_wrong_option_is_one_line(uri, says):
    ref = MeterRef.parse(uri)
    with pytest.raises(ConfigError, match=says):
        CsvLogMeter(MeterRequest(ref.address, ref.options))


def test_a_column_option_may_be_repeated():
    ref = MeterRef.parse("csv:x?scope=wall&column=P:A:W&column=Q:B:W")
    assert ref.options["column"] == "P:A:W,Q:B:W" and MeterRef.parse(str(ref)) == ref


@pytest.mark.parametrize(("text", "error", "says"), [
    (None, MeterError, "No such file.*start what writes it first"), ("", MeterError, "no header yet"),
    (f"{EPOCH_S},5.1\n", InputError, "time_column=NAME"),
])  # fmt: skip
def test_what_is_no_log_is_refused_at_the_start(path, text, error, says):
    if text is not None:
        path.write_text(text)
    request = MeterRequest(address=str(path), options={"scope": "wall"})
    with pytest.raises(error, match=says):
        CsvLogMeter(request).open()
    assert not CsvLogMeter.probe(request).available


LOGGER = """
import os, sys, threading, time
path, count = sys.argv[1], int(sys.argv[2])

def write(value):
    with open(path, "a") as log:
        row = f"{time.time_ns()},{value}\\n"
        log.write(row[:5])
        log.flush()
        log.write(row[5:])

told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), told.set())).start()
while not told.wait(0.05):
    write(-1)
for number in range(count):
    if number == count // 2:  # rotated in the middle, as logrotate does
        os.rename(path, path + ".1")
        open(path, "w").write("time_ns,A_w\\n")
    write(number)
    time.sleep(0.01)
"""


@pytest.mark.realtime
def test_in_the_sampler_every_row_of_another_process_is_one_reading_across_a_rotation(path, tmp_path):
    path.write_text("time_ns,A_w\n")
    request = MeterRequest(address=str(path), options={"scope": "wall", "time_unit": "ns", "offset_bound_s": "0"})
    start_ns, count = monotonic_ns(), 60
    command = [sys.executable, "-c", LOGGER, str(path), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as logger:
        sampler = Sampler.start(plugins.registered(plugins.METERS)["csv"], request, tmp_path / "t.arrows", 20.0)
        sampler.wait_ready()
        logger.communicate("go\n")
    end_ns = monotonic_ns()
    sampler.stop()
    chunk = read_whole(tmp_path / "t.arrows")
    values = chunk.values["A_w"].astype(int).tolist()
    assert values[-count:] == list(range(count)) and set(values[:-count]) == {-1}
    assert (np.diff(chunk.time_ns) > 0).all() and start_ns < chunk.time_ns[0] < chunk.time_ns[-1] < end_ns
    files = (path.with_name("power.csv.1"), path)
    written = [line.split(",")[0] for file in files for line in file.read_text().splitlines()[1:]]
    drift_ns = np.diff(np.array(written[-len(values) :], np.int64) - chunk.time_ns)
    assert np.abs(drift_ns).max() < 1_000_000  # one clock against the other, up to what NTP slews
