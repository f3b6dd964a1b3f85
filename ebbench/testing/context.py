"""A `RunContext` in memory, for the tests of pipelines: it writes down all and can die at any call."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.protocols import Lending


class Killed(BaseException):
    """The power went: no handler of a pipeline may catch this."""


class FakeContext:
    """Keeps phases, marks, metrics, masks and the last checkpoint; raises `Killed` at its call number `die_at` (from 1).

    A dying `save_checkpoint` has, like a real one, not replaced the old checkpoint. `due` is what `checkpoint_due` answers.
    `paths` are the phases in the order in which they began, `checkpoints` all that were saved.

    Example::

        context = FakeContext(die_at=40)
        with pytest.raises(Killed):
            pipeline.run(context)
        outcome = pipeline.run(context.resumed())
    """

    device = "cpu"

    def __init__(
        self,
        die_at: Optional[int] = None,
        due: bool = True,
        checkpoint: Optional[Tuple[Any, str]] = None,
        lending: Optional[Lending] = None,
    ) -> None:
        self.lending = lending
        self.calls = 0
        self.checkpoint = checkpoint
        self.checkpoints: List[Tuple[Any, str]] = []
        self.paths: List[str] = []
        self.ended: List[str] = []
        self.marks: List[Tuple[str, Dict[str, Any]]] = []
        self.metrics: List[Tuple[str, float, Dict[str, Any]]] = []
        self.fractions: List[float] = []
        self.masks: Optional[Tuple[np.ndarray, List[int], np.ndarray]] = None
        self._die_at = die_at
        self._due = due
        self._open: List[str] = []

    def resumed(self, die_at: Optional[int] = None) -> FakeContext:
        """The context of the next process of this run: it has the checkpoint and nothing else."""
        return FakeContext(die_at, self._due, self.checkpoint, self.lending)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note that it began and ended; one whose body raises does not end."""
        self._call()
        self._open.append(name)
        path = "/".join(self._open)
        self.paths.append(path)
        yield
        self._call()
        self.ended.append(path)
        self._open.pop()

    def mark(self, name: str, **values: Any) -> None:
        """Keep it, as the JSON that it becomes."""
        self._call()
        self.marks.append((name, json.loads(json.dumps(values, allow_nan=False))))

    def metric(self, name: str, value: float, **where: Any) -> None:
        """Keep it."""
        self._call()
        self.metrics.append((name, value, where))

    def progress(self, done: float, total: float) -> None:
        """Keep the fraction."""
        self._call()
        self.fractions.append(done / total)

    def checkpoint_due(self) -> bool:
        """As this context was told."""
        self._call()
        return self._due

    def save_checkpoint(self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Keep copies in the place of the last one."""
        with self.phase("checkpoint"):
            self._call()
            self.checkpoint = (
                {name: value.copy() for name, value in arrays.items()},
                json.dumps(state, allow_nan=False),
            )
            self.checkpoints.append(self.checkpoint)

    def load_checkpoint(self) -> Optional[Tuple[Dict[str, np.ndarray], Dict[str, Any]]]:
        """Copies of what was saved last."""
        if self.checkpoint is None:
            return None
        arrays, state = self.checkpoint
        return {name: value.copy() for name, value in arrays.items()}, json.loads(state)

    def save_masks(self, masks: np.ndarray, epochs: Sequence[int], gamma: np.ndarray) -> None:
        """Keep copies."""
        self._call()
        self.masks = (masks.copy(), list(epochs), gamma.copy())

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self._die_at:
            raise Killed()
