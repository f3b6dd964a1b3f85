"""A real run of which a few epochs are measured, from the command line to the tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conductor import only_run, record, write_experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory, nursery):
    """EB Train of 40 epochs with an assumed ticket, of which 4 + 4 are trained."""
    folder = tmp_path_factory.mktemp("extrapolated")
    path = write_experiment(folder, images=48, epochs=40, extra="")
    path.write_text(path.read_text().replace("epsilon = 0.9", "epsilon = 1e-6"))
    code, _, err = nursery.call(
        "run", path, "--measure-epochs", 3, "--ticket-epoch", 10, "--out", folder / "runs", cwd=folder
    )
    assert code in (0, 1), err  # 1: the epochs drifted, on a machine that does something else
    return only_run(folder / "runs")


def test_the_record_is_of_the_whole_schedule_and_says_so(run):
    found = record(run)
    energy, stages = found["energy"], found["energy"]["extrapolation"]["by_phase"]
    assert (stages["search"]["scheduled_epochs"], stages["search"]["trained_epochs"]) == (10, 4)
    assert (stages["retrain"]["scheduled_epochs"], stages["retrain"]["trained_epochs"]) == (30, 4)
    assert found["kind"] == "simulated" and found["accuracy"] is None  # the meter is; the tables say both
    assert found["ticket"]["epoch"] == 10 and found["ticket"]["assumed"]
    images = {path: part["images"] for path, part in found["flops"]["by_phase"].items()}
    assert (images["search"], images["retrain"]) == (10 * 48, 30 * 48)
    if found["status"] == "success":
        # ten epochs from four, and thirty from four; what is done once is once in both
        assert 2 < energy["total_j"] / energy["extrapolation"]["measured"]["total_j"] < 7.5
        assert energy["uncertainty_j"] > energy["extrapolation"]["measured"]["uncertainty_j"]


def test_the_table_shows_both_kinds_and_what_was_assumed(run, tmp_path, nursery):
    code, _, err = nursery.call("report", run, "--format", "md,html", "--out", tmp_path / "report", cwd=tmp_path)
    assert code == 0, err
    table = (tmp_path / "report" / "table-2.md").read_text()
    if record(run)["status"] == "success":
        assert "simulated, extrapolated" in table
        assert "assumed: the ticket is drawn at epoch 10" in table
    else:
        assert "not extrapolated" in table


def test_integrating_again_extrapolates_again(run, nursery):
    code, out, err = nursery.call("integrate", run, "--json", cwd=run.parent)
    assert code == 0, err
    assert json.loads(out)["energy"] == record(run)["energy"]


def test_a_search_cut_short_without_an_assumption_is_refused_before_anything_is_written(tmp_path, nursery):
    code, _, err = nursery.call("run", "quickstart", "--measure-epochs", 3, "--out", tmp_path / "runs", cwd=tmp_path)
    assert code == 2 and "--ticket-epoch" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_of_which_no_epoch_is_left_out_is_whole_and_says_so_before_and_after(tmp_path, nursery):
    path = write_experiment(tmp_path, method="dense", images=32, epochs=2)
    code, _, err = nursery.call("run", path, "--measure-epochs", 3, "--out", tmp_path / "runs", cwd=tmp_path)
    assert code == 0, err
    assert "measure_epochs = 3 leaves none out" in err
    found = record(only_run(tmp_path / "runs"))
    assert found["energy"]["extrapolation"] is None and found["accuracy"]["final"] is not None
    assert [note for note in found["notes"] if note.startswith("measure_epochs leaves out no epoch of this run")]
