"""The learning rate of an epoch."""

from __future__ import annotations

from typing import NamedTuple, Tuple, Union

from ebbench.config import Recipe


class Schedule(NamedTuple):
    """The epochs and rates of a training that are not the recipe's own."""

    epochs: int
    learning_rate: float
    #: where the rate is divided by ten, as fractions of the epochs
    milestones: Tuple[float, ...]


def learning_rate(schedule: Union[Recipe, Schedule], epoch: int) -> float:
    """The rate of the epoch that has `epoch` epochs before it: divided by ten at each milestone reached."""
    passed = sum(epoch >= fraction * schedule.epochs - 1e-9 for fraction in schedule.milestones)
    return schedule.learning_rate / 10.0**passed
