"""One of the paper's tables as a table of texts, and as lines of numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from ebbench.quantity import prefix_for
from ebbench_reports.collect import Collection
from ebbench_reports.compare import Group, pool
from ebbench_reports.markup import Cell, Column, Section, Table
from ebbench_reports.paper_tables.cells import cell_notes, cell_text, ends_of, row_text
from ebbench_reports.paper_tables.layouts import Layout, Measure, layout
from ebbench_reports.paper_tables.parts import Part, Spot, parts_of, spot_at
from ebbench_reports.paper_tables.places import Place, place_of
from ebbench_reports.paper_tables.values import values_at
from ebbench_reports.published import IMPROVEMENT, published
from ebbench_reports.tables import banner, charged_notes, extrapolation_notes, findings_notes, left_out, write_csv

_ELSEWHERE = "None of these runs is of a network and data set of the paper's table: they stand in its form alone. "

_ROW_TITLES = {"method": "Method", "prune_ratio": "p", "lr_schedule": "Learning rate", "initial_lr": "Initial rate"}
_COLUMN_TITLES = {"prune_ratio": "p = {}", "draw_epoch": "epoch {}"}


def has_runs(collection: Collection, number: int) -> bool:
    """Whether any run has a place that the paper's table has."""
    return any(
        part.groups() and any(s.printed and s.ours for s in part.spots.values())
        for part in parts_of(collection, layout(number))
    )


def form_of(collection: Collection) -> Optional[int]:
    """The table in whose form runs of other networks and data sets fit best; None where there is dense training alone."""
    numbers = [number for number in (2, 1, 3, 4) if _has_form(collection, number)]
    return max(numbers, key=lambda number: _places_alike(collection, number), default=None)


def _has_form(collection: Collection, number: int) -> bool:
    """Whether any run could stand in the table's columns, of whatever network and data set; dense training alone makes none."""
    plan = layout(number)
    return any(place_of(group)[plan.column or "prune_ratio"] for group in _of_method(collection) if plan.belongs(group))


def _places_alike(collection: Collection, number: int) -> int:
    """How many runs have a place in the table but for the data set and the network's size: ``vgg16-small`` is taken for VGG16."""
    plan = layout(number)
    names = (*plan.row, *([plan.column] if plan.column else []))
    printed = [(each.place["model"], [each.place[name] for name in names]) for each in published(number)]

    def is_alike(place: Place) -> bool:
        model, where = place["model"].partition("-")[0], [place[name] for name in names]
        return any(name.startswith(model) and found == where for name, found in printed)

    return sum(is_alike(place_of(group)) for group in _of_method(collection) if plan.belongs(group))


def _of_method(collection: Collection) -> List[Group]:
    """The runs that trained, their replicates together."""
    return [group for group in pool(collection.runs) if group.recipe.get("method")]


def paper_table(collection: Collection, number: int, *, compare: bool, whole: bool = False) -> Table:
    """The table of this number; `compare`: the paper's value and the difference in each cell; `whole`: sections without a run."""
    plan = layout(number)
    parts = [part for part in parts_of(collection, plan) if whole or part.groups()]
    groups = [group for part in parts for group in part.groups()]
    is_paper = any(spot.printed and spot.ours for part in parts for spot in part.spots.values()) or not groups
    if not is_paper:  # nothing of ours has a value beside it: the paper's unit would only hide ours
        parts = [part for part in parts if part.groups()]
        plan = replace(plan, measures=tuple(_in_fitting_unit(measure, groups) for measure in plan.measures))
    columns = _columns(plan, parts)
    runs = sorted({run.number: run for group in groups for run in group.runs}.values(), key=lambda run: run.number)
    how = (
        "Each cell: ours / the paper's / the difference (accuracies in percentage points, the others in percent). "
        if compare
        else ""
    )
    return Table(
        name=f"table-{number}",
        title=plan.title,
        caption=(how + plan.caption + ("" if is_paper else _ELSEWHERE)).strip(),
        columns=(
            *(Column(f"row-{i}", _ROW_TITLES[name]) for i, name in enumerate(plan.row)),
            *(column for column, _, _ in columns),
            Column("kind", "Kind"), Column("verdict", "Verdict"), Column("runs", "Runs"),
        ),
        sections=tuple(Section(part.title, tuple(_rows(plan, part, columns, compare))) for part in parts),
        banner=banner(runs),
        notes=(
            *_absent_notes(collection, plan), *extrapolation_notes(runs), *charged_notes(runs, collection.runs),
            *findings_notes(runs), *left_out(collection),
        ),
        sources=tuple((run.number, run.record.run_id) for run in runs),
    )  # fmt: skip


