from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ebbench.energy import recording as recordings
from ebbench.energy.account import account
from ebbench.energy.phases import intervals, read_events
from ebbench.energy.recording import MAX_RESTARTS, Recording
from ebbench.energy.traces.trace import TraceReader, read_whole
from ebbench.errors import DiskError, MeterError
from ebbench.protocols import MeterRequest
from ebbench.rundir import RunDir, write_json

pytestmark = pytest.mark.realtime
HERE = Path(__file__).parent


@pytest.fixture
def rundir(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    return RunDir(tmp_path)


def wanted(name, meter="Constant", rate_hz=None, **options):
    return (name, f"fake_meters:{meter}", MeterRequest(options=options), rate_hz)


def record(rundir, *meters, **how):
    """An open recording; stopped, or ended when it is garbage, by the test."""
    recording = Recording(rundir, meters, **how)
    recording.open()
    return recording


def eventually(claim, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not (held := claim()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return held


def edges(rundir):
    return [e["t_ns"] for e in read_events(rundir.phases) if e["event"] in ("start", "begin", "end", "stop")]


def test_a_rate_that_a_meter_cannot_reach_is_said(rundir):
    recording = record(rundir, wanted("a", rate_hz=1e7), wanted("b", rate_hz=10.0), wanted("c"))
    recording.stop("success")
    (line,) = recording.slow_meters
    assert line.startswith("a is read ") and "not 1e+07 times" in line


def test_every_trace_has_a_reading_before_the_first_edge_and_after_the_last(rundir):
    recording = record(rundir, wanted("a"), wanted("b", "Ramp"), wanted("slow", rate_hz=0.5))
    with recording.phases.phase("train"):
        pass
    summaries = recording.stop("success")
    assert set(summaries) == {"a", "b", "slow"}
    for name in summaries:
        chunk = read_whole(rundir.trace(name, 0))
        assert chunk.time_ns[0] < min(edges(rundir))
        assert chunk.time_ns[-1] > max(edges(rundir))
    assert [i.name for i in recording.infos] == ["fake"] * 3


def test_a_sensor_that_shows_the_power_late_is_read_until_it_has_shown_the_end(rundir):
    """Half a second of averaging stands for a quarter ago; a calibration may know that it is later still."""
    recording = record(rundir, wanted("late", "Late", averaging_s=0.5))
    write_json(rundir.manifest, {"meters": [{**i.to_json(), "reference": True} for i in recording.infos]})
    with recording.phases.phase("train"):
        pass
    recording.stop("success")
    found = account(rundir)
    assert (found.status, found.covered_s) == ("ok", found.duration_s)
    assert read_whole(rundir.trace("late", 0)).time_ns[-1] > max(edges(rundir)) + 0.25e9


def test_a_rail_that_is_shown_later_than_the_total_is_read_for_as_long(rundir):
    recording = record(rundir, wanted("late", "LateRail", averaging_s=0.5))
    write_json(rundir.manifest, {"meters": [{**i.to_json(), "reference": True} for i in recording.infos]})
    with recording.phases.phase("train"):
        pass
    recording.stop("success")
    assert {name: rail["status"] for name, rail in account(rundir).rails.items()} == {
        "late/VDD_IN": "ok",
        "late/GPU": "ok",
    }


def test_a_sensor_whose_calibration_knows_it_to_be_late_is_read_for_as_long(rundir):
    recording = record(rundir, wanted("a"))
    rails = tuple(dataclasses.replace(rail, delay_s=0.3) for rail in recording.infos[0].rails)
    recording.know([dataclasses.replace(recording.infos[0], rails=rails)])
    recording.stop("success")
    assert read_whole(rundir.trace("a", 0)).time_ns[-1] > max(edges(rundir)) + 0.3e9


def test_the_trace_says_its_meters_name_segment_and_boot(rundir):
    record(rundir, wanted("a")).stop("success")
    metadata = TraceReader(rundir.trace("a", 0)).metadata
    start = read_events(rundir.phases)[0]
    assert (metadata["name"], metadata["segment"]) == ("a", start["segment"]) == ("a", 0)
    assert metadata["boot_id"] == start["boot_id"]


def test_the_faults_of_all_meters_are_said_at_once_and_nothing_is_left_running(rundir):
    recording = Recording(rundir, [wanted("a", "Unplugged"), wanted("b"), wanted("c", "Broken")])
    with pytest.raises(MeterError, match=r"^a: no sensor .* plug it in; c cannot be opened: Zero"):
        recording.open()
    assert rundir.traces() == []
    assert read_events(rundir.phases) == []
    assert recording.infos == []


def test_one_fault_is_raised_as_it_is_under_the_name_that_its_meter_has_in_the_bench(rundir):
    with pytest.raises(MeterError, match=r"^socket: no sensor at /sys/bus/i2c; plug it in$"):
        Recording(rundir, [wanted("socket", "Unplugged")]).open()
    with pytest.raises(MeterError, match=r"^no sensor at /sys/bus/i2c; plug it in$"):  # which says it already
        Recording(rundir, [wanted("sensor", "Unplugged")]).open()


@pytest.mark.parametrize("meter", ["Flaky", "Silent"])
def test_a_meter_that_cannot_be_read_for_a_while_is_spoken_of_while_the_run_goes_on(
    rundir, tmp_path, monkeypatch, caplog, meter
):
    monkeypatch.setattr(recordings, "SILENT_NS", 1_200_000_000)  # more than two of the sampler's words
    recording = record(rundir, wanted("wall", meter, broken=str(tmp_path / "broken")), wanted("b"))
    recording.check()
    (tmp_path / "broken").touch()

    def said():
        recording.check()
        return [message for message in caplog.messages if "wall" in message]

    (line,) = eventually(said)
    assert line.startswith("ebbench: wall cannot be read (") and "missing meanwhile" in line
    (tmp_path / "broken").unlink()
    assert eventually(lambda: said()[1:]) == ["ebbench: wall is read again"]
    recording.stop("success")


def test_live_is_of_the_reference_meter(rundir):
    recording = record(rundir, wanted("a"), wanted("b", "Ramp"))
    assert eventually(lambda: (recording.live() or {}).get("readings", 0) > 60 and recording.live())["power_w"] == 10.0
    recording.check()
    recording.stop("success")


def test_a_second_start_is_the_next_segment_and_trace(rundir):
    record(rundir, wanted("a")).stop("aborted", "interrupted")
    again = Recording(rundir, [wanted("a")])
    again.open(restored={"segment": 0, "t_ns": 5})
    assert again.segment == 1
    again.stop("success")
    assert [p.name for p in rundir.traces("a")] == ["trace-a-000.arrows", "trace-a-001.arrows"]
    starts = [e for e in read_events(rundir.phases) if e["event"] == "start"]
    assert [s["restored"] for s in starts] == [None, {"segment": 0, "t_ns": 5}]
    assert [e["reason"] for e in read_events(rundir.phases) if e["event"] == "stop"] == ["interrupted", None]


def test_a_sampler_that_is_killed_is_started_again_and_the_hole_is_visible(rundir):
    recording = record(rundir, wanted("a"))
    eventually(lambda: (recording.live() or {}).get("readings", 0) > 60)
    os.kill(recording._seats[0].sampler.pid, signal.SIGKILL)

    def is_back():
        recording.check()
        return recording.restarts == 1 and recording.live()

    eventually(is_back)
    recording.stop("success")
    first, second = (read_whole(p) for p in rundir.traces("a"))
    assert second.time_ns[0] > first.time_ns[-1]
    (mark,) = [e for e in read_events(rundir.phases) if e["event"] == "mark"]
    assert mark["name"] == "sampler-restarted"
    assert mark["values"]["meter"] == "a"
    assert 0 <= mark["t_ns"] - first.time_ns[-1] < 10**9
    metadata = TraceReader(rundir.trace("a", 1)).metadata
    assert "signal 9" in metadata["note"]
    assert metadata["segment"] == 0


def test_a_reference_that_keeps_dying_ends_the_run_and_stop_still_says_all(rundir, tmp_path):
    die = tmp_path / "die"
    recording = record(rundir, wanted("b", "Stopper", die=str(die)), wanted("a"))
    die.touch()

    def raises():
        try:
            recording.check()
        except MeterError as error:
            return error

    assert str(eventually(raises)).startswith("the sampler of b died (signal 9); readings after that are missing")
    assert recording.restarts <= MAX_RESTARTS
    summaries = recording.stop("failed")
    assert summaries["a"]["readings"] > 0
    assert summaries["b"]["died"]
    assert read_events(rundir.phases)[-1]["status"] == "failed"


def lost(rundir):
    return [e["values"] for e in read_events(rundir.phases) if e["event"] == "mark" and e["name"] == "meter-lost"]


def test_a_meter_that_is_not_the_reference_and_keeps_dying_does_not_end_the_run(rundir, tmp_path):
    die = tmp_path / "die"
    recording = record(rundir, wanted("a"), wanted("b", "Stopper", die=str(die)))
    die.touch()

    def is_lost():
        recording.check()
        return lost(rundir)

    (mark,) = eventually(is_lost)
    assert mark["meter"] == "b" and "died" in mark["reason"]
    assert recording.restarts <= MAX_RESTARTS
    recording.check()  # and from now on nobody asks for it
    summaries = recording.stop("success")
    assert summaries["a"]["readings"] > 0 and summaries["b"] == {"died": True, "error": mark["reason"]}
    assert read_whole(rundir.trace("b", 0)).time_ns.size > 0
    assert read_events(rundir.phases)[-1]["status"] == "success"


def test_a_meter_that_comes_back_as_another_is_lost_and_its_first_trace_still_counts(rundir, tmp_path):
    other = tmp_path / "other"
    recording = record(rundir, wanted("a"), wanted("b", "Changing", other=str(other)))
    other.touch()
    os.kill(recording._seats[1].sampler.pid, signal.SIGKILL)

    def is_lost():
        recording.check()
        return lost(rundir)

    (mark,) = eventually(is_lost)
    assert "other columns" in mark["reason"]
    recording.stop("success")
    infos = [dataclasses.replace(info, name=name) for name, info in zip("ab", recording.infos)]
    found = account(rundir, 1.0, infos)
    assert found.cross_checks[0]["lost"] == mark["reason"] and found.reference["meter"] == "a"


FULL = """
import resource, signal, sys, time
from pathlib import Path
from ebbench.energy.recording import Recording
from ebbench.errors import DiskError
from ebbench.protocols import MeterRequest
from ebbench.rundir import RunDir

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
recording = Recording(RunDir(sys.argv[1]), [("a", "fake_meters:Constant", MeterRequest(), 100.0)])
recording.open()
sampler = recording._seats[0].sampler
resource.prlimit(sampler.pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
deadline = time.monotonic() + 20
try:
    while time.monotonic() < deadline:
        recording.check()
        time.sleep(0.01)
except DiskError as error:
    print(error)
try:
    recording.stop("failed")
except DiskError as error:
    print(error)
"""


def test_a_full_disk_is_a_disk_error_of_one_line_and_what_was_written_stays(rundir):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *[p for p in sys.path if p]])}
    command = [sys.executable, "-c", FULL, str(rundir.path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert "make room" in first
    assert "make room" in second
    reader = TraceReader(rundir.trace("a", 0))
    assert sum(c.seq.size for c in reader) > 0
    assert reader.damage is None


KILLED = """
import sys, time
from ebbench.energy.recording import Recording
from ebbench.protocols import MeterRequest
from ebbench.rundir import RunDir

recording = Recording(RunDir(sys.argv[1]), [("a", "fake_meters:Constant", MeterRequest(), 100.0)])
recording.open()
recording.phases.begin("train")
print(recording._seats[0].sampler.pid, flush=True)
n = 0
while True:
    recording.phases.metric("loss", 1 / (n := n + 1), epoch=n)
"""


def test_a_run_killed_at_random_moments_loses_at_most_a_second_and_goes_on(rundir):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *[p for p in sys.path if p]])}
    rng = np.random.default_rng(0)
    killed_ns = []
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(rundir.path)], stdout=subprocess.PIPE, env=env)
        sampler = int(process.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.7))
        killed_ns.append(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
        os.kill(sampler, signal.SIGKILL)  # both at once, as when the power goes
        process.kill()
        process.wait()
        process.stdout.close()
    again = record(rundir, wanted("a"))
    assert again.segment == 4
    again.stop("success")
    traces = rundir.traces("a")
    assert len(traces) == 5
    for path, at_ns in zip(traces, killed_ns):
        reader = TraceReader(path)
        last_ns = [c.time_ns[-1] for c in reader if c.seq.size][-1]
        assert at_ns - last_ns < 10**9
    found = intervals(read_events(rundir.phases))
    assert [(i.path, i.interrupted) for i in found] == [("train", True)] * 4
    assert all(at_ns - i.end_ns < 10**9 for i, at_ns in zip(found, killed_ns))


def test_a_folder_that_cannot_be_written_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError):
        Recording(RunDir(tmp_path / "missing"), [wanted("a")]).open()
