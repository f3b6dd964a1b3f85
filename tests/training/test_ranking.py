import numpy as np
import pytest

from ebbench.training.models import build_model
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of, split
from ebbench.training.pruning.physical import plan_of
from ebbench.training.pruning.ranking import GROUPED, Ranking


def gamma_for(model, seed=0):
    return np.random.default_rng(seed).random(sum(layer_sizes_of(model)), dtype=np.float32)


def test_per_layer_masks_are_drawn_over_all_channels():
    model = build_model("resnet18-small", 10)
    gamma = gamma_for(model)
    assert np.array_equal(Ranking(model).draw(gamma, 0.5), draw_mask(gamma, 0.5, layer_sizes_of(model)))


@pytest.mark.parametrize("name", ["resnet18-small", "resnet50-small"])
def test_grouped_masks_are_one_mask_for_each_stream_and_remove_it_whole(name):
    model = build_model(name, 10)
    mask = Ranking(model, GROUPED).draw(gamma_for(model), 0.5)
    of_norm = dict(zip(model.norm_names(), split(mask, layer_sizes_of(model))))
    for entry in model.channels():
        assert all(np.array_equal(of_norm[entry.norms[0]], of_norm[name]) for name in entry.norms)
    plan = plan_of(model, mask)
    assert plan.live.all()
    assert sum(plan.widths) == sum(model.widths) - int(sum(model.widths) * 0.5)


def test_a_stream_that_is_read_raw_keeps_its_width_under_a_grouped_mask():
    model = build_model("preresnet-small", 10)
    plan = plan_of(model, Ranking(model, GROUPED).draw(gamma_for(model), 0.5))
    streams = [(old, new) for entry, old, new in zip(model.channels(), model.widths, plan.widths) if not entry.norms]
    assert all(old == new for old, new in streams[:-1]) and streams[-1][1] < streams[-1][0]


def test_a_group_is_ranked_by_the_mean_of_its_scales():
    model = build_model("resnet18-small", 10)
    gamma = {name: np.ones(n, np.float32) for name, n in zip(model.norm_names(), layer_sizes_of(model))}
    stream = ["stem.1", "stages.0.0.layers.4", "stages.0.1.layers.4"]
    for name, scales in zip(stream, ([0.0, 0.4], [0.0, 0.4], [2.0, 0.4])):
        gamma[name][:2] = scales  # means 0.67 and 0.4, minima 0 and 0.4
    ranking = Ranking(model, GROUPED)
    mask = ranking.draw(np.concatenate(list(gamma.values())), 1.5 / sum(ranking.sizes))
    pruned = {name for name, part in zip(gamma, split(mask, layer_sizes_of(model))) if not part.all()}
    assert pruned == set(stream)
    assert list(mask[:3]) == [True, False, True]


def test_without_streams_grouping_changes_nothing():
    model = build_model("vgg16-small", 10)
    gamma = gamma_for(model)
    assert np.array_equal(Ranking(model).draw(gamma, 0.3), Ranking(model, GROUPED).draw(gamma, 0.3))


@pytest.mark.parametrize("name", ["resnet18-small", "resnet50-small", "preresnet-small"])
@pytest.mark.parametrize("residual", ["keep", "select"])
def test_widths_of_grouped_masks_that_are_rounded_up_are_multiples_and_nothing_stays_masked(name, residual):
    model = build_model(name, 10)
    gamma, ranking = gamma_for(model), Ranking(model, GROUPED)
    mask = ranking.round_up(ranking.draw(gamma, 0.5), gamma, 8)
    of_norm = dict(zip(model.norm_names(), split(mask, layer_sizes_of(model))))
    for entry in model.channels():
        assert all(np.array_equal(of_norm[entry.norms[0]], of_norm[name]) for name in entry.norms)
    plan = plan_of(model, mask, residual)
    for entry, before, after in zip(model.channels(), model.widths, plan.widths):
        if entry.norms:
            assert after % 8 == 0 or after == before, (entry.norms, after)


@pytest.mark.parametrize("masks", ["per-layer", GROUPED])
def test_rounding_up_to_one_changes_nothing(masks):
    model = build_model("resnet18-small", 10)
    gamma, ranking = gamma_for(model), Ranking(model, masks)
    mask = ranking.draw(gamma, 0.5)
    assert ranking.round_up(mask, gamma, 1) is mask
