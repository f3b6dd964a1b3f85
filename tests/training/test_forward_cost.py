import numpy as np
import pytest
import torch
from torch import nn

from ebbench.training.counting.forward_cost import EXACT, PAPER, draw_cost, forward_cost, paper_rounded
from ebbench.training.models import SELECT, build_model
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of
from ebbench.training.pruning.physical import plan_of, prune


@pytest.mark.parametrize(
    ("name", "classes", "macs", "counter", "rounded"),
    [
        ("vgg16", 10, 313_201_664, 627_355_658, 630_000_000),
        ("vgg16", 100, 313_247_744, 627_447_908, 630_000_000),
        ("preresnet101", 10, 154_061_312, 313_959_434, 310_000_000),
        ("preresnet101", 100, 154_084_352, 314_005_604, 310_000_000),
        ("resnet18", 1000, 1_814_073_344, 3_637_254_632, 3_640_000_000),
        ("resnet50", 1000, 4_089_184_256, 8_213_618_152, 8_210_000_000),
    ],
)
def test_the_papers_networks_cost_what_its_counter_says(name, classes, macs, counter, rounded):
    cost = forward_cost(build_model(name, classes))
    assert (cost.macs, cost.counter_flops) == (macs, counter)
    assert cost.forward_flops(EXACT) == 2 * macs
    assert cost.forward_flops(PAPER) == rounded


def preresnet_macs(widths, blocks, classes):
    """Multiply-adds of a PreResNet from its widths alone, sum by sum."""
    left, side = iter(widths), 32
    stream = next(left)
    macs = 27 * stream * side**2
    for stage in range(3):
        outputs = next(left)
        for block in range(blocks):
            read, first, second = next(left), next(left), next(left)
            macs += read * first * side**2
            side //= 2 if stage and not block else 1
            macs += (9 * first * second + second * outputs) * side**2
            macs += 0 if block else stream * outputs * side**2
            stream = outputs
    return macs + next(left) * classes


def resnet_macs(widths, depths, kernels, side, classes):
    """Multiply-adds of a ResNet, whose stem leaves images of `side`, from its widths alone."""
    left = iter(widths)
    stream = next(left)
    macs = 49 * 3 * stream * (2 * side) ** 2
    for stage, depth in enumerate(depths):
        has_own = stage > 0 or len(kernels) == 3
        outputs = next(left) if has_own else stream
        for block in range(depth):
            row = [stream, *(next(left) for _ in kernels[1:]), outputs]
            halves = stage > 0 and block == 0
            for number, kernel in enumerate(kernels):
                side //= 2 if halves and number == kernels.index(3) else 1
                macs += kernel**2 * row[number] * row[number + 1] * side**2
            macs += stream * outputs * side**2 if has_own and block == 0 else 0
            stream = outputs
    return macs + stream * classes


CLOSED_FORMS = {
    "preresnet101": lambda widths: preresnet_macs(widths, 11, 10),
    "preresnet-small": lambda widths: preresnet_macs(widths, 2, 10),
    "resnet18": lambda widths: resnet_macs(widths, (2, 2, 2, 2), (3, 3), 56, 10),
    "resnet18-small": lambda widths: resnet_macs(widths, (2, 2, 2, 2), (3, 3), 16, 10),
    "resnet50": lambda widths: resnet_macs(widths, (3, 4, 6, 3), (1, 3, 1), 56, 10),
    "resnet50-small": lambda widths: resnet_macs(widths, (2, 2, 2, 2), (1, 3, 1), 16, 10),
}


@pytest.mark.parametrize("name", sorted(CLOSED_FORMS))
def test_multiply_adds_of_residual_networks_follow_from_their_widths(name):
    dense = build_model(name, 10)
    assert forward_cost(dense).macs == CLOSED_FORMS[name](dense.widths)
    sizes = layer_sizes_of(dense)
    rng = np.random.default_rng(3)
    for ratio in (0.3, 0.7):
        plan = plan_of(dense, draw_mask(rng.random(sum(sizes), dtype=np.float32), ratio, sizes), SELECT)
        pruned = build_model(name, 10, plan.widths)
        assert forward_cost(pruned).macs == CLOSED_FORMS[name](plan.widths) < forward_cost(dense).macs


@pytest.mark.parametrize("name", ["vgg16-small", "preresnet-small", "resnet18-small", "resnet50-small"])
def test_torchs_own_counter_agrees_on_forward_and_backward(name):
    counter = pytest.importorskip("torch.utils.flop_counter", reason="torch 2.1 and later have it")
    dense = build_model(name, 10)
    sizes = layer_sizes_of(dense)
    mask = draw_mask(np.random.default_rng(4).random(sum(sizes), dtype=np.float32), 0.5, sizes)
    for model in (dense, prune(dense, mask), prune(dense, mask, SELECT)):
        with counter.FlopCounterMode(display=False) as counted:
            model(torch.zeros(2, *model.input_shape)).sum().backward()
        assert counted.get_total_flops() == 2 * forward_cost(model).training_flops()


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


@pytest.mark.parametrize(
    ("name", "memory_percent", "flops_percent"),
    [
        ("vgg16", 0.0287, 0.0257),
        ("preresnet101", 0.7028, 0.0957),
        ("resnet18", 0.0411, 0.0051),
        ("resnet50", 0.1039, 0.0149),
    ],
)
def test_one_check_costs_what_the_paper_says_by_its_own_convention(name, memory_percent, flops_percent):
    """The paper's "at most .029 % and .026 %" are VGG16's; a network with many narrow layers has more channels for its size."""
    model = build_model(name, 1000 if name.startswith("resnet") else 10)
    cost = forward_cost(model)
    channels = sum(layer_sizes_of(model))
    paper = draw_cost(channels, cost.parameters, cost.counter_flops)["paper_convention"]
    assert 100 * paper["memory_fraction"] == pytest.approx(memory_percent, abs=5e-5)
    assert 100 * paper["flops_fraction"] == pytest.approx(flops_percent, abs=5e-5)


def test_the_honest_cost_of_a_check_is_linear_in_the_channels():
    one, two = draw_cost(1000), draw_cost(2000)
    assert two["flops"] == 2 * one["flops"]
    assert two["bytes"] - one["bytes"] == 10 * 1000
    assert "paper_convention" not in one
