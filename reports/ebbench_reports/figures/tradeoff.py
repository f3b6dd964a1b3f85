"""Accuracy against energy."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebbench.quantity import prefix_for
from ebbench.records import ESTIMATED
from ebbench_reports.collect import method_title, ratio_text
from ebbench_reports.compare import Group
from ebbench_reports.figures.labels import told_apart
from ebbench_reports.figures.look import ENERGY, LINES, MARKERS, WIDTH_IN, finish, legend_beside, subplots
from ebbench_reports.markup import ranges

#: the paper's Table 2 has four networks and data sets, and estimates stand apart from what was measured
MAX_PANELS = 8


def tradeoff(groups: Sequence[Group]) -> Optional[Figure]:
    """Accuracy against energy, one point per row of the table; a panel per bench, model and data set."""
    panels: Dict[Tuple[Any, ...], List[Group]] = {}
    for group in groups:
        if group.whole and group.mean("accuracy", "final") is not None:
            panels.setdefault((group.recipe.get("model"), group.recipe.get("dataset"), group.bench), []).append(group)
    found = [members for members in panels.values() if len(members) > 1]
    shown = found[:MAX_PANELS]
    if not shown:
        return None
    heights_in = [max(3.3, 0.19 * len(members) + 0.8) for members in shown]  # every point has its line in the legend
    figure, all_axes = subplots(
        len(shown), 1, figsize=(WIDTH_IN, sum(heights_in) + 0.3), squeeze=False, gridspec_kw={"height_ratios": heights_in}
    )  # fmt: skip
    for axes, members in zip(all_axes[:, 0], shown):
        _draw_tradeoff(axes, members)
    drawn = [run for members in shown for g in members for run in g.runs]
    cut = f", the first {len(shown)} of {len(found)} panels" if len(found) > len(shown) else ""
    return finish(figure, f"Accuracy against energy{cut}", drawn, shows=ENERGY)


def _draw_tradeoff(axes: Axes, groups: Sequence[Group]) -> None:
    factor, letter = prefix_for(g.energy_j.value for g in groups if g.energy_j)
    names = told_apart([_name_of(group) for group in groups], [group.recipe for group in groups])
    for i, (group, name) in enumerate(zip(groups, names)):
        final = group.mean("accuracy", "final")
        assert group.energy_j is not None and final is not None
        energy_j = group.energy_j.scaled(1 / factor)
        name = f"{ranges([run.number for run in group.runs])}  {name}"  # as the bars and the tables' rows
        axes.errorbar(
            energy_j.value, 100 * final.value, xerr=energy_j.half_width, yerr=final.half_width and 100 * final.half_width,
            fmt=MARKERS[(i + i // 8) % 8], color=LINES[i % 8], markersize=7, capsize=3, linewidth=1.2, label=name,
        )  # fmt: skip
    axes.margins(0.12)
    axes.set_xlim(0, 1.08 * axes.get_xlim()[1])  # points that cost nearly the same lie at the far end
    lowest, highest = axes.get_ylim()
    axes.set_ylim(
        max(lowest, 0), min(highest, 102)
    )  # the interval of two replicates may reach beyond what an accuracy can be
    task = f"{groups[0].recipe.get('model')} on {groups[0].recipe.get('dataset')}"
    axes.set_title(f"{task}, energy {groups[0].bench.kind}", fontweight="normal")
    what = "Estimated" if groups[0].bench.kind == ESTIMATED else "Training"
    axes.set_xlabel(f"{what} energy ({letter}J)")
    axes.set_ylabel("Final test accuracy (%)")
    legend_beside(axes)


def _name_of(group: Group) -> str:
    name = method_title(group.recipe.get("method"))
    return name if group.recipe.get("method") == "dense" else f"{name}, p = {ratio_text(group.runs)}"
