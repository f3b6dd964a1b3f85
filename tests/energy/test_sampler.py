from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ebbench.clock import monotonic_ns
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.phases import PhaseLog
from ebbench.energy.sampler import Sampler
from ebbench.energy.sampler_process.sweeps import LIBRARY
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import series_of
from ebbench.energy.traces.trace import TraceReader, read_whole
from ebbench.errors import DiskError, MeterError
from ebbench.protocols import MeterRequest

pytestmark = pytest.mark.realtime
HERE = Path(__file__).parent
S = 1_000_000_000


#: a meter whose sweeps Python makes, and one whose sweeps compiled code makes (where it could be compiled)
BOTH = pytest.mark.parametrize("meter", ["Constant", "Filed"])


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a sampler of a meter of `fake_meters`; none outlives its test."""
    monkeypatch.syspath_prepend(str(HERE))
    running = []

    def start(meter, rate_hz=None, wait=True, options=None, **how):
        trace = tmp_path / f"trace-{len(running)}.arrows"
        request = MeterRequest(options=options or {})
        running.append(Sampler.start(f"fake_meters:{meter}", request, trace, rate_hz, **how))
        if wait:
            running[-1].wait_ready()
        return running[-1]

    yield start
    for sampler in running:
        sampler.kill()


def eventually(claim, within_s=10.0):
    """Wait until `claim()` holds and return what it gives."""
    deadline = time.monotonic() + within_s
    while not (held := claim()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return held


def is_running(pid):
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@BOTH
def test_what_is_read_after_the_stop_is_written_as_what_was_read_before(start, meter):
    """A sensor may show the power many seconds late: a power cut meanwhile takes the last half second, and not all of them."""
    sampler = start(meter)
    stop_ns = monotonic_ns()
    sampler.request_stop(late_ns=60 * S)
    eventually(lambda: read_whole(sampler.trace).time_ns[-1] > stop_ns + S // 2)


@BOTH
def test_readings_cover_all_from_ready_to_stop(start, meter):
    sampler = start(meter)
    ready_ns = monotonic_ns()
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 60)
    stop_ns = monotonic_ns()
    summary = sampler.stop()
    chunk = read_whole(sampler.trace)
    assert chunk.time_ns[0] < ready_ns
    assert chunk.time_ns[-1] > stop_ns
    assert chunk.seq.size == summary["readings"]
    assert chunk.seq[-1] + 1 - chunk.seq.size == summary["missed"]  # a slot without a reading is a jump
    assert (np.diff(chunk.seq) > 0).all()
    assert (np.diff(chunk.time_ns) > 0).all()
    assert (chunk.values["VDD_IN_w"] == 10.0).all()
    assert np.isnan(chunk.values["GPU_w"]).all()
    assert sampler.error is None
    assert TraceReader(sampler.trace).info == sampler.info
    assert summary["compiled"] == (meter == "Filed" and LIBRARY.exists())


def test_a_first_reading_that_fails_is_made_up_for_before_anything_is_measured(start):
    sampler = start("Stumbles", 1.0)
    ready_ns = monotonic_ns()
    chunk = read_whole(sampler.trace)
    assert [note["reason"] for note in chunk.notes] == ["not yet"]
    assert np.isnan(chunk.values["VDD_IN_w"][0])
    assert chunk.values["VDD_IN_w"][-1] == 10.0
    assert chunk.time_ns[-1] < ready_ns


@BOTH
def test_live_gives_power_energy_and_the_time_of_the_last_reading(start, meter):
    sampler = start(meter)
    live = eventually(lambda: ((sampler.live() or {}).get("energy_j") or 0) > 5 and sampler.live())
    assert live["power_w"] == 10.0
    assert 0 <= monotonic_ns() - live["t_ns"] < 5 * 10**9
    assert (live["reason"], live["error"]) == (None, None)
    summary = sampler.stop()
    chunk = read_whole(sampler.trace)
    assert summary["energy_j"] == pytest.approx(1e-8 * (chunk.time_ns[-1] - chunk.time_ns[0]))
    assert set(summary["lateness_s"]) == {"p50", "p95", "p99", "max"}
    assert summary["scheduler"] in ("fifo", "other")


def test_the_sampler_loads_no_torch_pandas_or_matplotlib_and_stays_below_80_mb(start):
    sampler = start("Constant", 200.0)
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 100)
    summary = sampler.stop()
    assert summary["heavy_modules"] == []
    assert summary["resident_bytes"] < 80e6


@BOTH
@pytest.mark.parametrize("wait", [True, False])
def test_a_stop_at_once_still_gives_readings(start, meter, wait):
    sampler = start(meter, 1.0, wait=wait)
    summary = sampler.stop()
    assert read_whole(sampler.trace).seq.size == summary["readings"] >= 2


def test_what_stands_in_the_way_is_said_by_the_meter_in_one_line(start):
    with pytest.raises(MeterError, match=r"^no sensor at /sys/bus/i2c; plug it in$"):
        start("Unplugged")
    with pytest.raises(MeterError, match="fake_meters:Broken cannot be opened: ZeroDivisionError: two lines"):
        start("Broken")
    with pytest.raises(MeterError, match="opens but cannot be read: OSError"):
        start("Mute")
    with pytest.raises(MeterError, match="fake_meters:Nothing cannot be opened: AttributeError"):
        start("Nothing")


def test_a_folder_that_is_not_there_is_a_disk_error(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    with pytest.raises(DiskError, match="--out"):
        Sampler.start("fake_meters:Constant", MeterRequest(), tmp_path / "no" / "t.arrows").wait_ready()


def test_the_rate_is_capped_by_the_time_that_a_reading_takes_and_that_is_recorded(start):
    sampler = start("Slow", 100.0)
    sampler.stop()
    metadata = TraceReader(sampler.trace).metadata
    assert metadata["asked_hz"] == 100.0
    assert 5.0 < metadata["rate_hz"] <= 0.8 / 0.02
    chunk = read_whole(sampler.trace)
    assert chunk.offsets_ns == {"VDD_IN_w": 0, "GPU_w": 10_000_000}
    assert (chunk.read_ns >= 20_000_000).all()


def test_slots_that_a_slow_reading_covers_are_missed_and_visible_as_jumps(start, tmp_path):
    hang = tmp_path / "hang"
    sampler = start("Hanging", options={"hang": str(hang)})
    hang.touch()
    time.sleep(0.3)
    hang.unlink()
    summary = sampler.stop()
    reader = TraceReader(sampler.trace)
    seq = np.concatenate([c.seq for c in reader])
    assert reader.missed == summary["missed"] == seq[-1] + 1 - seq.size >= 20
    assert reader.summary["missed"] == summary["missed"]


@pytest.mark.parametrize(
    "meter, option, reason", [("Flaky", "broken", "No such device"), ("Hanging", "hang", "s to answer")]
)
def test_a_slow_meter_that_fails_or_hangs_for_some_periods_leaves_a_gap_with_its_reason(
    start, tmp_path, meter, option, reason
):
    """At 4 Hz ten intervals are 2.5 s, and would hide it."""
    ill = tmp_path / option
    sampler = start(meter, rate_hz=4, options={option: str(ill)})
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 4)
    ill.touch()
    ill_ns = monotonic_ns()
    time.sleep(1.6)
    ill.unlink()
    before = (sampler.live() or {})["readings"]
    eventually(lambda: (sampler.live() or {})["readings"] > before + 6)
    sampler.stop()
    chunk, series = read_whole(sampler.trace), [series_of(sampler.info, ["VDD_IN"])]
    edges_ns = np.array([ill_ns - S // 4, ill_ns + 2 * S])
    (found,) = integrate([chunk], series, survey([chunk], series), edges_ns[:1], edges_ns[1:])
    assert 0 < found.covered_s[0] < 1.25 and reason in (found.reason(0) or "")
    assert found.energy_j[0] == pytest.approx(10 * found.covered_s[0])


def test_what_a_library_prints_does_not_reach_the_parent(start):
    sampler = start("Chatty")
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 60)
    assert sampler.stop()["readings"] > 60


def test_a_meter_that_disappears_is_missing_with_its_reason_and_comes_back(start, tmp_path):
    broken = tmp_path / "broken"
    sampler = start("Flaky", options={"broken": str(broken)})
    broken.touch()
    eventually(lambda: "plug is out" in ((sampler.live() or {}).get("reason") or ""))
    assert sampler.alive
    assert sampler.error is None
    broken.unlink()
    before = sampler.live()["energy_j"]
    eventually(lambda: (sampler.live()["energy_j"] or 0) > (before or 0) + 1)
    summary = sampler.stop()
    chunk = read_whole(sampler.trace)
    power_w = chunk.values["VDD_IN_w"]
    assert set(power_w[~np.isnan(power_w)]) == {10.0}
    assert np.isnan(power_w).sum() >= 50
    assert not np.isnan(power_w[[0, -1]]).any()
    reasons = [note["reason"] for note in chunk.notes]
    assert set(reasons) == {"OSError: [Errno 19] No such device", "the plug is out"}
    span_s = 1e-9 * (chunk.notes[-1]["t_ns"] - chunk.notes[0]["t_ns"])
    assert len(reasons) <= 2 * (span_s + 1)
    assert summary["failures"] == np.isnan(power_w).sum()


@pytest.mark.parametrize("meter, said", [("HalfBlind", {"VDD_IN was not read, other rails were"}), ("Constant", set())])
def test_where_the_total_was_not_read_and_other_rails_were_there_is_a_reason(start, meter, said):
    sampler = start(meter)
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 20)
    sampler.stop()
    assert {note["reason"] for note in read_whole(sampler.trace).notes} == said


def test_a_reading_that_makes_no_sense_is_missing_and_never_invented(start):
    sampler = start("Odd")
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 60)
    sampler.stop()
    chunk = read_whole(sampler.trace)
    assert np.isnan(chunk.values["GPU_w"][3:]).all()
    assert set(chunk.values["VDD_IN_w"][3:][~np.isnan(chunk.values["VDD_IN_w"][3:])]) == {0.002}
    reasons = " ".join(note["reason"] for note in chunk.notes)
    assert "1 values for 2 columns" in reasons
    assert "must be real number, not str" in reasons
    assert "GPU_w: inf" in reasons


def test_a_meter_that_samples_by_itself_keeps_its_own_times(start):
    sampler = start("Ramp", 200.0)
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 200)
    stop_ns = monotonic_ns()
    sampler.stop()
    chunk = read_whole(sampler.trace)
    assert (np.diff(chunk.time_ns) == 5_000_000).all()
    assert np.allclose(chunk.values["VDD_IN_w"], (chunk.time_ns - chunk.time_ns[0]) * 1e-9)
    assert chunk.time_ns[-1] > stop_ns
    assert chunk.seq.tolist() == list(range(chunk.seq.size))


def test_a_slow_meter_that_samples_by_itself_is_waited_for(start):
    sampler = start("Ramp", 2.0)
    stop_ns = monotonic_ns()
    sampler.stop()
    assert read_whole(sampler.trace).time_ns[-1] > stop_ns


def test_a_streamed_meter_that_fails_is_noted(start, tmp_path):
    broken = tmp_path / "broken"
    sampler = start("Ramp", options={"broken": str(broken)})
    broken.touch()
    eventually(lambda: (sampler.live() or {}).get("reason"))
    broken.unlink()
    sampler.stop()
    assert "No such device" in read_whole(sampler.trace).notes[0]["reason"]


def test_killed_it_loses_at_most_a_second_and_says_that_it_died(start, tmp_path):
    die = tmp_path / "die"
    sampler = start("Stopper", options={"die": str(die)})
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 60)
    killed_ns = monotonic_ns()
    die.touch()
    error = eventually(lambda: sampler.error)
    assert isinstance(error, MeterError)
    assert re.search("died .signal 9.; readings after that are missing", str(error))
    assert not sampler.alive
    reader = TraceReader(sampler.trace)
    chunks = list(reader)
    assert reader.damage is None
    assert killed_ns - chunks[-1].time_ns[-1] < 10**9
    with pytest.raises(MeterError, match="died"):
        sampler.stop()


def test_killed_while_compiled_code_reads_it_loses_at_most_a_second(start):
    sampler = start("Filed")
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 60)
    killed_ns = monotonic_ns()
    os.kill(sampler.pid, signal.SIGKILL)
    eventually(lambda: sampler.error)
    assert killed_ns - read_whole(sampler.trace).time_ns[-1] < S


def test_a_file_that_holds_no_number_for_a_while_is_missing_for_that_while_with_its_reason(start, tmp_path):
    file = tmp_path / "power"
    file.write_text("10000\n")
    sampler = start("Filed", options={"file": str(file)})
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 60)
    os.truncate(file, 0)
    eventually(lambda: "invalid literal" in ((sampler.live() or {}).get("reason") or ""))
    with open(file, "r+") as again:
        print(10_000, file=again, flush=True)
    readings = sampler.live()["readings"]
    eventually(lambda: sampler.live()["readings"] > readings + 150)
    summary = sampler.stop()
    chunk = read_whole(sampler.trace)
    failed = np.isnan(chunk.values["VDD_IN_w"])
    assert set(chunk.values["VDD_IN_w"][~failed]) == {10.0}
    assert failed.any() and not failed[[0, -1]].any()
    assert summary["failures"] == failed.sum()
    assert chunk.seq[-1] + 1 - chunk.seq.size == summary["missed"]
    assert (np.diff(chunk.time_ns) > 0).all()


def test_a_meter_that_hangs_is_given_up_and_what_was_read_stays(start, tmp_path):
    hang = tmp_path / "hang"
    sampler = start("Hanging", options={"hang": str(hang)})
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > 60)
    hang.touch()
    with pytest.raises(MeterError, match="hangs"):
        sampler.stop(timeout_s=0.5)
    assert not sampler.alive
    assert read_whole(sampler.trace).seq.size > 60


@BOTH
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_is_for_the_parent(start, meter, number):
    sampler = start(meter)
    os.kill(sampler.pid, number)
    before = (sampler.live() or {}).get("readings", 0)
    eventually(lambda: (sampler.live() or {}).get("readings", 0) > before + 100)
    assert sampler.alive
    assert os.getsid(sampler.pid) != os.getsid(0)


@BOTH
def test_sigterm_is_a_stop(start, meter):
    sampler = start(meter)
    os.kill(sampler.pid, signal.SIGTERM)
    eventually(lambda: not sampler.alive)
    assert sampler.error is None
    assert sampler.summary["readings"] == read_whole(sampler.trace).seq.size


def test_the_phase_log_is_brought_to_the_disk_with_the_trace(start, tmp_path):
    log = PhaseLog(tmp_path / "phases.jsonl")
    sampler = start("Constant", also_sync=[log.path])
    log.close()
    assert str(tmp_path / "phases.jsonl") in [
        os.readlink(f) for f in Path(f"/proc/{sampler.pid}/fd").iterdir() if f.is_symlink()
    ]


SCRIPT = """
import os, sys, time
from ebbench.energy.sampler import Sampler
from ebbench.energy.sampler_process.sweeps import LIBRARY
from ebbench.protocols import MeterRequest
from pathlib import Path

