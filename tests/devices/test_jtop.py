"""The jtop meter on the real service and the real client of jetson-stats; only the board is a folder."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ebbench import plugins
from ebbench.clock import monotonic_ns, read_clocks
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.trace import TraceReader, read_whole
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import MeterRequest
from ebbench_devices.jtop import JtopMeter, rails_of
from ebbench_devices.meter import feed
from ebbench_devices.nvidia.jtop_connection import JtopConnection

RATE_HZ = 10.0
METERS = plugins.registered(plugins.METERS)
realtime = pytest.mark.realtime
#: of jetson-stats itself, when it looks for libraries and programs
pytestmark = [
    pytest.mark.filterwarnings("ignore:distro.linux_distribution:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture
def board(jtop_board):
    """A board of a kind, its service not yet started."""
    return jtop_board


@pytest.fixture
def opened(board, opened):
    def open_meter(rate_hz=RATE_HZ, name=None, tries=5):
        found = plugins.choose_board(name or "auto")
        try:
            return opened(JtopMeter(MeterRequest(board=dict(found.facts) if found else None, rate_hz=rate_hz)))
        except MeterError as error:  # jetson-stats waits for three intervals, which pass quickly on a busy machine
            if tries == 1 or "within 3 intervals" not in str(error):
                raise
            return open_meter(rate_hz, name, tries - 1)

    return open_meter


def drained(meter, until, timeout_s=10.0):
    """Drain as the sampler does until `until(blocks, faults)`; the blocks with readings, and the faults."""
    blocks, faults = [], []
    deadline_s = time.monotonic() + timeout_s
    while not until(blocks, faults):
        assert time.monotonic() < deadline_s, f"only {len(blocks)} blocks, faults {faults}"
        try:
            block = meter.drain(RATE_HZ)
            blocks += [block] if len(block.time_ns) else []
        except MeterError as error:
            faults.append(str(error))
        time.sleep(0.02)
    return blocks, faults


def after_a_fault(blocks, faults):
    return bool(faults)


def has(count):
    return lambda blocks, faults: len(blocks) >= count


def column(meter_info, name):
    return [c.name for c in meter_info.columns].index(name)


def knows_the_sensors_of_thor() -> bool:
    """Whether the jetson-stats that is installed reads an INA238, as 4.3 does not."""
    spec = importlib.util.find_spec("jtop")
    return spec is None or "ina238" in Path(spec.origin).with_name("core").joinpath("power.py").read_text()


on_thor = pytest.mark.skipif(
    not knows_the_sensors_of_thor(), reason="this jetson-stats is older than Thor and sees no total there (refused)"
)


# what it reads


@realtime
@pytest.mark.parametrize("kind", ["tx2", "orin-nano", "agx-xavier", "agx-orin", pytest.param("thor", marks=on_thor)])
def test_every_rail_is_what_the_board_shows_and_the_total_is_the_boards(board, opened, kind):
    fake = board(kind, start=False)
    fake.supply("ucsi-source-psy-1-00081", 20000, 3000)
    fake.start()
    meter, info = opened()
    values = meter.drain(RATE_HZ).values[-1]
    shown = {c.name: v * c.scale for c, v in zip(info.columns, values)}
    assert {n[:-2]: pytest.approx(v) for n, v in shown.items() if n.endswith("_w")} == fake.truth_w
    assert info.total == fake.kind.total and info.rails[0].name == fake.kind.total[0]
    assert {shown[f"{rail.name}_v"] for rail in info.rails} == {5.0}
    assert info.simulated and info.identity["board"] == {"Module": "a folder", "L4T": "36.4.3"}


@realtime
@on_thor
def test_on_thor_the_total_is_what_its_ina238_says_of_board_and_carrier(board, opened):
    fake = board("thor", start=False)
    fake.set("VIN", 20000, 1100, milliwatts=22345)  # not what its volts and amperes make, nor the sum of the others
    fake.start()
    meter, info = opened()
    values = dict(zip((c.name for c in info.columns), meter.drain(RATE_HZ).values[-1]))
    assert (info.total, info.scope, values["VIN_w"], values["VIN_v"]) == (("VIN",), "devkit", 22345.0, 20000.0)
    assert {rail.inside_of for rail in info.rails} == {None, "VIN"}


@realtime
def test_a_reading_lies_at_the_uptime_of_its_sample_and_shows_what_was_then(board, opened):
    fake = board("tx2")
    meter, info = opened()
    place = column(info, "VDD_IN_w")
    edges = []

    def step(blocks, faults):
        if len(edges) < 4 and len(blocks) >= 3 * len(edges):
            before_ns = monotonic_ns()
            fake.show("VDD_IN", 2000 + 1000 * len(edges))
            edges.append((before_ns, monotonic_ns(), 2000.0 + 1000 * len(edges)))
        return len(blocks) >= 12

    blocks, _ = drained(meter, step)
    times_ns = np.concatenate([b.time_ns for b in blocks])
    power_mw = np.concatenate([b.values[:, place] for b in blocks])
    assert (np.diff(times_ns) > 0).all()
    assert (times_ns % 1_000_000_000 != 0).any() and times_ns[-1] <= monotonic_ns()
    for (_, done_ns, milliwatts), following in zip(edges, [*edges[1:], (monotonic_ns(), 0, 0.0)]):
        # the file is read up to 40 ms after the uptime, on a busy machine later
        inside = (times_ns > done_ns) & (times_ns < following[0] - 80_000_000)
        assert set(power_mw[inside]) <= {milliwatts}
    assert set(power_mw) >= {2000.0, 3000.0, 4000.0}


@realtime
@pytest.mark.parametrize("kind, rail", [("tx2", "VDD_IN"), ("agx-orin", "VDD_CPU_CV")])
def test_where_a_part_of_the_total_does_not_answer_the_total_is_missing_and_never_a_sum(board, opened, kind, rail):
    fake = board(kind)
    meter, info = opened()
    place = column(info, f"{rail}_w")
    file = fake.file(rail, "current")
    file.rename(file.with_name("gone"))
    blocks, _ = drained(meter, lambda blocks, _: bool(blocks) and bool(blocks[-1].notes))
    file.with_name("gone").rename(file)
    more, _ = drained(meter, lambda blocks, _: bool(blocks) and not blocks[-1].notes)
    missing = blocks[-1]
    assert np.isnan(missing.values[-1, place]) and np.isfinite(missing.values[-1]).any()
    assert missing.notes[-1] == (missing.time_ns[-1], f"jtop: {rail} did not answer, so the total is missing")
    assert more[-1].values[-1, place] == pytest.approx(fake.truth_w[rail] * 1e3)


@realtime
def test_a_rail_of_the_total_that_is_never_there_is_refused(board, opened, monkeypatch):
    monkeypatch.setattr(feed, "SILENCE_S", 0.3)
    board("orin-nano")
    with pytest.raises(MeterError, match="VDD_GPU_SOC, part of the total of board 'agx-orin', is not there"):
        opened(name="agx-orin")


def test_the_rail_of_tot_is_a_rail_and_a_sum_is_not():
    sum_of_all = {"rail": {"A": {"power": 1}}, "tot": {"power": 9, "avg": 9}}
    named = {"rail": {"A": {"power": 1}}, "tot": {"power": 9, "avg": 9, "name": "VDD_IN"}}
    assert set(rails_of(sum_of_all)) == {"A"} and set(rails_of(named)) == {"A", "VDD_IN"}
    assert rails_of({}) == {}


def test_what_is_not_wired_or_only_negotiated_is_no_rail():
    rail = {"volt": 5000, "curr": 1, "power": 5}
    entries = {
        "NC": rail,
        "ucsi-source-psy-1-00081": rail,
        "1-00081": rail,
        "BAT0": {**rail, "status": "Full"},
        "CPU GPU": rail,
    }
    assert set(rails_of({"rail": entries, "tot": {}})) == {"CPU_GPU"}


# how fast


@pytest.mark.parametrize("rate_hz", [10.1, 100.0, 0.0, -1.0])
def test_a_rate_that_the_service_cannot_hold_is_refused_with_the_alternative(rate_hz):
    with pytest.raises(ConfigError, match="ina3221"):
        JtopMeter(MeterRequest(rate_hz=rate_hz))


def test_options_are_refused():
    with pytest.raises(ConfigError, match="interval"):
        JtopMeter(MeterRequest(options={"interval": "1"}))


@realtime
def test_the_rate_asked_for_and_the_rate_obtained_are_both_in_the_record(board, tmp_path):
    board("tx2")
    sampler = Sampler.start(METERS["jtop"], request(), tmp_path / "t.arrows", 5.0)
    sampler.wait_ready()
    wait_for(lambda: (sampler.live() or {}).get("readings", 0) >= 8)
    summary = sampler.stop()
    reader = TraceReader(tmp_path / "t.arrows")
    assert reader.metadata["asked_hz"] == summary["asked_hz"] == 5.0
    assert summary["rate_hz"] == pytest.approx(summary["readings"] / summary["elapsed_s"], rel=0.05)  # be that 5 or not
    assert reader.info.identity["interval_s"] == reader.info.identity["asked_interval_s"] == 0.2
    assert np.isfinite(read_whole(tmp_path / "t.arrows").values["VDD_IN_w"]).all()


@realtime
def test_a_rate_above_the_limit_reaches_the_user_before_anything_is_measured(board, tmp_path):
    board("tx2", start=False)
    sampler = Sampler.start(METERS["jtop"], request(), tmp_path / "t.arrows", 100.0)
    with pytest.raises(ConfigError, match="at most 10"):
        sampler.wait_ready()


@realtime
def test_the_interval_of_another_client_is_in_the_record_and_its_repeats_are_no_readings(board, opened):
    board("tx2")
    opened(rate_hz=2.0)  # the first client decides for all
    meter, info = opened(rate_hz=10.0)
    assert info.identity["interval_s"] == 0.5 and info.identity["asked_interval_s"] == pytest.approx(0.1)
    blocks, _ = drained(meter, has(4))
    times_ns = np.concatenate([b.time_ns for b in blocks])
    assert (np.diff(times_ns) > 300_000_000).all()


# what breaks while it runs


@realtime
@pytest.mark.parametrize("end", ["stop", "kill", "kill-worker"])
def test_a_service_that_ends_is_a_gap_and_its_successor_is_read_again(board, opened, end):
    fake = board("tx2")
    meter, _ = opened()
    before, _ = drained(meter, has(3))
    if end == "kill-worker":
        fake.signal_worker(signal.SIGKILL)
    else:
        getattr(fake, end)()
    left, faults = drained(meter, lambda _, faults: len(faults) >= 2)
    assert "systemctl restart jtop.service" in faults[0]
    fake.stop()
    fake.show("VDD_IN", 7777)
    restart_ns = monotonic_ns()
    fake.start()
    after, _ = drained(meter, has(3))
    times_ns = np.concatenate([b.time_ns for b in (*before, *left, *after)])
    assert (np.diff(times_ns) > 0).all() and after[0].time_ns[0] > restart_ns
    assert 7777.0 in after[0].values[0]


@realtime
def test_a_worker_that_freezes_is_a_gap_and_goes_on_when_it_thaws(board, opened):
    fake = board("tx2")
    meter, _ = opened()
    drained(meter, has(2))
    fake.signal_worker(signal.SIGSTOP)
    _, faults = drained(meter, lambda _, faults: len(faults) >= 2)
    assert "nothing new for 1 s" in faults[0] and "does not answer" in faults[1]
    thaw_ns = monotonic_ns()
    fake.signal_worker(signal.SIGCONT)
    after, _ = drained(meter, has(2))
    assert after[0].time_ns[0] > thaw_ns - 50_000_000


@realtime
def test_a_sample_that_repeats_for_ever_is_not_a_reading(board, opened):
    fake = board("tx2")
    meter, _ = opened()
    drained(meter, has(2))
    fake.put("VDD_IN", "power", "no number\n")  # the timer of the service dies of it
    blocks, faults = drained(meter, after_a_fault)
    assert len(blocks) <= 2 and "its timer has died" in faults[0]
    fake.show("VDD_IN", 5000)
    blocks, faults = drained(meter, after_a_fault)  # connecting again is no cure, and brings no old sample
    assert not blocks and "restart jtop.service" in faults[0]
    fake.stop()
    fake.start()
    blocks, _ = drained(meter, has(2))
    assert 5000.0 in blocks[0].values[0]


@realtime
def test_a_start_that_hangs_is_told_and_ends(board, opened):
    fake = board("tx2")
    fake.signal_worker(signal.SIGSTOP)
    begin_s = time.monotonic()
    with pytest.raises(MeterError, match=r"does not answer: its worker hangs .* sudo systemctl restart jtop.service"):
        opened()
    assert time.monotonic() - begin_s < 8.0


@realtime
def test_in_the_sampler_a_restart_is_one_trace_with_a_gap_and_its_reason(board, tmp_path):
    fake = board("tx2")
    sampler = Sampler.start(METERS["jtop"], request(), tmp_path / "t.arrows", RATE_HZ)
    sampler.wait_ready()
    wait_for(lambda: (sampler.live() or {}).get("readings", 0) >= 5)
    fake.kill()
    wait_for(lambda: "jtop" in ((sampler.live() or {}).get("reason") or ""))
    fake.start()
    readings = sampler.live()["readings"]
    wait_for(lambda: sampler.live()["readings"] >= readings + 5)
    summary = sampler.stop()
    chunk = read_whole(tmp_path / "t.arrows")
    reasons = [note["reason"] for each in TraceReader(tmp_path / "t.arrows") for note in each.notes]
    assert (np.diff(chunk.time_ns) > 0).all() and np.diff(chunk.time_ns).max() > 400_000_000
    assert any("jtop.service is lost" in reason for reason in reasons) and summary["failures"] > 0
    assert summary["heavy_modules"] == []


@realtime
def test_a_sampler_whose_service_is_gone_stops_when_it_is_told(board, tmp_path):
    fake = board("tx2")
    sampler = Sampler.start(METERS["jtop"], request(), tmp_path / "t.arrows", RATE_HZ)
    sampler.wait_ready()
    fake.signal_worker(signal.SIGSTOP)
    begin_s = time.monotonic()
    assert sampler.stop()["readings"] >= 1
    assert time.monotonic() - begin_s < 5.0


# what stands in the way


def test_without_the_package_and_the_socket_it_is_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jtop", None)
    there = JtopMeter.probe(MeterRequest())
    assert not there.present and not there.available and "no /run/jtop.sock; a Jetson" in there.reason


@realtime
def test_without_the_package_a_running_service_is_here_and_asks_for_it(board, opened, monkeypatch):
    board("tx2")
    monkeypatch.setitem(sys.modules, "jtop", None)
    there = JtopMeter.probe(MeterRequest())
    assert there.present and not there.available and 'pip install "ebbench[jetson]"' in there.reason
    with pytest.raises(MeterError, match=r'pip install "ebbench\[jetson\]"'):
        opened()


@pytest.mark.parametrize("fault", ["is not there", "nobody listens"])
def test_a_socket_that_is_absent_or_stale_is_refused_with_the_command(board, opened, fault):
    fake = board("tx2", start=False)
    if fault == "nobody listens":
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(fake.socket))
    there = JtopMeter.probe(MeterRequest())
    assert there.present and there.simulated and not there.available and fault in there.reason
    with pytest.raises(MeterError, match=f"{fault}.*sudo systemctl restart jtop.service"):
        opened()


@realtime
def test_a_service_that_runs_is_available(board):
    board("tx2")
    there = JtopMeter.probe(MeterRequest())
    assert there.available and there.present and there.simulated and there.scope == "module"


@realtime
def test_a_user_outside_of_the_group_is_told_the_command(board):
    fake = board("tx2")
    fake.root.chmod(0o755)
    if not all(parent.stat().st_mode & 0o001 for parent in fake.root.parents):
        pytest.skip(
            f"another user cannot enter the folders above {fake.root}; set TMPDIR to one that everybody may enter"
        )
    if os.getuid() == 0:
        as_nobody = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
    else:
        fake.socket.chmod(0)
        as_nobody = ""
    code = (
        "import importlib.util; from ebbench.protocols import MeterRequest; from ebbench_devices.jtop import JtopMeter;"
        "import numpy; request = MeterRequest();" + as_nobody + "print(JtopMeter.probe(request).reason)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        text=True,
        timeout=60,
    )
    assert "sudo usermod -aG jtop $USER" in said.stdout, said.stderr


@realtime
def test_a_service_of_another_version_is_told_which_to_install(board, opened):
    board("tx2", "--version-as", "4.1.9")
    with pytest.raises(
        MeterError, match=r'service is jetson-stats 4\.1 and here is .*pip install "jetson-stats==4\.1\.\*"'
    ):
        opened()


@realtime
def test_another_patch_level_of_the_same_version_is_fine(board, opened):
    from jtop import __version__

    board("tx2", "--version-as", ".".join([*__version__.split(".")[:2], "99"]))
    assert opened()[1].total == ("VDD_IN",)


@realtime
def test_a_service_that_is_too_slow_for_the_interval_is_told_so(board, opened):
    board("tx2", "--sample-s", "2.0")
    with pytest.raises(MeterError, match="too slow; a lower --rate"):
        opened(tries=1)


# the clock


class Client:
    """A client whose uptime a test sets."""

    def __init__(self, ahead_s):
        from datetime import timedelta

        self.uptime = timedelta(microseconds=read_clocks().boottime_ns // 1000) + timedelta(seconds=ahead_s)
        self.power = {}


@pytest.fixture
def connection(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    return JtopConnection(0.1)


def test_samples_from_before_the_connection_and_repeats_are_dropped(connection):
    old, new = Client(-10.0), Client(0.02)
    for client in (old, new, new):
        connection._receive(client)
    assert len(connection._samples) == 1


def test_the_time_of_a_sample_is_its_uptime_on_our_clock(connection):
    before_ns = monotonic_ns()
    connection._receive(Client(0.0))
    (sample,) = connection._samples
    assert before_ns - 1_000_000 <= sample.time_ns <= monotonic_ns() + 1_000_000


def test_a_service_with_another_clock_is_refused(connection):
    with pytest.raises(MeterError, match="ahead of ours"):
        connection._receive(Client(5.0))


def request():
    return MeterRequest(board=dict(plugins.choose_board().facts))


def wait_for(condition, timeout_s=15.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.02)
