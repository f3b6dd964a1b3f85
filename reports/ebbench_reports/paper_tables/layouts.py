"""The form of each of the paper's tables: what makes a section, a row and a column, and what its cells hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

from ebbench.quantity import Quantity
from ebbench_reports.compare import Group
from ebbench_reports.paper_tables.places import draw_epoch

#: EB Train whose search and retraining are of full precision
FULL_PRECISION = ("eb-ff", "eb-reinit")


@dataclass(frozen=True)
class Measure:
    """A value of a cell: where our records have it, and by which factor it comes into the table's unit."""

    name: str
    title: str
    part: Optional[Tuple[str, str]] = None
    factor: float = 1.0
    decimals: Optional[int] = None
    #: whether ours and the paper's are compared as a ratio (percent) or as a difference (percentage points)
    is_ratio: bool = False

    def of(self, group: Group) -> Optional[Quantity]:
        """Ours, in the table's unit."""
        found = group.mean(*self.part) if self.part else group.energy_j
        return found and found.scaled(self.factor)


@dataclass(frozen=True)
class Layout:
    """One table of the paper: what makes a section, a row and a column, which runs belong to it, and what its cells hold."""

    number: int
    title: str
    caption: str
    row: Tuple[str, ...]
    column: Optional[str]
    measures: Tuple[Measure, ...]
    belongs: Callable[[Group], bool]
    section: Tuple[str, ...] = ("model", "dataset")
    #: how long EB Train (FF) retrains its ticket in it, where the paper's numbers say so
    retrain_epochs: Optional[str] = None
    #: why a run of one of its methods stands in no row nevertheless; empty where the title says it
    absent: str = ""


def _accuracy(title: str = "acc. (%)", name: str = "accuracy", key: str = "best") -> Measure:
    return Measure(name, title, ("accuracy", key), 100.0, 2)


def _draws_early_bird(group: Group) -> bool:
    method = str(group.recipe.get("method"))
    return not method.startswith("eb-") or group.recipe.get("draw") == "early-bird"


def _draws_at_epoch(group: Group) -> bool:
    return group.recipe.get("method") in FULL_PRECISION and draw_epoch(group.recipe) is not None


_BEST = "Accuracies are those of the best epoch, as the paper's code reports them. "
_ENERGY = (
    "Energies are gross, of the training phases of the stated rail (the paper: a TX2 with an external meter). FLOPs are exact; the "
    "paper counts otherwise (ebbench flops --convention paper). "
)
_DRAWN = (
    "Tickets are drawn at the epoch in the head of the column; of shorter trainings, at the same part of the training. "
)
_ELSEWHERE_DRAWN = (
    "in no row of this table: it holds EB Train as it draws by itself, and this ticket was drawn when the user said"
)

LAYOUTS = (
    Layout(
        1,
        "Table 1: retrain accuracy by the epoch of the draw, for two learning-rate schedules",
        _BEST + _DRAWN,
        row=("lr_schedule", "initial_lr"),
        column="draw_epoch",
        measures=(_accuracy(""),),
        belongs=_draws_at_epoch,
        retrain_epochs="full",
        section=("model", "dataset", "prune_ratio"),
    ),
    Layout(
        2,
        "Table 2: EB Train against the other methods on CIFAR",
        _BEST + _ENERGY,
        row=("method",),
        column="prune_ratio",
        measures=(
            _accuracy(),
            Measure("energy", "energy (kJ)", None, 1e-3, is_ratio=True),
            Measure("flops", "FLOPs (P)", ("flops", "total"), 1e-15, is_ratio=True),
        ),
        belongs=_draws_early_bird,
        retrain_epochs="remaining",
        absent=_ELSEWHERE_DRAWN,
    ),
    Layout(
        3,
        "Table 3: EB Train against the other methods on ImageNet",
        "Top-1 accuracies are those of the best epoch, as the paper's code reports them; Top-5 those of the last epoch. "
        + _ENERGY,
        row=("method", "prune_ratio"),
        column=None,
        measures=(
            _accuracy("Top-1 (%)"),
            Measure("top1_gain", "Top-1 gain", decimals=2),
            _accuracy("Top-5 (%)", "top5", "top5_final"),
            Measure("top5_gain", "Top-5 gain", decimals=2),
            Measure("flops", "FLOPs (P)", ("flops", "total"), 1e-15, is_ratio=True),
            Measure("energy", "Energy (MJ)", None, 1e-6, is_ratio=True),
        ),
        belongs=_draws_early_bird,
        absent=_ELSEWHERE_DRAWN,
    ),
    Layout(
        4,
        "Table 4: retrain accuracy by the epoch of the draw, for larger initial learning rates",
        _BEST + _DRAWN,
        row=("initial_lr", "lr_schedule"),
        column="draw_epoch",
        measures=(_accuracy(""),),
        belongs=_draws_at_epoch,
        retrain_epochs="full",
        section=("model", "dataset", "prune_ratio"),
    ),
)
#: what a measure is a gain of, over dense training in the same section
GAINS = {"top1_gain": "accuracy", "top5_gain": "top5"}


def layout(number: int) -> Layout:
    """The table of this number."""
    return next(each for each in LAYOUTS if each.number == number)
