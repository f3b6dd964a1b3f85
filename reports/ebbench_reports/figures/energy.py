"""Energy of each run by phase."""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ebbench.quantity import Quantity, format_quantity, prefix_for
from ebbench.records import ESTIMATED
from ebbench_reports.collect import Run
from ebbench_reports.curves import phase_energies
from ebbench_reports.figures.labels import labels
from ebbench_reports.figures.look import ENERGY, INK, PAPER, WIDTH_IN, finish, subplots
from ebbench_reports.figures.phase_colours import colour_of

#: bars in one figure
MAX_BARS = 40
#: names of phases side by side; more than these run out of the picture beside the longest labels of the bars
LEGEND_COLUMNS = 4
_HATCHES = {"search": "", "draw": "xxx", "prune": "...", "retrain": "///", "finetune": "\\\\\\", "train": ""}


def energy(runs: Sequence[Run]) -> Optional[Figure]:
    """Training energy of each run as a stacked bar of its phases, with its interval; estimates on an axis of their own."""
    runs = [run for run in runs if run.record.energy.total_j is not None]
    panels = [[run for run in runs if (run.record.kind == ESTIMATED) == estimated] for estimated in (False, True)]
    panels = [panel for panel in panels if panel]
    if not panels:
        return None
    heights = [0.9 + 0.42 * len(panel) for panel in panels]
    figure, all_axes = subplots(
        len(panels), 1, figsize=(WIDTH_IN, 0.4 + sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    names = labels(runs)
    seen: Dict[str, None] = {}
    for axes, panel in zip(all_axes[:, 0], panels):
        _draw_energies(axes, panel, names, seen)
    handles = [Patch(facecolor=colour_of(n), hatch=_HATCHES.get(n, ""), edgecolor=PAPER, label=n) for n in seen]
    all_axes[0, 0].legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=LEGEND_COLUMNS, borderpad=0, handlelength=1.4
    )
    return finish(figure, "Energy by phase", runs, shows=ENERGY)


def _draw_energies(axes: Axes, runs: Sequence[Run], names: Mapping[int, str], seen: Dict[str, None]) -> None:
    """The bars of these runs; the phases that were met are added to `seen`."""
    factor, letter = prefix_for(run.record.energy.total_j for run in runs)
    for y, run in enumerate(runs):
        left = 0.0
        for name, energy_j in phase_energies(run).items():
            seen.setdefault(name)
            axes.barh(
                y, energy_j / factor, 0.62, left=left, color=colour_of(name), edgecolor=PAPER, linewidth=0.6,
                hatch=_HATCHES.get(name, ""),
            )  # fmt: skip
            left += energy_j / factor
        _draw_total(axes, y, run, factor, letter)
    axes.set_yticks(range(len(runs)))
    axes.set_yticklabels([names[run.number] for run in runs])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(
        0, 1.32 * max((r.record.energy.total_j or 0) + (r.record.energy.uncertainty_j or 0) for r in runs) / factor or 1
    )
    if runs[0].record.kind == ESTIMATED:
        axes.set_xlabel(f"Estimated energy ({letter}J), not of this board, no interval")
    else:
        twice = ", work done twice included" if any(run.record.energy.redone_j for run in runs) else ""
        axes.set_xlabel(f"Training energy ({letter}J){twice}; interval: k = 2")


def _draw_total(axes: Axes, y: int, run: Run, factor: float, letter: str) -> None:
    account = run.record.energy
    assert account.total_j is not None
    total = Quantity(account.total_j, account.uncertainty_j).scaled(1 / factor)
    if total.half_width:
        axes.errorbar(total.value, y, xerr=total.half_width, color=INK, capsize=3.5, linewidth=1.3)
    text = f"{format_quantity(total)} {letter}J"
    if account.status != "ok":
        text += f" ({account.status})"
    if run.record.status != "success":
        text += f" ({run.record.status})"
    axes.annotate(
        text,
        (total.value + (total.half_width or 0), y),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
    )
