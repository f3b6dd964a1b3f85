"""Verdicts: each check is planted with a fault that it alone must find."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ebbench.records import FAIL, NOT_CHECKED, NOT_MEASURED, PASS, WARN, EnergyAccount, PhaseEnergy
from ebbench.sealing.as_sealed import CHECK as AS_SEALED
from ebbench.sealing.checks import check_run, command_ended, run_ended
from ebbench.sharing.taken import CHECK

PAGE = Path(__file__).parents[2] / "docs" / "measuring.md"


def phase(energy_j, duration_s, readings, count=1):
    return PhaseEnergy(
        energy_j, 0.01 * energy_j, energy_j, duration_s, duration_s, count, "simulated", "ok", None, readings
    )


def clock(bound_s=0.0, method="same", reason=None, meter="sim"):
    return {"meter": meter, "trace": "t", "method": method, "bound_s": bound_s, "peak_ratio": None, "reason": reason}


@pytest.fixture
def healthy():
    """A run of 100 s at 10 W sampled at 100 Hz with two equal idle phases."""
    idle = {"path": "idle", "energy_j": 20.0, "duration_s": 10.0, "status": "ok"}
    return EnergyAccount(
        reference={"meter": "sim", "rail": "VDD_IN", "scope": "module"},
        kind="simulated",
        total_j=1000.0,
        uncertainty_j=10.0,
        redone_j=0.0,
        other_j=40.0,
        net_j=800.0,
        idle_power_w=2.0,
        duration_s=100.0,
        covered_s=100.0,
        down_s=0.0,
        by_phase={
            "search": phase(600.0, 60.0, 6000),
            "retrain": phase(400.0, 40.0, 4000),
            "prune": phase(0.1, 0.01, 1),
        },
        phases=[idle, dict(idle)],
        rails={},
        components_j={},
        trace={
            "readings": 10000,
            "missed": 3,
            "damage": None,
            "saturated": 0,
            "cross_meter_ratio": 1.01,
            "idle_drift": 0.01,
            "idle_drift_uncertainty": 0.002,
        },
        clocks=[clock()],
    )


def verdicts(account, **more):
    return {check.name: check.verdict for check in check_run(account, **more)}


def with_trace(account, **facts):
    return dataclasses.replace(account, trace={**account.trace, **facts})


def test_a_healthy_run_passes_everything_that_its_bench_logs(healthy):
    found = verdicts(healthy)
    assert {v for v in found.values()} == {PASS, NOT_CHECKED}
    assert {n for n, v in found.items() if v == NOT_CHECKED} == {
        "thermal throttling",
        "power mode unchanged",
        "clocks unchanged",
        "processor to itself",
    }


def test_a_doubt_about_what_was_measured_beside_an_estimate_fails_no_run(healthy):
    holed = dataclasses.replace(healthy, covered_s=90.0)
    (alone,) = [c for c in check_run(holed) if c.name == "coverage"]
    (beside,) = [c for c in check_run(holed, is_estimated=True) if c.name == "coverage"]
    assert (alone.verdict, beside.verdict, beside.value) == (FAIL, WARN, alone.value)
    assert (
        beside.advice == f"of what was measured while simulating, nothing of which is in the estimate: {alone.advice}"
    )
    assert verdicts(healthy, is_estimated=True).keys() == verdicts(healthy).keys()
    assert verdicts(healthy, is_estimated=True, ticket={"found": False}) == {
        **verdicts(healthy, ticket={"found": False}), "uncertainty of the total": NOT_CHECKED,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name, verdict, fault",
    [
        ("coverage", WARN, {"covered_s": 99.5}),
        ("coverage", FAIL, {"covered_s": 90.0}),
        ("uncertainty of the total", WARN, {"uncertainty_j": 100.0}),
        ("uncertainty of the total", FAIL, {"uncertainty_j": 900.0}),
        ("uncertainty of the total", NOT_CHECKED, {"uncertainty_j": None}),
        ("work done twice", WARN, {"redone_j": 200.0}),
        ("longest gap", FAIL, {"gaps": [{"duration_s": 5.0, "reason": "planted"}]}),
        ("longest gap", WARN, {"gaps": [{"duration_s": 0.5, "reason": "planted"}]}),
    ],
)
def test_a_fault_of_the_account_is_found_by_its_check_alone(healthy, name, verdict, fault):
    before, after = verdicts(healthy), verdicts(dataclasses.replace(healthy, **fault))
    assert after[name] == verdict
    assert {n for n in after if after[n] != before[n]} == {name}


@pytest.mark.parametrize(
    "name, verdict, facts",
    [
        ("trace whole", WARN, {"damage": "the last 12 readings are lost"}),
        ("missed sampling slots", FAIL, {"missed": 10000}),
        ("readings at the meter's limit", FAIL, {"saturated": 1}),
        ("readings at the meter's limit", NOT_CHECKED, {"saturated": None}),
        ("meters agree", FAIL, {"cross_meter_ratio": 0.5}),
        ("meters agree", NOT_CHECKED, {"cross_meter_ratio": None}),
    ],
)
def test_a_fault_of_the_trace_is_found_by_its_check_alone(healthy, name, verdict, facts):
    before, after = verdicts(healthy), verdicts(with_trace(healthy, **facts))
    assert after[name] == verdict
    assert {n for n in after if after[n] != before[n]} == {name}


@pytest.mark.parametrize(
    "ratio, uncertainty, verdict",
    [(0.985, 0.0, PASS), (0.97, 0.0, WARN), (0.97, 0.02, PASS), (1.15, 0.02, FAIL), (1.0, 0.0, PASS)],
)
def test_a_counter_that_disagrees_with_its_power_is_found_beyond_what_scatter_explains(
    healthy, ratio, uncertainty, verdict
):
    facts = {"counter_ratio": ratio, "counter_ratio_uncertainty": uncertainty}
    assert verdicts(with_trace(healthy, **facts))["counter agrees with power"] == verdict
    assert "counter agrees with power" not in verdicts(healthy)


@pytest.mark.parametrize(("unresolved", "verdict"), [(False, PASS), (True, FAIL)])
def test_many_phases_that_are_known_together_count_as_one(healthy, unresolved, verdict):
    (name, phase), *_ = healthy.by_phase.items()
    steps = dataclasses.replace(phase, count=200, readings=100, unresolved=unresolved)
    assert verdicts(dataclasses.replace(healthy, by_phase={name: steps}))["readings per phase"] == verdict


def test_a_phase_below_one_percent_of_the_energy_may_have_few_readings(healthy):
    assert verdicts(healthy)["readings per phase"] == PASS
    thin = dataclasses.replace(healthy, by_phase={**healthy.by_phase, "retrain": phase(400.0, 40.0, 8)})
    assert verdicts(thin)["readings per phase"] == FAIL


def test_a_phase_with_a_name_of_the_users_own_counts_too(healthy):
    """``command`` of `measure`, or any name in an EnergyMonitor: what is in the total is checked."""
    own = {**healthy.by_phase, "my own": phase(400.0, 40.0, 30)}
    assert verdicts(dataclasses.replace(healthy, by_phase=own))["readings per phase"] == WARN


@pytest.mark.parametrize("duration_s, count, verdict", [(0.04, 1, WARN), (0.04, 2, FAIL), (40.0, 1, FAIL)])
def test_what_happens_once_and_is_short_never_fails(healthy, duration_s, count, verdict):
    short = dataclasses.replace(
        with_trace(healthy, rate_hz=100.0), by_phase={"train": phase(1000.0, duration_s, 4, count)}
    )
    assert verdicts(short)["readings per phase"] == verdict


def test_a_run_without_a_phase_that_counts_does_not_pass(healthy):
    empty = dataclasses.replace(healthy, total_j=None, uncertainty_j=None, duration_s=0.0, covered_s=0.0, by_phase={})
    (coverage,) = [c for c in check_run(empty) if c.name == "coverage"]
    assert (coverage.verdict, coverage.value) == (WARN, None)
    assert "no phase was opened" in coverage.advice


@pytest.mark.parametrize(
    ("drift", "half_width", "verdict"),
    [
        (0.04, 0.0, PASS),
        (0.1, 0.01, WARN),
        (0.1, 0.06, PASS),
        (0.3, 0.01, FAIL),
        (0.27, 2.0, PASS),
        (None, None, NOT_CHECKED),
    ],
)
def test_idle_drift_is_what_the_readings_do_not_explain(healthy, drift, half_width, verdict):
    drifted = with_trace(healthy, idle_drift=drift, idle_drift_uncertainty=half_width)
    assert verdicts(drifted)["idle power drift"] == verdict


def test_a_measurement_too_short_to_be_resolved_is_wide_and_never_fails(healthy):
    short = dataclasses.replace(phase(0.05, 0.006, 1), unresolved=True)
    account = dataclasses.replace(healthy, total_j=0.05, uncertainty_j=0.06, by_phase={"command": short})
    assert verdicts(account)["uncertainty of the total"] == WARN


def test_phases_that_hardly_a_reading_saw_are_to_be_put_into_one(healthy):
    wide = dataclasses.replace(
        healthy, uncertainty_j=900.0, components_j={"gain": None, "edges": 1.0, "unresolved": 450.0}
    )
    (check,) = [c for c in check_run(wide) if c.name == "uncertainty of the total"]
    assert check.verdict == FAIL and "hardly a reading" in check.advice
    assert "open one phase around many of them" in check.advice


def test_where_no_reading_fell_into_a_phase_it_is_said_how_much_its_interval_allows_for(healthy):
    unseen = dataclasses.replace(phase(0.003, 0.0013, 0), unresolved=True)
    account = dataclasses.replace(
        healthy, total_j=0.003, uncertainty_j=0.0035, components_j={"unresolved": 0.0018}, by_phase={"command": unseen}
    )
    (check,) = [c for c in check_run(account) if c.name == "uncertainty of the total"]
    assert check.verdict == WARN and "no reading fell into its phases" in check.advice and "drawn more" in check.advice


def clock_check(account, *clocks):
    (check,) = [c for c in check_run(dataclasses.replace(account, clocks=list(clocks))) if c.name == "clock"]
    return check


def test_the_references_clock_is_known_to_half_a_percent_of_the_shortest_phase_that_counts(healthy):
    """40 s of retraining count, 10 ms of pruning do not: up to 0.2 s pass."""
    assert clock_check(healthy, clock(0.19, "signature")).verdict == PASS
    wide = clock_check(healthy, clock(), clock(0.3, "stated"))  # the worst of its traces
    assert (wide.verdict, wide.value, wide.limit) == (WARN, pytest.approx(0.3 / 40), 0.005)
    assert "sim" in wide.advice and "0.3 s" in wide.advice and "--signature" in wide.advice
    assert clock_check(healthy).verdict == NOT_CHECKED


def test_a_clock_that_could_not_be_aligned_is_a_warning_however_long_the_phases(healthy):
    refused = clock(0.1, "stated", "the power does not show the signature")
    check = clock_check(healthy, clock(0.15), refused)
    assert check.verdict == WARN and "does not show the signature" in check.advice


def test_the_clock_of_a_meter_beside_the_reference_is_said_and_does_not_make_a_warning(healthy):
    beside = clock(0.3, "stated", "no offset_bound_s is stated for it", "wall")
    check = clock_check(healthy, clock(0.001), clock(0.001, meter="wall"), beside)
    assert (check.verdict, check.value) == (PASS, pytest.approx(0.001 / 40))
    assert check.advice.startswith("beside it, the times of wall are known to 0.3 s (no offset_bound_s")
    both = clock_check(healthy, clock(0.3, "stated"), beside)
    assert both.verdict == WARN and both.advice.index("times of sim") < both.advice.index("times of wall")
    assert clock_check(healthy, clock(), clock(0.001, meter="wall")).advice == ""
    assert clock_check(healthy, beside).verdict == NOT_CHECKED  # the reference left no trace


def test_a_ticket_that_never_settled_is_a_warning(healthy):
    assert verdicts(healthy, ticket={"found": False})["ticket found"] == WARN
    assert verdicts(healthy, ticket={"found": True})["ticket found"] == PASS


def test_a_layer_that_is_cut_almost_through_is_a_warning_that_names_it(healthy):
    ticket = {"found": True, "layer_kept": [25, 299, 1], "layer_channels": [64, 512, 512]}
    (check,) = [c for c in check_run(healthy, ticket=ticket) if c.name == "narrowest layer"]
    assert check.verdict == WARN
    assert "layer 3 keeps 1 of 512" in check.advice
    assert verdicts(healthy, ticket={**ticket, "layer_kept": [25, 299, 11]})["narrowest layer"] == PASS
    assert verdicts(healthy, ticket={"found": True})["narrowest layer"] == NOT_CHECKED


def test_what_the_bench_logged_is_judged_and_what_it_did_not_log_is_not(healthy):
    found = verdicts(healthy, facts={"throttled_s": 3.0, "power_mode_changed": False})
    assert (found["thermal throttling"], found["power mode unchanged"], found["clocks unchanged"]) == (
        FAIL,
        PASS,
        NOT_CHECKED,
    )


def test_every_finding_says_what_to_do(healthy):
    broken = dataclasses.replace(healthy, covered_s=50.0, uncertainty_j=900.0, redone_j=500.0)
    assert all(check.advice for check in check_run(broken) if check.verdict in (WARN, FAIL))


def test_a_mask_over_weights_has_no_narrowest_layer(healthy):
    ticket = {"found": True, "kept_weights": 10, "weights": 20, "kept_channels": 8, "channels": 8}
    (check,) = [c for c in check_run(healthy, ticket=ticket) if c.name == "narrowest layer"]
    assert check.verdict == "NOT CHECKED" and "weights" in check.advice


def found_ratio(**changes):
    """A ticket whose ratio was found: tried are .7, refused, and .5."""
    auto = {
        "prune_ratio": 0.5, "accepted": True, "max_loss": 0.02, "epochs": 3, "images": 5000, "chance": 0.1,
        "dense_accuracy": 0.7, "how": "", "candidates": [
            {"prune_ratio": 0.7, "trial": 1, "loss": 0.1, "loss_half_width": 0.015},
            {"prune_ratio": 0.5, "trial": 2, "loss": 0.01, "loss_half_width": 0.015},
            {"prune_ratio": 0.3, "trial": None, "loss": None, "loss_half_width": None},
        ],
    }  # fmt: skip
    return {"found": True, "auto": {**auto, **changes}}


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, PASS, ""),
        ({"accepted": False}, WARN, "every candidate lost more"),
        ({"dense_accuracy": 0.108}, WARN, "no better than chance"),
        ({"max_loss": 0.0149}, WARN, "5000 held-out images tell a loss to within 1.5 points"),
        ({"candidates": [{"trial": None}]}, WARN, "the mask of no candidate settled"),
    ],
)
def test_a_ratio_that_was_found_is_doubted_where_none_was_good_enough_or_the_trials_could_not_tell(
    healthy, changes, verdict, words
):
    (check,) = [c for c in check_run(healthy, ticket=found_ratio(**changes)) if c.name == "prune ratio acceptable"]
    assert check.verdict == verdict and words in check.advice
    assert check.value == (None if "candidates" in changes else 0.01)
    assert not [c for c in check_run(healthy, ticket={"found": True}) if c.name == "prune ratio acceptable"]


def test_the_longest_gap_is_said_with_its_reason(healthy):
    gaps = [{"duration_s": 0.1, "reason": "no answer"}, {"duration_s": 5.0, "reason": "VDD_IN: No such device"}]
    (check,) = [c for c in check_run(dataclasses.replace(healthy, gaps=gaps)) if c.name == "longest gap"]
    assert "(VDD_IN: No such device)" in check.advice and check.value == pytest.approx(0.05)


def test_a_run_without_a_meter_says_so_once_and_nothing_of_its_meter_is_checked(healthy):
    nothing = dataclasses.replace(
        healthy, kind=NOT_MEASURED, total_j=None, uncertainty_j=None, covered_s=0.0, trace={"readings": 0}, clocks=[]
    )
    overhead = {"energy_fraction": None, "energy_fraction_uncertainty": None, "kind": NOT_MEASURED}
    found = check_run(nothing, overhead=overhead)
    (said,) = [check for check in found if check.verdict != NOT_CHECKED]
    assert (said.name, said.verdict) == ("coverage", FAIL)
    assert "no meter was read" in said.advice and "--meter" in said.advice and "gaps" not in said.advice
    assert all("no meter was read" in check.advice or "not logged" in check.advice for check in found)


def test_an_overhead_whose_two_estimates_disagree_is_a_warning_that_says_what_to_do(healthy):
    found = {"energy_per_draw_j": 0.016, "regression_energy_j": 0.029, "regression_uncertainty_j": 0.001, "apart": 4.0}
    overhead = {"energy_fraction": 0.001, "energy_fraction_uncertainty": 0.0001, "amplified": found}
    checks = {check.name: check for check in check_run(healthy, overhead=overhead)}
    check = checks["mask-distance overhead both ways"]
    assert (check.verdict, check.value) == (WARN, 4.0)
    assert "0.016 J by blocks, 0.029 J by the regression" in check.advice and "--amplify" in check.advice
    agreeing = {**overhead, "amplified": {**found, "apart": 0.4}}
    assert verdicts(healthy, overhead=agreeing)["mask-distance overhead both ways"] == PASS
    alone = {**overhead, "amplified": {**found, "apart": None}}
    assert "mask-distance overhead both ways" not in verdicts(healthy, overhead=alone)


@pytest.mark.skipif(not PAGE.exists(), reason="these tests were copied away from the sources")
def test_the_page_for_a_referee_has_a_row_for_every_check_and_for_no_other(healthy):
    other = {
        "meter": "wall", "scope": "wall", "reference_scope": "module", "expected": "at least 1", "ratio": 1.2, "wrong_by": 0.0,
        "uncertainty": 0.01, "uncertainty_known": True, "ratio_sd": 0.0, "readings_sd": 0.0, "windows": {"min": 1.2, "max": 1.2},
        "compared_s": 100.0, "lost": None,
    }  # fmt: skip
    whole = dataclasses.replace(
        with_trace(healthy, counter_ratio=1.0, counter_ratio_uncertainty=0.0),
        cross_checks=[other],
        extrapolation={"by_phase": {}, "refused": None},
    )
    found = check_run(
        whole,
        ticket=found_ratio(),
        overhead={"amplified": {"apart": 0.0, "energy_per_draw_j": 1.0, "regression_energy_j": 1.0}},
        facts={"foreign_processes": 0, "mig": False, "start_limit_c": 40.0},
    )
    section = PAGE.read_text(encoding="utf-8").partition("\n## 10. ")[2].partition("\n## 11. ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[1:]  # the first is the heading
    names = {check.name for check in (*found, run_ended("success", None), command_ended(0))} | {CHECK, AS_SEALED}
    assert {name for row in rows for name in row.split(", ")} == names
