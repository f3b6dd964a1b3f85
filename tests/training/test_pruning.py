import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbench.errors import InputError
from ebbench.training.compat import foreach_sign
from ebbench.training.masks import draw_mask, layer_sizes_of
from ebbench.training.models import build_model
from ebbench.training.pruning import HeldMask, apply_mask, prune, reinit

WIDTHS = (6, 5, 7, 6, 8, 7, 6, 9, 8, 7, 6, 8, 9)
CLASSES = 4


def trained_looking(dtype=torch.float64, seed=0):
    """A network whose scales, shifts and running statistics all differ, as after training."""
    model = build_model("vgg16-small", CLASSES, WIDTHS, seed).to(dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    for norm in model.prunable_norms():
        norm.weight.data.uniform_(-1.2, 1.2, generator=generator)
        norm.bias.data.normal_(0, 0.3, generator=generator)
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    return model


def random_mask(rng, ratio=0.5):
    return draw_mask(rng.random(sum(WIDTHS), dtype=np.float32), ratio, WIDTHS)


def skewed_mask(rng, ratio=0.5):
    """Some layers lose nearly everything, others nothing."""
    weights = np.repeat(rng.random(len(WIDTHS)) ** 3, WIDTHS)
    return draw_mask((weights * rng.random(sum(WIDTHS))).astype(np.float32), ratio, WIDTHS)


masks = st.builds(
    lambda seed, make, ratio: make(np.random.default_rng(seed), ratio),
    st.integers(0, 2**31),
    st.sampled_from([random_mask, skewed_mask]),
    st.sampled_from([0.1, 0.3, 0.5, 0.7]),
)


def relative_difference(a, b):
    """Max norm, relative to the larger tensor."""
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()


def images(seed, count, dtype):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, 3, 32, 32, generator=generator, dtype=dtype),
        torch.randint(0, CLASSES, (count,), generator=generator),
    )


