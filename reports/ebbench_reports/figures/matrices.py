"""Figure 3 of the paper: distances between the masks of all epochs."""

from __future__ import annotations

from typing import Optional, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ebbench_reports.collect import Run
from ebbench_reports.figures.look import PAPER, WIDTH_IN, finish, subplots
from ebbench_reports.paper_figures import Distances, longest_searches, mask_distances

#: searches in one figure
MAX_SEARCHES = 3
_TICKET = "#ff3b30"


def distance_matrices(runs: Sequence[Run]) -> Optional[Figure]:
    """Figure 3: distances between the masks of all epochs of a search, at four prune ratios, with the epoch of the ticket."""
    found = []
    for run in longest_searches(runs):
        if len(found) < MAX_SEARCHES:
            matrices = mask_distances(run)
            found += [(run, matrices)] if matrices else []
    if not found:
        return None
    columns = len(found[0][1])
    figure, all_axes = subplots(len(found), columns, figsize=(WIDTH_IN, 2.35 * len(found) + 0.5), squeeze=False)
    image = None
    for row, (run, matrices) in zip(all_axes, found):
        for axes, each in zip(row, matrices):
            image = _draw_matrix(axes, each)
        recipe = run.record.recipe
        row[0].set_ylabel(f"{recipe.get('model')} on\n{recipe.get('dataset')}, run {run.number}\nepoch", fontsize=7.5)
    for axes in all_axes[-1]:
        axes.set_xlabel("Epoch", fontsize=8)
    figure.colorbar(image, ax=list(all_axes.flat), shrink=0.9, aspect=30, label="Mask distance (fraction of channels)")
    return finish(figure, "Distances between the masks of all epochs", [run for run, _ in found])


def _draw_matrix(axes: Axes, each: Distances) -> AxesImage:
    """One panel: the matrix, and where on its diagonal the ticket was drawn."""
    last = len(each.matrix)
    image = axes.imshow(each.matrix, vmin=0, vmax=1, cmap="viridis", origin="lower", extent=(0.5, last + 0.5) * 2)
    axes.grid(False)
    axes.set_title(f"p = {each.prune_ratio:g}", fontweight="normal", fontsize=8.5)
    axes.tick_params(labelsize=7)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    ticket = each.ticket_epoch
    if ticket is not None:
        axes.plot(ticket, ticket, "o", markersize=5, markerfacecolor="none", markeredgecolor=_TICKET)
        axes.annotate(
            f"t* = {ticket}", (0.04, 0.9), xycoords="axes fraction", color=_TICKET, fontsize=8.5, fontweight="bold",
            bbox={"boxstyle": "square,pad=.12", "fc": PAPER, "ec": "none", "alpha": 0.85},
        )  # fmt: skip
    return image
