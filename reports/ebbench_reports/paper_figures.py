"""Figures 1, 2, 3 and 5 of the paper as numbers, without matplotlib: tickets by the epoch of their draw, distances of all masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.errors import UserError
from ebbench.quantity import Quantity
from ebbench.rundir import RunDir
from ebbench_reports.collect import Run, method_title
from ebbench_reports.compare import Group, differing_settings, pool, settings_text
from ebbench_reports.paper_tables import draw_epoch

#: searches of low precision (Figure 2); those of full precision are Figure 1's
LOW_PRECISION = ("eb-wage", "eb-lf", "eb-ll")
#: prune ratios of Figure 3
RATIOS = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Point:
    """Tickets drawn at one epoch: the mean best accuracy of the replicates with its least and greatest, and the total FLOPs."""

    epoch: float
    accuracy: Optional[float]
    low: Optional[float]
    high: Optional[float]
    flops: Optional[float]
    #: drawn at the best accuracy of the search (Figure 1's star), and the least and greatest epoch at which replicates had it
    is_best: bool
    epochs: Tuple[float, float]
    group: Group


@dataclass(frozen=True)
class Line:
    """Tickets of one way to search and train, at one prune ratio, by the epoch of their draw."""

    title: str
    prune_ratio: float
    points: Tuple[Point, ...]
    #: whether each ticket is trained for all epochs, and not for those that its search left
    is_full: bool = True


@dataclass(frozen=True)
class Panel:
    """One network and data set: its lines, and the dense training beside them."""

    title: str
    lines: Tuple[Line, ...]
    dense: Optional[Group]
    #: total FLOPs of network slimming, the "progressive pruning and training" of Figure 5, by prune ratio
    slimming_flops: Mapping[float, float]

    def groups(self) -> List[Group]:
        """All that is shown."""
        return [point.group for line in self.lines for point in line.points] + ([self.dense] if self.dense else [])


def draw_panels(runs: Sequence[Run], *, low_precision: bool) -> List[Panel]:
    """Tickets by the epoch of their draw, a panel per network and data set; those of searches of low precision, or the others."""
    groups = pool(runs)
    panels: Dict[Tuple[str, str], List[Group]] = {}
    for group in groups:
        method = str(group.recipe.get("method"))
        if method.startswith("eb-") and (method in LOW_PRECISION) == low_precision and _epoch(group) is not None:
            panels.setdefault(_task(group), []).append(group)
    return [
        _panel(task, found, [g for g in groups if _task(g) == task]) for task, found in panels.items() if _worth(found)
    ]


def _worth(groups: Sequence[Group]) -> bool:
    """Whether anything was drawn at a stated epoch: a figure of nothing but early-bird tickets says nothing."""
    return any(draw_epoch(group.recipe) is not None for group in groups)


def _task(group: Group) -> Tuple[str, str]:
    return str(group.recipe.get("model")), str(group.recipe.get("dataset"))


def _epoch(group: Group) -> Optional[float]:
    """The epoch of the draw, of those of this training."""
    draw = group.recipe.get("draw")
    if draw == "final":
        return float(group.recipe["epochs"])
    if isinstance(draw, (list, tuple)) and draw:
        return float(draw[0])
    if draw == "best-accuracy":
        epochs = _ticket_epochs(group)
        return float(np.mean(epochs)) if epochs else None
    return None


def _ticket_epochs(group: Group) -> List[float]:
    """The epochs of the replicates' tickets; none where one of them has none."""
    epochs = [(run.record.ticket or {}).get("epoch") for run in group.runs]
    return [] if None in epochs else [float(epoch) for epoch in epochs]


def _panel(task: Tuple[str, str], drawn: Sequence[Group], all_of_task: Sequence[Group]) -> Panel:
    dense = next((g for g in all_of_task if g.recipe.get("method") == "dense"), None)
    slimming = {}
    for group in all_of_task:
        flops = group.mean("flops", "total")
        if group.recipe.get("method") == "ns" and flops is not None:
            slimming[float(group.recipe["prune_ratio"])] = flops.value
    return Panel(
        " on ".join(task),
        _lines(drawn),
        dense,
        slimming,
    )


