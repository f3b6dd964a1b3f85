"""The decision of ``prune_ratio = "auto"`` without any training: truths from counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.early_bird.ratio_choice import Descent, candidates, in_words, loss_against

RATIOS = (0.2, 0.4, 0.6, 0.8)


def walk(descent, loss_of):
    """All losses in the order in which a fake trainer is asked for them."""
    losses = []
    while (ratio := descent.next(losses)) is not None:
        losses.append(loss_of(ratio))
    return losses


def test_the_largest_stable_ratio_that_loses_little_enough_is_found_for_every_pattern_of_fates():
    for fates in itertools.product(("restless", "poor", "good"), repeat=4):
        fate = dict(zip(RATIOS, fates))
        descent = Descent(RATIOS, tuple(f != "restless" for f in fates), 0.02)
        losses = walk(descent, lambda ratio, fate=fate: 0.05 if fate[ratio] == "poor" else 0.01)
        good = [ratio for ratio in RATIOS if fate[ratio] == "good"]
        stable = [ratio for ratio in RATIOS if fate[ratio] != "restless"]
        assert descent.is_accepted(losses) == bool(good)
        assert descent.chosen(losses) == (max(good) if good else min(stable or RATIOS))
        # nothing is tried below the one that is taken, and nothing that has not settled
        assert len(losses) == sum(ratio >= descent.chosen(losses) for ratio in stable)


def test_a_loss_of_just_what_is_allowed_is_accepted_and_one_image_more_is_not():
    dense = np.ones(50, dtype=bool)
    for wrong, is_accepted in ((1, True), (2, False)):
        small = dense.copy()
        small[:wrong] = False
        loss, _ = loss_against(dense, small)
        assert Descent(RATIOS, (True,) * 4, 0.02).is_accepted([loss]) is is_accepted


def test_the_search_ends_at_an_unlucky_candidate_only_when_a_smaller_one_is_good():
    descent = Descent(RATIOS, (True,) * 4, 0.02)
    assert walk(descent, {0.8: 0.3, 0.6: -0.01}.get) == [0.3, -0.01]
    assert descent.chosen([0.3, -0.01]) == 0.6


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_a_loss_is_the_difference_of_the_accuracies_and_its_interval_never_has_no_width(pairs):
    dense, small = np.array(pairs).T
    loss, half_width = loss_against(dense, small)
    assert loss == pytest.approx(dense.mean() - small.mean(), abs=1e-12)
    assert half_width > 0
    assert loss_against(small, dense) == (-loss, half_width)


def test_the_interval_of_a_loss_contains_the_truth_in_95_of_100_draws_of_the_images():
    rng = np.random.default_rng(3)
    n, draws = 400, 2000
    fates = rng.choice(4, p=(0.6, 0.1, 0.06, 0.24), size=(draws, n))  # both, dense alone, small alone, neither
    found = [loss_against(np.isin(row, (0, 1)), np.isin(row, (0, 2))) for row in fates]
    covered = np.mean([abs(loss - 0.04) <= half_width for loss, half_width in found])
    assert 0.94 < covered < 0.97
    # independent accuracies would need this much more: the images on which both agree tell nothing
    apart = 2 * math.sqrt((0.7 * 0.3 + 0.66 * 0.34) / n)
    assert np.mean([half_width for _, half_width in found]) < 0.65 * apart


def test_the_record_holds_every_candidate_and_the_sentence_says_what_became_of_each():
    descent = Descent(RATIOS, (True, True, True, False), 0.02)
    tried = [
        {"trial": 1, "prune_ratio": 0.6, "accuracy": 0.6, "loss": 0.1, "loss_half_width": 0.02, "accepted": False},
        {"trial": 2, "prune_ratio": 0.4, "accuracy": 0.69, "loss": 0.01, "loss_half_width": 0.015, "accepted": True},
    ]
    found = candidates(descent, (0.01, 0.02, 0.03, 0.2), tried)
    assert [(each["prune_ratio"], each["stable"], each["trial"]) for each in found] == [
        (0.8, False, None), (0.6, True, 1), (0.4, True, 2), (0.2, True, None),
    ]  # fmt: skip
    assert [each["distance"] for each in found] == [0.2, 0.03, 0.02, 0.01]
    auto = {"prune_ratio": 0.4, "accepted": True, "max_loss": 0.02, "epochs": 3, "images": 5000, "dense_accuracy": 0.7}
    assert in_words({**auto, "candidates": found}) == (
        "prune ratio 0.4: 0.8 had not settled; 0.6 lost 10.00 ± 2.00 points and was refused; "
        "0.4 lost 1.00 ± 1.50 points and was taken "
        "(allowed: 2 points of accuracy against the dense network, which got 70.00 % right; 3 epochs each, 5000 images held out)"
    )
