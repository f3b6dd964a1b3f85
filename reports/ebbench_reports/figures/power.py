"""Power over time, above the phases of the run."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ebbench_reports.collect import Run
from ebbench_reports.figures.labels import label, plain
from ebbench_reports.figures.look import INK, PAPER, POWER, WIDTH_IN, finish, subplots
from ebbench_reports.figures.phase_colours import PHASE_COLOURS, colour_of
from ebbench_reports.timeline import Band, Timeline


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
    _draw_power(top, timeline, scale, is_assumed=bool((run.record.ticket or {}).get("assumed")))
    _draw_lane(lane, timeline.bands, rows, scale, timeline.duration_s)
    lane.set_xlabel(f"Time since the start ({unit})")
    reference = run.measured["reference"]
    top.set_ylabel(f"Power of {plain(str(reference.get('rail') or 'the rail'), 24)} (W)")
    _legend_of_phases(top, timeline.bands)
    top.set_xlim(0, timeline.duration_s / scale)
    return finish(figure, f"Power over time, run {run.number}: {label(run, ('model', 'seed'))}", [run], shows=POWER)


def _draw_power(axes: Axes, timeline: Timeline, scale: float, *, is_assumed: bool) -> None:
    envelope = timeline.power
    assert envelope is not None
    for band in timeline.bands:
        if band.depth == 0:
            axes.axvspan(
                band.start_s / scale, band.end_s / scale, color=colour_of(_kind(band)), alpha=0.13, linewidth=0
            )
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
            drawn = "mask drawn, for a ticket of epoch" if is_assumed else "ticket drawn, epoch"
            axes.annotate(
                "ticket drawn" if epoch is None else f"{drawn} {epoch}", (at, 0.97), xycoords=("data", "axes fraction"),
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
            axes.broken_barh(bar, (-row - 0.43, 0.86), facecolors=colour_of(_kind(band)), alpha=alpha, linewidth=0)
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
    handles = [Patch(facecolor=colour_of(name), label=name) for name in known]
    if len(known) < len(names):
        handles.append(Patch(facecolor=colour_of("other"), label="other"))
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=9, borderpad=0, borderaxespad=0.3, handlelength=1,
        columnspacing=1.1, handletextpad=0.4,
    )  # fmt: skip


def _kind(band: Band) -> str:
    """The phase name that gives a band its colour: its own, or that of what it is inside."""
    return band.name if band.name in PHASE_COLOURS else band.path.split("/")[0]


def _text_on(name: str) -> str:
    """Ink or paper, whichever reads better on a phase's colour."""
    red, green, blue = (int(colour_of(name)[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return "#000001" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#fffffe"


def _time_unit(duration_s: float) -> Tuple[float, str]:
    return next(
        (unit for unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")) if duration_s > 3 * unit[0]), (1.0, "s")
    )
