import copy
import math

import pytest
import torch
from torch import nn

from ebbench.errors import ConfigError
from ebbench.training.models import MODELS, build_model


def counted(model):
    return sum(p.numel() for p in model.parameters())


def test_vgg16_has_the_parameters_of_the_papers_network():
    assert counted(build_model("vgg16", 10)) == 14_724_042
    assert counted(build_model("vgg16", 100)) == 14_770_212


def test_vgg16_has_4224_channels_in_13_batch_norms():
    norms = build_model("vgg16", 10).prunable_norms()
    assert [n.num_features for n in norms] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert sum(n.num_features for n in norms) == 4224


def test_the_prunable_norms_are_all_batch_norms_in_module_order():
    model = build_model("vgg16-small", 10)
    assert model.prunable_norms() == [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_maps_its_input_to_one_logit_per_class(name):
    model = build_model(name, 7, widths=[4] * len(MODELS[name].widths))
    assert (model.num_classes, model.name, model.widths) == (7, name, (4,) * len(MODELS[name].widths))
    assert model(torch.zeros(2, *model.input_shape)).shape == (2, 7)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    one, two, other = (build_model("vgg16-small", 10, seed=s) for s in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    assert not torch.equal(one.features[0].weight, other.features[0].weight)


def test_building_neither_uses_nor_changes_the_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build_model("vgg16-small", 10, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(build_model("vgg16-small", 10, seed=3).features[0].weight, one.features[0].weight)


def test_initial_weights_have_the_papers_spread():
    model = build_model("vgg16", 10, seed=1)
    conv = model.features[-3]  # 512 to 512 channels: 2.4 million weights, so 1 % is far outside chance
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)
    assert abs(conv.weight.mean().item()) < 1e-4
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.classifier.bias.any()
    for norm in model.prunable_norms():
        assert (norm.weight == 0.5).all()
        assert not norm.bias.any()
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()


def test_a_copy_has_batch_norms_of_its_own():
    model = build_model("vgg16-small", 10)
    twin = copy.deepcopy(model)
    twin.prunable_norms()[0].weight.data.fill_(9)
    assert (model.prunable_norms()[0].weight == 0.5).all()
    assert (twin.features[1].weight == 9).all()


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown model 'vgg61'; did you mean 'vgg16'"):
        build_model("vgg61", 10)


@pytest.mark.parametrize("widths", [[4] * 12, [4] * 12 + [0]])
def test_widths_that_do_not_fit_are_refused(widths):
    with pytest.raises(ConfigError, match="has 13 widths of 1 or more"):
        build_model("vgg16", 10, widths=widths)


def test_one_class_is_refused():
    with pytest.raises(ConfigError, match="at least 2"):
        build_model("vgg16", 1)
