import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbench.errors import ConfigError, RunFailed
from ebbench.training.models import build_model
from ebbench.training.pruning.masks import (
    EarlyBirdQueue,
    distance_matrix,
    draw_mask,
    draw_mask_reference,
    gamma_of,
    hamming,
    layer_sizes_of,
    round_up,
    split,
)

layers = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@st.composite
def scales(draw):
    """|gamma| with many ties, layer sizes, and a ratio that leaves every layer a channel."""
    sizes = draw(layers)
    n = sum(sizes)
    gamma = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), dtype=np.float32) / 5
    most = n - len(sizes)
    ratio = draw(st.integers(0, most)) / n
    return gamma, sizes, ratio


def drawn_one_by_one(gamma, ratio, sizes):
    """The definition, read aloud: ascending (|gamma|, index), pass over the last channel of a layer."""
    layer_of = np.repeat(np.arange(len(sizes)), sizes)
    left, mask = list(sizes), np.ones(len(gamma), dtype=bool)
    to_prune = int(len(gamma) * ratio)
    for index in sorted(range(len(gamma)), key=lambda i: (gamma[i], i)):
        if to_prune and left[layer_of[index]] > 1:
            mask[index] = False
            left[layer_of[index]] -= 1
            to_prune -= 1
    return mask


@settings(max_examples=300, deadline=None)
@given(scales())
def test_a_mask_is_what_pruning_one_by_one_gives(case):
    gamma, sizes, ratio = case
    np.testing.assert_array_equal(draw_mask(gamma, ratio, sizes), drawn_one_by_one(gamma, ratio, sizes))


@settings(max_examples=100, deadline=None)
@given(scales())
def test_the_count_is_exact_and_no_layer_is_empty(case):
    gamma, sizes, ratio = case
    mask = draw_mask(gamma, ratio, sizes)
    assert np.count_nonzero(~mask) == int(len(gamma) * ratio)
    assert all(part.any() for part in np.split(mask, np.cumsum(sizes)[:-1]))


def seen_and_unseen(seen, unseen):
    """Scales of which each 2nd, 3rd ... 20th, the only ones that a sample in strides sees, are of another kind."""
    return lambda rng, n: np.where(np.arange(n) % rng.integers(2, 21) == 0, seen(rng, n), unseen(rng, n))


SCALES_OF_MANY = {
    "uniform": lambda rng, n: rng.random(n),
    "rising": lambda rng, n: np.sort(rng.random(n)),
    "falling": lambda rng, n: np.sort(rng.random(n))[::-1],
    "one value": lambda rng, n: np.full(n, 0.5),
    "two values": lambda rng, n: rng.integers(0, 2, n) * rng.random(),
    "many ties": lambda rng, n: rng.integers(0, 40, n),
    "decades": lambda rng, n: 10 ** rng.uniform(-45, 40, n),  # in float32 from subnormal numbers and 0 to infinity
    "subnormal": lambda rng, n: rng.random(n) * 1e-40,
    "infinite": lambda rng, n: np.where(rng.random(n) < rng.random(), np.inf, rng.random(n)),
    "the smallest are seen": seen_and_unseen(lambda rng, n: rng.random(n) / 9, lambda rng, n: 1 + rng.random(n)),
    "the largest are seen": seen_and_unseen(lambda rng, n: 1 + rng.random(n), lambda rng, n: rng.random(n) / 9),
    "the middle is seen": seen_and_unseen(lambda rng, n: 4 + rng.random(n), lambda rng, n: 9 * rng.integers(0, 2, n)),
    "the middle is not seen": seen_and_unseen(
        lambda rng, n: 9 * rng.integers(0, 2, n), lambda rng, n: 4 + rng.random(n)
    ),
}


@pytest.mark.parametrize("kind", SCALES_OF_MANY)
@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**31),
    st.lists(st.integers(200, 900), min_size=6, max_size=10),
    st.sampled_from([0, 0.001, 0.05, 0.3, 0.5, 0.7, 0.95, 0.995]),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_mask_of_many_channels_is_what_pruning_one_by_one_gives(kind, seed, sizes, ratio, dtype):
    with np.errstate(over="ignore"):  # beyond float32 is infinity
        gamma = SCALES_OF_MANY[kind](np.random.default_rng(seed), sum(sizes)).astype(dtype)
    before = gamma.copy()
    np.testing.assert_array_equal(draw_mask(gamma, ratio, sizes), drawn_one_by_one(gamma, ratio, sizes))
    np.testing.assert_array_equal(gamma, before)


