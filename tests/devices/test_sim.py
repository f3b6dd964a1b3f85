from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.energy.phases import PhaseLog, read_events
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, HOLD, INSTANT, MeterRequest
from ebbench_devices.sim import POWERS_W, SimMeter, SimulatedPower

S = 1_000_000_000


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, start_ns: int = 1000 * S) -> None:
        self.now_ns = start_ns

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)


def meter_on(clock, phases=None, **options):
    request = MeterRequest(options={k: str(v) for k, v in options.items()}, phases=phases)
    meter = SimMeter(request, clock)
    return meter, meter.open()


def run_for(meter, clock, seconds, rate_hz=100.0, step_s=0.1):
    """All readings of a stretch, drained every `step_s`."""
    blocks = []
    for _ in range(round(seconds / step_s)):
        clock.sleep(step_s)
        blocks.append(meter.drain(rate_hz))
    return np.concatenate([b.time_ns for b in blocks]), np.concatenate([b.values for b in blocks])


def numeric_energy_j(power, start_ns, end_ns, cells=400_001):
    """The energy by midpoints: independent of the closed form."""
    edges = np.linspace(start_ns, end_ns, cells)
    middles = ((edges[1:] + edges[:-1]) / 2).astype(np.int64)
    return float(np.sum(power.power_w(middles)) * (end_ns - start_ns) / (cells - 1) / S)


def events_of(*edges):
    """Events from (time in s, kind, id, path)."""
    return [{"event": kind, "t_ns": round(t * S), "id": i, "path": path} for t, kind, i, path in edges]


NESTED = events_of(
    (1.0, "begin", 1, "search"), (1.5, "begin", 2, "search/epoch-1"), (2.25, "begin", 3, "search/epoch-1/draw"),
    (2.26, "end", 3, ""), (3.0, "end", 2, ""), (3.0, "begin", 4, "search/evaluate"), (3.5, "end", 4, ""), (4.0, "end", 1, ""),
)  # fmt: skip


@pytest.mark.parametrize(("ripple_w", "ripple_hz"), [(0.0, 1.0), (1.5, 3.7)])
def test_the_closed_form_is_the_numeric_integral_of_the_power(ripple_w, ripple_hz):
    power = SimulatedPower(NESTED, {"draw": 30.0}, ripple_w, ripple_hz)
    for start_s, end_s in ((0.0, 5.0), (0.2, 0.9), (1.2, 2.255), (2.2, 3.3), (4.1, 4.2)):
        exact_j = power.energy_j(round(start_s * S), round(end_s * S))
        assert exact_j == pytest.approx(numeric_energy_j(power, round(start_s * S), round(end_s * S)), rel=2e-5)


def test_the_energy_of_a_stated_history_is_the_sum_by_hand():
    power = SimulatedPower(NESTED)
    by_hand_j = 1.0 * 2.5 + 1.25 * 9 + 0.01 * 6 + 0.74 * 9 + 0.5 * 8 + 0.5 * 9 + 1.0 * 2.5
    assert power.energy_j(0, 5 * S) == pytest.approx(by_hand_j, abs=1e-9)


@given(st.lists(st.integers(0, 6 * S), min_size=3, max_size=3))
def test_energies_of_neighbouring_intervals_add_up(times):
    a, b, c = sorted(times)
    power = SimulatedPower(NESTED, ripple_w=1.0, ripple_hz=2.0)
    assert power.energy_j(a, b) + power.energy_j(b, c) == pytest.approx(float(power.energy_j(a, c)), abs=1e-9)


@pytest.mark.parametrize(
    ("path", "like"),
    [
        ("search/epoch-3", "search"), ("search/epoch-3/draw", "draw"), ("amplify/block-1/draw", "draw"),
        ("amplify/block-1/idle", "idle"), ("amplify/window-2", "amplify"), ("my-own", "other"), ("retrain/evaluate", "evaluate"),
    ],
)  # fmt: skip
def test_the_last_known_name_of_a_path_decides_the_power(path, like):
    assert SimulatedPower().phase_w(path) == POWERS_W[like]


def test_what_a_killed_process_left_open_runs_no_more():
    events = [*NESTED[:3], {"event": "start", "t_ns": 9 * S, "segment": 1}]
    assert SimulatedPower(events).power_w(np.array([8 * S, 10 * S])).tolist() == [POWERS_W["draw"], POWERS_W["idle"]]


