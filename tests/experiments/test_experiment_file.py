"""Experiment files: matrices, scaled versions, and settings that only some methods read."""

from __future__ import annotations

import pytest

from ebbench.config import Recipe
from ebbench.errors import ConfigError
from ebbench.experiments.conduct import titles
from ebbench.experiments.file import expand, load_experiment


@pytest.mark.parametrize(
    "text",
    [
        "recipe = 3",
        'experiment = "x"',
        "matrix = [1]",
        "bench = true",
        "[matrix]\nseed = 1",
        "[matrix]\nseed = []",
        "[experiment]\nname = 'x'",
        "[recipes]\nepochs = 3",
        "[recipe]\nepochs = ",
        "[experiment]\ndescription = 3",
        "[experiment]\nmay_simulate = 'no'",
    ],
)
def test_a_malformed_experiment_is_one_line_with_the_file_in_it(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.toml") as caught:
        load_experiment(path, {}, {})
    assert "\n" not in str(caught.value)


def test_a_section_that_is_misspelt_hides_no_other_fault_of_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("model = 'vgg16'\n[bnech]\nidle_s = 1\n[recipe]\nmodle = 'vgg16'\nepochs = 'many'\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, {}, {})
    told = [(fault.split(";")[0]).replace(str(path), "mine.toml") for fault in caught.value.faults]
    assert told[:2] == ["mine.toml: unknown key 'model'", "mine.toml: unknown key 'bnech'"]
    assert (
        "mine.toml [recipe]: unknown key 'modle'" in told and "epochs = 'many': a value of type int is needed" in told
    )


def test_a_matrix_is_interleaved_by_replicate_so_that_heat_meets_every_method_alike():
    recipes = expand({"seed": [1, 2, 3], "method": ["dense", "eb-ff"], "prune_ratio": [0.3, 0.5]})
    assert len(recipes) == 9  # dense has no prune ratio and is run once per seed
    assert [r.seed for r in recipes] == sorted(r.seed for r in recipes)
    per_replicate = [{(r.method, r.prune_ratio) for r in recipes if r.seed == seed} for seed in (1, 2, 3)]
    assert per_replicate[0] == per_replicate[1] == per_replicate[2]
    assert per_replicate[0] == {("dense", 0.5), ("eb-ff", 0.3), ("eb-ff", 0.5)}


def test_runs_of_a_matrix_are_announced_by_what_tells_them_apart():
    settings = {"method": ["dense", "eb-ff"], "draw": [(10,), "final"], "seed": [1]}
    assert titles(expand(settings)) == [
        "dense on vgg16, cifar10, 160 epochs, seed 1",
        "eb-ff on vgg16, cifar10, p = 0.5, 160 epochs, seed 1, draw = 10",
        "eb-ff on vgg16, cifar10, p = 0.5, 160 epochs, seed 1, draw = final",
    ]


def test_the_command_line_replaces_what_the_file_says(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[recipe]\nepochs = 8\n[matrix]\nseed = [1, 2]\n[bench]\nidle_s = 3.0\n")
    experiment = load_experiment(path, {"seed": [5], "method": ["dense", "eb-ff"]}, {"idle_s": 1.0})
    assert [(r.seed, r.method, r.epochs) for r in experiment.recipes] == [(5, "dense", 8), (5, "eb-ff", 8)]
    assert experiment.bench.idle_s == 1.0
    assert experiment.name == "mine"
    assert not experiment.may_simulate


def experiment_of(tmp_path, text, typed=None, scale=None):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_experiment(path, typed or {}, {}, scale)


SEVERAL = """
[recipe]
epsilon = 0.2
snip_images = 64
[matrix]
method = ["dense", "snip", "eb-ff"]
prune_ratio = [0.3, 0.5]
"""


def test_each_recipe_holds_only_the_settings_that_its_method_reads(tmp_path):
    recipes = experiment_of(tmp_path, SEVERAL).recipes
    assert [(r.method, r.prune_ratio) for r in recipes].count(("dense", 0.5)) == 1
    assert len(recipes) == 5
    for recipe in recipes:
        assert recipe.epsilon == (0.2 if recipe.method == "eb-ff" else 0.1)
        assert recipe.snip_images == (64 if recipe.method == "snip" else None)


def test_a_setting_that_no_method_of_the_experiment_reads_is_refused_with_those_that_do(tmp_path):
    text = SEVERAL.replace('"eb-ff"', '"sfp"')
    with pytest.raises(
        ConfigError, match=r"^epsilon = 0\.2 means nothing to method '.*', only to eb-\*; leave it out$"
    ):
        experiment_of(tmp_path, text)


def test_settings_of_methods_that_the_command_line_replaced_go_with_them(tmp_path):
    recipes = experiment_of(tmp_path, SEVERAL, {"method": ["dense"]}).recipes
    assert recipes == (Recipe(method="dense"),)


@pytest.mark.parametrize("ratio", [0.3, Recipe.prune_ratio])
def test_a_typed_setting_must_mean_something_to_a_method_that_runs_also_where_it_is_the_default(tmp_path, ratio):
    with pytest.raises(
        ConfigError, match=rf"^prune_ratio = {ratio} means nothing to method 'dense', .*; leave it out$"
    ):
        experiment_of(tmp_path, SEVERAL, {"method": ["dense"], "prune_ratio": [ratio]})


def test_a_file_may_spell_out_all_settings_at_their_defaults():
    for method in ("dense", "eb-ff", "sfp"):
        recipe = Recipe(method=method)
        assert expand({name: [value] for name, value in recipe.settings().items() if value is not None}) == [recipe]


@pytest.mark.parametrize("epochs", [5, Recipe.auto_epochs])
def test_what_only_a_ratio_that_is_found_needs_is_refused_beside_a_number_whatever_its_value(tmp_path, epochs):
    with pytest.raises(ConfigError, match=r"^auto_epochs: only prune_ratio = 'auto' reads it"):
        experiment_of(tmp_path, "", {"method": ["eb-ff"], "auto_epochs": [epochs]})


def test_a_method_from_outside_may_read_any_setting():
    assert Recipe(method="halving", epsilon=0.3, snip_images=3).epsilon == 0.3


def test_several_matrices_run_one_after_the_other_within_each_replicate(tmp_path):
    text = """
    [recipe]
    method = "eb-ff"
    [[matrix]]
    dataset = ["cifar10"]
    prune_ratio = [0.3, 0.5]
    seed = [1, 2]
    [[matrix]]
    dataset = ["cifar100"]
    prune_ratio = [0.1]
    seed = [1, 2]
    """
    recipes = experiment_of(tmp_path, text).recipes
    each = [("cifar10", 0.3), ("cifar10", 0.5), ("cifar100", 0.1)]
    assert [(r.seed, r.dataset, r.prune_ratio) for r in recipes] == [(s, d, p) for s in (1, 2) for d, p in each]


def test_a_run_that_two_matrices_name_is_run_once(tmp_path):
    text = "[[matrix]]\nprune_ratio = [0.3, 0.5]\n[[matrix]]\nprune_ratio = [0.5, 0.7]\n"
    assert [r.prune_ratio for r in experiment_of(tmp_path, text).recipes] == [0.3, 0.5, 0.7]


def test_tickets_of_several_epochs_are_runs_of_their_own(tmp_path):
    text = '[matrix]\ndraw = [10, [20, 40], "final", "early-bird"]\n'
    assert [r.draw for r in experiment_of(tmp_path, text).recipes] == [(10,), (20, 40), "final", "early-bird"]


SCALED = """
[recipe]
epochs = 160
milestones = [0.5, 0.75]
[matrix]
model = ["vgg16", "vgg16-small"]
[bench]
idle_s = 60.0
rate_hz = 10.0
[scale.small]
epochs = 4
model = "vgg16-small"
milestones = [0.3, 0.6, 0.9]
prune_ratio = [0.3, 0.5]
[scale.small.bench]
idle_s = 1.0
"""


def test_a_scale_replaces_settings_and_axes_and_what_is_typed_replaces_the_scale(tmp_path):
    whole = experiment_of(tmp_path, SCALED)
    assert whole.scales == ("small",)
    assert [(r.model, r.epochs) for r in whole.recipes] == [("vgg16", 160), ("vgg16-small", 160)]
    small = experiment_of(tmp_path, SCALED, scale="small")
    assert [(r.model, r.prune_ratio) for r in small.recipes] == [("vgg16-small", 0.3), ("vgg16-small", 0.5)]
    assert small.recipes[0].milestones == (0.3, 0.6, 0.9)
    assert (small.bench.idle_s, small.bench.rate_hz) == (1.0, 10.0)
    typed = experiment_of(tmp_path, SCALED, {"epochs": [5]}, scale="small")
    assert {r.epochs for r in typed.recipes} == {5}


def test_an_unknown_scale_names_the_nearest_one(tmp_path):
    with pytest.raises(ConfigError, match="has no scale 'smal'; did you mean 'small'"):
        experiment_of(tmp_path, SCALED, scale="smal")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[scale]\nsmall = 3", r"scale\.small = 3 is not a table"),
        ("[scale.small]\nepoch = 3", r"\[scale\.small\]: unknown key 'epoch'; did you mean 'epochs'"),
        ("[scale.small]\nbench = 3", r"write \[scale\.small\.bench\]"),
        ("[scale.small.bench]\nidle = 3", r"did you mean 'idle_s'"),
        ("[[matrix]]\nseed = 1", "a non-empty list"),
        ("matrix = []", "is not a table"),
    ],
)
def test_a_malformed_scale_or_matrix_is_one_line_even_where_it_is_not_asked_for(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        experiment_of(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_dense_axes_are_expanded_alone_too():
    assert [r.prune_ratio for r in expand({"method": ["dense", "ns"], "prune_ratio": [0.3, 0.7]})] == [0.5, 0.3, 0.7]


def test_methods_without_a_search_have_no_ticket_epoch():
    recipes = expand({"method": ["dense", "eb-ff"], "measure_epochs": [3], "ticket_epoch": [20]})
    assert [recipe.ticket_epoch for recipe in recipes] == [None, 20]


def test_a_fault_that_several_methods_have_is_told_once():
    with pytest.raises(ConfigError) as refusal:
        expand({"method": ["dense", "eb-ff", "eb-reinit", "eb-ll"], "measure_epochs": [3]})
    (fault,) = refusal.value.faults
    assert "ends a search before its ticket is found" in fault


def test_an_assumed_ticket_epoch_is_for_the_draws_that_state_none_and_never_against_one_that_does():
    axes = {"method": ["eb-ff"], "measure_epochs": [3], "ticket_epoch": [20], "draw": [[12], "final", "best-accuracy"]}
    recipes = expand(axes)
    assert [(recipe.draw, recipe.ticket_epoch) for recipe in recipes] == [
        ((12,), None),
        ("final", None),
        ("best-accuracy", 20),
    ]
    with pytest.raises(ConfigError, match="ticket_epoch = 20: draw says already that the ticket is of epoch 12"):
        expand({**axes, "draw": [[12]]})
    assert expand({**axes, "draw": [[20]]})[0].ticket_epoch == 20


SCALED_MATRICES = """
[recipe]
epochs = 160
[[matrix]]
method = ["ns"]
[[matrix]]
method = ["eb-ff"]
draw = [[10], [20]]
[scale.small]
epochs = 16
[[scale.small.matrix]]
method = ["ns"]
[[scale.small.matrix]]
method = ["eb-ff"]
draw = [[1], "final"]
"""


def test_a_scale_may_have_matrices_of_its_own(tmp_path):
    recipes = experiment_of(tmp_path, SCALED_MATRICES, scale="small").recipes
    assert [(r.method, r.draw, r.epochs) for r in recipes] == [
        ("ns", "final", 16), ("eb-ff", (1,), 16), ("eb-ff", "final", 16)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "draws"),
    [
        ("draw = [2, 4]", [(2, 4)]),
        ('draw = [[2], [4], "final"]', [(2,), (4,), "final"]),
        ('draw = ["final"]', ["final"]),
    ],
)
def test_a_setting_of_a_scale_that_is_itself_a_list_has_several_values_where_these_are_lists(tmp_path, text, draws):
    recipes = experiment_of(tmp_path, f"[recipe]\nmethod = 'eb-ff'\n[scale.small]\n{text}\n", scale="small").recipes
    assert [r.draw for r in recipes] == draws


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix = 3", "matrix = 3 is not a table; write [scale.small.matrix]"),
        ("[scale.small.matrix]\nseeds = [1]", "[scale.small.matrix]: unknown key 'seeds'"),
        ("[scale.small.matrix]\nseed = 1", "[scale.small.matrix] seed: a non-empty list is needed"),
    ],
)
def test_a_wrong_matrix_of_a_scale_is_refused_whether_it_is_asked_for_or_not(tmp_path, text, said):
    for scale in (None, "small"):
        with pytest.raises(ConfigError) as caught:
            experiment_of(tmp_path, f"[scale.small]\n{text}\n", scale=scale)
        assert said in str(caught.value)
