import pytest
import torch
from torch import nn

from ebbench.training.forward_cost import EXACT, PAPER, draw_cost, forward_cost, paper_rounded
from ebbench.training.models import build_model


@pytest.mark.parametrize(
    ("classes", "macs", "counter"), [(10, 313_201_664, 627_355_658), (100, 313_247_744, 627_447_908)]
)
def test_vgg16_costs_what_the_papers_counter_says(classes, macs, counter):
    cost = forward_cost(build_model("vgg16", classes))
    assert (cost.macs, cost.counter_flops) == (macs, counter)
    assert cost.forward_flops(EXACT) == 2 * macs
    assert cost.forward_flops(PAPER) == 630_000_000


def test_every_layer_has_its_share():
    cost = forward_cost(build_model("vgg16", 10))
    kinds = [layer.kind for layer in cost.layers]
    assert [kinds.count(k) for k in ("Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Linear")] == [13, 13, 13, 4, 1]
    assert cost.layers[0].macs == 64 * 27 * 32 * 32
    assert cost.layers[-1].counter_flops == 2 * 5120 + 10


def test_training_has_no_gradient_for_the_image():
    cost = forward_cost(build_model("vgg16", 10))
    assert cost.training_flops(EXACT) == 3 * 2 * cost.macs - 2 * 64 * 27 * 32 * 32
    assert cost.training_flops(PAPER) == 3 * 630_000_000


def test_strides_groups_and_biases_are_counted():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.AvgPool2d(2))
    cost = forward_cost(model, (4, 8, 8))
    # 6 x 4 x 4 outputs of 2 x 9 multiply-adds and a bias each
    assert [(layer.macs, layer.counter_flops) for layer in cost.layers] == [(1728, 3552), (0, 96), (0, 96)]
    assert cost.parameters == 6 * 2 * 9 + 6


def test_counting_leaves_the_network_as_it_was():
    model = build_model("vgg16-small", 10).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    forward_cost(model)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_failed_count_leaves_no_hook_behind():
    model = build_model("vgg16-small", 10)
    with pytest.raises(RuntimeError):
        forward_cost(model, (5, 32, 32))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_the_paper_rounds_to_hundredths_of_a_gigaflop():
    assert [paper_rounded(f) for f in (3_637_254_632, 8_213_618_152, 313_959_434)] == [
        3_640_000_000,
        8_210_000_000,
        310_000_000,
    ]


def test_one_check_costs_what_the_paper_says_by_its_own_convention():
    paper = draw_cost(4224, 14_724_042, 627_355_658)["paper_convention"]
    assert paper["memory_fraction"] == pytest.approx(0.000287, abs=5e-7)
    assert paper["flops_fraction"] == pytest.approx(0.000257, abs=5e-7)


def test_the_honest_cost_of_a_check_is_linear_in_the_channels():
    one, two = draw_cost(1000), draw_cost(2000)
    assert two["flops"] == 2 * one["flops"]
    assert two["bytes"] - one["bytes"] == 10 * 1000
    assert "paper_convention" not in one
