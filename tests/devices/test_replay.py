from __future__ import annotations

import numpy as np
import pytest

from ebbench.energy.traces.trace import TraceWriter
from ebbench.errors import ConfigError, EbbenchError, InputError, MeterError
from ebbench.protocols import Column, MeterInfo, MeterRequest, Rail
from ebbench_devices.replay import ReplayMeter

S = 1_000_000_000
CSV = "time_s,VDD_IN_w,VDD_GPU_w\n100.0,5.0,1.0\n100.5,6.0,\n101.0,7.0,3.0\n"


def replay(path, **options):
    now = [7 * S]
    meter = ReplayMeter(MeterRequest(address=str(path), options=options), clock=lambda: now[0])
    return meter, meter.open(), now


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "power.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def arrows_file(tmp_path):
    path = tmp_path / "trace-ina3221-000.arrows"
    rail = Rail("VDD_IN", "module", gain_ratio=0.01)
    columns = (Column("VDD_IN_w", 1e-3, raw=True), Column("VDD_IN_j", 1e-3, raw=True))
    info = MeterInfo("ina3221", "module", False, (rail,), columns, ("VDD_IN",), 100.0)
    writer = TraceWriter(path, info, {})
    for i in range(10):
        writer.append(500 * S + i * S // 10, 1000, i, (5000 + i, 1000 * i))
        if i == 4:
            writer.flush()
    writer.close()
    return path


def test_a_csv_comes_out_as_it_was_at_the_distances_it_had(csv_file):
    meter, info, now = replay(csv_file)
    first = meter.drain(100.0)
    now[0] += S
    rest = meter.drain(100.0)
    assert (np.concatenate([first.time_ns, rest.time_ns]) - 7 * S).tolist() == [0, S // 2, S]
    assert np.concatenate([first.values, rest.values])[:, 0].tolist() == [5.0, 6.0, 7.0]
    assert np.isnan(rest.values[0, 1])
    assert info.simulated and info.total == ("VDD_IN",) and info.default_rate_hz == pytest.approx(2.0)


def test_our_own_trace_keeps_its_rails_and_becomes_simulated(arrows_file):
    meter, info, now = replay(arrows_file)
    now[0] += S
    block = meter.drain(10.0)
    assert np.allclose(block.values[:, 0], 5 + np.arange(10) * 1e-3)
    assert np.allclose(np.diff(block.time_ns), S // 10)
    assert info.simulated and info.scope == "module" and info.rails[0].gain_ratio == 0.01


def test_a_recording_that_ends_is_an_error_and_not_a_reading(csv_file):
    meter, _, now = replay(csv_file)
    now[0] += 10 * S
    assert len(meter.drain(1.0).time_ns) == 3
    with pytest.raises(MeterError, match=r"power.csv: the recording ended.*loop=1"):
        meter.drain(1.0)


def test_a_recording_that_ended_does_not_begin_anew_when_the_meter_is_opened_again(csv_file):
    request = MeterRequest(address=str(csv_file))
    now = [0]
    for attempt in (0, 1):
        meter = ReplayMeter(request, clock=lambda: now[0])
        now[0] += 10 * S
        with pytest.raises(MeterError, match="ended"):
            meter.open()
            now[0] += 10 * S
            assert len(meter.drain(1.0).time_ns) == 3 and attempt == 0
            meter.drain(1.0)


def test_a_loop_goes_on_with_the_same_interval_and_its_counter_never_falls(arrows_file):
    meter, _, now = replay(arrows_file, loop="1")
    blocks = []
    for _ in range(50):
        now[0] += S // 10
        blocks.append(meter.drain(10.0))
    times_ns = np.concatenate([b.time_ns for b in blocks])
    counter_j = np.concatenate([b.values[:, 1] for b in blocks])
    assert np.array_equal(np.diff(times_ns), np.full(50, S // 10))
    assert np.all(np.diff(counter_j) >= 0) and counter_j[-1] == pytest.approx(9 * 5)


def test_a_torn_trace_is_replayed_as_far_as_it_is_whole(arrows_file):
    content = arrows_file.read_bytes()
    arrows_file.write_bytes(content[: int(len(content) * 0.95)])
    meter, _, now = replay(arrows_file)
    now[0] += 10 * S
    assert len(meter.drain(1.0).time_ns) == 5
    with pytest.raises(MeterError, match="damaged"):
        meter.drain(1.0)


def test_scope_and_total_can_be_told(csv_file):
    _, info, _ = replay(csv_file, scope="wall", total="VDD_GPU")
    assert (info.scope, info.total) == ("wall", ("VDD_GPU",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no readings"), ("time_s,A_w\n", "holds no readings"), ("t,A_w\n1,2\n", "no column time_s"),
        ("time_s,A\n1,2\n", "no column <rail>_w"), ("time_s,A_w\n1,2\n2,x\n", "line 3: A_w = 'x' is not a number"),
        ("time_s,A_w\n1,2\n1,3\n", "line 3: time_s must rise"), ("time_s,A_w\nnan,2\n1,3\n", "line 2: time_s must rise"),
        ("time_s,A_w\n1,2\n2\n", "line 3: 1 cells, not 2"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recording_says_why(tmp_path, content, message):
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        replay(tmp_path / "bad.csv")


def test_a_broken_arrow_file_and_a_missing_one_say_so(tmp_path):
    (tmp_path / "bad.arrows").write_bytes(b"not arrow at all")
    for name in ("bad.arrows", "none.arrows", "none.csv"):
        with pytest.raises(EbbenchError, match=name):
            replay(tmp_path / name)


def test_a_run_folder_says_to_name_the_trace_in_it(tmp_path):
    with pytest.raises(InputError, match="is a folder; name the trace in it"):
        replay(tmp_path)


def test_wrong_options_name_the_nearest(csv_file):
    for options, message in (({"lop": "1"}, "'loop'"), ({"scope": "wal"}, "'wall'"), ({"total": "VDD_IM"}, "'VDD_IN'")):
        with pytest.raises(ConfigError, match=message):
            replay(csv_file, **options)
    with pytest.raises(ConfigError, match="replay:FILE"):
        ReplayMeter(MeterRequest())
