"""The figures of a report. The only module that knows matplotlib."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ebbench.quantity import Quantity, format_quantity, prefix_for
from ebbench.records import ESTIMATED, SIMULATED
from ebbench_reports.collect import Run, method_title, ratio_text
from ebbench_reports.compare import Group, differing_settings, settings_text
from ebbench_reports.curves import accuracy_curve, phase_energies, ticket_distances
from ebbench_reports.markup import ranges
from ebbench_reports.timeline import Band, Timeline

#: the page recolours these for a dark screen
INK, MUTED, GRID, PAPER = "#1c2126", "#5b6570", "#dfe3e8", "#ffffff"

#: Okabe and Ito's colours, which colour-blind readers tell apart; neighbours in a run also differ in lightness and hatch
PHASE_COLOURS = {
    "search": "#0072b2", "draw": "#d55e00", "prune": "#cc79a7", "rewind": "#882255", "train": "#56b4e9",
    "retrain": "#009e73", "finetune": "#117733", "idle": "#b8bec5", "warmup": "#ddcc77", "evaluate": "#e69f00",
    "checkpoint": "#8c6d46", "amplify": "#f0e442", "epoch": "#93a1ad",
}  # fmt: skip
_HATCHES = {"search": "", "draw": "xxx", "prune": "...", "retrain": "///", "finetune": "\\\\\\", "train": ""}
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6570", "#882255")
_DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX*"

_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.7,
    "axes.axisbelow": True, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "figure.facecolor": PAPER, "axes.facecolor": "none", "savefig.facecolor": PAPER, "legend.frameon": False,
    "legend.fontsize": 8.5, "lines.linewidth": 1.5, "hatch.linewidth": 0.5, "hatch.color": PAPER, "axes.linewidth": 0.8,
    "svg.fonttype": "path", "svg.hashsalt": "ebbench", "pdf.fonttype": 42,
}  # fmt: skip
WIDTH_IN = 9.0
#: settings that a label has room for, where nothing else tells two runs apart
TOLD_APART_BY = ("draw", "epochs", "learning_rate", "retrain_epochs", "search_rate")
#: curves in one figure; beyond it nobody tells them apart
MAX_CURVES = 8
#: bars in one figure
MAX_BARS = 40


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our look, for what is drawn and saved inside."""
    with matplotlib.rc_context({k: v for k, v in _STYLE.items() if k in matplotlib.rcParams}):  # old ones know fewer
        yield


def power(run: Run, timeline: Timeline) -> Optional[Figure]:
    """Power of the reference rail over time, above the phases of the run; None without a readable trace."""
    if timeline.power is None:
        return None
    scale, unit = _time_unit(timeline.duration_s)
    rows = 1 + min(2, max((b.depth for b in timeline.bands), default=0))
    figure, (top, lane) = subplots(
        2, 1, sharex=True, figsize=(WIDTH_IN, 3.3 + 0.22 * rows),
        gridspec_kw={"height_ratios": [2.6, 0.22 * rows], "hspace": 0.0},
    )  # fmt: skip
    _draw_power(top, timeline, scale)
    _draw_lane(lane, timeline.bands, rows, scale, timeline.duration_s)
    lane.set_xlabel(f"Time since the start ({unit})")
    reference = run.measured["reference"]
    top.set_ylabel(f"Power of {_plain(str(reference.get('rail') or 'the rail'), 24)} (W)")
    _legend_of_phases(top, timeline.bands)
    top.set_xlim(0, timeline.duration_s / scale)
    return finish(figure, f"Power over time, run {run.number}: {_label(run, ('model', 'seed'))}", [run])


