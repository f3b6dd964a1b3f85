"""Which prune ratio ``prune_ratio = "auto"`` ends with, from what its trials found; and that in words.

Candidates whose masks have settled are tried from the largest down, and the first one that loses no more than was allowed is
taken. Not by halving: what a short training loses need not rise with the ratio from one candidate to the next, so that half of
them could be passed over for one unlucky trial; and the largest ratios have the smallest networks, whose trials cost least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

#: of the stated intervals, as everywhere
COVERAGE_FACTOR = 2.0


@dataclass(frozen=True)
class Descent:
    """The way down. `ratios` rise, `stable` says of each whether its mask has settled; losses are fractions of the images.

    What has been found so far is given as `losses`, of those candidates that were tried, in that order.
    """

    ratios: Tuple[float, ...]
    stable: Tuple[bool, ...]
    max_loss: float

    @property
    def order(self) -> List[float]:
        """The candidates to try, the largest first."""
        return [ratio for ratio, is_stable in zip(self.ratios, self.stable) if is_stable][::-1]

    def is_accepted(self, losses: Sequence[float]) -> bool:
        """Whether the last trial was good enough: by the loss itself, not by an end of its interval."""
        return bool(losses) and losses[-1] <= self.max_loss

    def next(self, losses: Sequence[float]) -> Optional[float]:
        """The candidate to try; None where there is no more to find out."""
        order = self.order
        return None if self.is_accepted(losses) or len(losses) == len(order) else order[len(losses)]

    def chosen(self, losses: Sequence[float]) -> float:
        """The accepted ratio; where none was, the smallest that is stable, or of all: what loses least by construction."""
        if self.is_accepted(losses):
            return self.order[len(losses) - 1]
        return (self.order or [self.ratios[0]])[-1]


def loss_against(dense: np.ndarray, small: np.ndarray) -> Tuple[float, float]:
    """(loss of accuracy, half width of its k = 2 interval), from which of the same images each network gets right, bool [n].

    The images are the same, so only those on which the two differ count: with b that the dense network alone gets right and c that
    the small one alone does, the loss is (b - c) / n and its variance (b + c - (b - c)^2 / n) / n^2. For the variance half an
    image is added to each of the four cells (Agresti and Min 2005), so that few images never look certain. The interval is
    that of the choice of images; what another seed would do to the trainings is not in it.
    """
    n = len(dense)
    b, c = int(np.count_nonzero(dense & ~small)), int(np.count_nonzero(small & ~dense))
    padded = n + 2
    variance = (b + c + 1 - (b - c) ** 2 / padded) / padded**2
    return (b - c) / n, COVERAGE_FACTOR * math.sqrt(variance)


def candidates(
    descent: Descent, distances: Sequence[Optional[float]], tried: Sequence[Mapping[str, Any]]
) -> List[Dict[str, Any]]:
    """What the record says of every candidate, the largest first; `distances`: the last of each, `tried` as of the trials."""
    by_ratio = {trial["prune_ratio"]: trial for trial in tried}
    found = []
    for ratio, is_stable, distance in list(zip(descent.ratios, descent.stable, distances))[::-1]:
        trial = by_ratio.get(ratio, {})
        about = {
            name: trial.get(name)
            for name in ("trial", "accuracy", "loss", "loss_half_width", "accepted", "kept_channels")
        }
        found.append({"prune_ratio": ratio, "stable": is_stable, "distance": distance, **about})
    return found


def in_words(auto: Mapping[str, Any]) -> str:
    """How the ratio was found, from ``ticket["auto"]``, in one sentence."""
    parts = []
    for each in auto["candidates"]:
        if not each["stable"]:
            parts.append(f"{each['prune_ratio']:g} had not settled")
        elif each["trial"] is not None:
            verdict = "was taken" if each["accepted"] else "was refused"
            parts.append(f"{each['prune_ratio']:g} lost {points(each['loss'], each['loss_half_width'])} and {verdict}")
    if not auto["accepted"]:
        parts.append(f"none was good enough, so {auto['prune_ratio']:g} is the smallest one, for want of a better")
    epochs = "1 epoch" if auto["epochs"] == 1 else f"{auto['epochs']} epochs"
    dense = "" if auto["dense_accuracy"] is None else f", which got {100 * auto['dense_accuracy']:.2f} % right"
    return (
        f"prune ratio {auto['prune_ratio']:g}: {'; '.join(parts)} (allowed: {100 * auto['max_loss']:.3g} points of accuracy "
        f"against the dense network{dense}; {epochs} each, {auto['images']} images held out)"
    )


def points(loss: float, half_width: float) -> str:
    """A loss of accuracy in percentage points with its interval."""
    return f"{100 * loss:.2f} ± {100 * half_width:.2f} points"
