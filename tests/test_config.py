from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.config import (
    Bench,
    Recipe,
    load_bench,
    load_toml,
    make_recipe,
    run_id,
    told_apart,
)
from ebbench.errors import ConfigError
from ebbench.meter_ref import MeterRef

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1)
ADDRESSES = st.text(st.characters(blacklist_characters="?", blacklist_categories=("Cs",)), min_size=1)
VALUES = st.text(st.characters(blacklist_categories=("Cs",)))
SCALARS = st.one_of(
    st.integers(-3, 300), st.floats(), st.booleans(), st.text(max_size=5), st.dates(), st.just("early-bird")
)
TOML_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2)
)
RECIPE_FIELDS = [f.name for f in dataclasses.fields(Recipe)]
BENCH_FIELDS = [f.name for f in dataclasses.fields(Bench)]


@given(NAMES, st.none() | ADDRESSES, st.dictionaries(st.text("abc_XYZ", min_size=1), VALUES, max_size=3))
def test_a_meter_reads_back_as_it_is_written(name, address, options):
    meter = MeterRef(name, address, options)
    assert MeterRef.parse(str(meter)) == meter


@pytest.mark.parametrize(
    ("uri", "name", "address", "options"),
    [
        ("nvml", "nvml", None, {}),
        ("sim?noise_w=0.1", "sim", None, {"noise_w": "0.1"}),
        ("replay:old/trace.csv", "replay", "old/trace.csv", {}),
        ("scpi:TCPIP::10.0.0.5::INSTR?scope=wall", "scpi", "TCPIP::10.0.0.5::INSTR", {"scope": "wall"}),
        ("shelly:http://10.0.0.7?scope=wall", "shelly", "http://10.0.0.7", {"scope": "wall"}),
    ],
)
def test_meters_are_named_as_the_documentation_names_them(uri, name, address, options):
    assert MeterRef.parse(uri) == MeterRef(name, address, options)
    assert str(MeterRef.parse(uri)) == uri


@pytest.mark.parametrize("uri", ["", ":address", "?a=b", "sim?noise"])
def test_a_meter_that_cannot_be_read_says_how_one_is_written(uri):
    with pytest.raises(ConfigError, match=r"NAME|\?key=value"):
        MeterRef.parse(uri)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [({"prune_ration": 0.5}, "prune_ratio"), ({"epoch": 3}, "epochs"), ({"batchsize": 3}, "batch_size")],
)
def test_an_unknown_key_of_a_recipe_names_the_nearest_known_one(settings, hint):
    with pytest.raises(ConfigError, match=f"did you mean '{hint}'"):
        make_recipe(settings)


def test_an_unknown_key_of_a_bench_names_the_place_and_the_nearest_known_one():
    with pytest.raises(ConfigError, match=r"bench\.toml: unknown key 'idle'; did you mean 'idle_s'"):
        load_bench({"idle": 3}, {}, "bench.toml")


def test_all_faults_of_a_recipe_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        Recipe(
            prune_ratio=1.5, epochs=0, epsilon=0, momentum=-1, pairs="papper", masks="group", residual="all", draw=(7,)
        )
    message = str(caught.value)
    for name in (
        "prune_ratio = 1.5",
        "epochs = 0",
        "epsilon = 0",
        "momentum = -1",
        "did you mean 'paper'",
        "masks = 'group'",
        "residual = 'all'",
        "1..0",
    ):
        assert name in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("milestones", "words"),
    [
        ((80, 120), "which of 160 epochs are [0.5, 0.75]"),
        ((80, 200), "such as [0.5, 0.75]"),
        ((0.5, 0.5), "must be rising fractions"),
    ],
)
def test_milestones_are_fractions_and_epochs_are_told_as_such(milestones, words):
    with pytest.raises(ConfigError) as caught:
        Recipe(milestones=milestones)
    assert words in str(caught.value)


