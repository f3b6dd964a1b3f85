import json

import numpy as np
import pytest

from ebbench.errors import ConfigError, InputError
from ebbench.training.counting import flops
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.trials import Trials
from ebbench.training.models import MODELS, build_model
from ebbench.training.pruning.mask_file import save_masks
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of
from ebbench.training.pruning.physical import plan_of
from ebbench.training.pruning.widths import fewer, uniform_widths

VGG16 = MODELS["vgg16"].widths


def document(*asked, **settings):
    return flops.document(flops.Training(*asked, **settings))


def paper(method, **settings):
    return document("vgg16", "cifar10", method, convention="paper", **settings)["total_flops"] / 1e15


@pytest.mark.parametrize(("method", "published", "computed"), [("lt", 30.3, 30.24), ("snip", 15.1, 15.12)])
def test_dense_rows_of_table_2(method, published, computed):
    assert paper(method) == pytest.approx(computed, rel=1e-12)
    assert paper(method) == pytest.approx(published, rel=0.0025)


@pytest.mark.parametrize(("ratio", "computed"), [(0.1, 27.36), (0.3, 22.56), (0.5, 18.96), (0.7, 16.56)])
def test_thinet_rows_of_table_2_follow_from_uniform_widths(ratio, computed):
    assert paper("thinet", prune_ratio=ratio, widths="uniform") == pytest.approx(computed, rel=1e-12)


@pytest.mark.parametrize(
    ("method", "ticket", "gflops", "computed"),
    [("eb-ff", 23, 0.51, 12.65), ("eb-reinit", 23, 0.51, 14.41), ("eb-ff", 16, 0.386, 9.85), ("ns", None, 0.44, 25.68)],
)
def test_rows_of_table_2_that_need_a_stated_pruned_forward(method, ticket, gflops, computed):
    assert paper(method, ticket_epoch=ticket, pruned_forward=gflops) == pytest.approx(computed, abs=0.005)


def test_the_exact_total_is_epochs_times_images_times_a_step():
    found = document("vgg16", "cifar10", "dense")
    step = 6 * 313_201_664 - 2 * 64 * 27 * 1024
    assert found["total_flops"] == 160 * 50_000 * step
    assert forward_cost(build_model("vgg16", 10)).training_flops() == step
    assert found["evaluation"]["flops"] == 160 * 10_000 * 2 * 313_201_664
    assert (found["forward_flops"], found["forward_macs"]) == (626_403_328, 313_201_664)
    assert (found["parameters"], found["prunable_channels"]) == (14_724_042, 4224)


@pytest.mark.parametrize(
    ("method", "phases"),
    [
        ("dense", [("train", 160)]),
        ("eb-ff", [("search", 20), ("retrain", 140)]),
        ("eb-reinit", [("search", 20), ("retrain", 160)]),
        ("lt", [("train", 160), ("retrain", 160)]),
        ("snip", [("train", 160)]),
        ("ns", [("train", 160), ("finetune", 160)]),
        ("thinet", [("train", 160), ("finetune", 160)]),
        ("sfp", [("train", 160)]),
    ],
)
def test_each_method_has_its_phases_and_the_total_is_their_sum(method, phases):
    found = document("vgg16-small", "synthetic", method, ticket_epoch=20, prune_ratio=0.5)
    assert [(p["phase"], p["epochs"]) for p in found["phases"]] == phases
    assert found["total_flops"] == sum(p["flops"] for p in found["phases"])
    assert all(p["images"] == 2000 for p in found["phases"])
    json.dumps(found, allow_nan=False)


def test_soft_filters_are_charged_what_they_do_and_by_the_papers_convention_what_the_paper_charges():
    dense = document("vgg16", "cifar10", "dense")
    assert document("vgg16", "cifar10", "sfp")["total_flops"] == dense["total_flops"]
    charged = document("vgg16", "cifar10", "sfp", pruned_forward=0.31, convention="paper")
    assert charged["total_flops"] == 3 * 160 * 50_000 * (630_000_000 + 310_000_000)
    assert any("it runs one" in line for line in charged["assumptions"])


