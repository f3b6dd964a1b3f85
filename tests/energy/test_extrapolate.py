from __future__ import annotations

import dataclasses
import json
import pkgutil
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from scheduled import BETWEEN_S, BETWEEN_W, DRAW_S, DRAW_W, EVALUATE_S, EVALUATE_W, GAIN, PRUNE_S, S, Training

from ebbench.energy.extrapolate import extrapolate
from ebbench.protocols import Stage
from ebbench.records import FAIL, NOT_MEASURED, RunRecord
from ebbench.sealing.record import record_of

SEARCH, RETRAIN = 20, 60
SCHEMA = jsonschema.Draft202012Validator(json.loads(pkgutil.get_data("ebbench", "schema/record-1.json")))


def train(path, search, retrain, **options) -> Training:
    """An EB Train of SEARCH + RETRAIN epochs, of which the given ones are really trained; epochs are (power, seconds)."""
    run = Training(path, **options)
    run.stage("search", search, scheduled=SEARCH)
    run.spend("prune", 4.0, PRUNE_S)
    run.stage("retrain", retrain, scheduled=RETRAIN, first=SEARCH)
    return run


def epochs(n, power_w=9.0, seconds=1.0, first=None):
    return [(power_w if first is None or i else first, seconds) for i in range(n)]


def constant(path, **options) -> RunRecord:
    return record_of(train(path, epochs(6, first=12.0), epochs(4, 7.0, 0.6, first=8.0), **options).end())


def test_the_whole_is_each_stage_by_its_count_and_what_happens_once(tmp_path):
    record = constant(tmp_path / "run")
    search_j = 12.0 + 19 * 9.0 + 20 * (DRAW_W * DRAW_S + BETWEEN_W * BETWEEN_S)
    retrain_j = 0.6 * (8.0 + 59 * 7.0) + 60 * BETWEEN_W * BETWEEN_S
    energy = record.energy
    assert energy.total_j == pytest.approx(search_j + 4.0 * PRUNE_S + retrain_j, rel=2e-3)
    assert energy.duration_s == pytest.approx(20 * (1 + DRAW_S + BETWEEN_S) + PRUNE_S + 60 * (0.6 + BETWEEN_S))
    stages = energy.extrapolation["by_phase"]
    assert [(s["scheduled_epochs"], s["trained_epochs"], s["measured_epochs"]) for s in stages.values()] == [
        (20, 6, 5),
        (60, 4, 3),
    ]
    assert energy.by_phase["search/epoch/draw"].count == 20
    assert energy.by_phase["search/epoch/draw"].energy_j == pytest.approx(20 * DRAW_W * DRAW_S, rel=0.1)
    assert energy.by_phase["retrain/epoch"].count == 60


def test_where_nothing_was_to_be_measured_nothing_is_extrapolated_and_nothing_failed(tmp_path):
    """A run with the meter `off`: more epochs would not help."""
    run = constant(tmp_path / "run").energy
    unmetered = dataclasses.replace(run, kind=NOT_MEASURED, total_j=None, extrapolation=None)
    assert extrapolate(unmetered, [Stage("search", epochs=SEARCH, trained=6, evaluations=0, first=0)]) is unmetered


def test_evaluations_are_counted_as_the_schedule_has_them_and_are_no_training(tmp_path):
    run = Training(tmp_path / "run")
    run.stage("train", epochs(8), scheduled=100, evaluate_every=4)
    energy = record_of(run.end()).energy
    assert energy.by_phase["train/evaluate"].count == 25
    assert energy.other_j == pytest.approx(25 * EVALUATE_W * EVALUATE_S + 2 * 2.0, rel=0.01)
    assert energy.total_j == pytest.approx(100 * (9.0 + BETWEEN_W * BETWEEN_S), rel=2e-3)


def test_a_parent_still_includes_its_children(tmp_path):
    by_phase = constant(tmp_path / "run").energy.by_phase
    for stage in ("search", "retrain"):
        assert by_phase[stage].energy_j >= by_phase[f"{stage}/epoch"].energy_j + by_phase[f"{stage}/evaluate"].energy_j
        assert (
            by_phase[stage].duration_s
            >= by_phase[f"{stage}/epoch"].duration_s + by_phase[f"{stage}/evaluate"].duration_s
        )


