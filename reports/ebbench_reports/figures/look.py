"""What all figures look like, and how one becomes a file."""

from __future__ import annotations

import contextlib
import io
import textwrap
from typing import Any, Dict, Iterator, Sequence, Tuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ebbench.records import ESTIMATED, SIMULATED
from ebbench_reports.collect import Run

#: the page recolours these for a dark screen
INK, MUTED, GRID, PAPER = "#1c2126", "#5b6570", "#dfe3e8", "#ffffff"

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6570", "#882255")
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")

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
#: letters of a title that fit into the width
TITLE_LINE = 96

#: what a figure shows of its runs
ENERGY, POWER, TRAINING = "energy", "power", "training"


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our look, for what is drawn and saved inside."""
    with matplotlib.rc_context({k: v for k, v in _STYLE.items() if k in matplotlib.rcParams}):  # old ones know fewer
        yield


def subplots(rows: int = 1, columns: int = 1, *, figsize: Tuple[float, float], **options: Any) -> Tuple[Figure, Any]:
    """A figure of its own, without pyplot: nothing of the process that we run in is changed."""
    figure = Figure(figsize=figsize, constrained_layout=True)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def legend_beside(axes: Axes) -> None:
    """A legend where no curve can be: right of the axes."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=2.6)


def finish(figure: Figure, title: str, runs: Sequence[Run], shows: str = TRAINING) -> Figure:
    """Title, with what of the runs is SIMULATED (of energies, ESTIMATED too); across the figure as well, where it shows that.

    `shows`: ENERGY, POWER, or what was really trained.
    """
    word = _not_measured(runs, shows)
    title = f"{word} · {title}" if word else title
    title += _carried_on(runs, shows)
    figure.set_label(title)
    figure.suptitle(
        textwrap.fill(title, TITLE_LINE, break_long_words=False), x=0.008, ha="left", fontsize=10.5, fontweight="bold"
    )
    mark = {
        "ha": "center",
        "va": "center",
        "rotation": 12,
        "fontweight": "bold",
        "color": MUTED,
        "alpha": 0.13,
        "zorder": 10,
    }
    if shows != TRAINING:
        figure.text(0.5, 0.48, word, fontsize=min(48, 640 / max(len(word), 1)), **mark)
    figure.canvas.draw()  # the layout is solved once, not again for every format
    if hasattr(figure, "set_layout_engine"):
        figure.set_layout_engine("none")
    return figure


def _carried_on(runs: Sequence[Run], shows: str) -> str:
    """Energies of runs that were cut short are extrapolated; power and training are shown as far as they went."""
    if shows == ENERGY:
        cut, words = [run.record.energy.extrapolation is not None for run in runs], "extrapolated"
    else:
        cut = [run.record.is_extrapolated for run in runs]
        words = "of an extrapolated run" if len(runs) == 1 else "of extrapolated runs"
    if not any(cut):
        return ""
    return f" · {words}" if all(cut) else f" · partly {words}"


def _not_measured(runs: Sequence[Run], shows: str) -> str:
    """What of these runs was not measured, in capitals; empty where everything was."""
    of_energies = shows == ENERGY
    kinds = {run.record.kind if of_energies else run.measured["kind"] for run in runs}
    word = " AND ".join(kind.upper() for kind in (SIMULATED, ESTIMATED) if kind in kinds)
    if not word:
        return ""
    partly = "PARTLY " if kinds - {SIMULATED, ESTIMATED} else ""
    return f"{'ENERGY' if of_energies else 'POWER'} {partly}{word}"


def render(figure: Figure, formats: Sequence[str]) -> Dict[str, bytes]:
    """The figure in each format, the same bytes every time."""
    files = {}
    for name in formats:
        dated: Dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(name, {})
        out = io.BytesIO()
        figure.savefig(out, format=name, dpi=160, metadata={"Title": figure.get_label(), **dated})
        files[name] = out.getvalue()
    return files
