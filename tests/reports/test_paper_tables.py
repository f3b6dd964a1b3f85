from __future__ import annotations

import csv
import io
import shutil

import pytest
from sample_runs import account, early_bird, record, write_run

from ebbench_reports.collect import collect
from ebbench_reports.markup import to_html, to_latex, to_markdown
from ebbench_reports.page import HtmlReport
from ebbench_reports.paper_tables import has_runs, paper_table, paper_table_csv

WHOLE = {"epochs": 160}
ENERGY_KJ = {
    "lt": 750,
    "snip": 370,
    "ns": 590,
    "thinet": 400,
    "eb-reinit": 240,
    "eb-ff": 215,
    "eb-lf": 200,
    "eb-ll": 50,
}


@pytest.fixture
def runs(tmp_path):
    """All methods of Table 2 at p = .5, VGG16 on CIFAR-10, by the paper's protocol."""
    write_run(tmp_path / "dense", record(recipe=WHOLE, energy=account(373.2e3)))
    for method, energy_kj in ENERGY_KJ.items():
        flops = {"total": energy_kj * 4e13, "forward_dense": 6e8, "forward_pruned": 2e8}
        run = early_bird(
            f"{method}-run", energy_kj * 1e3, recipe={**WHOLE, "method": method}, flops=flops,
            accuracy={"final": 0.92, "best": 0.9 + 0.001 * len(method), "top5_final": 0.99},
        )  # fmt: skip
        write_run(tmp_path / method, run)
    return tmp_path


def drawn(root, draw, seed=1, **recipe):
    run = early_bird(
        f"drawn-{draw}-{seed}-{sorted(recipe.items())}",
        recipe={**WHOLE, "draw": draw, "retrain_epochs": "full", "seed": seed, **recipe},
        accuracy={"final": 0.92, "best": 0.93 + 0.001 * seed, "top5_final": 0.99},
    )
    write_run(root / f"{draw}-{seed}-{len(list(root.iterdir()))}", run)


def cells(table, row, section=0):
    """The row that begins with `row`, by the titles of the columns."""
    (found,) = [r for r in table.sections[section].rows if r["row-0"].text == row]
    return {column.title: found[column.key].text for column in table.columns}


def test_each_cell_holds_ours_the_papers_and_the_difference(runs):
    found = cells(paper_table(collect([runs]), 2, compare=True), "EB Train (FF)")
    # ours .905, 215 kJ, 8.6 P; the paper 93.26, 213.4, 10.8
    assert found["p = 0.5, acc. (%)"] == "90.50 / 93.26 / −2.76"
    assert found["p = 0.5, energy (kJ)"] == "215.0 ± 4.9 / 213.4 / +0.7 %"
    assert found["p = 0.5, FLOPs (P)"] == "8.600 / 10.8 / −20.4 %"
    assert found["p = 0.3, energy (kJ)"] == "– / 256.4 / –"
    assert found["Kind"] == "measured" and found["Verdict"] == "PASS"


def test_without_the_paper_a_cell_holds_ours_or_a_dash(runs):
    found = cells(paper_table(collect([runs]), 2, compare=False), "SNIP")
    assert (found["p = 0.5, energy (kJ)"], found["p = 0.3, energy (kJ)"]) == ("370.0 ± 8.4", "–")


def test_the_row_of_improvements_is_computed_by_the_rule(runs):
    found = cells(paper_table(collect([runs]), 2, compare=True), "EB Train Improv.")
    # accuracy: eb-reinit (9 letters, .909) less thinet (6 letters, .906); energy: 370 / 50; FLOPs: 370 / 50
    assert found["p = 0.5, acc. (%)"] == "0.30 / 0.01 / +0.29"
    assert found["p = 0.5, energy (kJ)"] == "7.4× / 8.6 / −14.0 %"
    assert found["p = 0.5, FLOPs (P)"].startswith("7.4× / 1.4 / ")
    assert found["p = 0.3, energy (kJ)"] == "– / 6.6 / –"


def test_what_cannot_be_right_in_the_paper_is_said_below(runs):
    text = to_markdown(paper_table(collect([runs]), 2, compare=True))
    assert "The paper's value: below the dense training that it includes (373 kJ)" in text
    assert "impossible under any convention" in text
    assert "below the dense training" not in to_markdown(paper_table(collect([runs]), 2, compare=False))