def _draw_power(axes: Axes, timeline: Timeline, scale: float) -> None:
    envelope = timeline.power
    assert envelope is not None
    for band in timeline.bands:
        if band.depth == 0:
            axes.axvspan(band.start_s / scale, band.end_s / scale, color=_colour(_kind(band)), alpha=0.13, linewidth=0)
    time = envelope.time_s / scale
    axes.fill_between(time, envelope.low_w, envelope.high_w, color=INK, alpha=0.25, linewidth=0, step=None)
    axes.plot(time, envelope.mean_w, color=INK, linewidth=0.9)
    axes.set_ylim(0, 1.18 * float(np.nanmax(envelope.high_w)) or 1.0)
    for point in timeline.points:
        if point.name == "ticket":
            at = point.time_s / scale
            axes.axvline(at, color=PHASE_COLOURS["draw"], linestyle="--", linewidth=1.2)
            near_end = point.time_s > 0.8 * timeline.duration_s
            epoch = point.values.get("epoch")
            axes.annotate(
                "ticket drawn" + (f", epoch {epoch}" if epoch is not None else ""), (at, 0.97), xycoords=("data", "axes fraction"),
                xytext=(-5 if near_end else 5, 0), textcoords="offset points", ha="right" if near_end else "left", va="top",
                fontsize=8.5, color=PHASE_COLOURS["draw"], bbox={"boxstyle": "square,pad=.15", "fc": PAPER, "ec": "none"},
            )  # fmt: skip
    axes.tick_params(axis="x", length=0)


def _draw_lane(axes: Axes, bands: Sequence[Band], rows: int, scale: float, duration_s: float) -> None:
    """The phases as bars: top-level phases in the first row, what is inside them below. Short ones stay visible."""
    shortest_s = duration_s / 500
    for row in range(rows):
        for count, band in enumerate(b for b in bands if b.depth == row):
            width_s = max(band.end_s - band.start_s, shortest_s)
            alpha = (0.45, 0.75)[count % 2] if band.name in ("epoch", "trial") else 1.0
            bar = [(band.start_s / scale, width_s / scale)]
            axes.broken_barh(bar, (-row - 0.43, 0.86), facecolors=_colour(_kind(band)), alpha=alpha, linewidth=0)
            if row == 0 and width_s > 0.0115 * len(band.name) * duration_s:
                middle = (band.start_s + width_s / 2) / scale
                axes.text(middle, -row, band.name, ha="center", va="center", fontsize=7.5, color=_text_on(_kind(band)))
    axes.set_ylim(-rows + 0.45, 0.55)
    axes.set_yticks([-r for r in range(rows)])
    axes.set_yticklabels(("phase", "epoch", "inside")[:rows], fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.spines["left"].set_visible(False)


def _legend_of_phases(axes: Axes, bands: Sequence[Band]) -> None:
    names = list(dict.fromkeys(_kind(b) for b in bands if b.name != "epoch"))
    known = [name for name in names if name in PHASE_COLOURS]
    handles = [Patch(facecolor=_colour(name), label=name) for name in known]
    if len(known) < len(names):
        handles.append(Patch(facecolor=_colour("other"), label="other"))
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=9, borderpad=0, borderaxespad=0.3, handlelength=1,
        columnspacing=1.1, handletextpad=0.4,
    )  # fmt: skip


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
    handles = [Patch(facecolor=_colour(n), hatch=_HATCHES.get(n, ""), edgecolor=PAPER, label=n) for n in seen]
    all_axes[0, 0].legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=8, borderpad=0, handlelength=1.4
    )
    return finish(figure, "Energy by phase", runs, of_energies=True)


