"""The pruned network beside the masked one, and the masked one beside itself where nothing but rounding differs.

A step of training multiplies a difference: where it moves an activation across zero, the gradient jumps. So how far apart two
trainings in float32 end is no matter of pruning alone; the measure of it is how far the masked network ends from itself.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Tuple

import torch
from networks import images, mask_of, relative_difference, train, trained_looking

from ebbench.training.models import KEEP, Network
from ebbench.training.pruning.physical import HeldMask, plan_of, prune


@dataclass(frozen=True)
class Differences:
    """Max-norm, relative: the largest of all tensors of the pruned network, and of its outputs in both modes."""

    #: pruned and masked: outputs before the steps, and all after them
    forward: float
    pruned: float
    #: masked and masked after the steps: with all weights moved to a neighbouring number, once and again, and last in another
    #: memory layout, which sums in another order
    itself: Tuple[float, ...] = ()


def differences(name, kind, dtype, *, residual=KEEP, seed=5, moves=2, **training) -> Differences:
    """Of the network `name` with half of its channels masked, and ten steps of `networks.train`; `moves` = 0: not beside itself."""
    masked = trained_looking(name, dtype)
    mask = mask_of(masked, kind, seed)
    HeldMask(masked, mask).hold()
    small, live = prune(masked, mask, residual), plan_of(masked, mask, residual).live
    forward = outputs_apart(small, masked)
    others = [with_moved_weights(masked, number) for number in range(moves)]
    if moves:
        others.append(copy.deepcopy(masked).to(memory_format=torch.channels_last))
    for network in (masked, *others):
        train(network, 10, dtype, HeldMask(network, mask), **training)
    train(small, 10, dtype, HeldMask(small, live), **training)

    def from_masked(network: Network, cut: Network) -> float:
        return max(states_apart(cut, prune(masked, mask, residual)), outputs_apart(network, masked))

    itself = tuple(from_masked(other, prune(other, mask, residual)) for other in others)
    return Differences(forward, from_masked(small, small), itself)


def with_moved_weights(model: Network, seed: int) -> Network:
    """A copy whose parameters are each the next number above or below; what is zero stays."""
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            sign = torch.randint(0, 2, parameter.shape, generator=generator).to(parameter) * 2 - 1
            parameter.copy_(torch.where(parameter == 0, parameter, torch.nextafter(parameter, sign * math.inf)))
    return other


def states_apart(a: Network, b: Network) -> float:
    theirs = b.state_dict()
    return max(relative_difference(t.double(), theirs[name].double()) for name, t in a.state_dict().items())


def outputs_apart(a: Network, b: Network) -> float:
    """On the same images in both modes; neither network is changed."""
    x, _ = images(b, 99, 8, next(b.parameters()).dtype)
    a, b = copy.deepcopy(a), copy.deepcopy(b)
    with torch.no_grad():
        return max(relative_difference(a.train(mode)(x), b.train(mode)(x)) for mode in (False, True))