def test_a_run_that_departs_from_the_protocol_has_a_row_of_its_own_and_says_in_what(runs):
    write_run(runs / "short", early_bird("short", 20e3, recipe={"epochs": 16, "train_images": 5000}))
    table = paper_table(collect([runs]), 2, compare=True)
    assert cells(table, "EB Train (FF)")["p = 0.5, energy (kJ)"].startswith("215.0")
    assert cells(table, "EB Train (FF), epochs=16, train_images=5000")["p = 0.5, energy (kJ)"] == "20.00 ± 0.45 / – / –"
    assert "Ours: 16 epochs, the paper trains 160; the first 5000 training images only" in to_markdown(table)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"test_images": 500}, "the first 500 test images only"),
        ({"learning_rate": 0.02}, "learning_rate = 0.02, the paper's is 0.1"),
        ({"milestones": [0.25, 0.75]}, "milestones = [0.25, 0.75], the paper's is [0.5, 0.75]"),
        ({"weight_decay": 5e-4}, "weight_decay = 0.0005, the paper's is 0.0001"),
        ({"batch_size": 64}, "batch_size = 64, the paper's is 256"),
        ({"epsilon": 0.3}, "epsilon = 0.3, the paper's is 0.1"),
        ({"retrain_epochs": "full"}, "retrain_epochs = full, the paper's is remaining"),
        ({"search_rate": 0.01}, "search_rate = 0.01"),
    ],
)
def test_every_setting_that_is_not_the_papers_is_said(tmp_path, recipe, said):
    write_run(tmp_path / "own", early_bird("own", recipe={**WHOLE, **recipe}))
    text = to_markdown(paper_table(collect([tmp_path]), 2, compare=True)).replace("\\", "")
    assert f"Ours: {said}\n" in text


def test_a_run_by_the_papers_protocol_departs_in_nothing(runs):
    drawn(runs, [20], search_rate=0.01, search_milestones=[0.625])
    for number in (1, 2):
        assert "Ours:" not in to_markdown(paper_table(collect([runs]), number, compare=True))


def test_a_whole_training_stands_in_the_papers_row_before_an_extrapolated_one(tmp_path):
    recipe = {**WHOLE, "method": "sfp", "model": "vgg16-small"}
    short = account(300e3, kind="extrapolated")
    write_run(
        tmp_path / "a", early_bird("a", recipe={**recipe, "measure_epochs": 5}, energy=short, kind="extrapolated")
    )
    write_run(tmp_path / "b", early_bird("b", recipe={**recipe, "measure_epochs": None}))
    table = paper_table(collect([tmp_path]), 2, compare=True)
    assert cells(table, "Soft filter pruning")["Kind"] == "measured"
    assert cells(table, "Soft filter pruning, measure_epochs=5")["Kind"] == "extrapolated"


def extrapolated_and_estimated(root):
    """An extrapolated run, and one whose energy is estimated and whose training was cut short as well."""
    stages = {"search": {"measured_epochs": 3, "trained_epochs": 4, "scheduled_epochs": 20, "energy_j": 80e3}}
    how = {"by_phase": stages, "assumptions": ["the ticket is drawn at epoch 20"], "refused": None}
    units = {"unit_energies": {"name": "horowitz-45nm", "title": "a 45 nm chip"}, "float32_j": 500.0}
    meanwhile = {
        "kind": "measured",
        "reference": {"meter": "ina3221", "rail": "VDD_IN", "scope": "module"},
        "extrapolation": how,
    }
    energies = {
        "dense": account(300e3),
        "eb-ff": account(300e3, kind="extrapolated", extrapolation=how),
        "eb-ll": account(100.0, kind="estimated", estimate=units, while_simulating=meanwhile),
    }
    for method, energy in energies.items():
        changes = {} if method == "dense" else {"accuracy": None}
        recipe = {**WHOLE, "model": "vgg16-small", "method": method}
        write_run(root / method, early_bird(method, recipe=recipe, energy=energy, kind=energy.kind, **changes))
    return collect([root])


def test_what_was_cut_short_is_said_of_estimated_rows_too(tmp_path):
    table = paper_table(extrapolated_and_estimated(tmp_path), 2, compare=True)
    assert "EXTRAPOLATED: of such a training a few epochs of each phase really ran" in table.banner
    notes = "\n".join(table.notes)
    assert "Extrapolated from 3 epochs of 20 of search; assumed: the ticket is drawn at epoch 20" in notes
    assert "Estimated for the whole schedule; trained: 4 epochs of 20 of search; assumed: the ticket is drawn" in notes


