"""A pipeline: a method of training, what it may say while it trains, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np


@dataclass(frozen=True)
class Lending:
    """What a run shares with others that begin with the same training (`ebbench.sharing.first_training`).

    `folder`: where it keeps what the runs with the recipes `wanted` will take; `taken`: the file that another run kept for it.
    """

    folder: Path
    wanted: Tuple[Any, ...] = ()
    taken: Optional[Path] = None


class RunContext(Protocol):
    """All that a pipeline may say and ask. Given to it by the session.

    Example::

        with context.phase("search"):
            with context.phase("epoch-3"):
                train_one_epoch()
                with context.phase("draw"):
                    mask = draw_mask(gamma, prune_ratio)
        context.mark("ticket", epoch=3)
        context.metric("accuracy", 0.93, epoch=3)
    """

    device: str
    #: None where nothing is shared
    lending: Optional[Lending]

    def phase(self, name: str) -> ContextManager[None]:
        """A phase inside the one that is open; its edges wait for the accelerator and then read the clock."""
        ...

    def mark(self, name: str, **values: Any) -> None:
        """This happened, now."""
        ...

    def metric(self, name: str, value: float, **where: Any) -> None:
        """This value is now so."""
        ...

    def progress(self, done: float, total: float) -> None:
        """How much of the pipeline's work is done, in units of its own; cheap enough for every step."""
        ...

    def checkpoint_due(self) -> bool:
        """Whether `checkpoint_s` seconds have passed since the last checkpoint."""
        ...

    def save_checkpoint(self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint, whole or not at all; opens the phase ``checkpoint`` itself."""
        ...

    def load_checkpoint(self) -> Optional[Tuple[Dict[str, np.ndarray], Dict[str, Any]]]:
        """What the last `save_checkpoint` of this run got; None in a run that starts."""
        ...

    def save_masks(self, masks: np.ndarray, epochs: Sequence[int], gamma: np.ndarray) -> None:
        """Keep the drawn masks (bool [m, N]) and |gamma| of every epoch (float32 [e, N]) in ``masks.npz``, bit-packed."""
        ...


@dataclass
class Outcome:
    """What a pipeline found. Accuracies are fractions; FLOPs are of the arithmetic really done."""

    accuracy: Dict[str, Optional[float]]
    flops: Dict[str, Any]
    ticket: Optional[Dict[str, Any]] = None
    #: one mask-distance check exactly as the search does it, to be repeated in amplified blocks
    repeat_draw: Optional[Callable[[], None]] = None
    #: cost of one check in FLOPs and bytes, and the network's parameter count, for the overhead's fractions
    draw_cost: Optional[Dict[str, float]] = None
    notes: List[str] = field(default_factory=list)
    #: what a training did whose arithmetic is simulated, by phase (`ebbench.training.counting.work`): its energy is estimated
    work: Optional[Dict[str, Any]] = None


@dataclass(frozen=True)
class Stage:
    """A top-level phase that trains epoch after epoch: what the recipe schedules of it, and what was trained."""

    path: str
    epochs: int
    trained: int
    evaluations: int
    #: epochs that are complete in the schedule when the stage begins
    first: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether epochs are missing."""
        return self.trained < self.epochs


class Pipeline(Protocol):
    """Trains, and says what phase it is in. One class per method.

    A class with `is_simulated = True` simulates an arithmetic that the machine does not do: the energy of its runs is estimated
    from `Outcome.work`, and what is measured meanwhile is kept apart. One with a method `check_device(device)` is asked, before
    anything is written, to raise UserError for a device that it cannot train on. One that has `stored_bytes` after `check`
    ({what it is for: bytes}, two of what is replaced whole) is refused where the disk has no room for it.
    """

    def __init__(self, recipe: Any) -> None: ...

    def check(self) -> None:
        """Raise UserError for everything that cannot be trained; called before anything is written or measured."""
        ...

    def run(self, context: RunContext) -> Outcome:
        """Train from start (or from `context.load_checkpoint()`) to end."""
        ...