@pytest.mark.parametrize("kind", ["uniform", "two values", "the middle is seen", "the middle is not seen"])
def test_of_many_channels_every_number_can_be_pruned(kind):
    gamma = SCALES_OF_MANY[kind](np.random.default_rng(1), 2500)
    wanted = np.ones(2500, dtype=bool)
    for pruned, next_to_go in enumerate(np.argsort(gamma, kind="stable")):
        assert np.array_equal(draw_mask(gamma, (pruned + 0.5) / 2500, [2500]), wanted)
        wanted[next_to_go] = False


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 2, 9, 4224]), st.sampled_from([0.1, 0.5, 0.9]))
def test_one_nan_among_many_channels_is_found(seed, stride, ratio):
    rng = np.random.default_rng(seed)
    gamma = rng.random(4224, dtype=np.float32)
    gamma[rng.integers(4224) % stride :: stride] = np.nan
    with pytest.raises(RunFailed, match="NaN"):
        draw_mask(gamma, ratio, [64, 64, *[512] * 8])


@pytest.mark.parametrize(("ratio", "pruned"), [(0.1, 422), (0.3, 1267), (0.5, 2112), (0.7, 2956)])
def test_vgg16_loses_int_np_channels(ratio, pruned):
    gamma = np.random.default_rng(1).random(4224, dtype=np.float32)
    mask = draw_mask(gamma, ratio, layer_sizes_of(build_model("vgg16", 10)))
    assert np.count_nonzero(~mask) == pruned
    assert gamma[~mask].max() < gamma[mask].min()


def test_an_untrained_network_still_has_a_mask_of_the_right_size():
    model = build_model("vgg16-small", 10)
    sizes = layer_sizes_of(model)
    mask = draw_mask(gamma_of(model), 0.5, sizes)
    assert np.count_nonzero(mask) == sum(sizes) - int(sum(sizes) * 0.5)
    assert np.logical_or.reduceat(mask, np.r_[0, np.cumsum(sizes)[:-1]]).all()


def test_more_channels_than_the_layers_can_spare_are_refused():
    with pytest.raises(ConfigError, match="each of the 3 layers keeps one"):
        draw_mask(np.arange(6, dtype=np.float32), 0.7, [2, 2, 2])


def test_a_diverged_network_has_no_mask():
    gamma = np.array([1.0, np.nan, 2.0, 3.0], dtype=np.float32)
    with pytest.raises(RunFailed, match="NaN"):
        draw_mask(gamma, 0.5, [2, 2])


def test_gamma_is_the_absolute_scale_of_all_norms_in_order():
    model = build_model("vgg16-small", 10)
    for number, norm in enumerate(model.prunable_norms()):
        norm.weight.data.fill_(-float(number))
    gamma = gamma_of(model)
    assert gamma.dtype == np.float32
    np.testing.assert_array_equal(gamma, np.repeat(np.arange(13.0), layer_sizes_of(model)))
    assert (model.prunable_norms()[3].weight == -3).all()


def test_gamma_of_a_double_network_is_float32():
    assert gamma_of(build_model("vgg16-small", 10).double()).dtype == np.float32


@pytest.mark.parametrize(("ratio", "pruned"), [(0.3, 1268), (0.5, 2113), (0.7, 2957), (0.1, 423)])
def test_the_reference_way_prunes_one_more(ratio, pruned):
    gamma = np.random.default_rng(1).permutation(4224).astype(np.float32)
    mask = draw_mask_reference(gamma, ratio)
    assert np.count_nonzero(~mask) == pruned
    np.testing.assert_array_equal(mask, gamma > np.sort(gamma)[int(4224 * ratio)])


def test_the_reference_way_prunes_an_untrained_network_whole():
    assert not draw_mask_reference(np.full(100, 0.5, dtype=np.float32), 0.5).any()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(1, 70), st.integers(0, 2**31))
def test_the_distance_matrix_is_exactly_hamming_over_n(count, channels, seed):
    masks = np.random.default_rng(seed).random((count, channels)) < 0.4
    wanted = [[hamming(a, b) / channels for b in masks] for a in masks]
    np.testing.assert_array_equal(distance_matrix(masks), wanted)


def test_the_distance_of_opposite_masks_is_one():
    mask = np.arange(12) % 3 == 0
    np.testing.assert_array_equal(distance_matrix(np.stack([mask, ~mask])), [[0, 1], [1, 0]])


def masks_at_distances(distances, channels=100):
    """A first mask, and then one for each distance, that many channels from the one before."""
    masks = [np.zeros(channels, dtype=bool)]
    for distance in distances:
        following = masks[-1].copy()
        following[:distance] ^= True
        masks.append(following)
    return masks


def pushed(queue, masks):
    return [queue.push(mask) for mask in masks]


