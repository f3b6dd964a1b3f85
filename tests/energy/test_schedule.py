from __future__ import annotations

import numpy as np
import pytest

from ebbench.energy.sampler_process.schedule import Lateness, Schedule


def test_slots_lie_on_an_absolute_grid_however_late_readings_are():
    schedule = Schedule(5_000, 1e6, jitter=False, seed=0)
    instants, now_ns = [], 5_000
    for late_ns in (0, 900, 0, 300):
        instants.append(schedule.next(now_ns))
        now_ns = instants[-1] + late_ns
    assert instants == [5_000, 6_000, 7_000, 8_000]
    assert schedule.missed == 0


def test_slots_that_are_over_are_missed_and_the_one_that_is_not_is_read_at_once():
    schedule = Schedule(0, 1e6, jitter=False, seed=0)
    assert schedule.next(0) == 0
    assert schedule.next(4_500) == 4_000
    assert schedule.missed == 3
    assert schedule.next(4_600) == 5_000


def test_jitter_takes_one_random_instant_of_each_slot_and_the_same_ones_again():
    def instants(seed):
        schedule = Schedule(0, 1e3, jitter=True, seed=seed)
        return np.array([schedule.next(0) for _ in range(4_000)])

    first = instants(1)
    inside = first / 1e6 - np.arange(4_000)
    assert ((inside >= 0) & (inside <= 1)).all()
    assert abs(inside.mean() - 0.5) < 0.02
    assert abs(inside.std() - 12**-0.5) < 0.02
    assert np.array_equal(first, instants(1))
    assert not np.array_equal(first, instants(2))


def test_jitter_breaks_aliasing():
    """A square wave in step with the readings reads as all high or all low without jitter, and as its mean with it."""

    def mean(jitter):
        schedule = Schedule(0, 10.0, jitter, seed=3)
        instants = np.array([schedule.next(0) for _ in range(2_000)])
        return (instants // 50_000_000 % 2 * 10.0 + 5.0).mean()  # 5 and 15 W, period 0.1 s

    assert mean(False) == 5.0
    assert mean(True) == pytest.approx(10.0, abs=0.5)


def test_percentiles_are_right_to_nine_percent_and_the_largest_exact():
    rng = np.random.default_rng(0)
    late_ns = (10 ** rng.uniform(4, 8, 20_000)).astype(int)
    lateness = Lateness()
    lateness.extend(late_ns[:7_000].tolist())
    lateness.extend(late_ns[7_000:].tolist())
    found = lateness.percentiles_s()
    for percent in (50, 95, 99):
        truth = np.percentile(late_ns, percent) * 1e-9
        assert truth * 0.99 <= found[f"p{percent}"] <= truth * 1.2
    assert found["max"] == late_ns.max() * 1e-9


def test_no_reading_has_no_lateness_and_early_is_not_late():
    lateness = Lateness()
    assert lateness.percentiles_s() == {}
    lateness.extend([])
    lateness.extend([-5])
    assert lateness.percentiles_s() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