def _draw_energies(axes: Axes, runs: Sequence[Run], names: Mapping[int, str], seen: Dict[str, None]) -> None:
    """The bars of these runs; the phases that were met are added to `seen`."""
    factor, letter = prefix_for(run.record.energy.total_j for run in runs)
    for y, run in enumerate(runs):
        left = 0.0
        for name, energy_j in phase_energies(run).items():
            seen.setdefault(name)
            axes.barh(
                y, energy_j / factor, 0.62, left=left, color=_colour(name), edgecolor=PAPER, linewidth=0.6,
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
        axes.set_xlabel(f"Estimated energy ({letter}J), not of this board; interval not known")
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


def distances(runs: Sequence[Run]) -> Optional[Figure]:
    """Mask distance between consecutive epochs, the limit epsilon, and where the ticket was drawn."""
    runs = [run for run in runs if ticket_distances(run)][:MAX_CURVES]
    if not runs:
        return None
    names = labels(runs)
    figure, axes = subplots(figsize=(WIDTH_IN, 3.4))
    for i, run in enumerate(runs):
        epochs, values = zip(*ticket_distances(run))
        style_i = {"color": LINES[i % 8], "linestyle": _DASHES[i // 2 % 4], "marker": MARKERS[i % 8]}
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
    runs = [run for run in runs if run.record.energy.extrapolation is None]
    curves = [(run, accuracy_curve(timelines[run.number])) for run in runs if run.number in timelines]
    curves = [(run, curve) for run, curve in curves if curve[0]][:MAX_CURVES]
    if not curves:
        return None
    names = labels([run for run, _ in curves])
    figure, axes = subplots(figsize=(WIDTH_IN, 3.4))
    for i, (run, (epochs, values, changes)) in enumerate(curves):
        colour = LINES[i % 8]
        look = {"color": colour, "linestyle": _DASHES[i // 2 % 4], "marker": MARKERS[i % 8], "markersize": 3.5}
        axes.plot(epochs, [100 * v for v in values], label=names[run.number], **look)
        for change in changes:
            axes.axvline(change, color=colour, linewidth=0.8, linestyle=":")
    axes.set_xlabel("Epochs trained (dotted: a new phase begins)" if any(c[1][2] for c in curves) else "Epochs trained")
    axes.set_ylabel("Test accuracy (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_beside(axes)
    return finish(figure, "Accuracy over epochs", [run for run, _ in curves])


def tradeoff(groups: Sequence[Group]) -> Optional[Figure]:
    """Accuracy against energy, one point per row of the table; a panel per bench, model and data set."""
    panels: Dict[Tuple[Any, ...], List[Group]] = {}
    for group in groups:
        if group.whole and group.mean("accuracy", "final") is not None:
            panels.setdefault((group.recipe.get("model"), group.recipe.get("dataset"), group.bench), []).append(group)
    shown = [members for members in panels.values() if len(members) > 1][:3]
    if not shown:
        return None
    heights_in = [max(3.3, 0.19 * len(members) + 0.8) for members in shown]  # every point has its line in the legend
    figure, all_axes = subplots(
        len(shown), 1, figsize=(WIDTH_IN, sum(heights_in) + 0.3), squeeze=False, gridspec_kw={"height_ratios": heights_in}
    )  # fmt: skip
    for axes, members in zip(all_axes[:, 0], shown):
        _draw_tradeoff(axes, members)
    drawn = [run for members in shown for g in members for run in g.runs]
    return finish(figure, "Accuracy against energy", drawn, of_energies=True)


def _draw_tradeoff(axes: Axes, groups: Sequence[Group]) -> None:
    factor, letter = prefix_for(g.energy_j.value for g in groups if g.energy_j)
    for i, group in enumerate(groups):
        final = group.mean("accuracy", "final")
        assert group.energy_j is not None and final is not None
        energy_j = group.energy_j.scaled(1 / factor)
        name = method_title(group.recipe.get("method"))
        if group.recipe.get("method") != "dense":
            name += f", p = {ratio_text(group.runs)}"
        name = f"{ranges([run.number for run in group.runs])}  {name}"  # as the bars and the tables' rows
        axes.errorbar(
            energy_j.value, 100 * final.value, xerr=energy_j.half_width, yerr=final.half_width and 100 * final.half_width,
            fmt=MARKERS[(i + i // 8) % 8], color=LINES[i % 8], markersize=7, capsize=3, linewidth=1.2, label=name,
        )  # fmt: skip
    axes.margins(0.12)
    axes.set_xlim(0, 1.08 * axes.get_xlim()[1])  # points that cost nearly the same lie at the far end
    task = f"{groups[0].recipe.get('model')} on {groups[0].recipe.get('dataset')}"
    axes.set_title(f"{task}, {groups[0].bench.kind}", fontweight="normal")
    axes.set_xlabel(f"Training energy ({letter}J)")
    axes.set_ylabel("Final test accuracy (%)")
    legend_beside(axes)


def render(figure: Figure, formats: Sequence[str]) -> Dict[str, bytes]:
    """The figure in each format, the same bytes every time."""
    files = {}
    for name in formats:
        dated: Dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(name, {})
        out = io.BytesIO()
        figure.savefig(out, format=name, dpi=160, metadata={"Title": figure.get_label(), **dated})
        files[name] = out.getvalue()
    return files


def subplots(rows: int = 1, columns: int = 1, *, figsize: Tuple[float, float], **options: Any) -> Tuple[Figure, Any]:
    """A figure of its own, without pyplot: nothing of the process that we run in is changed."""
    figure = Figure(figsize=figsize, constrained_layout=True)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def legend_beside(axes: Axes) -> None:
    """A legend where no curve can be: right of the axes."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=2.6)


def finish(figure: Figure, title: str, runs: Sequence[Run], of_energies: bool = False) -> Figure:
    """Title, and SIMULATED over everything that was; over energies, ESTIMATED too."""
    kinds = {run.record.kind if of_energies else run.measured["kind"] for run in runs}
    word = " AND ".join(kind.upper() for kind in (SIMULATED, ESTIMATED) if kind in kinds)
    word = f"PARTLY {word}" if kinds - {SIMULATED, ESTIMATED} and word else word
    title = f"{word} · {title}" if word else title
    carried_on = [run.record.energy.extrapolation is not None for run in runs]
    title += (
        " · extrapolated" if carried_on and all(carried_on) else " · partly extrapolated" if any(carried_on) else ""
    )
    figure.set_label(title)
    figure.suptitle(title, x=0.008, ha="left", fontsize=10.5, fontweight="bold")
    mark = {
        "ha": "center",
        "va": "center",
        "rotation": 12,
        "fontweight": "bold",
        "color": MUTED,
        "alpha": 0.13,
        "zorder": 10,
    }
    figure.text(0.5, 0.48, word, fontsize=64 if len(word) < 10 else 40, **mark)
    figure.canvas.draw()  # the layout is solved once, not again for every format
    if hasattr(figure, "set_layout_engine"):
        figure.set_layout_engine("none")
    return figure


def _kind(band: Band) -> str:
    """The phase name that gives a band its colour: its own, or that of what it is inside."""
    return band.name if band.name in PHASE_COLOURS else band.path.split("/")[0]


def _colour(name: str) -> str:
    return PHASE_COLOURS.get(name, "#8f9aa5")


def _text_on(name: str) -> str:
    """Ink or paper, whichever reads better on a phase's colour."""
    red, green, blue = (int(_colour(name)[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return "#000001" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#fffffe"


def labels(runs: Sequence[Run]) -> Dict[int, str]:
    """How to call each run in a figure, by its number: its method, and of model, data, p, seed and draw what tells them apart."""
    names = [name for name in ("model", "dataset", "seed") if len({str(r.record.recipe.get(name)) for r in runs}) > 1]
    if len({run.record.recipe.get("model") for run in runs}) > 1 and "dataset" in names:
        names.remove("dataset")  # said by the model already, in all but the oddest reports
    mixed = len({run.record.kind_text for run in runs}) > 1
    found = {run.number: _label(run, names) for run in runs}
    alike: Dict[str, List[Run]] = {}
    for run in runs:
        alike.setdefault(found[run.number], []).append(run)
    for members in alike.values():
        differing = [n for n in differing_settings([r.record.recipe for r in members]) if n in TOLD_APART_BY]
        for run in members:
            found[run.number] = _plain(found[run.number] + settings_text(run.record.recipe, differing))
    return {
        run.number: f"{run.number}  {found[run.number]}{f', {run.record.kind_text}' if mixed else ''}" for run in runs
    }


def _label(run: Run, names: Sequence[str]) -> str:
    recipe = run.record.recipe
    if not recipe.get("method"):
        return _plain(run.record.run_id)
    words = [method_title(recipe["method"])]
    words += [] if recipe["method"] == "dense" else [f"p = {ratio_text([run])}"]
    words += [f"seed {recipe.get(name)}" if name == "seed" else str(recipe.get(name)) for name in names]
    return _plain(", ".join(words))


def _plain(text: str, length: int = 60) -> str:
    """Short, in letters that the font has, and with no mathematics between two $."""
    text = "".join(c if c.isprintable() and ord(c) < 0x530 else "?" for c in text)
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", "\\$")


def _time_unit(duration_s: float) -> Tuple[float, str]:
    return next(
        (unit for unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")) if duration_s > 3 * unit[0]), (1.0, "s")
    )