def train(model, steps, dtype, held=None, l1=1e-3):
    """SGD with momentum, weight decay and L1 on the scales, on a few random images."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)
    for step in range(steps):
        x, y = images(step, 6, dtype)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        scales = [norm.weight for norm in model.prunable_norms()]
        with torch.no_grad():
            torch._foreach_add_([s.grad for s in scales], foreach_sign(scales), alpha=l1)
        optimizer.step()
        if held is not None:
            held.hold(optimizer)


@settings(max_examples=12, deadline=None)
@given(masks)
def test_pruned_and_masked_networks_agree_after_ten_steps_in_float64(mask):
    masked = trained_looking()
    small = prune(masked, mask)
    held = HeldMask(masked, mask)
    held.hold()
    train(masked, 10, torch.float64, held)
    train(small, 10, torch.float64)
    for name, tensor in prune(masked, mask).state_dict().items():
        assert relative_difference(small.state_dict()[name].double(), tensor.double()) < 1e-10, name
    x, _ = images(99, 8, torch.float64)
    for mode in (True, False):
        assert relative_difference(small.train(mode)(x), masked.train(mode)(x)) < 1e-10


@settings(max_examples=6, deadline=None)
@given(masks)
def test_pruned_and_masked_networks_agree_in_float32(mask):
    masked = trained_looking(torch.float32)
    small = prune(masked, mask)
    apply_mask(masked, mask)
    x, _ = images(99, 8, torch.float32)
    for mode in (False, True):
        assert relative_difference(small.train(mode)(x), masked.train(mode)(x)) < 1e-5


def test_ten_steps_in_float32_agree_on_a_gentle_network():
    # float32 sums in another order differ by 1e-7, and a random deep network multiplies that with every step
    mask = random_mask(np.random.default_rng(5))
    masked = build_model("vgg16-small", CLASSES, WIDTHS, 3)
    small = prune(masked, mask)
    held = HeldMask(masked, mask)
    held.hold()
    train(masked, 10, torch.float32, held)
    train(small, 10, torch.float32)
    x, _ = images(99, 8, torch.float32)
    assert relative_difference(small.eval()(x), masked.eval()(x)) < 1e-5


def test_pruning_changes_nothing_in_the_network_it_is_given():
    model = trained_looking()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prune(model, random_mask(np.random.default_rng(1)))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_mask_that_keeps_all_gives_the_same_network():
    model = trained_looking()
    same = prune(model, np.ones(sum(WIDTHS), dtype=bool))
    assert all(torch.equal(a, b) for a, b in zip(same.state_dict().values(), model.state_dict().values()))
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(same.parameters(), model.parameters()))


def test_the_small_network_has_the_masks_widths_and_inherits_everything_else():
    model = trained_looking().eval()
    model.features[1].num_batches_tracked.fill_(7)
    mask = random_mask(np.random.default_rng(2))
    small = prune(model, mask)
    assert small.widths == tuple(int(part.sum()) for part in np.split(mask, np.cumsum(WIDTHS)[:-1]))
    assert [n.num_features for n in small.prunable_norms()] == list(small.widths)
    assert not small.training
    assert small.classifier.weight.dtype == torch.float64
    assert small.features[1].num_batches_tracked == 7
    assert torch.equal(small.classifier.bias, model.classifier.bias)
    assert all(p.requires_grad and p.is_leaf for p in small.parameters())


def test_a_held_mask_keeps_scales_shifts_and_momentum_at_zero():
    model = trained_looking()
    mask = random_mask(np.random.default_rng(3))
    held = HeldMask(model, mask)
    held.hold()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = images(0, 6, torch.float64)
    F.cross_entropy(model(x), y).backward()
    for norm in model.prunable_norms():
        norm.weight.grad += 1  # anything may push
        norm.bias.grad += 1
    optimizer.step()
    held.hold(optimizer)
    for norm, part in zip(model.prunable_norms(), np.split(mask, np.cumsum(WIDTHS)[:-1])):
        gone = torch.from_numpy(~part)
        for parameter in (norm.weight, norm.bias):
            assert not parameter[gone].any()
            assert not optimizer.state[parameter]["momentum_buffer"][gone].any()
            assert parameter[~gone].all()


def test_a_mask_that_empties_a_layer_is_refused_with_its_number():
    mask = np.ones(sum(WIDTHS), dtype=bool)
    mask[WIDTHS[0] : WIDTHS[0] + WIDTHS[1]] = False
    model = trained_looking()
    for use in (prune, apply_mask, lambda m, k: reinit(m, k, 1)):
        with pytest.raises(InputError, match="empties layer 2 of 13"):
            use(model, mask)


@pytest.mark.parametrize("mask", [np.ones(5, dtype=bool), np.ones(sum(WIDTHS)), np.ones((1, sum(WIDTHS)), dtype=bool)])
def test_a_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(InputError, match=f"a mask of {sum(WIDTHS)} booleans fits vgg16-small"):
        prune(trained_looking(), mask)


def test_reinit_has_the_tickets_widths_and_fresh_weights():
    model = trained_looking()
    mask = random_mask(np.random.default_rng(4))
    one, again, other = (reinit(model, mask, seed) for seed in (7, 7, 8))
    assert one.widths == prune(model, mask).widths
    assert one.classifier.weight.dtype == torch.float64
    assert all((norm.weight == 0.5).all() for norm in one.prunable_norms())
    assert torch.equal(one.features[0].weight, again.features[0].weight)
    assert not torch.equal(one.features[0].weight, other.features[0].weight)
    assert not torch.equal(one.features[0].weight, prune(model, mask).features[0].weight)


def test_pruning_twice_is_pruning_once():
    model = trained_looking()
    sizes = layer_sizes_of(model)
    first = random_mask(np.random.default_rng(6), 0.3)
    small = prune(model, first)
    second = draw_mask(np.random.default_rng(7).random(int(first.sum()), dtype=np.float32), 0.3, layer_sizes_of(small))
    both = first.copy()
    both[first] = second
    assert sum(sizes) == len(both)
    twice, once = prune(small, second), prune(model, both)
    assert all(torch.equal(a, b) for a, b in zip(twice.state_dict().values(), once.state_dict().values()))