def test_the_papers_ticket_needs_six_masks():
    found = [r["found"] for r in pushed(EarlyBirdQueue(0.1, 5), masks_at_distances([0] * 6))]
    assert found == [False, False, False, False, False, True, True]


def test_the_papers_distance_must_be_below_epsilon():
    at, below = (pushed(EarlyBirdQueue(0.1, 5), masks_at_distances(d))[-1] for d in ([9, 9, 10, 9, 9], [9, 9, 9, 9, 9]))
    assert not at["found"]
    assert below["found"]
    assert below["distances"] == [0.09] * 5
    assert below["distance"] == 0.09


def test_a_large_distance_keeps_the_ticket_away_until_it_leaves_the_queue():
    results = pushed(EarlyBirdQueue(0.1, 5), masks_at_distances([50, 1, 1, 1, 1, 1]))
    assert [r["found"] for r in results] == [False] * 6 + [True]


def test_epsilon_is_the_decimal_that_was_typed():
    # 0.1 x 30 is 3.0000000000000004 in binary, and 3 channels are not below 3
    results = pushed(EarlyBirdQueue(0.1, 1), masks_at_distances([3], channels=30))
    assert not results[-1]["found"]
    assert pushed(EarlyBirdQueue(0.1, 2, "reference"), masks_at_distances([3], channels=30))[-1]["found"]


def test_the_reference_looks_back_four_masks_and_accepts_epsilon_itself():
    drifting = masks_at_distances([0, 0, 0, 0])
    for step, mask in enumerate(drifting):
        mask[: 3 * step] = True  # 3 apart, so 12 after four steps
    assert not pushed(EarlyBirdQueue(0.1, 5, "reference"), drifting)[-1]["found"]
    assert pushed(EarlyBirdQueue(0.12, 5, "reference"), drifting)[-1]["found"]
    last = pushed(EarlyBirdQueue(0.12, 5, "reference"), drifting)[-1]
    assert last["distances"] == [0.12, 0.09, 0.06, 0.03]
    assert last["distance"] == 0.03


def test_the_references_ticket_needs_five_masks():
    found = [r["found"] for r in pushed(EarlyBirdQueue(0.1, 5, "reference"), masks_at_distances([0] * 5))]
    assert found == [False, False, False, False, True, True]


def test_the_untrained_reference_mask_delays_the_ticket():
    settled = np.arange(100) % 2 == 0
    masks = [np.zeros(100, dtype=bool)] + [settled] * 5
    found = [r["found"] for r in pushed(EarlyBirdQueue(0.1, 5, "reference"), masks)]
    assert found == [False] * 5 + [True]


def test_the_queue_keeps_its_own_copy_of_a_mask():
    queue, mask = EarlyBirdQueue(0.1, 5), np.zeros(10, dtype=bool)
    queue.push(mask)
    mask[:] = True
    assert queue.push(np.zeros(10, dtype=bool))["distance"] == 0


def test_an_unknown_way_of_pairing_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        EarlyBirdQueue(0.1, 5, "papers")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_mask_does_not_depend_on_the_device():
    model = build_model("vgg16", 10, seed=1)
    for norm in model.prunable_norms():
        norm.weight.data.uniform_(generator=torch.Generator().manual_seed(1))
    on_cpu = gamma_of(model)
    np.testing.assert_array_equal(gamma_of(model.cuda()), on_cpu)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 17))
def test_a_mask_that_is_rounded_up_keeps_a_multiple_or_the_layer_and_what_was_there_and_the_largest_of_the_rest(
    seed, sizes, multiple
):
    rng = np.random.default_rng(seed)
    gamma = rng.integers(0, 6, sum(sizes)).astype(np.float32)  # with ties
    mask = draw_mask(gamma, rng.uniform(0, 1 - len(sizes) / sum(sizes)), sizes)
    rounded = round_up(mask, gamma, sizes, multiple)
    assert not (mask & ~rounded).any()
    for before, after, scales in zip(split(mask, sizes), split(rounded, sizes), split(gamma, sizes)):
        counts = [*range(0, len(before) + 1, multiple), len(before)]
        least = min(count for count in counts if count >= before.sum())
        assert after.sum() == least
        rank = sorted(range(len(scales)), key=lambda i, scales=scales: (scales[i], i))
        back, out = np.flatnonzero(after & ~before), np.flatnonzero(~after)
        assert all(rank.index(i) > rank.index(j) for i in back for j in out)


def test_rounding_up_takes_back_what_drawing_took_last():
    gamma = np.random.default_rng(1).random(64, dtype=np.float32)
    for pruned in range(64):
        mask = draw_mask(gamma, pruned / 64, [64])
        assert np.array_equal(round_up(mask, gamma, [64], 8), draw_mask(gamma, pruned // 8 * 8 / 64, [64]))