print("main", flush=True)
sampler = Sampler.start(f"fake_meters:{sys.argv[3]}", MeterRequest(), Path(sys.argv[1]))
sampler.wait_ready()
mode = sys.argv[2]
if mode == "fork":  # a worker that outlives us and holds our end of the sampler's stdin
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
print(sampler.pid, flush=True)
if mode == "stop":
    sampler.stop()
else:
    time.sleep(60)
"""


def run_script(tmp_path, mode, cwd=None, meter="Constant"):
    """An unguarded script that starts a sampler; returns its process and the sampler's pid."""
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *[p for p in sys.path if p]])}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "t.arrows"), mode, meter]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=cwd)
    assert process.stdout.readline() == "main\n"
    return process, int(process.stdout.readline())


def test_an_unguarded_script_in_a_hostile_folder_is_run_once(tmp_path):
    hostile = tmp_path / "hostile"
    (hostile / "ebbench").mkdir(parents=True)
    for name in ("json.py", "numpy.py", "pyarrow.py", "select.py", "ebbench/__init__.py"):
        (hostile / name).write_text("raise SystemExit('imported from the working directory')\n")
    process, _ = run_script(tmp_path, "stop", cwd=hostile)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert rest == ""
    assert read_whole(tmp_path / "t.arrows").seq.size >= 2


