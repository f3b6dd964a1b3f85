"""Channel masks from BatchNorm scales, the distance between them, and the early-bird criterion.

A mask is a bool array [N] over the channels of all prunable BatchNorms in module order; True = kept. Everything here is
numpy on the CPU, so a mask is the same on every device; only `gamma_of` touches torch.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from itertools import accumulate
from typing import Any, Deque, Dict, List, Sequence

import numpy as np
import torch
from torch import nn

from ebbench.errors import ConfigError, RunFailed, nearest
from ebbench.training.pruning.mask_file import MaskFile, load_masks, save_masks

__all__ = [
    "EarlyBirdQueue",
    "MaskFile",
    "distance_matrix",
    "draw_mask",
    "draw_mask_reference",
    "gamma_of",
    "hamming",
    "layer_sizes_of",
    "load_masks",
    "round_up",
    "save_masks",
    "split",
]

PAPER, REFERENCE = "paper", "reference"

#: at most so many scales are the sample of `_ranked`; 2.5 standard deviations of a middle one's place among them
SAMPLE, SPREAD = 512, 27


def gamma_of(model: nn.Module) -> np.ndarray:
    """|gamma| of all prunable BatchNorms in module order, float32 [N]; one copy from the device."""
    with torch.no_grad():
        # past nn.Module's attribute search, which costs as much as all of the rest
        gamma = torch.cat([norm._parameters["weight"] for norm in model.prunable_norms()])
    gamma_N = gamma.float().cpu().numpy()
    return np.abs(gamma_N, out=gamma_N)


def layer_sizes_of(model: nn.Module) -> List[int]:
    """Channels of each prunable BatchNorm, in module order."""
    return [norm.num_features for norm in model.prunable_norms()]


def split(mask: np.ndarray, layer_sizes: Sequence[int]) -> List[np.ndarray]:
    """The mask of each layer, as views."""
    return np.split(mask, np.cumsum(layer_sizes)[:-1])


def draw_mask(gamma: np.ndarray, prune_ratio: float, layer_sizes: Sequence[int]) -> np.ndarray:
    """Prune the int(N p) channels of smallest (|gamma|, flat index), except the last one of a layer: bool [N].

    `gamma`: |gamma|, float [N]. A channel that would empty its layer is passed over and the next one pruned in its
    place, so the count is exact. Raises RunFailed when |gamma| holds NaN, ConfigError when so many channels cannot go.
    """
    pruned = int(len(gamma) * prune_ratio)
    if pruned == 0:
        return np.ones(len(gamma), dtype=bool)
    mask = gamma > _ranked(gamma, pruned - 1)
    is_exact = np.count_nonzero(mask) == len(gamma) - pruned  # False where channels tie at the threshold, or are NaN
    starts = [0, *accumulate(layer_sizes[:-1])]
    if is_exact and np.count_nonzero(np.logical_or.reduceat(mask, starts)) == len(layer_sizes):
        return mask
    return _draw_with_care(gamma, pruned, layer_sizes)


def _ranked(gamma: np.ndarray, rank: int) -> Any:
    """np.sort(gamma)[rank], always exactly; for VGG16's channels in 40 % of the time of np.partition (numpy 1.19: 75 %).

    A sorted sample tells two values between which that element lies nearly always (Floyd and Rivest, CACM 18(3), 1975):
    what is below them is counted, only what is between is partitioned. Where it is not between, the whole is partitioned.
    """
    count = len(gamma)
    if count >= 4 * SAMPLE:  # for fewer a sample costs more than it saves
        sample = gamma[:: count // SAMPLE + 1].copy()
        sample.sort()
        place = rank * len(sample) // count
        if SPREAD <= place < len(sample) - SPREAD:
            is_below = gamma < sample[place - SPREAD]
            rank_inside = rank - np.count_nonzero(is_below)
            between = gamma.compress((gamma <= sample[place + SPREAD]) > is_below)
            if 0 <= rank_inside < len(between):
                between.partition(rank_inside)
                return between[rank_inside]
    return np.partition(gamma, rank)[rank]


def round_up(mask: np.ndarray, gamma: np.ndarray, layer_sizes: Sequence[int], multiple: int) -> np.ndarray:
    """Keep so many more channels of each layer that their number is a multiple, or the whole layer: bool [N].

    Those of largest (|gamma|, flat index) come back first: the last that `draw_mask` took.
    """
    rounded = mask.copy()
    for kept, scales in zip(split(rounded, layer_sizes), split(gamma, layer_sizes)):  # views
        more = min(-(-int(kept.sum()) // multiple) * multiple, len(kept)) - int(kept.sum())
        masked = np.flatnonzero(~kept)
        order = np.argsort(scales[masked], kind="stable")
        kept[masked[order[len(order) - more :]]] = True
    return rounded


def _draw_with_care(gamma: np.ndarray, pruned: int, layer_sizes: Sequence[int]) -> np.ndarray:
    """`draw_mask` where channels tie or a layer would be emptied: the top channel of each layer is not for sale."""
    if np.isnan(gamma).any():
        raise RunFailed(
            "no mask can be drawn: a number that ranks its channels or weights is NaN, the training diverged; lower learning_rate"
        )
    if pruned > len(gamma) - len(layer_sizes):
        raise ConfigError(
            f"{pruned} of {len(gamma)} channels cannot go: each of the {len(layer_sizes)} layers keeps one; lower prune_ratio"
        )
    order = np.argsort(gamma, kind="stable")  # ties by flat index
    layer_of_order = np.repeat(np.arange(len(layer_sizes)), layer_sizes)[order]
    # the last channel of each layer in that order
    _, last_reversed = np.unique(layer_of_order[::-1], return_index=True)
    for_sale = np.ones(len(gamma), dtype=bool)
    for_sale[len(gamma) - 1 - last_reversed] = False
    mask = np.ones(len(gamma), dtype=bool)
    mask[order[for_sale][:pruned]] = False
    return mask


def draw_mask_reference(gamma: np.ndarray, prune_ratio: float) -> np.ndarray:
    """The mask of the authors' public code: keep |gamma| > element int(N p) of the sorted scales, bool [N].

    So int(N p) + 1 channels go, and all that tie with the last of them; a layer may be emptied. For comparing masks in
    their way only: such a mask is not for pruning.
    """
    threshold = int(len(gamma) * prune_ratio)
    return gamma > np.partition(gamma, threshold)[threshold]


def hamming(a: np.ndarray, b: np.ndarray) -> int:
    """The number of channels in which two masks differ."""
    return int(np.count_nonzero(a ^ b))


def distance_matrix(masks: np.ndarray) -> np.ndarray:
    """The distances Hamming / N between all rows of bool [m, N], as float64 [m, m] (Figure 3), by one matrix product."""
    signs = masks.astype(np.float32)
    signs *= 2
    signs -= 1  # the inner product of two rows is (equal - different), exact in float32 up to N = 2^24
    channels = masks.shape[1]
    agreement = signs @ signs.T
    return (channels - agreement.astype(np.float64)) / (2 * channels)


class EarlyBirdQueue:
    """Says when the mask has settled (Algorithm 1), from one mask per epoch.

    ``pairs="paper"``: the queue holds the distances of the last `length` pairs of consecutive masks; found when it is full
    and all are < epsilon, so after `length` + 1 masks at the earliest. ``pairs="reference"``: as in the public code the
    queue holds `length` masks, the first of them drawn from the untrained network; the newest is compared with each of the
    others, found when it is full and all distances are <= epsilon.

    Distances are compared as integers: Hamming against epsilon N with epsilon as it was typed, no rounding.
    """

    def __init__(self, epsilon: float, length: int, pairs: str = PAPER) -> None:
        if pairs not in (PAPER, REFERENCE):
            raise ConfigError(f"pairs = {pairs!r}: {nearest(pairs, (PAPER, REFERENCE))}")
        self.length = length
        self.pairs = pairs
        self._epsilon = Fraction(repr(float(epsilon)))
        self._masks: Deque[np.ndarray] = deque(maxlen=1 if pairs == PAPER else length)
        self._hammings: Deque[int] = deque(maxlen=length)

    def push(self, mask: np.ndarray) -> Dict[str, Any]:
        """Take the next epoch's mask.

        Returns ``distance`` (to the mask before; None for the first), ``distances`` (all that the criterion looks at now,
        oldest first; for the paper's pairs those in the queue) and ``found``. Distances are fractions of N.
        """
        earlier = [hamming(mask, other) for other in self._masks]
        if self.pairs == PAPER:
            self._hammings.extend(earlier)
            seen, needed = list(self._hammings), self.length
        else:
            seen, needed = earlier[-(self.length - 1) :] if self.length > 1 else [], self.length - 1
        self._masks.append(mask.copy())
        return {
            "distance": earlier[-1] / len(mask) if earlier else None,
            "distances": [h / len(mask) for h in seen],
            "found": len(seen) == needed and all(self._is_close(h, len(mask)) for h in seen),
        }

    def _is_close(self, distance: int, channels: int) -> bool:
        limit = self._epsilon * channels
        return distance < limit if self.pairs == PAPER else distance <= limit