@pytest.mark.parametrize("how", [None, {"by_phase": {}, "assumptions": [], "refused": None}])
def test_nobody_is_told_that_an_extrapolated_training_really_ran(tmp_path, how):
    simulated = account(kind="simulated", extrapolation=how)
    write_run(tmp_path / "run", record(energy=simulated, kind="simulated", recipe=WHOLE))
    banner = paper_table(collect([tmp_path]), 2, compare=False).banner
    assert ("FLOPs are of trainings that really ran" in banner) == (how is None)


def test_rows_stand_in_the_order_of_the_runs_whatever_their_kind(tmp_path):
    (section,) = paper_table(extrapolated_and_estimated(tmp_path), 2, compare=False).sections
    heads = [row["row-0"].text for row in section.rows]
    assert heads == ["Dense", "EB Train (FF)", "EB Train (LL)"]


def test_what_tells_runs_of_one_place_apart_is_in_the_head_of_every_table_s_rows(tmp_path):
    for method in ("eb-ff", "eb-reinit"):
        drawn(tmp_path, [10], method=method)
    fourth = paper_table(collect([tmp_path]), 4, compare=True)
    heads = [row["row-1"].text for row in fourth.sections[0].rows if row["row-0"].text == "0.1"]
    assert sorted(heads) == ["÷10 at 80, 120", "÷10 at 80, 120, method=eb-ff"]
    for epochs in (160, 80):
        write_run(
            tmp_path / f"dense-{epochs}", record(f"dense-{epochs}", recipe={"epochs": epochs, "model": "resnet18"})
        )
    third = paper_table(collect([tmp_path]), 3, compare=False)
    assert [row["row-1"].text for row in third.sections[0].rows][:2] == ["–", "–, epochs=80"]


def test_kinds_are_told_apart(runs):
    recipe = {**WHOLE, "method": "eb-reinit", "prune_ratio": 0.3}
    write_run(runs / "more", early_bird("more", 300e3, recipe=recipe, kind="extrapolated", accuracy=None))
    found = cells(paper_table(collect([runs]), 2, compare=True), "EB Train (re-init)")
    assert found["Kind"] == "extrapolated; measured" or found["Kind"] == "measured; extrapolated"
    assert found["p = 0.3, acc. (%)"] == "– / 93.11 / –"


def test_an_estimated_energy_stands_beside_the_measured_ones_and_is_no_part_of_an_improvement(runs):
    """The meter of an estimate is a model: it would be a bench of its own, and 370 kJ over 40 J a factor of thousands."""
    measured = {"kind": "measured", "reference": {"meter": "ina3221", "rail": "VDD_IN", "scope": "module"}}
    energy = account(
        40.0, kind="estimated", uncertainty_j=None, components_j={}, while_simulating=measured,
        reference={"meter": "unit energies mine", "rail": "operations and bytes", "scope": "model"},
        estimate={"unit_energies": {"name": "mine", "title": "a chip"}, "work": {}, "float32_j": 170.0},
    )  # fmt: skip
    shutil.rmtree(runs / "eb-ll")
    flops = {"total": 50 * 4e13, "forward_dense": 6e8, "forward_pruned": 2e8}
    recipe = {**WHOLE, "method": "eb-ll"}
    write_run(runs / "ll", early_bird("ll", recipe=recipe, flops=flops, kind="estimated", energy=energy))
    table = paper_table(collect([runs]), 2, compare=True)
    assert len([section for section in table.sections if "no run" not in section.title]) == 1
    assert cells(table, "EB Train (LL)")["Kind"] == "estimated"
    assert "No ratio: the energy of LL is estimated, those of the baselines are not" in to_markdown(table)
    better = cells(table, "EB Train Improv.")
    assert better["p = 0.5, energy (kJ)"].startswith("– / 8.6") and better["p = 0.5, FLOPs (P)"].startswith("7.4×")
    assert "energy estimated with the unit energies mine, not of this board" in to_markdown(table)