@BOTH
@pytest.mark.parametrize("mode", ["hold", "fork"])
def test_it_leaves_within_a_second_of_its_parents_death_and_loses_nothing(tmp_path, mode, meter):
    process, pid = run_script(tmp_path, mode, meter=meter)
    try:
        eventually(lambda: read_whole(tmp_path / "t.arrows").seq.size > 60)
        killed_ns = monotonic_ns()
        process.kill()
        eventually(lambda: not is_running(pid))
        left_s = (monotonic_ns() - killed_ns) * 1e-9
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    reader = TraceReader(tmp_path / "t.arrows")
    last_ns = [c.time_ns[-1] for c in reader][-1]
    assert reader.damage is None
    assert last_ns > killed_ns  # it took a last reading
    assert left_s < 1.0


def test_it_inherits_no_file_of_its_parent(start, tmp_path):
    import fcntl

    with open(tmp_path / ".lock", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        sampler = start("Constant")
    with open(tmp_path / ".lock") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert sampler.alive


FULL = """
import resource, signal, sys, time
from pathlib import Path
from ebbench.energy.sampler import Sampler
from ebbench.energy.sampler_process.sweeps import LIBRARY
from ebbench.errors import DiskError
from ebbench.protocols import MeterRequest

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
sampler = Sampler.start("fake_meters:Constant", MeterRequest(), Path(sys.argv[1]), 100.0)
sampler.wait_ready()
deadline = time.monotonic() + 20
while sampler.error is None and time.monotonic() < deadline:
    time.sleep(0.01)
error = sampler.error
assert isinstance(error, DiskError) and "make room" in str(error), error
assert sampler.alive
resource.prlimit(sampler.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while sampler.error is not None and time.monotonic() < deadline:
    time.sleep(0.01)
assert sampler.error is None
summary = sampler.stop()
assert summary["lost"] == 0
print(summary["readings"])
"""


def test_a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *[p for p in sys.path if p]])}
    command = [sys.executable, "-c", FULL, str(tmp_path / "t.arrows")]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    reader = TraceReader(tmp_path / "t.arrows")
    assert sum(c.seq.size for c in reader) == int(done.stdout)
    assert reader.damage is None


def test_a_streamed_meter_says_why_a_part_of_its_readings_is_missing(start):
    sampler = start("Partial", 20.0)
    eventually(lambda: (sampler.live() or {}).get("reason") == "the rail did not answer")
    assert sampler.stop()["failures"] == 0
    chunk = read_whole(sampler.trace)
    notes = [note for each in TraceReader(sampler.trace) for note in each.notes]
    assert np.isnan(chunk.values["VDD_IN_w"]).all()
    assert notes[0] == {"t_ns": chunk.time_ns[0], "reason": "the rail did not answer"}
    assert len(notes) <= 1 + (chunk.time_ns[-1] - chunk.time_ns[0]) / 1e9


@pytest.mark.parametrize("rate_hz", [None, 20.0])
def test_a_meter_is_told_the_rate_that_was_asked_for(start, rate_hz):
    assert start("Partial", rate_hz).info.identity == {"asked": rate_hz}


def test_options_reach_the_meter_with_their_types(start):
    options = {"baud": 9600, "rails": [{"name": "A", "scale": 0.5}, {"name": "B"}], "loop": True, "unit": "mW"}
    assert start("Echo", options=options).info.identity == options
