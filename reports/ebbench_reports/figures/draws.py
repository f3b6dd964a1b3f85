"""Figures 1, 2 and 5 of the paper: tickets by the epoch of their draw."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebbench.quantity import prefix_for
from ebbench_reports.collect import Run
from ebbench_reports.figures.look import INK, LINES, MARKERS, MUTED, WIDTH_IN, finish, legend_beside, subplots
from ebbench_reports.paper_figures import Line, Panel, Point, draw_panels

#: panels of one figure, and prune ratios side by side
MAX_PANELS, MAX_RATIOS = 4, 3
#: draws that are nearer than this part of the last one's epoch would write over each other
NEAR = 0.18


def accuracy_by_draw(runs: Sequence[Run], *, low_precision: bool) -> Optional[Figure]:
    """Figures 1 and 2: retrain accuracy by the epoch of the draw; stars, the dense training, bars from least to greatest."""
    panels = [p for p in draw_panels(runs, low_precision=low_precision) if _has_accuracy(p)][:MAX_PANELS]
    if not panels:
        return None
    figure, all_axes = subplots(len(panels), 1, figsize=(WIDTH_IN, 3.1 * len(panels) + 0.3), squeeze=False)
    for axes, panel in zip(all_axes[:, 0], panels):
        for i, line in enumerate(panel.lines):
            _draw_accuracies(axes, line, i)
        dense = panel.dense.mean("accuracy", "best") if panel.dense else None
        if dense is not None:
            axes.axhline(100 * dense.value, color=INK, linestyle="--", linewidth=1.1, label="dense training")
        if any(point.is_best for line in panel.lines for point in line.points):
            axes.plot([], [], "*", markersize=11, color=MUTED, markeredgecolor=INK, label="best accuracy of the search")
        _dress(axes, panel, "Retrain accuracy (%)")
    what = "low precision" if low_precision else "full precision"
    return finish(figure, f"Accuracy of tickets by the epoch of their draw, searches of {what}", _runs(panels))


def _has_accuracy(panel: Panel) -> bool:
    return any(point.accuracy is not None for line in panel.lines for point in line.points)


def _draw_accuracies(axes: Axes, line: Line, i: int) -> None:
    points = [p for p in line.points if p.accuracy is not None]
    plain = [p for p in points if not p.is_best]
    colour = LINES[i % len(LINES)]
    means = [100 * p.accuracy for p in plain if p.accuracy is not None]
    bars = [
        [100 * (p.accuracy - p.low) for p in plain if p.accuracy is not None and p.low is not None],
        [100 * (p.high - p.accuracy) for p in plain if p.accuracy is not None and p.high is not None],
    ]
    axes.errorbar(
        [p.epoch for p in plain], means, yerr=bars, color=colour, marker=MARKERS[i % 8], markersize=4, capsize=3,
        label=f"p = {line.prune_ratio:g}, {line.title}",
    )  # fmt: skip
    for p in points:
        if p.is_best and p.accuracy is not None and p.low is not None and p.high is not None:
            across = [[p.epoch - p.epochs[0]], [p.epochs[1] - p.epoch]]
            along = [[100 * (p.accuracy - p.low)], [100 * (p.high - p.accuracy)]]
            axes.errorbar(
                p.epoch, 100 * p.accuracy, yerr=along, xerr=across, color=colour, capsize=3, elinewidth=0.9, marker="*",
                markersize=17 - 3 * min(i, 3), markeredgecolor=INK, markeredgewidth=0.8, zorder=5 + i,  # one may hide another
            )  # fmt: skip


def flops_by_draw(runs: Sequence[Run]) -> Optional[Figure]:
    """Figure 5: FLOPs of the whole training by the epoch of the draw, each with its accuracy against dense training."""
    panels = [p for p in draw_panels(runs, low_precision=False) if any(q.flops for li in p.lines for q in li.points)]
    panels = panels[:MAX_PANELS]
    if not panels:
        return None
    ratios = sorted({line.prune_ratio for panel in panels for line in panel.lines})[:MAX_RATIOS]
    size = (WIDTH_IN, 2.7 * len(panels) + 0.3)
    figure, all_axes = subplots(len(panels), len(ratios), figsize=size, squeeze=False, sharey="row")
    for row, panel in zip(all_axes, panels):
        factor, letter = prefix_for(q.flops for line in panel.lines for q in line.points)
        for axes, ratio in zip(row, ratios):
            _draw_ratio(axes, panel, ratio, factor)
        row[0].set_ylabel(f"{panel.title}\nFLOPs of the training ({letter})")
        row[0].set_ylim(bottom=0)
        legend_beside(row[-1])
    return finish(
        figure, "FLOPs by the epoch of the draw; beside each: accuracy against dense training (points)", _runs(panels)
    )


def _draw_ratio(axes: Axes, panel: Panel, ratio: float, factor: float) -> None:
    """The tickets of one prune ratio, and network slimming as a line."""
    dense = panel.dense.mean("accuracy", "best") if panel.dense else None
    titles = list(dict.fromkeys(line.title for line in panel.lines))
    for line in (line for line in panel.lines if line.prune_ratio == ratio):
        i = titles.index(line.title)
        points = [p for p in line.points if p.flops and not p.is_best]
        totals = [p.flops / factor for p in points if p.flops is not None]
        colour, style = LINES[i % len(LINES)], "-" if line.is_full else "--"
        epochs = [p.epoch for p in points]
        axes.plot(epochs, totals, color=colour, marker=MARKERS[i % 8], markersize=4, linestyle=style, label=line.title)
        if dense is not None:
            _write_gains(axes, line, [(p, p.flops / factor) for p in points if p.flops], dense.value, colour)
    if ratio in panel.slimming_flops:
        slimming = panel.slimming_flops[ratio] / factor
        axes.axhline(slimming, color=INK, linestyle=":", linewidth=1.4, label="network slimming")
    axes.margins(x=0.12, y=0.15)
    axes.set_title(f"p = {ratio:g}", fontweight="normal")
    axes.set_xlabel("Epoch of the draw")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _write_gains(axes: Axes, line: Line, points: Sequence[Tuple[Point, float]], dense: float, colour: str) -> None:
    """Beside each point (with its FLOPs) its accuracy over dense training's; further out where the one before is near."""
    last = max((p.epoch for p, _ in points), default=0.0)
    before, row = -math.inf, 0
    for p, total in points:
        if p.accuracy is None:
            continue
        row = row + 1 if p.epoch - before < NEAR * last else 0
        before = p.epoch
        away = 6 + 8 * row
        place = (0, away if line.is_full else -away - 6)  # the longer training above, where there are both
        gain = f"{100 * (p.accuracy - dense):+.1f}".replace("-", "−")
        axes.annotate(
            gain, (p.epoch, total), xytext=place, textcoords="offset points", ha="center", fontsize=7, color=colour
        )


def _dress(axes: Axes, panel: Panel, ylabel: str) -> None:
    axes.set_title(panel.title, fontweight="normal")
    axes.set_xlabel("Epoch of the draw")
    axes.set_ylabel(ylabel)
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_beside(axes)


def _runs(panels: Sequence[Panel]) -> List[Run]:
    return [run for panel in panels for group in panel.groups() for run in group.runs]
