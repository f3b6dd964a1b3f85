"""The report: tables and figures as files, and one HTML page that holds them all and needs nothing else."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from ebbench.errors import ConfigError, UserError, nearest, not_written
from ebbench.records import FAIL
from ebbench_reports.collect import Collection, Run, collect, frame
from ebbench_reports.compare import bench_key, pool
from ebbench_reports.markup import Table, as_html, to_html, to_latex, to_markdown
from ebbench_reports.paper_tables import form_of, has_runs, paper_table, paper_table_csv
from ebbench_reports.ratio_table import NAME as RATIOS
from ebbench_reports.ratio_table import ratio_csv, ratio_table
from ebbench_reports.sections import details, facts, unread_list
from ebbench_reports.table_2 import table_2, table_2_csv
from ebbench_reports.tables import banner, checks_table, overhead_csv, overhead_table, runs_table
from ebbench_reports.timeline import Timeline, read_timeline

if TYPE_CHECKING:
    from ebbench_reports.figures.look import Figure

log = logging.getLogger("ebbench.report")

TABLES = (1, 2, 3, 4)
PAPER_FIGURES = ("figure-1", "figure-2", "figure-3", "figure-5")
FIGURES = ("power", "energy", "distances", "accuracy", "tradeoff", *PAPER_FIGURES)
TABLE_FORMATS = ("md", "csv", "tex")
FIGURE_FORMATS = ("svg", "png", "pdf")
FORMATS = (*TABLE_FORMATS, "html", *FIGURE_FORMATS)
#: our table of all runs is `table-2`, and this where the paper's Table 2 is compared; the paper's form of it is the other
RESULTS, GRID = "results", "table-2-grid"
#: runs whose power is drawn; the phases and traces of the others are not opened
MAX_TIMELINES = 8


@dataclass(frozen=True)
class Wanted:
    """What to write."""

    figures: Tuple[str, ...] = FIGURES
    formats: Tuple[str, ...] = FORMATS
    #: numbers of the paper's tables; empty: those for which there are runs
    tables: Tuple[int, ...] = ()
    compare_paper: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Wanted:
        """From the command line's options; unknown names are a ConfigError that names the nearest."""
        figures = tuple(options.get("figures") or FIGURES)
        formats = tuple(options.get("formats") or FORMATS)
        for what, names, known in (("figure", figures, FIGURES), ("format", formats, FORMATS)):
            for name in names:
                if name not in known:
                    raise ConfigError(f"unknown {what} {name!r}; {nearest(str(name), known)}")
        for table in options.get("tables") or ():
            if table not in TABLES:
                raise ConfigError(f"there is no table {table}; the paper has tables 1 to 4")
        return cls(figures, formats, tuple(options.get("tables") or ()), bool(options.get("compare_paper")))


@dataclass(frozen=True)
class Plot:
    """A figure as the page shows it."""

    name: str
    title: str
    caption: str
    svg: str