def test_tables_1_and_4_are_by_the_epoch_of_the_draw(tmp_path):
    for seed in (1, 2, 3):
        drawn(tmp_path, [10], seed)
    drawn(tmp_path, "final")
    drawn(tmp_path, [20], learning_rate=0.01, milestones=[0.625])
    drawn(tmp_path, [20], prune_ratio=0.7)  # the paper's tables are of p = .5
    first = paper_table(collect([tmp_path]), 1, compare=True)
    assert first.sections[0].title.startswith("vgg16 on cifar10, p = 0.5 · Jetson TX2")
    slow, fast = (cells(first, row) for row in ("÷10 at 100", "÷10 at 80, 120"))
    assert (slow["epoch 20"], slow["epoch 10"]) == ("93.10 / 93.03 / +0.07", "– / 92.88 / –")
    assert fast["epoch 10"] == "93.20 ± 0.25 / 93.26 / −0.06"
    assert fast["epoch final"] == "93.10 / 92.96 / +0.14"
    fourth = paper_table(collect([tmp_path]), 4, compare=True)
    assert cells(fourth, "0.1")["epoch 10"] == "93.20 ± 0.25 / 93.26 / −0.06"
    assert cells(fourth, "0.5")["epoch 10"] == "– / 93.49 / –"


def test_a_shorter_training_stands_where_the_same_part_of_the_papers_does(tmp_path):
    drawn(tmp_path, [2], epochs=16)
    table = paper_table(collect([tmp_path]), 1, compare=True)
    assert cells(table, "÷10 at 80, 120")["epoch 20"] == "93.10 / 93.34 / −0.24"
    assert "16 epochs, the paper trains 160" in to_markdown(table)


def test_table_3_gives_the_gain_over_our_own_dense_training(tmp_path):
    imagenet = {"model": "resnet18", "dataset": "imagenet", "epochs": 90, "milestones": [1 / 3, 2 / 3]}
    accuracy = {"final": 0.69, "best": 0.695, "top5_final": 0.89}
    write_run(tmp_path / "dense", record("dense", recipe=imagenet, energy=account(100e6), accuracy=accuracy))
    better = {"final": 0.69, "best": 0.698, "top5_final": 0.90}
    write_run(tmp_path / "eb", early_bird("eb", 80e6, recipe={**imagenet, "prune_ratio": 0.1}, accuracy=better))
    table = paper_table(collect([tmp_path]), 3, compare=True)
    (row,) = [r for r in table.sections[0].rows if r["row-0"].text == "EB Train (FF)" and r["row-1"].text == "0.1"]
    found = {column.title: row[column.key].text for column in table.columns}
    assert found["Top-1 gain"] == "0.30 / 0.27 / +0.03"
    assert found["Top-5 (%)"] == "90.00 / 89.39 / +0.61"
    assert found["Energy (MJ)"] == "80.0 ± 1.8 / 95.71 / −16.4 %"
    assert cells(table, "Dense")["Top-1 (%)"] == "69.50 / 69.57 / −0.07"
    assert "Ours:" not in to_markdown(table) and "Top-5 those of the last epoch" in table.caption


def test_a_table_without_runs_is_all_dashes_when_asked_for(tmp_path):
    write_run(tmp_path / "quick", record("quick", recipe={"model": "vgg16-small", "dataset": "synthetic"}))
    collection = collect([tmp_path])
    assert not any(has_runs(collection, number) for number in (1, 2, 3, 4))
    table = paper_table(collection, 1, compare=False, whole=True)
    texts = {row[c.key].text for s in table.sections for row in s.rows for c in table.columns if c.number}
    assert texts == {"–"} and len(table.sections) == 4


def test_runs_of_other_networks_stand_in_the_form_of_a_table_that_is_asked_for_in_units_of_their_own(tmp_path):
    small = {"model": "vgg16-small", "dataset": "synthetic", "epochs": 16}
    flops = {"total": 4e12, "forward_dense": 6e8, "forward_pruned": None}
    write_run(tmp_path / "dense", record("dense", recipe=small, energy=account(40.0), flops=flops))
    write_run(tmp_path / "ff", early_bird("ff", 20.0, recipe={**small, "method": "eb-ff"}, flops=flops))
    collection = collect([tmp_path])
    table = paper_table(collection, 2, compare=False, whole=True)
    (section,) = table.sections
    assert not any("the paper trains" in note for row in section.rows for cell in row.values() for note in cell.notes)
    assert section.title.startswith("vgg16-small on synthetic") and "of the paper's table" in table.caption
    assert [c.title for c in table.columns][1:4] == ["p = 0.5, acc. (%)", "p = 0.5, energy (J)", "p = 0.5, FLOPs (T)"]
    assert cells(table, "EB Train (FF)")["p = 0.5, energy (J)"].startswith("20.0")
    beside = paper_table(collection, 2, compare=True, whole=True)  # the paper has nothing to stand beside them
    assert len(beside.sections) == 1
    found = cells(beside, "EB Train (FF)")["p = 0.5, energy (J)"]
    assert found.startswith("20.0") and found.endswith(" / – / –")
    assert all(row["row-0"].text != "EB Train Improv." for row in section.rows)  # of which methods are missing


