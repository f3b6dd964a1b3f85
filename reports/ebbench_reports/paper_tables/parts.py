"""The sections of a table: which of our runs and which published values meet at which row and column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench.records import ESTIMATED
from ebbench_reports.collect import Collection
from ebbench_reports.compare import Group, differing_settings, pool
from ebbench_reports.paper_tables.departures import departures
from ebbench_reports.paper_tables.layouts import Layout
from ebbench_reports.paper_tables.places import place_of
from ebbench_reports.published import IMPROVEMENT, improvement, published


@dataclass
class Spot:
    """One cell's worth: our group, where there is one, and what is printed."""

    ours: Optional[Group] = None
    printed: Optional[Mapping[str, str]] = None


@dataclass
class Part:
    """One section: its places by (row, column), and the rows and columns in their order."""

    title: str
    key: Tuple[str, ...]
    spots: Dict[Tuple[Tuple[str, ...], str], Spot]

    def rows(self) -> List[Tuple[str, ...]]:
        """The heads of the rows, in their order."""
        return list(dict.fromkeys(row for row, _ in self.spots))

    def groups(self) -> List[Group]:
        """Ours, all of them."""
        return [spot.ours for spot in self.spots.values() if spot.ours is not None]


def parts_of(collection: Collection, plan: Layout) -> List[Part]:
    """The sections with our runs, bench by bench, then those of the paper that have none.

    Where no run is of a network and data set of the paper's table (one that was scaled down, say), all that could be in such a
    table have sections of their own.
    """
    printed: Dict[Tuple[str, ...], List[Any]] = {}
    for each in published(plan.number):
        printed.setdefault(tuple(each.place[name] for name in plan.section), []).append(each)
    ours: Dict[Tuple[str, Tuple[str, ...]], List[Group]] = {}
    for group in pool(collection.runs):
        place = place_of(group)
        key = tuple(place[name] for name in plan.section)
        if group.recipe.get("method") and plan.belongs(group):
            ours.setdefault((_bench_title(group), key), []).append(group)
    if any(key in printed for _, key in ours):
        ours = {(bench, key): groups for (bench, key), groups in ours.items() if key in printed}
    parts = [_part(plan, key, printed.get(key, ()), groups, bench) for (bench, key), groups in ours.items()]
    missing = [key for key in printed if key not in {part.key for part in parts}]
    return parts + [_part(plan, key, printed[key], [], "no run") for key in missing]


def _part(plan: Layout, key: Tuple[str, ...], printed: Sequence[Any], groups: Sequence[Group], bench: str) -> Part:
    spots: Dict[Tuple[Tuple[str, ...], str], Spot] = {}
    # where several are of one place, it is that of the one that departs least from the paper, and of a whole training first
    in_order = sorted(
        groups,
        key=lambda g: (len(departures(g, plan)), any(run.record.is_extrapolated for run in g.runs), _rate(g)),
    )
    places = [(_spot_key(plan, place_of(g)), g) for g in in_order]
    labels = _labels(places)
    # a dense training stands above the paper's rows, also where the paper has no such row
    spots.update({spot: Spot() for spot, group in places if group.recipe.get("method") == "dense"})
    for each in printed:
        spots[_spot_key(plan, each.place)] = Spot(printed=each.texts)
    for group in sorted(groups, key=_rate):  # rows in the order of the runs, whatever takes them
        spots.setdefault(_spot_key(plan, place_of(group)), Spot())
    for ((row, column), group), label in zip(places, labels):
        spots.setdefault(((*row[:-1], row[-1] + label), column), Spot()).ours = group
    ratio = f", p = {key[2]}" if len(key) > 2 else ""
    part = Part(f"{key[0]} on {key[1]}{ratio} · {bench}", key, spots)
    if plan.number == 2 and not printed:  # a section of the paper brings its rows
        for value in sorted({column for _, column in spots if column}):
            if any(found is not None for found in improvement(values_by_method(plan, part, value)).values()):
                spots[(IMPROVEMENT,), value] = Spot()
    return part


def _rate(group: Group) -> float:
    return float(place_of(group)["initial_lr"])


def _spot_key(plan: Layout, place: Mapping[str, str]) -> Tuple[Tuple[str, ...], str]:
    return tuple(place[name] for name in plan.row), place[plan.column] if plan.column else ""


def _labels(places: Sequence[Tuple[Any, Group]]) -> List[str]:
    """Where several groups have one place: the settings that tell them apart, for a row of their own; else nothing."""
    found = []
    for spot, group in places:
        rivals = [g for s, g in places if s == spot]
        differing = differing_settings([g.recipe for g in rivals])
        label = "".join(f", {n}={'all' if group.recipe.get(n) is None else group.recipe[n]}" for n in differing)
        kinds = {g.bench.kind for g in rivals}
        label += f", {group.bench.kind}" if len(kinds) > 1 and not differing else ""
        found.append("" if group is rivals[0] else label)
    return found


def _bench_title(group: Group) -> str:
    """The bench that trained, without the kind of its energies, which each row says: estimates stand beside what was measured."""
    measured = group.runs[0].measured
    place = {name: str(measured["reference"].get(name) or "") for name in ("meter", "rail", "scope")}
    return replace(group.bench, **place).title().rsplit(f", {group.bench.kind}", 1)[0]


def spot_at(part: Part, row: Tuple[str, ...], value: str) -> Optional[Spot]:
    """What stands there; dense training has no prune ratio and stands in every column."""
    return part.spots.get((row, value)) or part.spots.get((row, ""))


def values_by_method(plan: Layout, part: Part, value: str) -> Dict[str, Dict[str, float]]:
    """Our values at one prune ratio, by method and measure."""
    found: Dict[str, Dict[str, float]] = {}
    for (row, column), spot in part.spots.items():
        if column == value and spot.ours is not None and "," not in row[0]:
            values = {m.name: m.of(spot.ours) for m in plan.measures}
            found[row[0]] = {name: q.value for name, q in values.items() if q is not None}
            if spot.ours.bench.kind == ESTIMATED:  # never over or under an energy that was measured
                found[row[0]].pop("energy", None)
    return found
