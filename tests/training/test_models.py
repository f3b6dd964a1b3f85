import copy
import math

import pytest
import torch
from torch import nn

from ebbench.errors import ConfigError
from ebbench.training.models import MODELS, build_model, empty_model


def counted(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "parameters", "norms", "channels"),
    [
        ("vgg16", 10, 14_724_042, 13, 4_224),
        ("vgg16", 100, 14_770_212, 13, 4_224),
        ("preresnet101", 10, 1_054_106, 100, 7_408),
        ("preresnet101", 100, 1_077_236, 100, 7_408),
        ("resnet18", 1000, 11_689_512, 20, 4_800),
        ("resnet50", 1000, 25_560_872, 53, 26_560),
    ],
)
def test_parameters_and_prunable_channels_are_those_of_the_papers_networks(name, classes, parameters, norms, channels):
    model = empty_model(name, classes)
    assert counted(model) == parameters
    assert len(model.prunable_norms()) == norms
    assert sum(norm.num_features for norm in model.prunable_norms()) == channels


def test_depth_is_in_the_name():
    for name, depth in (("preresnet101", 101), ("resnet18", 18), ("resnet50", 50)):
        layers = [m for m in empty_model(name, 10).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        shortcuts = [
            n for n, m in empty_model(name, 10).named_modules() if "shortcut" in n and isinstance(m, nn.Conv2d)
        ]
        assert len(layers) - len(shortcuts) == depth


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_prunable_norms_are_all_batch_norms_in_module_order(name):
    model = empty_model(name, 10)
    assert model.prunable_norms() == [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [model.get_submodule(n) for n in model.norm_names()] == model.prunable_norms()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_axis_of_every_tensor_belongs_to_the_channels_that_say_so(name):
    """Found without the network's own word: what the tensors' shapes are when all widths differ."""
    entries = empty_model(name, 3).channels()
    widths = [1000 + 7 * i for i in range(len(entries))]
    for i, entry in enumerate(entries):
        if entry.stream is not None:
            widths[i] = widths[entries.index(entry.stream)] - 1 - i % 5
    model = MODELS[name].build(name, 3, tuple(widths))  # on the meta device: no storage
    entries = model.channels()
    assert [entry.width for entry in entries] == widths
    written = {n: e.width for e in entries for n in e.writers}
    read = {n: e.width for e in entries for n in e.readers}
    normed = {n: e.width for e in entries for n in e.norms}
    selected = {e.select: e.width for e in entries if e.select}
    for layer, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.out_channels == written.pop(layer)
            assert module.in_channels == read.pop(layer, 3)
        elif isinstance(module, nn.Linear):
            assert module.in_features == read.pop(layer)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.num_features == normed.pop(layer)
    assert {n: len(b) for n, b in model.named_buffers() if n in selected} == selected
    assert not (written or read or normed)


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


@pytest.mark.parametrize(("name", "scale"), [("preresnet101", 0.5), ("resnet18", 1.0), ("resnet50-small", 1.0)])
def test_residual_networks_begin_as_the_papers_do(name, scale):
    model = build_model(name, 10, seed=1)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    conv = max(convolutions, key=lambda m: m.weight.numel())
    fan_out = conv.out_channels * conv.kernel_size[0] ** 2
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
    assert not any(m.bias.any() for m in convolutions if m.bias is not None)
    for norm in model.prunable_norms():
        assert (norm.weight == scale).all() and not norm.bias.any() and (norm.running_var == 1).all()
    bound = 1 / math.sqrt(model.classifier.in_features)
    for tensor in (model.classifier.weight, model.classifier.bias):
        assert 0.5 * bound < tensor.abs().max().item() <= bound


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


def test_more_of_a_stream_than_it_has_is_refused():
    widths = list(MODELS["preresnet-small"].widths)
    widths[5] += 1  # what the second block reads of the first stage's stream
    with pytest.raises(ConfigError, match="width 6 takes 17 channels of a residual stream that has 16"):
        build_model("preresnet-small", 10, widths=widths)


def test_one_class_is_refused():
    with pytest.raises(ConfigError, match="at least 2"):
        build_model("vgg16", 1)
