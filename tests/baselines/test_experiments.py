"""The built-in experiments say what they claim to say."""

from __future__ import annotations

from ebbench import plugins
from ebbench.config import Recipe
from ebbench.early_bird import EarlyBirdInherit
from ebbench.experiment_file import Experiment, load_experiment
from ebbench.testing import FakeContext

NAMES = ("mask-overhead", "quickstart", "table2", "vgg16-cifar10")


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
    methods = ("lt", "snip", "ns", "thinet", "eb-reinit", "eb-ff")
    wanted = {(m, *k, p) for m in methods for k in paper for p in paper[k]} | {("dense", *k, 0.5) for k in paper}
    assert {(r.method, r.model, r.dataset, r.prune_ratio) for r in recipes} == wanted and len(recipes) == len(wanted)
    for r in recipes:
        assert r == Recipe(method=r.method, model=r.model, dataset=r.dataset, prune_ratio=r.prune_ratio)


def test_table_2_scaled_down_has_the_same_methods_on_small_networks():
    small = load_experiment(plugins.experiments()["table2"], {}, {}, "small")
    methods = {r.method for r in built_in("table2").recipes}
    assert {(r.method, r.model) for r in small.recipes} == {
        (m, n) for m in methods for n in ("vgg16-small", "preresnet-small")
    }
    assert {(r.dataset, r.epochs) for r in small.recipes} == {("synthetic", 8)} and len(small.recipes) == 14
    assert small.bench.idle_s == 1.0
    for recipe in small.recipes:
        plugins.load(plugins.PIPELINES, recipe.method)(recipe).check()


def test_the_quickstarts_search_finds_its_ticket_and_leaves_epochs_to_retrain():
    recipe = next(r for r in built_in("quickstart").recipes if r.method == "eb-ff")
    assert (recipe.prune_ratio, recipe.epsilon, recipe.fifo_length) == (0.5, 0.1, 5)  # the paper's, not bent to fit
    outcome = EarlyBirdInherit(recipe).run(FakeContext(due=False))
    assert outcome.ticket["found"] and 6 <= outcome.ticket["epoch"] <= 10
    assert outcome.accuracy["final"] > 0.5  # chance is 0.1
