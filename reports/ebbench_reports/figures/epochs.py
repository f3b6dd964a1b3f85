"""What goes on over the epochs: mask distance and accuracy."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebbench_reports.collect import Run
from ebbench_reports.curves import accuracy_curve, ticket_distances
from ebbench_reports.figures.labels import labels
from ebbench_reports.figures.look import DASHES, INK, LINES, MARKERS, MUTED, WIDTH_IN, finish, legend_beside, subplots
from ebbench_reports.timeline import Timeline

#: curves in one figure; beyond it nobody tells them apart
MAX_CURVES = 8


def distances(runs: Sequence[Run]) -> Optional[Figure]:
    """Mask distance between consecutive epochs, the limit epsilon, and where the ticket was drawn."""
    runs = [run for run in runs if ticket_distances(run)][:MAX_CURVES]
    if not runs:
        return None
    names = labels(runs)
    figure, axes = subplots(figsize=(WIDTH_IN, 3.4))
    for i, run in enumerate(runs):
        epochs, values = zip(*ticket_distances(run))
        style_i = {"color": LINES[i % 8], "linestyle": DASHES[i // 2 % 4], "marker": MARKERS[i % 8]}
        axes.plot(epochs, values, markersize=3.5, label=names[run.number], **style_i)
        ticket = run.record.ticket or {}
        if ticket.get("found") and ticket.get("epoch") in epochs:
            at = values[epochs.index(ticket["epoch"])]
            axes.plot(
                ticket["epoch"], at, "*", markersize=15, markerfacecolor=LINES[i % 8], markeredgecolor=INK, zorder=5
            )
            axes.axvline(ticket["epoch"], color=LINES[i % 8], linewidth=0.8, linestyle=":")
    _draw_limits(axes, runs)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Epoch of the search")
    axes.set_ylabel("Mask distance (fraction of channels)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if any((run.record.ticket or {}).get("found") for run in runs):
        axes.plot([], [], "*", markersize=11, color=MUTED, markeredgecolor=INK, label="ticket drawn")
    legend_beside(axes)
    return finish(figure, "Mask distance over the search", runs)


def _draw_limits(axes: Axes, runs: Sequence[Run]) -> None:
    for epsilon in sorted(
        {run.record.recipe["epsilon"] for run in runs if run.record.recipe.get("epsilon") is not None}
    ):
        axes.axhline(epsilon, color=MUTED, linestyle=(0, (6, 3)), linewidth=1.1)
        axes.annotate(
            f"ε = {epsilon:g}", (0, epsilon), xycoords=("axes fraction", "data"), xytext=(5, 3), textcoords="offset points",
            color=MUTED, fontsize=8.5,
        )  # fmt: skip


def accuracy(runs: Sequence[Run], timelines: Mapping[int, Timeline]) -> Optional[Figure]:
    """Test accuracy over the epochs trained, search and retraining one after the other; of whole trainings."""
    runs = [run for run in runs if run.record.extrapolation is None]
    curves = [(run, accuracy_curve(timelines[run.number])) for run in runs if run.number in timelines]
    curves = [(run, curve) for run, curve in curves if curve[0]][:MAX_CURVES]
    if not curves:
        return None
    names = labels([run for run, _ in curves])
    figure, axes = subplots(figsize=(WIDTH_IN, 3.4))
    for i, (run, (epochs, values, changes)) in enumerate(curves):
        colour = LINES[i % 8]
        look = {"color": colour, "linestyle": DASHES[i // 2 % 4], "marker": MARKERS[i % 8], "markersize": 3.5}
        axes.plot(epochs, [100 * v for v in values], label=names[run.number], **look)
        for change in changes:
            axes.axvline(change, color=colour, linewidth=0.8, linestyle=":")
    axes.set_xlabel("Epochs trained (dotted: a new phase begins)" if any(c[1][2] for c in curves) else "Epochs trained")
    axes.set_ylabel("Test accuracy (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_beside(axes)
    return finish(figure, "Accuracy over epochs", [run for run, _ in curves])