def test_the_images_of_a_draw_are_said_to_be_left_out():
    for method in ("snip", "thinet"):
        assert any("not counted" in line for line in document("vgg16-small", "synthetic", method)["assumptions"])


def test_what_was_not_said_is_listed_as_assumed():
    assert len(document("vgg16-small", "synthetic", "eb-ff")["assumptions"]) == 3
    found = document("vgg16-small", "synthetic", "eb-ff", ticket_epoch=9, prune_ratio=0.3, widths="uniform")
    assert found["assumptions"] == []
    assert found["pruned"]["widths"] == [5, 5, 11, 11, 22, 22, 22, 44, 44, 44, 44, 44, 44]


def test_uniform_widths_take_the_ratio_as_it_was_typed():
    assert [fewer(width, 0.9) for width in (10, 100, 1)] == [1, 10, 1]
    assert [fewer(width, 0.3) for width in (64, 512)] == [44, 358]


def pruned_macs(model, **settings):
    return document(model, "cifar10", "ns", prune_ratio=0.5, **settings)["pruned"]["forward_macs"]


def test_what_a_uniform_mask_removes_depends_on_what_can_be_removed():
    keep, select = (pruned_macs("preresnet101", residual=residual) for residual in ("keep", "select"))
    dense = document("preresnet101", "cifar10", "dense")["forward_macs"]
    assert (round(keep / dense, 3), round(select / dense, 3)) == (0.392, 0.334)
    assert pruned_macs("vgg16", residual="select", masks="grouped") == pruned_macs("vgg16")
    model = build_model("resnet50-small", 10)
    per_layer, grouped = (uniform_widths(model, 0.5, masks) for masks in ("per-layer", "grouped"))
    assert grouped == tuple(width // 2 for width in model.widths)
    assert {width for width, entry in zip(per_layer, model.channels()) if len(entry.norms) > 1} == {32, 64, 128, 256}


@pytest.mark.parametrize(("ratio", "gflops"), [(0.3, 4.047), (0.5, 2.122), (0.7, 0.786)])
def test_resnet50_with_grouped_masks_is_as_small_as_the_public_codes(ratio, gflops):
    found = document("resnet50", "imagenet", "ns", prune_ratio=ratio, masks="grouped", convention="paper")
    cost = forward_cost(build_model("resnet50", 1000, found["pruned"]["widths"]))
    assert cost.counter_flops / 1e9 == pytest.approx(gflops, abs=5e-4)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_resnet50_with_per_layer_masks_does_not_reach_the_70_percent_row_of_table_3(ratio):
    """Table 3's eb-ff totals imply .68, .52 and .225 of the dense forward pass."""
    dense = document("resnet50", "imagenet", "dense")["forward_macs"]
    found = document("resnet50", "imagenet", "ns", prune_ratio=ratio)["pruned"]["forward_macs"] / dense
    implied = {0.3: 5.57, 0.5: 4.239, 0.7: 1.845}[ratio] / 8.21
    assert (found > implied) == (ratio == 0.7)


@pytest.mark.parametrize(("method", "epochs"), [("eb-lf", 140), ("eb-ll", 140), ("eb-ff", 140), ("eb-reinit", 160)])
def test_retraining_in_full_takes_all_epochs(method, epochs):
    for retrain, expected in (("remaining", epochs), ("full", 160)):
        found = document("vgg16-small", "synthetic", method, ticket_epoch=20, retrain_epochs=retrain)
        assert found["phases"][1]["epochs"] == expected


def test_soft_filter_pruning_is_charged_what_it_runs_and_by_the_paper_a_second_training():
    exact = document("resnet18-small", "synthetic", "sfp")
    assert [p["phase"] for p in exact["phases"]] == ["train"] and exact["pruned"] is None
    paper = document("resnet18-small", "synthetic", "sfp", prune_ratio=0.3, convention="paper")
    assert [p["phase"] for p in paper["phases"]] == ["train", "finetune"]


def test_a_dense_forward_that_is_given_replaces_the_counted_one():
    found = document("resnet50-small", "synthetic", "dense", epochs=1, dense_forward=7.72, convention="paper")
    assert found["forward_flops"] == 7_720_000_000 and found["total_flops"] == 2000 * 3 * 7_720_000_000
    assert "--dense-forward" in document("vgg16-small", "synthetic", "dense", dense_forward=1.0)["assumptions"][0]


def test_the_masks_of_a_run_are_counted_as_its_recipe_prunes(tmp_path):
    model = build_model("preresnet-small", 10)
    sizes = layer_sizes_of(model)
    mask = draw_mask(np.random.default_rng(1).random(sum(sizes), dtype=np.float32), 0.5, sizes)
    save_masks(tmp_path / "masks.npz", mask[None], [1], np.zeros((1, sum(sizes))))
    for residual in ("keep", "select"):
        (tmp_path / "manifest.json").write_text(json.dumps({"recipe": {"residual": residual}}))
        found = document("preresnet-small", "cifar10", "ns", widths=str(tmp_path))["pruned"]["widths"]
        assert tuple(found) == plan_of(model, mask, residual).widths
    asked = document("preresnet-small", "cifar10", "ns", widths=str(tmp_path), residual="keep")["pruned"]["widths"]
    assert tuple(asked) == plan_of(model, mask, "keep").widths


def test_widths_come_from_the_last_mask_of_a_run(tmp_path):
    rng = np.random.default_rng(1)
    masks = [draw_mask(rng.random(sum(VGG16), dtype=np.float32), 0.5, VGG16) for _ in range(3)]
    save_masks(tmp_path / "masks.npz", np.stack(masks), [1, 2, 3], np.zeros((3, sum(VGG16))))
    wanted = [int(part.sum()) for part in np.split(masks[-1], np.cumsum(VGG16)[:-1])]
    for place in (tmp_path, tmp_path / "masks.npz"):
        assert document("vgg16", "cifar10", "ns", widths=str(place))["pruned"]["widths"] == wanted


@pytest.mark.parametrize("text", ["[%s]", "%s\n"])
def test_widths_come_from_a_file_of_numbers(tmp_path, text):
    (tmp_path / "w.txt").write_text(text % ", ".join(str(w // 2) for w in VGG16))
    same = document("vgg16", "cifar10", "ns", prune_ratio=0.5)["total_flops"]
    assert document("vgg16", "cifar10", "ns", widths=str(tmp_path / "w.txt"))["total_flops"] == same


def test_images_of_an_archive_are_counted(tmp_path):
    images = np.zeros((7, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(7) % 2, x_test=images[:2], y_test=[0, 1])
    assert document("vgg16-small", f"npz:{tmp_path / 'a.npz'}", "dense")["phases"][0]["images"] == 7


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"method": "ebff"}, "did you mean 'eb-ff'"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'"),
        ({"model": "vgg"}, "unknown model 'vgg'"),
        ({"convention": "exactly"}, "did you mean 'exact'"),
        ({"prune_ratio": 1.0}, r"outside \(0, 1\)"),
        ({"ticket_epoch": 161}, r"outside 1\.\.160"),
        ({"ticket_epoch": 0}, r"outside 1\.\.160"),
        ({"epochs": 0}, "below 1"),
        ({"pruned_forward": -1.0}, "above 0"),
        ({"pruned_forward": 10.2}, r"at most the dense 0\.01018"),
        ({"pruned_forward": 0.3, "widths": "uniform"}, "give one of them"),
        ({"dense_forward": float("nan")}, "--dense-forward nan: GFLOPs above 0"),
        ({"masks": "groups"}, "did you mean 'grouped'"),
        ({"residual": "selct"}, "did you mean 'select'"),
        ({"retrain_epochs": "ful"}, "did you mean 'full'"),
    ],
)
def test_bad_settings_are_one_clear_line(settings, line):
    with pytest.raises(ConfigError, match=line):
        document(**{"model": "vgg16-small", "dataset": "synthetic", "method": "eb-ff", **settings})


@pytest.mark.parametrize("content", ["a, b", "[1, 2", "1 2 3", "[0" + ", 4" * 12 + "]", "[9" + ", 4" * 12 + "]", "{}"])
def test_a_bad_file_of_widths_is_one_clear_line(tmp_path, content):
    (tmp_path / "w").write_text(content)
    with pytest.raises(InputError, match=r"widths|kept channels"):
        document("vgg16-small", "synthetic", "ns", widths=str(tmp_path / "w"))


def test_a_missing_file_of_widths_says_what_may_stand_there(tmp_path):
    with pytest.raises(InputError, match="'uniform', a run folder or a file"):
        document("vgg16-small", "synthetic", "ns", widths=str(tmp_path / "nothing"))


def test_a_ratio_that_is_to_be_found_adds_its_trials_to_the_search_and_takes_the_held_out_images_from_it():
    trials = Trials(chosen=0.6, ratios=(0.6, 0.2, 0.8), epochs=4, images=6_000)
    found = document("vgg16", "cifar10", "eb-reinit", prune_ratio="auto", ticket_epoch=20, trials=trials)
    plain = document("vgg16", "cifar10", "eb-reinit", prune_ratio=0.6, ticket_epoch=20, widths="uniform")
    by_name = {phase["phase"]: phase for phase in found["phases"]}
    parts = [f"search/trial-{number}/{part}" for number in range(3) for part in ("retrain", "draw")]
    assert list(by_name) == ["search", *parts, "retrain"]
    assert by_name["retrain"] == plain["phases"][1]
    assert {by_name[name]["images"] for name in ["search", *parts[::2]]} == {44_000}
    assert {by_name[name]["images"] for name in parts[1::2]} == {6_000}
    model = build_model("vgg16", 10)
    costs = [forward_cost(model)]
    costs += [forward_cost(build_model("vgg16", 10, uniform_widths(model, ratio))) for ratio in (0.8, 0.6)]
    for number, cost in enumerate(costs):
        assert by_name[f"search/trial-{number}/retrain"]["flops"] == 4 * 44_000 * cost.training_flops()
        assert by_name[f"search/trial-{number}/draw"]["flops"] == 6_000 * cost.forward_flops()
    assert found["total_flops"] == sum(phase["flops"] for phase in found["phases"])
    assert "0.8, 0.6 are tried, and 0.6 is taken" in found["assumptions"][0]


@pytest.mark.parametrize(
    ("method", "settings", "line"),
    [
        ("ns", {}, "eb-ff and eb-reinit, not 'ns'"),
        ("eb-ff", {"widths": "32 32"}, "leave --widths"),
        ("eb-ff", {"pruned_forward": 0.3}, "leave --widths"),
    ],
)
def test_a_ratio_that_is_to_be_found_is_refused_where_it_cannot_be(method, settings, line):
    with pytest.raises(ConfigError, match=line):
        document("vgg16", "cifar10", method, prune_ratio="auto", **settings)


def test_widths_that_are_rounded_up_are_counted_uniform_and_from_a_run(tmp_path):
    model = build_model("vgg16", 10)
    uniform = document("vgg16", "cifar10", "eb-ff", prune_ratio=0.3, widths="uniform", width_multiple=8)
    assert uniform["pruned"]["widths"] == [48, 48, 96, 96, 184, 184, 184, *[360] * 6]
    gamma = np.random.default_rng(0).random(4224, dtype=np.float32)
    mask = draw_mask(gamma, 0.3, layer_sizes_of(model))
    save_masks(tmp_path / "masks.npz", mask[None], [1], gamma[None])
    (tmp_path / "manifest.json").write_text(json.dumps({"recipe": {"width_multiple": 16, "masks": "per-layer"}}))
    found = document("vgg16", "cifar10", "eb-ff", widths=str(tmp_path))["pruned"]["widths"]
    assert found == [min(-(-kept // 16) * 16, width) for kept, width in zip(plan_of(model, mask).widths, model.widths)]
    with pytest.raises(ConfigError, match="--width-multiple 0 is below 1"):
        document("vgg16", "cifar10", "eb-ff", width_multiple=0)
