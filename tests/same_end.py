"""Runs of a pipeline in a context that may die, and what it means that two of them ended alike."""

from __future__ import annotations

from typing import Any, Tuple

from ebbench.protocols import Outcome
from ebbench.testing import FakeContext, Killed


def dying_again_and_again(pipeline: Any, die_at: int) -> Tuple[Outcome, FakeContext, int]:
    """A run that dies at every `die_at`-th call and is resumed until it ends; how often it died."""
    context, deaths = FakeContext(die_at=die_at), 0
    while True:
        try:
            return pipeline.run(context), context, deaths
        except Killed:
            deaths += 1
            context = context.resumed(die_at=die_at)


def assert_same_end(outcome: Outcome, context: FakeContext, whole: Outcome, whole_context: FakeContext) -> None:
    """All that a run finds and the last of its checkpoints are equal, every bit of it."""
    for name in ("accuracy", "flops", "ticket", "notes"):
        assert getattr(outcome, name) == getattr(whole, name), name
    arrays, state = context.checkpoint
    whole_arrays, whole_state = whole_context.checkpoint
    assert state == whole_state
    assert arrays.keys() == whole_arrays.keys()
    for name, value in arrays.items():
        assert value.dtype == whole_arrays[name].dtype and value.tobytes() == whole_arrays[name].tobytes(), name