def test_runs_of_other_networks_have_their_own_row_of_improvements(tmp_path):
    small = {"model": "vgg16-small", "dataset": "synthetic", "epochs": 16}
    for method, joules in (("lt", 60.0), ("snip", 50.0), ("ns", 40.0), ("thinet", 45.0), ("eb-ll", 8.0)):
        recipe = {**small, "method": method}
        write_run(tmp_path / method, early_bird(method, joules, recipe=recipe))
    found = cells(paper_table(collect([tmp_path]), 2, compare=False, whole=True), "EB Train Improv.")
    assert found["p = 0.5, energy (J)"] == "5.0×"  # the least of the four over LL's
    assert found["p = 0.5, acc. (%)"] == "–"  # neither re-init nor FF is here


def test_the_schedule_of_a_search_is_the_one_that_table_1_goes_by(tmp_path):
    drawn(tmp_path, [10])
    drawn(tmp_path, [10], search_rate=0.01, search_milestones=[0.625])
    table = paper_table(collect([tmp_path]), 1, compare=True)
    found = {(r["row-0"].text, r["row-1"].text): r["10-accuracy"].text for r in table.sections[0].rows}
    assert found["÷10 at 100", "0.01"].startswith("93.10 / 92.88") and found["÷10 at 80, 120", "0.1"].startswith(
        "93.10 / 93.26"
    )


@pytest.mark.parametrize(
    ("recipe", "tables"),
    [
        ({"draw": "early-bird"}, {"results", "table-2"}),
        ({"draw": [1], "retrain_epochs": "full"}, {"table-2", "table-1"}),  # table-2 is that of all runs
        ({"model": "resnet18-small", "method": "ns", "prune_ratio": 0.3}, {"table-2", "table-3"}),
        ({"draw": [1], "retrain_epochs": "full", "learning_rate": 0.5}, {"table-2", "table-4"}),
        (None, {"table-2"}),
    ],
)
def test_runs_of_other_networks_are_compared_in_the_form_that_they_fit_in_and_never_in_an_empty_one(
    tmp_path, recipe, tables
):
    small = {"model": "vgg16-small", "dataset": "synthetic", "epochs": 16}
    write_run(tmp_path / "dense", record("dense-small", recipe=small))
    if recipe is not None:
        write_run(tmp_path / "ticket", early_bird("ticket-small", recipe={**small, **recipe}))
    written = HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["md"], "compare_paper": True})
    assert {path.stem for path in written} - {"overhead"} == tables


def test_the_csv_holds_every_number_in_full(runs):
    lines = list(csv.DictReader(io.StringIO(paper_table_csv(collect([runs]), 2))))
    wanted = {"method": "eb-ff", "measure": "energy", "prune_ratio": "0.5", "model": "vgg16", "dataset": "cifar10"}
    (line,) = [line for line in lines if wanted.items() <= line.items()]
    assert (float(line["ours"]), float(line["paper"]), line["kind"]) == (215.0, 213.4, "measured")
    assert float(line["difference"]) == pytest.approx(1.6)


def test_every_format_renders(runs):
    table = paper_table(collect([runs]), 2, compare=True, whole=True)
    assert "\\begin{tabular}" in to_latex(table) and to_latex(table).isascii()
    assert to_html(table).count("<tbody>") == 4


def test_a_run_of_eb_train_that_table_2_has_no_row_for_is_named_below_it(runs):
    drawn(runs, [3])
    table = paper_table(collect([runs]), 2, compare=False)
    (number,) = {run.number for run in collect([runs]).runs} - {number for number, _ in table.sources}
    assert any(note.startswith(f"Run {number}: in no row of this table") for note in table.notes)