class HtmlReport:
    """Tables as Markdown, CSV, LaTeX, figures as SVG, PNG, PDF, and ``index.html`` with all of them."""

    def __init__(self) -> None:
        #: ids of the runs that failed or have the verdict FAIL, after `render`
        self.failing: List[str] = []

    def render(self, runs: Sequence[Path], out: Path, options: Mapping[str, Any]) -> List[Path]:
        """Write the report of all runs in or under `runs` to `out`; returns the files written.

        Options: ``tables``, ``figures`` and ``formats`` (names), empty or absent for all. Raises UserError where a
        name is unknown, no run is found or `out` cannot be a folder, DiskError where it cannot be written.
        """
        wanted = Wanted.parse(options)
        collection = collect(runs)
        self.failing = [
            run.record.run_id for run in collection.runs if run.record.verdict == FAIL or run.record.status != "success"
        ]
        out = Path(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            return _write(collection, out, wanted)
        except OSError as error:
            raise not_written(
                error, f"cannot write the report to {out}: {error.strerror}; choose another folder with --out"
            ) from error


def _write(collection: Collection, out: Path, wanted: Wanted) -> List[Path]:
    overhead = overhead_table(collection.runs)
    ratios = ratio_table(collection.runs)
    shown = [*_tables(collection, wanted), *(table for table in (overhead, ratios) if table is not None)]
    written = list(_write_tables(collection, shown, out, wanted.formats))
    plots: List[Plot] = []
    if {"html", *FIGURE_FORMATS} & set(wanted.formats):
        plots, files = _draw(collection, out, wanted)
        written += files
    if "html" in wanted.formats:
        page = out / "index.html"
        page.write_text(html_page(collection, shown, plots), encoding="utf-8")
        written.append(page)
    return written


def _tables(collection: Collection, wanted: Wanted) -> List[Table]:
    """Our table of all runs, and those of the paper that are wanted; the paper's second has its name where they are compared."""
    compare = wanted.compare_paper
    numbers = wanted.tables or [n for n in TABLES if has_runs(collection, n)]
    if compare and not numbers:  # nothing of the paper's: the form that the runs fit in
        numbers = [number for number in [form_of(collection)] if number is not None]
    found = []
    for number in numbers:
        table = paper_table(collection, number, compare=compare, whole=bool(wanted.tables) or compare)
        found.append(table if number != 2 or compare else replace(table, name=GRID))
    ours = table_2(collection)
    return [replace(ours, name=RESULTS) if compare and 2 in numbers else ours, *found]


def _table_csv(collection: Collection, name: str, compare: bool) -> str:
    if name == "overhead":
        return overhead_csv(collection.runs)
    if name == RATIOS:
        return ratio_csv(collection.runs)
    if name == RESULTS or (name == "table-2" and not compare):
        return table_2_csv(collection)
    return paper_table_csv(collection, int(name.split("-")[1]))


def _write_tables(collection: Collection, tables: Sequence[Table], out: Path, formats: Sequence[str]) -> Iterator[Path]:
    texts: Dict[str, str] = {}
    for table in tables:
        texts[f"{table.name}.md"] = to_markdown(table)
        texts[f"{table.name}.tex"] = to_latex(table)
        is_grid = RESULTS in {t.name for t in tables}
        texts[f"{table.name}.csv"] = _table_csv(collection, table.name, is_grid)
    texts["runs.csv"] = frame(collection.runs).to_csv(index=False)
    for name, text in texts.items():
        if name.rpartition(".")[2] in formats:
            path = out / name
            path.write_text(text, encoding="utf-8")
            yield path


def _draw(collection: Collection, out: Path, wanted: Wanted) -> Tuple[List[Plot], List[Path]]:
    """Draw each figure once; keep its SVG for the page and write the formats that are wanted."""
    from ebbench_reports import figures  # matplotlib takes a second to import

    formats = [name for name in FIGURE_FORMATS if name in wanted.formats]
    plots, written = [], []
    with figures.style():
        for name, caption, figure in _figures(collection, wanted.figures):
            files = figures.render(figure, ["svg", *(f for f in formats if f != "svg")])
            for extension in formats:
                path = out / f"{name}.{extension}"
                path.write_bytes(files[extension])
                written.append(path)
            plots.append(Plot(name, figure.get_label(), caption, inline_svg(files["svg"].decode(), name)))
    return plots, written


def _figures(collection: Collection, names: Sequence[str]) -> Iterator[Tuple[str, str, Figure]]:
    """File name, caption and figure of each wanted figure that has something to show."""
    from ebbench_reports import figures

    runs = collection.runs
    timelines = _timelines(runs[:MAX_TIMELINES], "power" in names) if {"power", "accuracy"} & set(names) else {}
    drawn: Dict[str, Callable[[], Any]] = {
        "energy": lambda: figures.energy(runs[: figures.MAX_BARS]),
        "tradeoff": lambda: figures.tradeoff(pool(runs)),
        **{f"power-run-{n}": (lambda n=n: figures.power(runs[n - 1], timelines[n])) for n in timelines},
        "distances": lambda: figures.distances(runs),
        "accuracy": lambda: figures.accuracy(runs, timelines),
        "figure-1": lambda: figures.accuracy_by_draw(runs, low_precision=False),
        "figure-2": lambda: figures.accuracy_by_draw(runs, low_precision=True),
        "figure-3": lambda: figures.distance_matrices(runs),
        "figure-5": lambda: figures.flops_by_draw(runs),
    }
    for name, draw in drawn.items():
        kind = name if name in PAPER_FIGURES else name.split("-")[0]
        figure = draw() if kind in names else None
        if figure is None and kind in names and tuple(names) != FIGURES:  # asked for by its name
            why = "; extrapolated ones have no accuracy" if any(run.record.is_extrapolated for run in runs) else ""
            log.warning("no %s: none of these runs has what it shows%s", name, why)
        if figure is not None:
            limits = {"energy": figures.MAX_BARS, "distances": figures.MAX_CURVES, "tradeoff": len(runs)}
            shown = len(runs) if kind in PAPER_FIGURES else limits.get(kind, MAX_TIMELINES)
            cut = f" At most {shown} of the {len(runs)} runs are drawn." if len(runs) > shown else ""
            yield name, _CAPTIONS[kind] + cut, figure


_CAPTIONS = {
    "power": "Line: mean; band: least and greatest reading of each bin of time. Breaks are gaps, in which nothing was read.",
    "energy": "Gross energy of the reference rail over the training phases; the mark at the end is the interval of the total. "
    "It holds what all bars of a bench have in common, as a gain: how two compare is known better (Saving, in the table).",
    "distances": "Share of channels in which the masks of two epochs differ; the ticket is drawn once it stays below ε.",
    "accuracy": "Test accuracy as it was evaluated while training.",
    "tradeoff": "One point per row of the table, with its intervals. Further left is cheaper, further up is better.",
    "figure-1": "In the form of the paper's Figure 1. Bars: least and greatest of the replicates, of stars also of their epochs. "
    "Best epoch of each retraining.",
    "figure-2": "In the form of the paper's Figure 2: as Figure 1, of searches of low precision.",
    "figure-3": "In the form of the paper's Figure 3: all masks from the scales of one search. Red: the epoch of the ticket.",
    "figure-5": "In the form of the paper's Figure 5. Dotted: network slimming, which prunes and trains on after a whole training.",
}


def _timelines(runs: Sequence[Run], with_power: bool) -> Dict[int, Timeline]:
    found = {}
    for run in runs:
        try:
            timeline = read_timeline(run, with_power)
        except UserError as error:
            log.warning("no figure over time for run %d: %s", run.number, error)
            continue
        if timeline is not None:
            found[run.number] = timeline
    return found


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG as part of a page: ids made unique, scaled to the page's width, the neutral colours left to the style sheet."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for colour, variable in (("#1c2126", "ink"), ("#5b6570", "muted"), ("#dfe3e8", "line"), ("#ffffff", "card")):
        svg = re.sub(rf"((?:fill|stroke): ?){colour}", rf"\1var(--{variable})", svg)
    return svg


def html_page(collection: Collection, tables: Sequence[Table], plots: Sequence[Plot]) -> str:
    """The whole page; every text from a record is escaped."""
    shout = banner(collection.runs)
    head, _, rest = shout.partition(": ")
    warning = (
        f'<div class="simulated" role="alert"><strong>{as_html(head)}</strong>{as_html(rest)}</div>' if shout else ""
    )
    title = _title(collection)
    parts = [(anchor, name, body) for anchor, name, body in _parts(collection, tables, plots) if body]
    navigation = "".join(f'<a href="#{anchor}">{as_html(name)}</a>' for anchor, name, _ in parts)
    sections = "\n".join(f'<section id="{a}">\n<h2>{as_html(name)}</h2>\n{body}\n</section>' for a, name, body in parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{as_html((f"{head} · " if shout else "") + title)}</title>
<link rel="icon" href="data:,">
<style>
{Path(__file__).with_name("page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<header>
<h1>{as_html(title)}</h1>
<p class="lead">The energy of training, phase by phase. Every number leads back to a run.</p>
{warning}
{facts(collection)}
<nav aria-label="Parts of this page">{navigation}</nav>
</header>
{sections}
<footer>Made by ebbench. This file is complete in itself; the raw files stay in the run folders.</footer>
</main>
</body>
</html>
"""


def _parts(collection: Collection, tables: Sequence[Table], plots: Sequence[Plot]) -> Iterator[Tuple[str, str, str]]:
    """(anchor, heading, HTML) of each part of the page."""
    html = {table.name: to_html(table) for table in tables}
    runs = collection.runs
    first, *others = [table for table in tables if table.name not in ("overhead", RATIOS)]
    yield "result", "Result", html[first.name] if runs else '<p class="empty">No run ended.</p>'
    yield "paper", "The paper's tables", "\n".join(html[table.name] for table in others)
    yield "figures", "Figures", "\n".join(_plot(plot) for plot in plots)
    yield "prune-ratios", "How the prune ratios were found", html.get(RATIOS, "")
    yield "mask-distance", "Mask-distance overhead", html.get("overhead", "")
    yield "doubts", "Checks", to_html(checks_table(runs)) if runs else ""
    listing = _with_anchors(to_html(runs_table(runs)), runs) if runs else ""
    yield "sources", "Runs", listing + unread_list(collection)
    yield "details", "Recipes, environments and raw files", details(runs)


def _plot(plot: Plot) -> str:
    svg = plot.svg.replace("<svg", f'<svg role="img" aria-label="{as_html(plot.title)}"', 1)
    return f'<figure class="plot" id="{plot.name}">\n{svg}\n<figcaption>{as_html(plot.caption)}</figcaption></figure>'


def _with_anchors(html: str, runs: Sequence[Run]) -> str:
    """Give each row of the runs' table the anchor that the other tables link to."""
    numbers = iter(run.number for run in runs)
    return re.sub(r"<tr><td", lambda _: f'<tr id="run-{next(numbers)}"><td', html)


def _title(collection: Collection) -> str:
    names = sorted({str(r.record.recipe["model"]) for r in collection.runs if r.record.recipe.get("model")})
    boards = sorted({bench_key(run).board for run in collection.runs} - {"", "unknown"})
    what = f"Training {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}" if names else "Energy report"
    return f"{what} on {boards[0]}" if len(boards) == 1 else what