def _lines(drawn: Sequence[Group]) -> Tuple[Line, ...]:
    """Tickets whose recipes differ in the draw alone are one line; what else differs is in its title."""
    alike: Dict[Tuple[str, float], List[Group]] = {}
    for group in drawn:
        alike.setdefault((_title(group), float(group.recipe.get("prune_ratio") or 0)), []).append(group)
    lines: Dict[Tuple[str, float], List[Group]] = {}
    for (title, ratio), groups in alike.items():
        names = [name for name in differing_settings([g.recipe for g in groups]) if name != "draw"]
        for group in groups:
            lines.setdefault((title + settings_text(group.recipe, names), ratio), []).append(group)
    return tuple(
        Line(
            title,
            ratio,
            tuple(sorted((_point(g) for g in found), key=lambda p: p.epoch)),
            found[0].recipe.get("retrain_epochs") != "remaining",
        )
        for (title, ratio), found in sorted(lines.items(), key=lambda item: item[0])
    )


def _title(group: Group) -> str:
    recipe = group.recipe
    kinds = {"full": "retrained for", "remaining": "retrained for the rest of"}
    retraining = kinds.get(str(recipe.get("retrain_epochs")), "of")
    return f"{method_title(recipe.get('method'))}, {retraining} {recipe.get('epochs')} epochs"


def _point(group: Group) -> Point:
    accuracies = [(run.record.accuracy or {}).get("best") for run in group.runs]
    known = [a for a in accuracies if a is not None]
    flops: Optional[Quantity] = group.mean("flops", "total")
    epoch = _epoch(group)
    assert epoch is not None, "the caller looked"
    whole = len(known) == len(accuracies) and bool(known)
    is_best = group.recipe.get("draw") == "best-accuracy"
    epochs = _ticket_epochs(group) if is_best else [epoch]
    return Point(
        epoch=epoch,
        accuracy=float(np.mean(known)) if whole else None,
        low=min(known) if whole else None,
        high=max(known) if whole else None,
        flops=None if flops is None else flops.value,
        is_best=is_best,
        epochs=(min(epochs), max(epochs)),
        group=group,
    )


def longest_searches(runs: Sequence[Run]) -> List[Run]:
    """Of the searches of one network, data set and seed, in which runs may share their masks, the one that went on longest."""
    found: Dict[Tuple[Any, ...], Run] = {}
    for run in runs:
        recipe = run.record.recipe
        key = (*(recipe.get(name) for name in ("model", "dataset", "seed")), recipe.get("method") in LOW_PRECISION)
        if run.record.extrapolation is None and (key not in found or _searched(run) > _searched(found[key])):
            found[key] = run
    return sorted(found.values(), key=lambda run: run.number)


def _searched(run: Run) -> Tuple[bool, int]:
    """Whether the run kept its masks, and how many it drew."""
    return RunDir(run.folder).masks.exists(), len((run.record.ticket or {}).get("distances") or ())


@dataclass(frozen=True)
class Distances:
    """Distances [e, e] between the masks of all epochs of one search at one prune ratio, and the epoch of its ticket."""

    prune_ratio: float
    matrix: np.ndarray
    ticket_epoch: Optional[int]


def mask_distances(run: Run) -> List[Distances]:
    """Figure 3 of one run: masks at every ratio of `RATIOS` from the scales of its one search; empty where it kept none."""
    if not RunDir(run.folder).masks.exists() or not (run.record.ticket or {}).get("layer_channels"):
        return []
    # torch comes with it, which no other part of a report needs
    from ebbench.training.pruning.masks import EarlyBirdQueue, distance_matrix, draw_mask, load_masks

    ticket: Mapping[str, Any] = run.record.ticket or {}
    recipe, layers = run.record.recipe, list(ticket["layer_channels"])
    try:
        gamma = load_masks(RunDir(run.folder).masks).gamma
        if len(gamma) < 2 or gamma.shape[1] != sum(layers):
            return []
        found = []
        for ratio in RATIOS:
            masks = np.array([draw_mask(scales, ratio, layers) for scales in gamma])
            queue = EarlyBirdQueue(recipe.get("epsilon", 0.1), recipe.get("fifo_length", 5), "paper")
            settled = [queue.push(mask)["found"] for mask in masks]
            epoch = settled.index(True) + 1 if True in settled else None
            found.append(Distances(ratio, distance_matrix(masks), epoch))
        return found
    except UserError:  # a damaged file; the other figures do not need it
        return []
