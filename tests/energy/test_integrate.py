"""Integration against closed forms, laws that every integral obeys, and planted faults."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import pytest
import waveforms
from hypothesis import given
from hypothesis import strategies as st
from waveforms import chunk_of, pieces

from ebbench.clock import ClockReading
from ebbench.energy.integration.integrals import Integrals
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.batches import Chunk
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import Series, power_of, series_of
from ebbench.energy.uncertainty import budget
from ebbench.errors import InputError
from ebbench.protocols import AVERAGE, HOLD, Column, MeterInfo, Rail

S = 1_000_000_000
POWER = Series("X", (("X_w",),), Rail("X", "module"))
COUNTER = Series("X", (("X_j",),), Rail("X", "module"), is_counter=True, step_j=0.001)


def integrals(
    chunks: Any, intervals_s: Sequence[Tuple[float, float]], series: Series = POWER, max_gap_s: Optional[float] = None
) -> Integrals:
    chunks = [chunks] if isinstance(chunks, Chunk) else list(chunks)
    edges = np.rint(np.array(intervals_s).reshape(-1, 2) * S).astype(np.int64)
    return integrate(chunks, [series], survey(chunks, [series]), edges[:, 0], edges[:, 1], max_gap_s)[0]


def energies(*arguments: Any, **options: Any) -> np.ndarray:
    return integrals(*arguments, **options).energy_j


def readings(times_s: Sequence[float], power_w: Sequence[float]) -> Chunk:
    return chunk_of(np.rint(np.array(times_s) * S).astype(np.int64), X_w=np.array(power_w))


# --- closed forms


def test_a_ramp_is_integrated_exactly_between_its_readings():
    time_s = np.arange(101) * 0.01
    a, b = 0.123456789, 0.140456789
    assert energies(readings(time_s, 10 * time_s), [(a, b)])[0] == pytest.approx(5 * (b * b - a * a), rel=1e-12)


def test_ten_watts_for_five_seconds_are_fifty_joules_within_a_thousandth():
    rng = np.random.default_rng(1)
    time_s = np.sort(rng.uniform(0, 10, 1000))
    assert energies(readings(time_s, np.full(1000, 10.0)), [(2.345, 7.345)])[0] == pytest.approx(50, rel=1e-12)


def test_a_square_wave_at_equal_intervals_of_10_ms_is_within_half_a_percent_over_five_seconds():
    wave, rng = waveforms.square(5, 15, 0.5, 0.123), np.random.default_rng(2)
    time_s = waveforms.schedule_s(100, rng, jitter=0)
    starts = rng.uniform(1, 30, 50)
    energy_j = energies(readings(time_s, wave.power_w(time_s)), [(s, s + 5) for s in starts])
    truth_j = wave.energy_j(np.rint((starts + 5) * S) / S) - wave.energy_j(np.rint(starts * S) / S)
    assert np.abs(energy_j / truth_j - 1).max() < 0.005


@pytest.mark.parametrize("phase_ms", [0.0, 0.25, 0.5, 0.9])
def test_a_burst_of_50_ms_is_within_two_percent_at_1_khz(phase_ms):
    time_s = np.arange(2000) * 0.001 + phase_ms * 1e-3
    wave = waveforms.steps(np.array([-10.0, 1.0, 1.05]), np.array([5.0, 20.0, 5.0]))
    assert energies(readings(time_s, wave.power_w(time_s)), [(1.0, 1.05)])[0] == pytest.approx(1.0, rel=0.02)


def test_a_register_is_held_from_the_update_to_the_next():
    held = dataclasses.replace(POWER, rail=Rail("X", "module", kind=HOLD, update_period_s=0.1))
    time_s = np.arange(0, 1.0, 0.01) + 0.005
    power_w = np.array([5.0, 15.0])[(np.floor(time_s / 0.1) % 2).astype(int)]
    energy_j = energies(readings(time_s, power_w), [(0.1, 0.2), (0.15, 0.25), (0.2, 0.203)], series=held)
    assert energy_j == pytest.approx([1.5, 1.0, 0.015], rel=1e-9)


def test_an_average_is_taken_to_stand_for_the_middle_of_its_window():
    averaging = dataclasses.replace(POWER, rail=Rail("X", "module", kind=AVERAGE, averaging_s=0.2))
    wave, time_s = waveforms.ramp(5, 2), np.arange(0.0, 10, 0.01)
    mean_w = (wave.energy_j(time_s) - wave.energy_j(time_s - 0.2)) / 0.2
    expected = float(wave.energy_j(np.array(7.0)) - wave.energy_j(np.array(2.0)))
    assert energies(readings(time_s, mean_w), [(2, 7)], series=averaging)[0] == pytest.approx(expected, rel=1e-9)
    stated = dataclasses.replace(averaging, rail=dataclasses.replace(averaging.rail, delay_s=0.15))
    assert energies(readings(time_s, mean_w), [(2, 7)], series=stated)[0] == pytest.approx(expected + 0.05 * 2 * 5)


def test_a_delay_that_is_stated_to_be_none_is_another_thing_than_one_that_nobody_states():
    """A filter that looks as far ahead as back, as one that a log was smoothed by later: its mean stands for its stamp."""
    rail = Rail("X", "module", kind=AVERAGE, averaging_s=0.2)
    wave, time_s = waveforms.ramp(5, 2), np.arange(0.0, 10, 0.01)
    centred_w = (wave.energy_j(time_s + 0.1) - wave.energy_j(time_s - 0.1)) / 0.2
    expected = float(wave.energy_j(np.array(7.0)) - wave.energy_j(np.array(2.0)))
    for delay_s, found in ((0.0, expected), (None, expected + 0.1 * 2 * 5)):
        series = dataclasses.replace(POWER, rail=dataclasses.replace(rail, delay_s=delay_s))
        assert energies(readings(time_s, centred_w), [(2, 7)], series=series)[0] == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize(
    ("delays_s", "shift_s"), [((None, None), 0.1), ((0.0, None), 0.0375), ((0.0, 0.0), 0.0), ((0.3, 0.1), 0.2)]
)
def test_a_sum_of_rails_is_as_late_as_they_are_on_average(delays_s, shift_s):
    rails = tuple(
        Rail(name, "rail", kind=AVERAGE, averaging_s=averaging_s, delay_s=delay_s)
        for name, averaging_s, delay_s in zip("AB", (0.2, 0.15), delays_s)
    )
    info = MeterInfo("m", "module", False, rails, (Column("A_w"), Column("B_w")), ("A", "B"), 100.0)
    assert series_of(info, info.total).shift_ns == round(shift_s * S)


def test_several_rails_are_added_reading_by_reading():
    info = MeterInfo(
        "m", "module", False, (Rail("A", "rail", gain_ratio=0.01), Rail("B", "rail", gain_ratio=0.02)),
        (Column("A_v"), Column("A_a"), Column("B_w")), ("A", "B"), 100.0,
    )  # fmt: skip
    total = series_of(info, info.total)
    time_ns = np.arange(0, 11) * S
    chunk = chunk_of(time_ns, A_v=np.full(11, 5.0), A_a=np.full(11, 2.0), B_w=np.arange(11.0))
    chunk.values["B_w"][10] = np.nan
    found = integrals(chunk, [(0, 9), (0, 10)], series=total)
    assert found.energy_j == pytest.approx([90 + 40.5, 90 + 40.5])
    assert list(found.covered_s) == [9, 9]
    assert total.rail.gain_ratio == 0.02 and total.rail.offset_w is None


# --- what is not there


def test_outside_the_readings_there_is_no_energy_and_never_zero():
    found = integrals(readings(np.arange(11) * 0.1, np.full(11, 7.0)), [(2, 3), (-2, -1), (0.5, 1.5), (-0.25, 0.75)])
    assert np.isnan(found.energy_j[:2]).all()
    assert found.energy_j[2:] == pytest.approx([3.5, 5.25])
    assert found.covered_s == pytest.approx([0, 0, 0.5, 0.75])
    assert found.reason(0) == "the readings end 1 s before it"
    assert found.reason(1) == "the readings begin 1 s after it"
    assert found.reason(2) == "the readings end 0.5 s before its end"
    assert found.reason(3) == "the readings begin 0.25 s after its start"


def test_a_longer_interval_than_max_gap_is_not_bridged():
    time_s = np.concatenate((np.arange(0, 2, 0.01), np.arange(5, 7, 0.01)))
    found = integrals(readings(time_s, np.full(time_s.size, 10.0)), [(1, 6), (2.5, 4), (0, 1), (3, 5.5)])
    assert found.covered_s == pytest.approx([1.99, 0, 1, 0.5])
    assert found.energy_j == pytest.approx([19.9, np.nan, 10, 5], nan_ok=True)
    assert [found.reason(i) for i in range(3)] == ["no reading for 3.01 s"] * 2 + [None]
    assert found.longest_s == pytest.approx([3.01, 3.01, 0.01, 3.01])
    bridged = integrals(readings(time_s, np.full(time_s.size, 10.0)), [(1, 6)], max_gap_s=4)
    assert bridged.energy_j[0] == pytest.approx(50) and bridged.covered_s[0] == 5


def test_an_interpolated_long_interval_enters_the_gaps_component():
    time_s = np.delete(np.arange(0, 10, 0.01), slice(300, 350))
    power_w = 10 + np.sin(40 * time_s)
    found = integrals(readings(time_s, power_w), [(0, 2), (2, 5)])
    gaps_j = budget(found).components_j["gaps"]
    assert gaps_j[0] == 0 and gaps_j[1] > 0.2
    assert list(found.covered_s) == [2, 3]


def test_a_nan_is_a_reading_that_was_not_taken():
    time_s = np.arange(0, 10, 0.01)
    power_w = 3 + time_s
    power_w[::3] = np.nan
    found = integrals(readings(time_s, power_w), [(1, 2)])
    assert found.energy_j[0] == pytest.approx(4.5, rel=1e-12)
    assert found.readings[0] == np.count_nonzero(np.isfinite(power_w[100:200]))


@pytest.mark.parametrize("power_w", [[], [4.0], [np.nan, np.nan]])
def test_fewer_than_two_readings_give_no_energy(power_w):
    found = integrals(readings(np.arange(len(power_w)), power_w), [(0, 1)])
    assert np.isnan(found.energy_j[0]) and found.reason(0)
    assert budget(found).half_width_j[0] == 0


def test_an_interval_without_length_holds_no_energy_where_there_are_readings():
    found = integrals(readings(np.arange(10), np.full(10, 5.0)), [(3.5, 3.5), (3, 3), (0, 0), (9, 9), (20, 20)])
    assert list(found.energy_j[:4]) == [0, 0, 0, 0]
    assert np.isnan(found.energy_j[4])
    assert list(budget(found).half_width_j) == [0] * 5


def test_no_intervals_are_no_energies():
    assert integrals(readings([0, 1], [1, 1]), []).energy_j.size == 0


def test_an_interval_that_ends_before_it_starts_is_refused():
    with pytest.raises(InputError, match="interval 2 ends 1 s before it starts"):
        integrals(readings([0, 1], [1, 1]), [(0, 1), (3, 2)])


@pytest.mark.parametrize(
    "times_s, message", [([0, 1, 0.5, 2], "goes back by 0.5 s at row 3"), ([0, 1, 1], "same again at row 3")]
)
def test_time_that_does_not_grow_is_refused_with_its_row(times_s, message):
    chunk = readings(times_s, [1.0] * len(times_s))
    for chunks in ([chunk], list(pieces(chunk, itertools.repeat(2)))):
        with pytest.raises(InputError, match=message):
            integrals(chunks, [(0, 1)])


def test_a_machine_that_slept_between_two_batches_leaves_a_gap():
    def batch(first_s: float, asleep_s: float) -> Chunk:
        time_ns = np.rint((first_s + np.arange(50) * 0.02) * S).astype(np.int64)
        clocks = ClockReading(int(time_ns[-1]), int(time_ns[-1]) + int(asleep_s * S), 0)
        return dataclasses.replace(chunk_of(time_ns, X_w=np.full(50, 10.0)), clocks=clocks)

    found = integrals([batch(0, 0), batch(1, 0.005), batch(2, 60)], [(0, 2.9), (0, 1.5)])
    assert found.covered_s == pytest.approx([2.88, 1.5])
    assert found.energy_j == pytest.approx([28.8, 15])
    assert found.reason(0) == "the machine slept" and found.gaps[0].start_ns == int(1.98 * S)


def test_a_meter_that_fails_to_the_end_leaves_a_gap_with_its_reason_behind_the_last_reading():
    time_s = np.arange(0.0, 10.25, 0.5)
    chunk = readings(time_s, np.full(time_s.size, 5.0))
    found = integrals(failed_at(chunk, *np.arange(10.5, 30.0, 0.5)), [(0, 10), (0, 25), (15, 25)])
    (gap,) = found.gaps
    assert (gap.start_ns, gap.end_ns, found.gap_count) == (10 * S, round(29.5 * S), 1)
    said = "no reading for 19.5 s: no answer"
    assert [found.reason(at) for at in range(3)] == [None, said, said]
    once = integrals(failed_at(chunk, 10.5), [(0, 10)])  # as any meter may that is being closed
    assert (once.gap_count, once.gaps) == (0, ())


def test_a_gap_says_what_the_sampler_noted():
    chunk = readings([0, 1, 2, 9, 10], [1.0] * 5)
    noted = dataclasses.replace(chunk, notes=({"t_ns": 3 * S, "reason": "VDD_IN: No such device"},))
    assert integrals(noted, [(0, 10)], max_gap_s=2).reason(0) == "no reading for 7 s: VDD_IN: No such device"


def test_readings_that_fail_to_the_end_are_a_gap_with_its_reason_as_those_between_two_readings_are():
    chunk = readings(np.arange(0, 10, 0.1), [5.0] * 40 + [np.nan] * 60)
    noted = dataclasses.replace(
        chunk, notes=tuple({"t_ns": t * S, "reason": "VDD_IN: gone"} for t in (4, 5, 6, 7, 8, 9))
    )
    found = integrals(noted, [(1, 2), (3, 6), (5, 9)])
    (gap,) = found.gaps
    assert (gap.start_ns / S, gap.end_ns / S) == pytest.approx((3.9, 9.9))
    said = "no reading for 6 s: VDD_IN: gone"
    assert [found.reason(i) for i in range(3)] == [None, said, said]
    assert found.covered_s == pytest.approx([1.0, 0.9, 0.0]) and found.is_missing[2]
    # where no phase needs them, or nobody asked, nothing is missing
    assert not integrals(noted, [(1, 2)]).gaps and not integrals(chunk, [(1, 2), (5, 9)]).gaps


def twice_a_second(step_s: float, stall: Tuple[float, float] = (30.0, 32.0)) -> Chunk:
    """A minute of readings at 2 Hz with a hole, of a load that goes from 5 to 15 W at `step_s`."""
    time_s = np.arange(0.25, 60, 0.5)
    time_s = time_s[(time_s < stall[0]) | (time_s > stall[1])]
    return readings(time_s, np.where(time_s < step_s, 5.0, 15.0))


def failed_at(chunk: Chunk, *times_s: float) -> Chunk:
    return dataclasses.replace(chunk, notes=tuple({"t_ns": round(t * S), "reason": "no answer"} for t in times_s))


def test_a_stall_in_which_reads_failed_is_a_gap_with_the_reason_and_no_energy_is_invented():
    stalled = failed_at(twice_a_second(31.0), 30.25, 31.25)
    found = integrals(stalled, [(10, 50), (40, 50)])
    assert found.covered_s == pytest.approx([37.5, 10])  # from the reading at 29.75 s to that at 32.25 s
    assert found.energy_j == pytest.approx([5 * 19.75 + 15 * 17.75, 150])
    assert [found.reason(0), found.reason(1)] == ["no reading for 2.5 s: no answer", None]
    *parts, last = pieces(twice_a_second(31.0), itertools.repeat(7))  # whichever chunk brings the notes
    late = integrals([*parts, failed_at(last, 31.25)], [(10, 50), (40, 50)])
    assert late.energy_j == pytest.approx(found.energy_j) and late.gap_count == 1


def test_a_failed_read_is_bridged_as_long_as_nothing_can_hide_in_it_and_as_long_as_the_user_says():
    """Two of three intervals are bridged at any rate, and so is whatever is shorter than a second."""
    assert integrals(failed_at(twice_a_second(0, (30, 31)), 30.5), [(10, 50)]).covered_s[0] == 40
    assert integrals(failed_at(twice_a_second(0), 30.5), [(10, 50)], max_gap_s=3).covered_s[0] == 40
    fast_s = np.delete(np.arange(0, 10, 0.01), slice(500, 590))
    fast = failed_at(readings(fast_s, np.full(fast_s.size, 5.0)), 5.2)
    assert integrals(fast, [(0, 9)]).energy_j[0] == pytest.approx(45)
    elsewhere = failed_at(twice_a_second(0), 29.75, 32.25, 50.0)  # noted of readings that came, and of another time
    assert integrals(elsewhere, [(10, 50)]).covered_s[0] == 40


@pytest.mark.parametrize("phase_s", [(0.25, 59), (20, 40), (29, 34), (5, 32.5), (29.8, 50)])
def test_a_stall_in_which_nothing_failed_is_bridged_and_the_interval_contains_what_the_load_did(phase_s):
    """The load changes at any moment of the stall, which its two sides show."""
    for step_s in np.linspace(29.8, 32.2, 25):
        found = integrals(twice_a_second(step_s), [phase_s])
        truth_j = 5 * (step_s - phase_s[0]) + 15 * (phase_s[1] - step_s)
        truth_j = truth_j if step_s > phase_s[0] else 15 * (phase_s[1] - phase_s[0])
        assert found.covered_s[0] == pytest.approx(phase_s[1] - phase_s[0])
        assert abs(found.energy_j[0] - truth_j) <= budget(found).half_width_j[0], step_s


# --- counters


def counts(times_s: Sequence[float], energy_j: Sequence[float], **more: Any) -> Chunk:
    return chunk_of(np.rint(np.array(times_s) * S).astype(np.int64), X_j=np.array(energy_j), **more)


def test_a_counter_is_interpolated_at_the_edges():
    time_s = np.arange(0, 10, 0.1)
    found = integrals(counts(time_s, 1000 + 7 * time_s), [(1.234, 5.678)], series=COUNTER)
    assert found.energy_j[0] == pytest.approx(7 * (5.678 - 1.234), rel=1e-12)


def test_a_counter_that_turns_every_tenth_of_a_second_is_not_taken_for_idle():
    time_s = np.arange(0, 10, 0.013)
    energy_j = 8 * np.floor(time_s / 0.1) * 0.1
    found = integrals(counts(time_s, energy_j), [(1.05, 5.55), (2.01, 2.09)], series=COUNTER)
    assert np.abs(found.energy_j - [36, 0.64]).max() < 0.1 and found.energy_j[1] > 0.3


def test_a_counter_that_starts_anew_leaves_a_gap_with_that_reason():
    time_s = np.arange(0, 10.0, 0.1)
    energy_j = np.where(time_s < 5, 7 * time_s, 7 * (time_s - 5))
    for chunks in ([counts(time_s, energy_j)], list(pieces(counts(time_s, energy_j), itertools.repeat(7)))):
        found = integrals(chunks, [(1, 9), (1, 3), (4.95, 4.98)], series=COUNTER)
        assert found.energy_j == pytest.approx([7 * 7.9, 14, np.nan], nan_ok=True)
        assert "went backwards" in str(found.reason(0))
        assert "went backwards" in str(found.reason(2))


def test_a_counter_that_stands_still_counts_nothing_and_covers():
    found = integrals(counts(np.arange(0, 100, 0.5), np.full(200, 3.0)), [(10, 90)], series=COUNTER)
    assert found.energy_j[0] == 0 and found.covered_s[0] == 80


def test_a_counter_has_counted_through_a_stall_in_which_reads_failed():
    time_s = np.delete(np.arange(0, 60, 0.5), slice(60, 65))
    stalled = failed_at(counts(time_s, 10 * time_s), 30.5, 31.5)
    found = integrals(stalled, [(10, 50)], series=COUNTER)
    assert (found.covered_s[0], found.energy_j[0]) == (40, pytest.approx(400))


def test_a_meter_with_counter_and_power_is_read_both_ways():
    info = MeterInfo(
        "n", "gpu", False, (Rail("GPU", "gpu"),), (Column("GPU_w"), Column("GPU_j", 1e-3, True)), ("GPU",), 20.0
    )
    counter, power = series_of(info, ["GPU"]), power_of(info, ["GPU"])
    assert counter.is_counter and counter.step_j == 1e-3
    assert power is not None and power.columns == (("GPU_w",),)
    with pytest.raises(InputError, match=r"no rail 'CPU'; .*known: GPU"):
        series_of(info, ["CPU"])


# --- laws

times = st.lists(st.integers(1, 300_000_000), min_size=3, max_size=60)
edges = st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)).map(sorted)
kinds = st.sampled_from(
    [
        POWER,
        dataclasses.replace(POWER, rail=Rail("X", "module", kind=HOLD, update_period_s=0.4)),
        dataclasses.replace(POWER, rail=Rail("X", "module", kind=AVERAGE, averaging_s=0.3)),
    ]
)


@st.composite
def traces(draw: Any) -> Chunk:
    time_ns = np.cumsum(draw(times))
    power_w = draw(st.lists(st.integers(0, 40), min_size=time_ns.size, max_size=time_ns.size))
    return chunk_of(time_ns, X_w=np.array(power_w) / 2)


def over(chunks: Any, spans: List[Any], series: Series, max_gap_s: Optional[float] = None) -> Integrals:
    chunks = [chunks] if isinstance(chunks, Chunk) else chunks
    starts, ends = (np.array([s[k] for s in spans], np.int64) for k in (0, 1))
    return integrate(chunks, [series], survey(chunks, [series]), starts, ends, max_gap_s)[0]


@given(traces(), edges, st.floats(0, 1), kinds)
def test_adjacent_intervals_add_up(trace, span, share, series):
    middle = span[0] + int(share * (span[1] - span[0]))
    whole, left, right = np.nan_to_num(over(trace, [span, (span[0], middle), (middle, span[1])], series).energy_j)
    assert left + right == pytest.approx(whole, abs=1e-9)


@given(traces(), edges, edges, kinds)
def test_children_and_the_rest_make_the_parent(trace, span, other, series):
    parent = (min(span[0], other[0]), max(span[1], other[1]))
    parts = [parent, span, (parent[0], span[0]), (span[1], parent[1])]
    found = over(trace, parts, series)
    energy_j = np.nan_to_num(found.energy_j)
    assert energy_j[1:].sum() == pytest.approx(energy_j[0], abs=1e-9)
    assert found.covered_s[1:].sum() == pytest.approx(found.covered_s[0], abs=1e-9)
    assert found.readings[1:].sum() == found.readings[0]


@given(traces(), edges, st.integers(-(10**18), 10**18), kinds)
def test_a_shift_in_time_changes_nothing(trace, span, shift_ns, series):
    moved = dataclasses.replace(trace, time_ns=trace.time_ns + shift_ns)
    one, other = over(trace, [span], series), over(moved, [(span[0] + shift_ns, span[1] + shift_ns)], series)
    assert other.energy_j == pytest.approx(one.energy_j, rel=1e-12, nan_ok=True)
    assert budget(other).half_width_j == pytest.approx(budget(one).half_width_j, rel=1e-9, abs=1e-12)


@given(traces(), edges, st.floats(0.01, 100), kinds)
def test_twice_the_power_is_twice_the_energy_and_its_uncertainty(trace, span, factor, series):
    scaled = dataclasses.replace(trace, values={"X_w": trace.values["X_w"] * factor})
    one, other = over(trace, [span], series), over(scaled, [span], series)
    assert other.energy_j == pytest.approx(one.energy_j * factor, rel=1e-9, nan_ok=True)
    assert budget(other).half_width_j == pytest.approx(budget(one).half_width_j * factor, rel=1e-6, abs=1e-9)


@given(traces(), edges, kinds, st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_the_result_does_not_depend_on_how_the_readings_come(trace, span, series, sizes):
    one = over(trace, [span, (0, 10**10)], series)
    other = over(list(pieces(trace, itertools.cycle(sizes))), [span, (0, 10**10)], series)
    for name in (
        "energy_j",
        "covered_s",
        "readings",
        "longest_s",
        "jump_j2",
        "cross_j2",
        "cross_2_j2",
        "long_s2",
        "variance_w2",
    ):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-12, abs=1e-12, nan_ok=True), name
    assert budget(other).half_width_j == pytest.approx(budget(one).half_width_j, rel=1e-9, abs=1e-12)
    assert [g for g in other.gaps] == [g for g in one.gaps]


@given(traces(), edges, st.data())
def test_dropped_readings_never_make_the_energy_silently_smaller(trace, span, data):
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=trace.time_ns.size, max_size=trace.time_ns.size)))
    fewer = chunk_of(trace.time_ns[kept], X_w=trace.values["X_w"][kept])
    one, other = over(trace, [span], POWER), over(fewer, [span], POWER)
    if np.isnan(one.energy_j[0]) or np.isnan(other.energy_j[0]):
        return
    if other.covered_s[0] == one.covered_s[0]:
        lowest_w = trace.values["X_w"].min()
        assert other.energy_j[0] >= lowest_w * other.covered_s[0] - 1e-9
    else:
        assert other.is_partial[0] and other.reason(0)


@given(traces(), edges)
def test_a_reading_on_the_line_changes_nothing(trace, span):
    middle_ns = (trace.time_ns[1:] + trace.time_ns[:-1]) // 2
    if (np.diff(trace.time_ns) < 2).any():
        return
    time_ns = np.sort(np.concatenate((trace.time_ns, middle_ns)))
    power_w = np.interp(time_ns - time_ns[0], trace.time_ns - time_ns[0], trace.values["X_w"])
    one, other = over(trace, [span], POWER, 1.0), over(chunk_of(time_ns, X_w=power_w), [span], POWER, 1.0)
    assert other.energy_j == pytest.approx(one.energy_j, rel=1e-9, abs=1e-12, nan_ok=True)


@given(traces(), edges)
def test_equal_readings_between_equal_readings_change_nothing(trace, span):
    steady = chunk_of(trace.time_ns, X_w=np.full(trace.time_ns.size, 6.0))
    fewer = chunk_of(trace.time_ns[[0, -1]], X_w=np.full(2, 6.0))
    one, other = over(steady, [span], POWER, 1e3), over(fewer, [span], POWER, 1e3)
    assert other.energy_j == pytest.approx(one.energy_j, rel=1e-12, nan_ok=True)


@given(traces(), edges)
def test_lines_between_corners_are_exact(trace, span):
    found = over(trace, [span], POWER, 1e3)
    start, end = max(span[0], trace.time_ns[0]), min(span[1], trace.time_ns[-1])
    if end <= start:
        return
    corners = np.unique(np.concatenate(([start, end], trace.time_ns[(trace.time_ns > start) & (trace.time_ns < end)])))
    power_w = np.interp(corners - start, trace.time_ns - start, trace.values["X_w"])
    truth_j = np.sum((power_w[1:] + power_w[:-1]) / 2 * np.diff(corners) * 1e-9)
    assert found.energy_j[0] == pytest.approx(truth_j, rel=1e-9, abs=1e-12)


def test_small_phases_in_a_long_trace_keep_their_digits():
    time_ns = np.arange(3_000_000) * 1_000_000
    chunk = chunk_of(time_ns, X_w=np.full(time_ns.size, 1000.0))
    found = over(chunk, [(2_999_000_000_000, 2_999_000_001_000)], POWER)
    assert found.energy_j[0] == pytest.approx(1e-3, rel=1e-9)
