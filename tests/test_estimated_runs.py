"""Runs whose arithmetic is simulated, from the command line to the table: which energy stands where, and how it is called."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conductor import Nursery, write_experiment

import ebbench
from ebbench.cli.display import print_runs
from ebbench.config import Bench, Recipe
from ebbench.energy.estimate import unit_energies
from ebbench.errors import ConfigError
from ebbench.records import RunRecord
from ebbench.rundir import RunDir, read_json
from ebbench.sealing.record import integrate_again, load_record
from ebbench.session import conduct
from ebbench.training import compat
from ebbench_reports import figures
from ebbench_reports.collect import collect
from ebbench_reports.table_2 import table_2
from ebbench_reports.tables import ESTIMATED_BANNER
from ebbench_reports.timeline import read_timeline

METHODS = ("eb-lf", "eb-ll", "eb-wage")
SMALL: Dict[str, Any] = {
    "model": "vgg16-small", "dataset": "synthetic", "train_images": 32, "test_images": 16, "epochs": 2, "batch_size": 16,
    "draw": (1,),
}  # fmt: skip
BENCH = Bench(meters=("sim",), idle_s=0.0, amplify_s=0.0, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Path:
    """The three methods, really run by the command line on the embedded images."""
    folder = tmp_path_factory.mktemp("low")
    extra = f"[matrix]\nmethod = {json.dumps(METHODS)}\n"
    experiment = write_experiment(folder, images=48, epochs=3, extra=extra)
    text = experiment.read_text().replace("fifo_length = 2", "fifo_length = 1\naverage_from = 0.5")
    experiment.write_text(text)
    code, _, err = nursery.call("run", experiment, "--out", "runs", "--json", cwd=folder)
    assert code == 0, err
    return folder / "runs"


@pytest.fixture(scope="module")
def records(folder: Path) -> List[RunRecord]:
    found = [load_record(RunDir(path.parent)) for path in sorted(folder.glob("*/manifest.json"))]
    assert [record.recipe["method"] for record in found] == list(METHODS)
    return found


def test_every_method_runs_and_its_energy_is_labelled_estimated(records: List[RunRecord]) -> None:
    for record in records:
        energy = record.energy
        assert record.status == "success" and record.kind == energy.kind == "estimated"
        assert energy.total_j > 0 and energy.uncertainty_j is None
        assert energy.total_j < energy.estimate["float32_j"]
        assert {phase.kind for phase in energy.by_phase.values()} == {"estimated"} and energy.phases == []
        assert set(energy.by_phase) == {"search", "retrain"}


def test_what_was_measured_meanwhile_is_kept_under_its_own_name(records: List[RunRecord]) -> None:
    for record in records:
        meanwhile = record.energy.while_simulating
        assert meanwhile["kind"] == "simulated" and meanwhile["reference"]["meter"] == "sim"
        assert meanwhile["total_j"] > 0 and {"search", "search/epoch", "retrain"} <= set(meanwhile["by_phase"])
        assert meanwhile["rails"] and meanwhile["phases"] and meanwhile["uncertainty_j"] > 0


def test_the_record_fits_its_schema(folder: Path) -> None:
    schema = json.loads((Path(ebbench.__file__).parent / "schema/record-1.json").read_text())
    for path in folder.glob("*/record.json"):
        jsonschema.validate(json.loads(path.read_text()), schema)


def test_an_interval_that_is_not_known_passes_no_check(records: List[RunRecord]) -> None:
    for record in records:
        (check,) = [c for c in record.checks if c.name == "uncertainty of the total"]
        assert (check.verdict, check.value) == ("NOT CHECKED", None) and "estimated" in check.advice


def test_integrating_again_takes_another_table_and_keeps_the_first(folder: Path, records: List[RunRecord]) -> None:
    rundir = RunDir(next(folder.glob("eb-ll-*")))
    first = records[1].energy
    record, path = integrate_again(rundir, units=unit_energies("paper-calibrated"))
    assert record.energy.total_j == pytest.approx(first.estimate["float32_j"] / 4.7)
    assert record.energy.estimate["unit_energies"]["name"] == "paper-calibrated"
    assert load_record(rundir).energy.total_j == first.total_j and path.name != "record.json"
    again, _ = integrate_again(rundir)
    assert again.energy.total_j == first.total_j  # the manifest holds the table that the run was made with


def test_the_terminal_says_that_it_is_an_estimate(records: List[RunRecord], capsys: pytest.CaptureFixture) -> None:
    print_runs(records, Path("runs"))
    shown = capsys.readouterr().out
    assert shown.count("is ESTIMATED, not measured: arithmetic and memory traffic of a 45 nm chip (horowitz-45nm)") == 3
    assert shown.count("the same work in float32: ") == shown.count("while it was simulated: ") == 3


def test_the_terminal_says_of_an_estimate_that_its_simulation_was_cut_short(
    records: List[RunRecord], capsys: pytest.CaptureFixture
) -> None:
    meanwhile = {**records[0].energy.while_simulating, "extrapolation": {"refused": None, "by_phase": {}}}
    energy = dataclasses.replace(records[0].energy, while_simulating=meanwhile)
    print_runs([dataclasses.replace(records[0], energy=energy, accuracy=None)], Path("runs"))
    shown = capsys.readouterr().out
    assert "(simulated, extrapolated)" in shown and "EXTRAPOLATED: of each phase a few epochs were trained" in shown
    print_runs(records, Path("runs"))
    assert "extrapolated" not in capsys.readouterr().out.lower()


def test_the_terminal_shows_the_settings_of_runs_that_share_a_name(
    records: List[RunRecord], capsys: pytest.CaptureFixture
) -> None:
    print_runs(records, Path("runs"))
    assert "settings" not in capsys.readouterr().out.splitlines()[0]
    other = dataclasses.replace(records[0], recipe={**records[0].recipe, "draw": [7]})
    print_runs([records[0], other], Path("runs"))
    head, first, second = capsys.readouterr().out.splitlines()[:3]
    assert "settings" in head and "draw = early-bird" in first and "draw = 7" in second


def test_a_table_shouts_it_and_says_from_what(folder: Path) -> None:
    table = table_2(collect([folder]))
    assert table.banner == ESTIMATED_BANNER
    (section,) = table.sections
    assert "unit energies horowitz-45nm" in section.title and "sim" not in section.title.replace("simulat", "")
    for row in section.rows:
        assert row["kind"].text == "estimated"
        assert any("Estimated with the unit energies horowitz-45nm" in note for note in row["energy"].notes)


def test_the_power_of_a_figure_is_that_of_the_simulation(folder: Path) -> None:
    run = collect([folder]).runs[0]
    assert run.measured["kind"] == "simulated" and read_timeline(run).power is not None


def test_a_run_that_fails_has_no_energy_rather_than_that_of_the_simulation(tmp_path: Path) -> None:
    record = conduct(Recipe(method="eb-ll", learning_rate=1e30, **SMALL), BENCH, tmp_path / "runs")
    assert record.status == "failed" and record.kind == "estimated"
    assert record.energy.total_j is None and record.energy.while_simulating["total_j"] > 0
    assert "did not come to its end" in record.energy.reason


def test_an_estimate_needs_no_meter_and_does_not_fail_for_one(tmp_path: Path) -> None:
    bench = Bench(meters=("off",), idle_s=0.0, amplify_s=0.0, device="cpu")
    record = conduct(Recipe(method="eb-ll", **SMALL), bench, tmp_path / "runs")
    assert record.kind == "estimated" and record.energy.total_j > 0
    assert record.energy.while_simulating["kind"] == "not measured"
    verdicts = {check.name: check.verdict for check in record.checks}
    assert verdicts["coverage"] == "NOT CHECKED" and "FAIL" not in verdicts.values()


def test_an_unknown_table_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown unit energies 'horowits'"):
        conduct(Recipe(method="eb-ll", **SMALL), Bench(meters=("sim",), unit_energies="horowits"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_device_that_cannot_do_it_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "has_bfloat16", lambda device: False)
    with pytest.raises(ConfigError, match="does not do it"):
        conduct(Recipe(method="eb-amp", **SMALL), BENCH, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not compat.has_bfloat16("cpu"), reason="this CPU or torch has no bfloat16")
def test_mixed_precision_is_measured_and_has_nothing_to_estimate(tmp_path: Path) -> None:
    record = conduct(Recipe(method="eb-amp", **SMALL), BENCH, tmp_path / "runs")
    assert record.status == "success" and record.kind == "simulated"  # by the meter, not by the arithmetic
    assert record.energy.estimate is record.energy.while_simulating is None and record.energy.total_j > 0
    assert any("mixed precision, bfloat16" in note for note in record.notes)
    rundir = RunDir(tmp_path / "runs" / record.run_id)
    assert "unit_energies" not in read_json(rundir.manifest)
    with pytest.raises(ConfigError, match="its arithmetic was not simulated"):
        integrate_again(rundir, units=unit_energies("horowitz-45nm"))


def test_estimates_have_an_axis_of_their_own_beside_measured_bars(folder: Path) -> None:
    estimated = collect([folder]).runs
    energy = dataclasses.replace(estimated[0].record.energy, kind="measured", estimate=None, while_simulating=None)
    measured = dataclasses.replace(
        estimated[0], record=dataclasses.replace(estimated[0].record, kind="measured", energy=energy)
    )
    (alone,) = figures.energy(estimated).axes
    both = figures.energy([measured, *estimated[1:]])
    assert [len(axes.get_yticks()) for axes in both.axes] == [1, 2] and len(alone.get_yticks()) == 3
    assert "not of this board" in both.axes[1].get_xlabel() and "not of this board" not in both.axes[0].get_xlabel()
    assert both.get_label().startswith("ENERGY PARTLY ESTIMATED · ")


def test_the_names_of_many_phases_stay_inside_the_picture(folder: Path) -> None:
    runs = collect([folder]).runs
    names = ("train", "draw", "rewind", "retrain", "prune", "finetune", "search")
    account = runs[0].record.energy
    many = dataclasses.replace(account, by_phase={name: account.by_phase["search"] for name in names})
    figure = figures.energy(
        [dataclasses.replace(run, record=dataclasses.replace(run.record, energy=many)) for run in runs]
    )
    legend = figure.axes[0].get_legend()
    assert {text.get_text() for text in legend.get_texts()} == set(names)
    assert legend.get_window_extent().x1 <= figure.bbox.x1
