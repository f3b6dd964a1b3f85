"""The values of a cell: ours, the paper's, and what lies between them."""

from __future__ import annotations

from typing import Optional, Tuple

from ebbench.quantity import MISSING_TEXT, Quantity
from ebbench_reports.compare import Group
from ebbench_reports.paper_tables.layouts import GAINS, Layout, Measure
from ebbench_reports.paper_tables.parts import Part, Spot, values_by_method
from ebbench_reports.published import IMPROVEMENT, improvement


def values_at(
    plan: Layout, part: Part, row: Tuple[str, ...], value: str, measure: Measure, spot: Spot
) -> Tuple[Optional[Quantity], Optional[str]]:
    """Ours, in the table's unit, and the paper's as printed."""
    printed = (spot.printed or {}).get(measure.name)
    if row[0] == IMPROVEMENT:
        found = improvement(values_by_method(plan, part, value))[measure.name]
        return None if found is None else Quantity(found), printed
    if spot.ours is None:
        return None, printed
    if measure.name in GAINS:
        return _gain(plan, part, measure, spot.ours), printed
    return measure.of(spot.ours), printed


def _gain(plan: Layout, part: Part, measure: Measure, group: Group) -> Optional[Quantity]:
    """The accuracy over that of dense training in the same section (percentage points)."""
    base = next(m for m in plan.measures if m.name == GAINS[measure.name])
    dense = next((g for g in part.groups() if g.recipe.get("method") == "dense"), None)
    own = base.of(group)
    reference = base.of(dense) if dense is not None and dense is not group else None
    return Quantity(own.value - reference.value) if own and reference else None


def difference_text(measure: Measure, ours: Optional[Quantity], printed: Optional[str]) -> str:
    """Ours against the paper's: percentage points of an accuracy, percent of anything else."""
    if ours is None or printed is None:
        return MISSING_TEXT
    if measure.is_ratio:
        return signed(100 * (ours.value / float(printed) - 1), 1) + " %"
    return signed(ours.value - float(printed), 2)


def signed(value: float, decimals: int) -> str:
    """With its sign, but for a zero."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")
