"""The built-in experiments say what they claim to say."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

import ebbench_reports
from ebbench import plugins
from ebbench.config import Recipe, run_id
from ebbench.config.method_settings import READERS, reads
from ebbench.early_bird.search import EarlyBirdInherit
from ebbench.experiments.file import Experiment, load_experiment
from ebbench.sharing.first_training import key_of, lender_first
from ebbench.testing import FakeContext

OF_THE_PAPER = ("table1", "table2", "table3", "table4", "figure1", "figure2", "figure3", "figure5")
NAMES = ("mask-overhead", "quickstart", "vgg16-cifar10", *OF_THE_PAPER)


def built_in(name: str) -> Experiment:
    return load_experiment(plugins.experiments()[name], {}, {})


def test_all_are_found_and_describe_themselves():
    assert set(NAMES) <= set(plugins.experiments())
    for name in NAMES:
        experiment = built_in(name)
        assert experiment.description and experiment.recipes


def test_only_the_quickstart_may_simulate():
    assert [name for name in NAMES if built_in(name).may_simulate] == ["quickstart"]


def test_the_cifar_experiment_is_the_papers_protocol_and_runs_dense_once():
    experiment = built_in("vgg16-cifar10")
    runs = [(r.method, r.prune_ratio) for r in experiment.recipes]
    assert sorted(runs) == [("dense", 0.5), *((m, p) for m in ("eb-ff", "eb-reinit") for p in (0.3, 0.5, 0.7))]
    for recipe in experiment.recipes:
        defaults = Recipe(method=recipe.method, prune_ratio=recipe.prune_ratio)
        assert recipe == defaults
    assert (defaults.epochs, defaults.batch_size, defaults.learning_rate) == (160, 256, 0.1)
    assert [fraction * defaults.epochs for fraction in defaults.milestones] == [80, 120]


def test_table_2_has_every_ratio_that_the_paper_has_and_each_methods_defaults():
    recipes = built_in("table2").recipes
    paper = {("vgg16", "cifar100"): (0.1, 0.3, 0.5)}
    paper.update(
        {k: (0.3, 0.5, 0.7) for k in (("vgg16", "cifar10"), *(("preresnet101", f"cifar{n}") for n in (10, 100)))}
    )
    methods = ("lt", "snip", "ns", "thinet", "eb-reinit", "eb-ff", "eb-lf", "eb-ll")
    wanted = {(m, *k, p) for m in methods for k in paper for p in paper[k]} | {("dense", *k, 0.5) for k in paper}
    assert {(r.method, r.model, r.dataset, r.prune_ratio) for r in recipes} == wanted and len(recipes) == len(wanted)
    for r in recipes:
        assert r == Recipe(method=r.method, model=r.model, dataset=r.dataset, prune_ratio=r.prune_ratio)


def test_table_2_shows_every_choice_of_its_methods_in_the_file():
    text = plugins.experiments()["table2"].read_text(encoding="utf-8")
    methods = {r.method for r in built_in("table2").recipes}
    shared = {
        "epochs", "batch_size", "learning_rate", "milestones", "momentum", "nesterov", "weight_decay", "prune_ratio", "draw",
    }  # fmt: skip
    own = {n for n in READERS if any(reads(m, n) for m in methods) and getattr(Recipe(), n) is not None}
    searched = {n for n in own if n.startswith("auto_")}  # of a ratio that is to be found: here there is none
    for name in shared | own - searched:
        assert re.search(rf"^{name} = |\({name}\)", text, re.MULTILINE), name


def test_table_2_scaled_down_has_the_same_methods_on_small_networks():
    small = load_experiment(plugins.experiments()["table2"], {}, {}, "small")
    methods = {r.method for r in built_in("table2").recipes}
    assert {(r.method, r.model) for r in small.recipes} == {
        (m, n) for m in methods for n in ("vgg16-small", "preresnet-small")
    }
    assert {(r.dataset, r.epochs) for r in small.recipes} == {("synthetic", 8)} and len(small.recipes) == 18
    assert small.bench.idle_s == 1.0
    for recipe in small.recipes:
        plugins.load(plugins.PIPELINES, recipe.method)(recipe).check()


def published(table: int):
    """The places of a table of the paper."""
    path = Path(ebbench_reports.__file__).parent / "paper"
    name = {1: "tables1_4.csv", 3: "table3.csv", 4: "tables1_4.csv"}[table]
    with open(path / name, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("table", str(table)) == str(table)]


@pytest.mark.parametrize("table", (1, 4))
def test_tables_1_and_4_have_a_run_for_every_place_of_the_paper_and_no_other(table):
    def place(r: Recipe):
        falls = [f"{fraction * r.epochs:g}:x0.1" for fraction in r.search_milestones or r.milestones]
        draw = r.draw if isinstance(r.draw, str) else str(r.draw[0])
        return (r.model, r.dataset, ";".join(falls), float(r.search_rate or r.learning_rate), draw, r.prune_ratio)

    wanted = {
        (r["model"], r["dataset"], r["lr_schedule"], float(r["initial_lr"]), r["draw_epoch"], float(r["prune_ratio"]))
        for r in published(table)
    }
    recipes = built_in(f"table{table}").recipes
    assert {place(r) for r in recipes} == wanted and len(recipes) == len(wanted) == 32
    assert {(r.method, r.epochs, r.retrain_epochs) for r in recipes} == {("eb-ff", 160, "full")}
    assert {r.learning_rate for r in recipes if r.search_rate is not None} <= {0.1}  # retraining is always the same


def test_the_rows_that_table_4_has_in_common_with_table_1_are_the_same_runs():
    ids = [{run_id(r, e.bench) for r in e.recipes} for e in (built_in("table1"), built_in("table4"))]
    assert len(ids[0] & ids[1]) == 16


def test_table_3_has_a_run_for_every_row_of_the_paper_and_no_other():
    recipes = built_in("table3").recipes
    wanted = {(r["model"], r["method"], float(r["prune_ratio"] or 0.5)) for r in published(3)}
    assert {(r.model, r.method, r.prune_ratio) for r in recipes} == wanted and len(recipes) == len(wanted)
    assert {(r.dataset, r.epochs, r.batch_size) for r in recipes} == {("imagenet", 90, 256)}
    assert [next(epoch for epoch in range(90) if epoch >= f * 90 - 1e-9) for f in recipes[0].milestones] == [30, 60]


def test_figure_1_has_three_seeds_of_every_draw_and_figure_2_the_same_of_another_search():
    one, two = (built_in(name).recipes for name in ("figure1", "figure2"))
    assert {r.method for r in one} == {"dense", "eb-ff"} and {r.method for r in two} == {"dense", "eb-wage"}
    draws = {((10,), (20,), (40,), (80,), (120,), "final", "best-accuracy")}
    for recipes in (one, two):
        tickets = [r for r in recipes if r.method != "dense"]
        assert len(tickets) == 2 * 2 * 3 * 7 * 3 and {r.draw for r in tickets} == set(*draws)
        assert {r.retrain_epochs for r in tickets} == {"full"}


def test_every_search_of_a_figure_is_one_training_for_each_network_data_set_and_seed():
    searches = {key_of(r) for r in built_in("figure1").recipes if r.method == "eb-ff"}
    assert len(searches) == 2 * 2 * 3
    figure5 = [r for r in built_in("figure5").recipes if r.method != "dense"]
    assert len({key_of(r) for r in figure5}) == 4  # network slimming's first training is the searches'
    assert {r.method for r in lender_first(figure5)[:1]} == {"ns"}


@pytest.mark.parametrize("name", [*(name for name in OF_THE_PAPER if name != "table2"), "mask-overhead"])
def test_every_experiment_of_the_paper_has_a_small_version_of_the_same_methods_that_can_run(name):
    small = load_experiment(plugins.experiments()[name], {}, {}, "small")
    assert {r.method for r in small.recipes} == {r.method for r in built_in(name).recipes}
    assert all(r.dataset == "synthetic" and r.model.endswith("-small") for r in small.recipes)
    for recipe in {r.method: r for r in small.recipes}.values():
        plugins.load(plugins.PIPELINES, recipe.method)(recipe).check()


def test_table_3_scaled_down_has_the_same_methods_on_each_network():
    small = load_experiment(plugins.experiments()["table3"], {}, {}, "small").recipes
    assert {(r.model, r.method) for r in small} == {(f"{r.model}-small", r.method) for r in built_in("table3").recipes}


def test_the_quickstart_is_small_as_it_is():
    small = load_experiment(plugins.experiments()["quickstart"], {}, {}, "small")
    assert (small.recipes, small.bench) == (built_in("quickstart").recipes, built_in("quickstart").bench)


def test_the_quickstarts_search_finds_its_ticket_and_leaves_epochs_to_retrain():
    recipe = next(r for r in built_in("quickstart").recipes if r.method == "eb-ff")
    assert (recipe.prune_ratio, recipe.epsilon, recipe.fifo_length) == (0.5, 0.1, 5)  # the paper's, not bent to fit
    outcome = EarlyBirdInherit(recipe).run(FakeContext(due=False))
    assert outcome.ticket["found"] and 6 <= outcome.ticket["epoch"] <= 10
    assert outcome.accuracy["final"] > 0.5  # chance is 0.1