def test_other_rails_grow_as_the_reference_does(tmp_path):
    energy = constant(tmp_path / "run").energy
    assert energy.rails["ina3221/GPU"]["total_j"] == pytest.approx(0.4 * energy.total_j, rel=1e-3)
    assert energy.rails["ina3221/VDD_IN"]["total_j"] == pytest.approx(energy.total_j, rel=1e-3)


def test_a_gain_is_as_large_a_part_of_the_whole_as_of_what_was_measured(tmp_path):
    energy = constant(tmp_path / "run").energy
    assert energy.components_j["gain"] == pytest.approx(GAIN * energy.total_j)
    assert energy.uncertainty_j >= 2 * GAIN * energy.total_j


def test_what_a_delay_may_be_off_at_every_evaluation_grows_with_their_number(tmp_path):
    found = {}
    for trained in (60, 6):
        run = Training(tmp_path / f"{trained}", delay_s=0.0, delay_u_s=0.05)
        run.stage("train", epochs(trained), scheduled=60)
        found[trained] = record_of(run.end()).energy.components_j["lag"]
    assert found[6] == pytest.approx(found[60], rel=0.15)


def test_it_is_labelled_the_measured_part_is_kept_and_no_accuracy_is_claimed(tmp_path):
    record = constant(tmp_path / "run")
    assert record.kind == record.energy.kind == "extrapolated"
    assert {record.energy.by_phase[p].kind for p in ("search", "search/epoch", "search/epoch/draw", "retrain")} == {
        "extrapolated"
    }
    assert {record.energy.by_phase[p].kind for p in ("prune", "idle")} == {"measured"}
    measured = record.energy.extrapolation["measured"]
    assert measured["kind"] == "measured" and measured["total_j"] < record.energy.total_j / 3
    assert record.accuracy is None
    SCHEMA.validate(json.loads(json.dumps(record.to_json(), allow_nan=False)))


def test_what_a_simulated_meter_showed_stays_simulated(tmp_path):
    record = constant(tmp_path / "run", simulated=True)
    assert record.kind == "simulated" and record.energy.extrapolation is not None
    assert record.kind_text == "simulated, extrapolated"
    refused = {**record.energy.extrapolation, "refused": "the epochs drift"}
    assert replace(record, energy=replace(record.energy, extrapolation=refused)).kind_text == "simulated"
    assert {phase.kind for phase in record.energy.by_phase.values()} == {"simulated"}


def test_a_schedule_that_was_trained_whole_is_measured(tmp_path):
    record = record_of(train(tmp_path / "run", epochs(SEARCH), epochs(RETRAIN, 7.0, 0.6)).end())
    assert record.kind == "measured" and record.energy.extrapolation is None
    assert record.accuracy is not None


@pytest.mark.parametrize("rise", [0.004, -0.02])
def test_epochs_that_drift_are_refused_and_the_run_has_failed(tmp_path, rise):
    rng = np.random.default_rng(1)
    search = [(9.0 * (1 + rise * i + 0.0005 * rng.normal()), 1.0) for i in range(6)]
    record = record_of(train(tmp_path / "run", search, epochs(6, 7.0)).end())
    assert record.status == "failed" and record.energy.total_j is None and record.energy.status == "missing"
    assert f"epochs of search drift by {'+' if rise > 0 else '-'}" in record.reason and "\n" not in record.reason
    assert [c.verdict for c in record.checks if c.name == "epochs steady"] == [FAIL]
    assert record.energy.extrapolation["measured"]["total_j"] > 0
    SCHEMA.validate(json.loads(json.dumps(record.to_json(), allow_nan=False)))


def test_a_drift_too_small_to_matter_is_in_the_interval(tmp_path):
    search = [(9.0 * (1 + 1e-4 * i), 1.0) for i in range(6)]
    record = record_of(train(tmp_path / "run", search, epochs(6, 7.0)).end())
    assert record.status == "success"
    stage = record.energy.extrapolation["by_phase"]["search"]
    assert abs(stage["drift_j"]) > stage["drift_uncertainty_j"]
    assert stage["uncertainty_j"] >= 9.0 * 19 * 1e-4 * 7


