"""Two meters of one run against each other, on run folders made by hand whose ratios are known."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_account import METER, Bench, S

from ebbench.energy.account import account
from ebbench.energy.cross_check import MAX_WINDOWS, expected_ratio, windows_of
from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.records import FAIL, NOT_CHECKED, PASS, WARN
from ebbench.sealing.checks import check_run

ORDER, STEADY, READ = "larger scope shows more", "ratio of the meters steady", "other meters read throughout"


def meter(name="socket", scope="wall", gain_ratio=0.01, rate_hz=10.0):
    rails = (Rail("P", scope, gain_ratio=gain_ratio, offset_w=0.0, resolution_w=0.0),)
    return MeterInfo(name, scope, True, rails, (Column("P_w"),), ("P",), rate_hz)


@pytest.fixture
def run(tmp_path: Path):
    """A run of 8 W and 10 W over 90 s, and beside its reference other meters: (info, what `Bench.trace` takes)."""

    def build(*others, seconds=30.0, reference=METER):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        bench = Bench(folder, [reference, *{info.name: info for info, _ in others}.values()])
        bench.log.start()
        bench.phase("search", seconds)
        bench.phase("idle", 2.0)
        bench.phase("retrain", 2 * seconds)
        bench.log.stop("success")
        bench.trace(reference, rate_hz=100.0)
        for info, how in others:
            number = len(bench.rundir.traces(info.name))
            bench.trace(info, **{"number": number, "rate_hz": info.default_rate_hz, **how})
        return bench, account(bench.rundir)

    return build


def verdicts(found):
    return {check.name: check for check in check_run(found)}


def test_the_ratio_of_a_socket_to_the_module_is_found_with_its_interval(run):
    _, found = run((meter(), {"scale": [1.3]}))
    (other,) = found.cross_checks
    assert other["ratio"] == pytest.approx(1.3, abs=other["uncertainty"])
    assert other["uncertainty"] == pytest.approx(2 * 1.3 * np.hypot(0.01, 0.01), rel=0.1)
    assert (other["meter"], other["scope"], other["reference_scope"], other["expected"]) == (
        "socket",
        "wall",
        "module",
        ">= 1",
    )
    assert other["windows"]["n"] == MAX_WINDOWS and other["compared_s"] == pytest.approx(90.0)
    assert other["windows"]["min"] <= other["windows"]["mean"] <= other["windows"]["max"]
    assert other["ratio_sd"] < 0.01 and other["lost"] is None
    checks = verdicts(found)
    assert [checks[name].verdict for name in (ORDER, STEADY, READ)] == [PASS] * 3
    assert checks["meters agree"].verdict == NOT_CHECKED


def test_a_meter_that_averages_over_nobody_knows_how_long_is_compared_as_strictly_as_any_other(run):
    slow = meter()
    slow = dataclasses.replace(slow, rails=(dataclasses.replace(slow.rails[0], averaging_s=None),))
    _, found = run((slow, {"scale": [0.9]}))
    assert found.cross_checks[0]["uncertainty_known"] and verdicts(found)[ORDER].verdict == FAIL


@pytest.mark.parametrize(
    ("scope", "scale", "gain_ratio", "verdict"),
    [
        ("wall", 0.9, 0.01, FAIL),
        ("devkit", 0.9, 0.01, FAIL),
        ("wall", 0.99, 0.01, PASS),  # within its uncertainty
        ("wall", 0.9, None, WARN),  # nobody knows how good it is: less than a fifth may be its own fault
        ("wall", 0.7, None, FAIL),
        ("gpu", 0.4, 0.01, PASS),
        ("gpu", 1.2, 0.01, FAIL),
        ("cpu", 1.2, 0.01, FAIL),
        ("rail", 3.0, 0.01, NOT_CHECKED),
    ],
)
def test_what_contains_the_reference_shows_no_less_and_what_it_contains_no_more(run, scope, scale, gain_ratio, verdict):
    _, found = run((meter(scope=scope, gain_ratio=gain_ratio), {"scale": [scale]}))
    check = verdicts(found)[ORDER]
    assert check.verdict == verdict
    assert ("socket" in check.advice) is (verdict in (WARN, FAIL))


def test_meters_of_one_scope_must_agree(run):
    _, found = run((meter(scope="module"), {"scale": [1.3]}))
    assert found.trace["cross_meter_ratio"] == pytest.approx(1.3, rel=0.01)
    assert verdicts(found)["meters agree"].verdict == FAIL and verdicts(found)[ORDER].verdict == NOT_CHECKED


def test_a_meter_that_does_not_know_its_total_is_compared_and_not_judged(run):
    _, found = run((dataclasses.replace(meter(), total=()), {"scale": [0.1]}))
    (other,) = found.cross_checks
    assert other["ratio"] == pytest.approx(0.1, rel=0.01) and other["expected"] is other["wrong_by"] is None
    assert verdicts(found)[ORDER].verdict == NOT_CHECKED


def test_a_measured_meter_is_not_judged_by_a_simulated_one(run):
    _, found = run((dataclasses.replace(meter(), simulated=False), {"scale": [0.5]}))
    (other,) = found.cross_checks
    assert other["ratio"] == pytest.approx(0.5, rel=0.01) and other["expected"] is None
    assert verdicts(found)[ORDER].verdict == verdicts(found)["meters agree"].verdict == NOT_CHECKED
    assert [found.rails[name]["kind"] for name in ("sim/VDD_IN", "socket/P")] == ["simulated", "measured"]


def test_scopes_of_which_neither_contains_the_other_say_nothing():
    assert expected_ratio("gpu", "cpu") is expected_ratio("rail", "module") is None
    for low, high in (("gpu", "module"), ("cpu", "wall"), ("module", "devkit"), ("devkit", "wall")):
        assert (expected_ratio(high, low), expected_ratio(low, high)) == (">= 1", "<= 1")


def test_a_ratio_that_moves_is_a_warning_that_says_from_where_to_where(run):
    info = meter()
    _, found = run((info, {"scale": [1.2], "end_s": 50.0}), (info, {"scale": [2.0], "start_s": 50.1}))
    check = verdicts(found)[STEADY]
    assert check.verdict == WARN and check.value == pytest.approx(found.cross_checks[0]["ratio_sd"], rel=0.1)
    assert "goes from 1.19 to 2" in check.advice


def test_the_scatter_of_noisy_readings_is_not_taken_for_an_unsteady_ratio(run, tmp_path):
    info = meter(scope="module")
    bench, _ = run((info, {"scale": [1.0], "end_s": 4.5}))
    bench.rundir.trace("socket", 0).unlink()
    time_ns = np.arange(4 * S, 100 * S, S // 2)
    writer = TraceWriter(bench.rundir.trace("socket", 0), info, {})
    power_w = np.where(time_ns < 35 * S, 8.0, 10.0) + np.random.default_rng(1).normal(0, 5.0, time_ns.size)
    writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), power_w[:, None])
    writer.close()
    found = account(bench.rundir)
    (other,) = found.cross_checks
    assert other["ratio_sd"] > 0.05 and other["readings_sd"] > 0.05
    assert verdicts(found)[STEADY].verdict == PASS


def test_a_meter_that_ends_early_is_compared_over_what_both_have_and_the_lack_is_a_warning(run):
    bench, found = run((meter(), {"scale": [1.3], "end_s": 50.0}))
    (other,) = found.cross_checks
    assert other["ratio"] == pytest.approx(1.3, abs=0.01) and 30 < other["compared_s"] < 45
    assert verdicts(found)[READ].verdict == WARN and "see the gaps" in verdicts(found)[READ].advice
    assert verdicts(found)["longest gap"].verdict == verdicts(found)["coverage"].verdict == PASS
    bench.log = type(bench.log)(bench.rundir.phases, clock=lambda: bench.now_ns)
    bench.log.start()
    bench.log.mark("meter-lost", meter="socket", reason="the cable was pulled")
    bench.log.stop("success")
    again = account(bench.rundir)
    assert again.cross_checks[0]["lost"] == "the cable was pulled"
    assert verdicts(again)[READ].advice == "socket: the cable was pulled"


def test_a_meter_that_never_read_anything_has_no_ratio_rather_than_zero(run):
    _, found = run((meter(), {"scale": [1.3], "end_s": 4.0}))
    (other,) = found.cross_checks
    assert other["ratio"] is None and other["uncertainty"] is None and other["windows"]["n"] == 0
    assert {name: verdicts(found)[name].verdict for name in (ORDER, STEADY, READ)} == {
        ORDER: NOT_CHECKED,
        STEADY: NOT_CHECKED,
        READ: WARN,
    }


def test_a_slow_meter_in_a_short_run_gets_a_ratio_and_no_scatter(run):
    _, found = run((meter(rate_hz=1.0), {"scale": [1.3]}), seconds=5.0)
    (other,) = found.cross_checks
    assert (
        other["windows"]["n"] == 1 and abs(other["ratio"] - 1.3) <= other["uncertainty"] and other["ratio_sd"] is None
    )
    assert verdicts(found)[STEADY].verdict == NOT_CHECKED


def test_the_meter_that_is_most_wrong_is_the_one_that_is_named(run):
    _, found = run((meter("good"), {"scale": [1.4]}), (meter("bad"), {"scale": [0.5]}))
    check = verdicts(found)[ORDER]
    assert check.verdict == FAIL and check.advice.startswith("bad (wall) shows 0.5 times")


def test_a_run_with_one_meter_has_nothing_to_compare(run):
    _, found = run()
    assert found.cross_checks == [] and not {ORDER, STEADY, READ} & set(verdicts(found))


def test_a_second_meter_does_not_change_the_energies_of_the_first(run):
    _, alone = run()
    _, together = run((meter(), {"scale": [1.3]}))
    for name in ("total_j", "uncertainty_j", "net_j", "other_j", "covered_s"):
        assert getattr(together, name) == pytest.approx(getattr(alone, name), rel=1e-12)
    assert together.by_phase.keys() == alone.by_phase.keys()


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 10**9)), max_size=8), st.floats(0.0, 1.0))
def test_windows_are_equally_long_and_hold_all_the_time(gaps_and_lengths, interval_s):
    rows, now = [], 0
    for gap, length in gaps_and_lengths:
        rows.append((now + gap, now + gap + length, "boot"))
        now += gap + length
    windows = windows_of(rows, interval_s)
    lengths = [sum(end - start for start, end, _ in window) for window in windows]
    assert sum(lengths) == sum(end - start for start, end, _ in rows)
    assert len(windows) <= MAX_WINDOWS and all(length > 0 for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1
    pieces = [piece for window in windows for piece in window]
    assert pieces == sorted(pieces) and all(start < end for start, end, _ in pieces)
    assert not lengths or len(windows) == 1 or min(lengths) >= 10 * interval_s * 1e9 - 1