def _absent_notes(collection: Collection, plan: Layout) -> List[str]:
    """The runs that ended well and yet stand in no row, in one sentence: nothing is left out unsaid."""
    groups = [group for group in _of_method(collection) if not plan.belongs(group)]
    numbers = sorted(run.number for group in groups for run in group.runs)
    return [f"Run {', '.join(map(str, numbers))}: {plan.absent}."] if numbers and plan.absent else []


def _in_fitting_unit(measure: Measure, groups: Sequence[Group]) -> Measure:
    """The measure in the unit of our values, which may be far from the paper's."""
    if not measure.is_ratio:
        return measure
    found = [measure.of(group) for group in groups]
    factor, letter = prefix_for(q.value / measure.factor if q else None for q in found)
    unit = f"{letter}J" if measure.name == "energy" else letter
    return replace(measure, factor=1 / factor, title=f"{measure.title.partition('(')[0]}({unit})")


def _columns(plan: Layout, parts: Sequence[Part]) -> List[Tuple[Column, str, Measure]]:
    """(column, value of the spread setting, measure), those that any section has."""
    values = list(dict.fromkeys(column for part in parts for _, column in part.spots))
    if plan.column is not None:
        values = sorted((v for v in values if v), key=lambda v: (v == "final", float(v) if v != "final" else 0.0))
    found = []
    for value in values:
        for measure in plan.measures:
            head = _COLUMN_TITLES[plan.column].format(value) if plan.column else ""
            title = ", ".join(part for part in (head, measure.title) if part)
            found.append((Column(f"{value}-{measure.name}", title, number=True), value, measure))
    return found


def _rows(
    plan: Layout, part: Part, columns: Sequence[Tuple[Column, str, Measure]], compare: bool
) -> Iterable[Dict[str, Cell]]:
    for row in part.rows():
        cells = {f"row-{i}": Cell(row_text(name, text)) for i, (name, text) in enumerate(zip(plan.row, row))}
        groups = []
        for column, value, measure in columns:
            spot = spot_at(part, row, value) or Spot()
            ours, printed = values_at(plan, part, row, value, measure, spot)
            cells[column.key] = Cell(
                cell_text(measure, ours, printed, compare, row[0] == IMPROVEMENT),
                cell_notes(plan, part, row, value, measure, spot, compare),
            )
            groups += [spot.ours] if spot.ours is not None and spot.ours not in groups else []
        if row[0] == IMPROVEMENT:  # made from all rows above
            groups = part.groups()
        ends = ends_of(groups)
        yield {**cells, **ends, **({"runs": Cell("rows above")} if row[0] == IMPROVEMENT else {})}


def paper_table_csv(collection: Collection, number: int) -> str:
    """The same as numbers, a line per value: ours, its half width, the paper's, the difference, all in the table's units."""
    plan = layout(number)
    lines = []
    for part in parts_of(collection, plan):
        for _, value, measure in _columns(plan, [part]):
            for row in part.rows():
                spot = spot_at(part, row, value)
                if spot is None:
                    continue
                ours, printed = values_at(plan, part, row, value, measure, spot)
                line: Dict[str, Any] = dict(zip((*plan.section, *plan.row), (*part.key, *row)))
                if plan.column:
                    line[plan.column] = value
                line.update(
                    table=number, measure=measure.name, ours=ours and ours.value, ours_half_width=ours and ours.half_width,
                    paper=printed, difference=ours.value - float(printed) if ours and printed is not None else None,
                    kind=spot.ours.bench.kind if spot.ours else None, verdict=spot.ours.verdict if spot.ours else None,
                    runs=" ".join(run.record.run_id for run in spot.ours.runs) if spot.ours else None,
                )  # fmt: skip
                lines.append(line)
    names = [
        "table",
        *plan.section,
        *plan.row,
        *([plan.column] if plan.column else []),
        "measure",
        "ours",
        "ours_half_width",
    ]
    return write_csv(lines, [*names, "paper", "difference", "kind", "verdict", "runs"])