def test_forgetting_the_past_changes_nothing_later():
    whole, short = SimulatedPower(NESTED), SimulatedPower(NESTED)
    short.forget(round(2.9 * S))
    late = np.arange(29, 60) * (S // 10)
    assert np.array_equal(whole.power_w(late), short.power_w(late))
    assert short.energy_j(late[0], late[-1]) == pytest.approx(float(whole.energy_j(late[0], late[-1])))


def test_readings_lie_on_the_grid_and_have_the_power_of_their_time(tmp_path):
    clock = FakeClock()
    log = PhaseLog(tmp_path / "phases.jsonl", clock)
    log.start()
    meter, info = meter_on(clock, str(tmp_path / "phases.jsonl"))
    start_ns = clock.now_ns
    run_for(meter, clock, 0.3)
    phase = log.begin("train")
    times_ns, values = run_for(meter, clock, 0.5)
    log.end(phase)
    after_ns, after_w = run_for(meter, clock, 0.2)
    assert np.array_equal(np.unique((np.concatenate([times_ns, after_ns]) - start_ns) % (S // 100)), [0])
    truth = SimulatedPower(read_events(tmp_path / "phases.jsonl"))
    assert np.array_equal(values[:, 0], truth.power_w(times_ns))
    assert np.array_equal(after_w[:, 0], truth.power_w(after_ns))
    assert np.allclose(values[:, 1], 0.4 * values[:, 0])
    assert info.total == ("VDD_IN",) and info.simulated and info.rails[1].inside_of == "VDD_IN"


def test_an_edge_between_two_drains_is_never_missed(tmp_path):
    clock = FakeClock()
    log = PhaseLog(tmp_path / "phases.jsonl", clock)
    log.start()
    meter, _ = meter_on(clock, str(tmp_path / "phases.jsonl"))
    times, values = [], []
    for i in range(200):
        clock.sleep(0.0137)
        if i % 3 == 0:
            number = log.begin("draw")
            clock.sleep(0.0021)
            log.end(number)
        if i % 5 == 0:
            block = meter.drain(100.0)
            times.append(block.time_ns)
            values.append(block.values[:, 0])
    times_ns = np.concatenate(times)
    truth = SimulatedPower(read_events(tmp_path / "phases.jsonl"))
    assert np.array_equal(np.concatenate(values), truth.power_w(times_ns))
    assert np.array_equal(np.diff(times_ns), np.full(len(times_ns) - 1, S // 100))


def test_draining_again_gives_the_reading_beyond_the_last_edge(tmp_path):
    clock = FakeClock()
    log = PhaseLog(tmp_path / "phases.jsonl", clock)
    log.start()
    meter, _ = meter_on(clock, str(tmp_path / "phases.jsonl"))
    number = log.begin("train")
    clock.sleep(1.203)
    log.end(number)
    edge_ns = clock.now_ns
    assert meter.drain(100.0).time_ns[-1] < edge_ns
    clock.sleep(0.01)
    last = meter.drain(100.0)
    assert last.time_ns.tolist() == [edge_ns + 7 * S // 1000] and last.values[0, 0] == POWERS_W["idle"]


def test_without_a_phase_log_the_board_is_idle():
    clock = FakeClock()
    meter, _ = meter_on(clock, idle_w=3.25)
    _, values = run_for(meter, clock, 1.0)
    assert set(values[:, 0]) == {3.25}


def test_how_the_readings_are_grouped_changes_none_of_them():
    options = {"noise_w": 0.2, "jitter": 1, "drop_ratio": 0.3, "seed": 7}
    one, other = FakeClock(), FakeClock()
    times_ns, values = run_for(meter_on(one, **options)[0], one, 30, step_s=0.1)
    times2_ns, values2 = run_for(meter_on(other, **options)[0], other, 30, step_s=1.5)
    assert np.array_equal(times_ns, times2_ns) and np.array_equal(values, values2)


def test_jitter_puts_one_reading_into_each_cell():
    clock = FakeClock()
    start_ns = clock.now_ns
    times_ns, _ = run_for(meter_on(clock, jitter=1)[0], clock, 10)
    assert np.array_equal((times_ns - start_ns) // (S // 100), np.arange(len(times_ns)))
    assert len(np.unique((times_ns - start_ns) % (S // 100))) > 900


def test_noise_has_the_stated_size():
    clock = FakeClock()
    _, values = run_for(meter_on(clock, noise_w=0.05)[0], clock, 100, step_s=1.0)
    assert np.std(values[:, 0]) == pytest.approx(0.05, rel=0.05)
    assert np.mean(values[:, 0]) == pytest.approx(2.5, abs=0.003)


def test_gain_offset_steps_and_range_are_applied_and_stated():
    clock = FakeClock()
    meter, info = meter_on(clock, gain_error=-0.02, offset_w=0.1, resolution_w=0.25, idle_w=10, gpu_ratio=1)
    _, values = run_for(meter, clock, 0.5)
    assert set(values[:, 0]) == {10.0}  # 9.9 W in steps of 0.25 W
    rail = info.rails[0]
    assert (rail.gain_ratio, rail.offset_w, rail.resolution_w) == (0.02, 0.1, 0.25)
    meter, info = meter_on(FakeClock(), gain_error=0.02, gain_u=0.03, range_w=9)
    assert (info.rails[0].gain_ratio, info.rails[0].range_w) == (0.03, 9)
    assert run_for(meter_on(clock, range_w=2)[0], clock, 1.0)[1].max() == 2


def test_lost_readings_are_simply_not_there():
    clock = FakeClock()
    times_ns, _ = run_for(meter_on(clock, drop_ratio=0.2)[0], clock, 100, step_s=1.0)
    assert len(times_ns) == pytest.approx(8000, rel=0.03)
    clock = FakeClock()
    start_ns = clock.now_ns
    times_ns, _ = run_for(meter_on(clock, gap_start_s=2, gap_s=3)[0], clock, 10)
    since_s = (times_ns - start_ns) / S
    assert not np.any((since_s >= 2) & (since_s < 5)) and len(times_ns) == 1000 - 300


def step_at_one_second(tmp_path, **options):
    """Readings of two seconds with a step from 2 to 12 W after one."""
    clock = FakeClock()
    log = PhaseLog(tmp_path / "phases.jsonl", clock)
    log.start()
    meter, info = meter_on(clock, str(tmp_path / "phases.jsonl"), idle_w=2, train_w=12, **options)
    start_ns = clock.now_ns
    first = run_for(meter, clock, 1.0)
    log.begin("train")
    second = run_for(meter, clock, 1.0)
    times_ns, values = (np.concatenate(parts) for parts in zip(first, second))
    return (times_ns - start_ns) / S, values[:, 0], info.rails[0]


def test_an_averaging_sensor_shows_a_ramp_after_a_step(tmp_path):
    time_s, power_w, rail = step_at_one_second(tmp_path, averaging_s=0.4)
    assert np.allclose(power_w, 2 + 10 * np.clip((time_s - 1) / 0.4, 0, 1), atol=1e-6)
    assert (rail.kind, rail.averaging_s) == (AVERAGE, 0.4)


def test_a_held_register_changes_only_when_it_is_updated(tmp_path):
    time_s, power_w, rail = step_at_one_second(tmp_path, update_period_s=0.3, noise_w=0.1)
    register = np.floor(np.round(time_s / 0.3, 9))
    for value in np.unique(register):
        assert len(np.unique(power_w[register == value])) == 1
    assert len(np.unique(power_w)) == len(np.unique(register))
    assert (rail.kind, rail.update_period_s) == (HOLD, 0.3)


def test_a_plain_sensor_is_instantaneous(tmp_path):
    assert step_at_one_second(tmp_path)[2].kind == INSTANT


def test_it_fails_when_it_is_told_to_and_goes_on_failing_when_opened_again(tmp_path):
    clock = FakeClock()
    log = PhaseLog(tmp_path / "phases.jsonl", clock)
    log.start()
    meter, _ = meter_on(clock, str(tmp_path / "phases.jsonl"), fail_after_s=1)
    assert len(run_for(meter, clock, 1.0)[0]) == 100
    clock.sleep(0.1)
    for again in (meter, meter_on(clock, str(tmp_path / "phases.jsonl"), fail_after_s=1)[0]):
        with pytest.raises(MeterError, match="fail_after_s"):
            again.drain(100.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nois_w": "1"}, "did you mean 'noise_w'"), ({"train": "1"}, "did you mean 'train_w'"),
        ({"noise_w": "much"}, "'much' is not a number"), ({"noise_w": "nan"}, "not a number"), ({"drop_ratio": "2"}, "outside"),
        ({"rate_hz": "0"}, "not above 0"), ({"train_w": "-1"}, "at least 0"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_said_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        SimMeter(MeterRequest(options=options))
    assert "\n" not in str(caught.value)


def test_an_address_is_refused():
    with pytest.raises(ConfigError, match="no address"):
        SimMeter(MeterRequest(address="tcp://x"))