def test_a_seed_that_no_generator_takes_is_refused():
    assert Recipe(seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(ConfigError, match="seed = 9223372036854775808 is above 9223372036854775807"):
        Recipe(seed=2**63)


def test_a_momentum_with_which_steps_grow_without_end_is_refused():
    with pytest.raises(ConfigError, match="is not below 1: steps would grow without end"):
        Recipe(momentum=1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["prune_ratio", "learning_rate", "epsilon", "momentum", "weight_decay", "l1", "checkpoint_s"]
)
def test_no_setting_of_a_recipe_is_infinite_or_not_a_number(name, value):
    with pytest.raises(ConfigError, match=name):
        make_recipe({name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["idle_s", "warmup_s", "amplify_s", "rate_hz", "max_gap_s"])
def test_no_setting_of_a_bench_is_infinite_or_not_a_number(name, value):
    with pytest.raises(ConfigError, match=name):
        load_bench({name: value}, {}, "bench")


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 1.5},
        {"epochs": True},
        {"epochs": "8"},
        {"deterministic": 1},
        {"model": 16},
        {"milestones": ["half"]},
        {"milestones": [[0.5]]},
        {"draw": ["3"]},
        {"draw": 1.5},
        {"draw": True},
        {"prune_ratio": "0.5"},
        {"train_images": 10.0},
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_the_right_type(settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"{name} = .*needed"):
        make_recipe(settings)


def test_whole_numbers_serve_where_a_fraction_is_expected():
    recipe = make_recipe({"learning_rate": 1, "milestones": [0.5], "draw": 3})
    assert (recipe.learning_rate, recipe.draw) == (1.0, (3,))
    assert isinstance(recipe.learning_rate, float)


@given(st.dictionaries(st.sampled_from(RECIPE_FIELDS), TOML_VALUES, max_size=3))
def test_whatever_a_recipe_is_made_of_it_is_a_recipe_or_one_clear_line(settings):
    try:
        recipe = make_recipe(settings)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert make_recipe(recipe.settings()) == recipe


@given(st.dictionaries(st.sampled_from(BENCH_FIELDS), TOML_VALUES, max_size=3))
def test_whatever_a_bench_is_made_of_it_is_a_bench_or_one_clear_line(settings):
    try:
        bench = load_bench(settings, {}, "bench")
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert load_bench(bench.settings(), {}, "bench") == bench


def test_a_file_that_is_absent_a_folder_or_no_text_is_one_line(tmp_path):
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.toml", tmp_path, binary):
        with pytest.raises(ConfigError, match=str(path)):
            load_toml(path)


def test_a_run_keeps_its_name_when_a_setting_with_a_default_is_added_later():
    @dataclasses.dataclass(frozen=True)
    class LaterRecipe(Recipe):
        added_later: int = 0

    assert run_id(LaterRecipe(), Bench()) == run_id(Recipe(), Bench())


def test_a_default_that_is_spelled_out_names_the_same_run():
    spelled_out = make_recipe(Recipe().settings())
    assert run_id(spelled_out, Bench()) == run_id(Recipe(), Bench())


@given(
    st.sampled_from([("epochs", 3), ("seed", 7), ("l1", 0.0), ("threads", 2), ("draw", (3,)), ("deterministic", False)])
)
def test_each_setting_that_differs_names_another_run(setting):
    changed = dataclasses.replace(Recipe(), **dict([setting]))
    assert run_id(changed, Bench()) != run_id(Recipe(), Bench())


def test_a_run_is_named_alike_by_every_process():
    """Hashes of strings differ between processes; a name must not hang on them."""
    code = "from ebbench.config import *; print(run_id(Recipe(method='ns', draw=(3,)), Bench(meters=('sim',))))"
    names = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(names) == 1
    assert names.pop().startswith("ns-vgg16-cifar10-p0.5-s1-")


def test_a_run_id_is_a_file_name_whatever_the_data_set():
    name = run_id(Recipe(dataset="npz:/data/cifar.npz"), Bench())
    assert "/" not in name
    assert ":" not in name


def test_runs_of_the_same_name_are_told_apart_by_what_differs_and_no_other_by_anything():
    drawn = [Recipe(method="eb-ff", draw=(10,)), Recipe(method="eb-ff", draw="final")]
    slow = Recipe(method="eb-ff", draw=(10,), search_rate=0.01, search_milestones=(0.25, 0.625))
    recipes = [*drawn, slow, Recipe(method="dense"), Recipe(method="ns", seed=2)]
    assert told_apart([recipe.settings() for recipe in recipes]) == [
        "draw = 10",
        "draw = final",
        "draw = 10, search_rate = 0.01, search_milestones = 0.25,0.625",
        "",
        "",
    ]


def test_settings_are_json():
    assert json.loads(json.dumps(Recipe(draw=(1, 2)).settings()))["draw"] == [1, 2]
    assert json.loads(json.dumps(Bench().settings()))["meters"] == ["auto"]


@pytest.mark.parametrize(
    ("method", "draw"), [("eb-ff", "early-bird"), ("lt", "final"), ("ns", "final"), ("thinet", "final")]
)
def test_each_method_draws_by_default_when_its_paper_does(method, draw):
    assert Recipe(method=method).draw == draw
    assert run_id(Recipe(method=method, draw=draw), Bench()) == run_id(Recipe(method=method), Bench())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "sfp", "epsilon": 0.2}, r"epsilon = 0\.2 means nothing to method 'sfp', only to eb-\*"),
        ({"method": "sfp", "draw": "early-bird", "l1": 0.0}, r"l1 = 0\.0 means nothing"),
        ({"method": "dense", "draw": (3,)}, r"draw = \[3\] means nothing to method 'dense'"),
        ({"method": "ns", "retrain_epochs": "full"}, "retrain_epochs = 'full' means nothing"),
        ({"method": "eb-ff", "finetune_epochs": 3}, "only to ns, thinet"),
        ({"method": "ns", "draw": "early-bird"}, "is EB Train's; 'ns' draws at 'final'"),
        ({"method": "lt", "draw": "best-accuracy", "evaluate_every": 161}, "evaluate_every = 161"),
        ({"method": "lt", "lt_layers": "convs"}, "did you mean 'conv'"),
        ({"method": "ns", "finetune_rate": 0.0}, "finetune_rate = 0.0 is not above 0"),
        ({"method": "snip", "snip_images": 0}, "snip_images = 0 is below 1"),
        ({"nesterov": True, "momentum": 0.0}, "needs a momentum above 0"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_with_the_reason(settings, words):
    with pytest.raises(ConfigError, match=words):
        make_recipe(settings)


def test_a_search_cut_short_needs_the_epoch_that_it_assumes():
    with pytest.raises(ConfigError, match=r"state the epoch to assume.*--ticket-epoch"):
        Recipe(method="eb-ff", measure_epochs=3)
    for fine in (
        {"method": "dense"},
        {"method": "eb-ff", "ticket_epoch": 20},
        {"method": "eb-ff", "draw": (20,)},
        {"method": "eb-reinit", "draw": "final"},
        {"method": "eb-ff", "epochs": 4},  # the search is not cut
    ):
        Recipe(measure_epochs=3, **fine)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"measure_epochs": 2, "ticket_epoch": 5}, "below 3: fewer epochs cannot tell a drift from scatter"),
        ({"ticket_epoch": 5}, "give draw = 5"),
        ({"measure_epochs": 3, "ticket_epoch": 161}, "outside 1..160"),
    ],
)
def test_an_excerpt_that_cannot_be_is_refused(settings, why):
    with pytest.raises(ConfigError, match=why):
        Recipe(**settings)


def test_a_ratio_that_is_to_be_found_is_in_the_name_and_a_number_names_a_run_as_before():
    assert run_id(Recipe(prune_ratio="auto"), Bench()).startswith("eb-ff-vgg16-cifar10-pauto-s1-")
    assert run_id(Recipe(prune_ratio=0.30), Bench()).startswith("eb-ff-vgg16-cifar10-p0.3-s1-")
    assert Recipe(prune_ratio="auto").ratios == tuple(n / 10 for n in range(1, 10))
    assert Recipe(prune_ratio=0.3).ratios == (0.3,)
    assert make_recipe(Recipe(prune_ratio="auto", auto_epochs=2).settings()) == Recipe(
        prune_ratio="auto", auto_epochs=2
    )
