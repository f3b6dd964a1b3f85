"""What stands in a cell: its text, its notes, and the kind, verdict and runs at the end of a row."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from ebbench.quantity import MISSING_TEXT, Quantity, format_quantity
from ebbench.records import ESTIMATED, worst
from ebbench_reports.collect import method_title
from ebbench_reports.compare import Group
from ebbench_reports.markup import Cell
from ebbench_reports.paper_tables.departures import departures
from ebbench_reports.paper_tables.layouts import Layout, Measure
from ebbench_reports.paper_tables.parts import Part, Spot
from ebbench_reports.paper_tables.values import difference_text
from ebbench_reports.published import IMPROVEMENT, doubt


def row_text(name: str, text: str) -> str:
    """The head of a row: what a setting's value is called in the paper's tables."""
    if name == "method":
        head, comma, rest = text.partition(",")
        return "EB Train Improv." if head == IMPROVEMENT else method_title(head) + comma + rest
    value, comma, rest = text.partition(",")  # what tells runs of one place apart comes behind it
    if name == "lr_schedule" and ":" in value:
        value = "÷10 at " + ", ".join(step.split(":")[0] for step in value.split(";"))
    return (value or MISSING_TEXT) + comma + rest


def cell_text(
    measure: Measure, ours: Optional[Quantity], printed: Optional[str], compare: bool, is_factor: bool
) -> str:
    """Ours, or `ours / the paper's / the difference`; of the row of improvements, a ratio is a factor."""
    own = format_quantity(ours, measure.decimals)
    if is_factor and measure.is_ratio and ours is not None:
        own = f"{ours.value:.1f}×"
    if not compare:
        return own
    if ours is None and printed is None:
        return MISSING_TEXT
    return f"{own} / {MISSING_TEXT if printed is None else printed.replace('-', '−')} / {difference_text(measure, ours, printed)}"


def cell_notes(
    plan: Layout, part: Part, row: Tuple[str, ...], value: str, measure: Measure, spot: Spot, compare: bool
) -> Tuple[str, ...]:
    """What keeps ours from being a reproduction, and the paper's from being right."""
    notes = []
    is_printed = any(each.printed for each in part.spots.values())
    if spot.ours is not None and measure is plan.measures[0] and is_printed:
        notes += _departures(spot.ours, plan)
    if row[0] == IMPROVEMENT and measure.name == "energy" and _is_estimated(part.spots.get((("eb-ll",), value))):
        notes.append("No ratio: the energy of LL is estimated, those of the baselines are not")
    if compare and (spot.printed or {}).get(measure.name) is not None:
        place = dict(zip((*plan.section, *plan.row), (*part.key, *row)))
        if plan.column:
            place[plan.column] = value
        found = doubt(plan.number, place, measure.name)
        notes += [f"The paper's value: {found}"] if found else []
    return tuple(notes)


def _is_estimated(spot: Optional[Spot]) -> bool:
    return spot is not None and spot.ours is not None and spot.ours.bench.kind == ESTIMATED


def _departures(group: Group, plan: Layout) -> List[str]:
    """In what a run is not the paper's protocol, in one sentence."""
    found = departures(group, plan)
    found += (
        ["no accuracy: the training is extrapolated"] if any(run.record.is_extrapolated for run in group.runs) else []
    )
    estimate = group.runs[0].record.energy.estimate
    found += (
        [f"energy estimated with the unit energies {estimate['unit_energies']['name']}, not of this board"]
        if estimate
        else []
    )
    return [f"Ours: {'; '.join(found)}"] if found else []


def ends_of(groups: Sequence[Group]) -> Dict[str, Cell]:
    """Kind, verdict and runs of a row."""
    kinds = list(dict.fromkeys(group.bench.kind for group in groups))
    verdict = worst([group.verdict for group in groups]) if groups else MISSING_TEXT
    return {
        "kind": Cell("; ".join(kinds) or MISSING_TEXT, badge=kinds[0].split(",")[0] if kinds else None),
        "verdict": Cell(verdict, badge=verdict if groups else None),
        "runs": Cell("" if groups else MISSING_TEXT, runs=tuple(run.number for group in groups for run in group.runs)),
    }