def test_an_epoch_that_was_killed_and_done_again_stands_for_none(tmp_path):
    run = Training(tmp_path / "run")
    with run.phase("train"):
        for number in range(1, 4):
            run.spend(f"train/epoch-{number}", 9.0, 1.0)
        number_4 = run.log.begin("train/epoch-4")
        run.burn(9.0, 0.4)
    assert number_4
    run.now_ns += S
    run.log.start(restored={"segment": 0, "t_ns": run.now_ns - round(1.4 * S)})
    with run.phase("train"):
        for number in range(4, 7):
            run.spend(f"train/epoch-{number}", 9.0, 1.0)
    run.log.mark("stage", path="train", epochs=50, trained=6, evaluations=0, first=0)
    energy = record_of(run.end()).energy
    assert energy.extrapolation["by_phase"]["train"]["measured_epochs"] == 4
    assert energy.total_j == pytest.approx(50 * 9.0, abs=energy.uncertainty_j)
    assert energy.redone_j == 0


def test_what_was_done_twice_of_a_phase_that_is_trained_whole_is_in_the_total_and_its_own_figure(tmp_path):
    """As in a run that is measured whole: tables take the one less the other."""
    run = Training(tmp_path / "run")
    with run.phase("search"):
        run.spend("search/epoch-1", 9.0, 1.0)
        assert run.log.begin("search/epoch-2")
        run.burn(9.0, 0.6)
    run.now_ns += S
    run.log.start(restored={"segment": 0, "t_ns": run.now_ns - round(1.6 * S)})
    with run.phase("search"):
        for number in (2, 3):
            run.spend(f"search/epoch-{number}", 9.0, 1.0)
    run.log.mark("stage", path="search", epochs=3, trained=3, evaluations=0, first=0)
    with run.phase("retrain"):
        for number in range(4, 10):
            run.spend(f"retrain/epoch-{number}", 9.0, 1.0)
    run.log.mark("stage", path="retrain", epochs=47, trained=6, evaluations=0, first=3)
    energy = record_of(run.end()).energy
    assert energy.redone_j == pytest.approx(0.6 * 9.0, rel=5e-3)
    assert energy.total_j - energy.redone_j == pytest.approx(50 * 9.0, rel=1e-3)
    assert energy.components_j["extrapolation"] < 0.2 * energy.redone_j


def test_too_few_undisturbed_epochs_are_refused(tmp_path):
    run = Training(tmp_path / "run")
    run.stage("train", epochs(3), scheduled=100)
    record = record_of(run.end())
    assert record.status == "failed" and "2 undisturbed epochs of train" in record.reason


@pytest.mark.parametrize("process", ["independent", "ar1"])
def test_intervals_contain_the_energy_of_whole_runs_of_their_own(tmp_path, process):
    """Both are written as run folders and sealed; epochs scatter by 1 % in power and 2 % in time, the gain by 1 %."""
    inside = settled = 0
    for seed in range(30):
        rng = np.random.default_rng([seed, process == "ar1"])
        short = train(tmp_path / f"short-{seed}", *_scattered(rng, process, 6, 6)).end()
        whole = train(tmp_path / f"whole-{seed}", *_scattered(rng, process, SEARCH, RETRAIN), measure_epochs=None).end()
        told, truth = record_of(short).energy, record_of(whole).energy
        if told.total_j is None:
            continue
        settled += 1
        without_gain = np.sqrt(told.uncertainty_j**2 - (2 * told.components_j["gain"]) ** 2)  # both have the same
        inside += abs(told.total_j - truth.total_j) <= without_gain
    assert settled >= 22
    assert inside / settled >= 0.93


def _scattered(rng, process, search, retrain):
    return [
        [
            (power_w * (1 + 0.01 * x), seconds * (1 + 0.02 * y))
            for x, y in zip(_row(rng, process, n), _row(rng, process, n))
        ]
        for power_w, seconds, n in ((9.0, 0.4, search), (7.0, 0.25, retrain))
    ]


def _row(rng, process, n):
    x = rng.normal(size=n)
    for i in range(1, n if process == "ar1" else 0):
        x[i] = 0.4 * x[i - 1] + np.sqrt(1 - 0.4**2) * x[i]
    return x
