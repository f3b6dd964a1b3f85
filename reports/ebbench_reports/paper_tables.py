"""Tables 1 to 4 of the paper in its own form, from our runs, each one `Layout`; with the published values beside ours if wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ebbench.quantity import MISSING_TEXT, Quantity, format_quantity, prefix_for
from ebbench.records import ESTIMATED, EXTRAPOLATED, worst
from ebbench_reports.collect import Collection, method_title
from ebbench_reports.compare import Group, pool
from ebbench_reports.markup import Cell, Column, Section, Table
from ebbench_reports.published import IMPROVEMENT, canonical, doubt, improvement, published
from ebbench_reports.tables import banner, charged_notes, extrapolation_notes, findings_notes, left_out, write_csv

Place = Dict[str, str]

#: EB Train whose search and retraining are of full precision
FULL_PRECISION = ("eb-ff", "eb-reinit")


@dataclass(frozen=True)
class Measure:
    """A value of a cell: where our records have it, and by which factor it comes into the table's unit."""

    name: str
    title: str
    part: Optional[Tuple[str, str]] = None
    factor: float = 1.0
    decimals: Optional[int] = None
    #: whether ours and the paper's are compared as a ratio (percent) or as a difference (percentage points)
    is_ratio: bool = False

    def of(self, group: Group) -> Optional[Quantity]:
        """Ours, in the table's unit."""
        found = group.mean(*self.part) if self.part else group.energy_j
        return found and found.scaled(self.factor)


@dataclass(frozen=True)
class Layout:
    """One table of the paper: what makes a section, a row and a column, which runs belong to it, and what its cells hold."""

    number: int
    title: str
    caption: str
    row: Tuple[str, ...]
    column: Optional[str]
    measures: Tuple[Measure, ...]
    belongs: Callable[[Group], bool]
    section: Tuple[str, ...] = ("model", "dataset")


def _accuracy(title: str = "acc. (%)", name: str = "accuracy", key: str = "best") -> Measure:
    return Measure(name, title, ("accuracy", key), 100.0, 2)


def _draws_early_bird(group: Group) -> bool:
    method = str(group.recipe.get("method"))
    return not method.startswith("eb-") or group.recipe.get("draw") == "early-bird"


def _draws_at_epoch(group: Group) -> bool:
    return group.recipe.get("method") in FULL_PRECISION and draw_epoch(group.recipe) is not None


_BEST = "Accuracies are those of the best epoch, as the paper's code reports them. "
_ENERGY = (
    "Energies are gross, of the training phases of the stated rail (the paper: a TX2 with an external meter). FLOPs are exact; the "
    "paper counts otherwise (ebbench flops --convention paper). "
)
_DRAWN = (
    "Tickets are drawn at the epoch in the head of the column; of shorter trainings, at the same part of the training. "
)

_ELSEWHERE = "None of these runs is of a network and data set of the paper's table: they stand in its form alone. "

LAYOUTS = (
    Layout(
        1,
        "Table 1: retrain accuracy by the epoch of the draw, for two learning-rate schedules",
        _BEST + _DRAWN,
        row=("lr_schedule", "initial_lr"),
        column="draw_epoch",
        measures=(_accuracy(""),),
        belongs=_draws_at_epoch,
        section=("model", "dataset", "prune_ratio"),
    ),
    Layout(
        2,
        "Table 2: EB Train against the other methods on CIFAR",
        _BEST + _ENERGY,
        row=("method",),
        column="prune_ratio",
        measures=(
            _accuracy(),
            Measure("energy", "energy (kJ)", None, 1e-3, is_ratio=True),
            Measure("flops", "FLOPs (P)", ("flops", "total"), 1e-15, is_ratio=True),
        ),
        belongs=_draws_early_bird,
    ),
    Layout(
        3,
        "Table 3: EB Train against the other methods on ImageNet",
        _BEST + _ENERGY,
        row=("method", "prune_ratio"),
        column=None,
        measures=(
            _accuracy("Top-1 (%)"),
            Measure("top1_gain", "Top-1 gain", decimals=2),
            _accuracy("Top-5 (%)", "top5", "top5_final"),
            Measure("top5_gain", "Top-5 gain", decimals=2),
            Measure("flops", "FLOPs (P)", ("flops", "total"), 1e-15, is_ratio=True),
            Measure("energy", "Energy (MJ)", None, 1e-6, is_ratio=True),
        ),
        belongs=_draws_early_bird,
    ),
    Layout(
        4,
        "Table 4: retrain accuracy by the epoch of the draw, for larger initial learning rates",
        _BEST + _DRAWN,
        row=("initial_lr", "lr_schedule"),
        column="draw_epoch",
        measures=(_accuracy(""),),
        belongs=_draws_at_epoch,
        section=("model", "dataset", "prune_ratio"),
    ),
)
#: what a measure is a gain of, over dense training in the same section
_GAINS = {"top1_gain": "accuracy", "top5_gain": "top5"}
#: epochs of the paper's protocol
PAPER_EPOCHS = {"imagenet": 90}
CIFAR_EPOCHS = 160


def layout(number: int) -> Layout:
    """The table of this number."""
    return next(each for each in LAYOUTS if each.number == number)


def draw_epoch(recipe: Mapping[str, Any]) -> Optional[str]:
    """At which epoch of the paper's 160 the ticket was drawn, as its tables name it; None where the search decided."""
    draw, epochs = recipe.get("draw"), recipe.get("epochs")
    if draw == "final":
        return "final"
    if isinstance(draw, (list, tuple)) and draw and epochs:
        return canonical(draw[0] * paper_epochs(recipe) / epochs)
    return None


def paper_epochs(recipe: Mapping[str, Any]) -> int:
    """How long the paper trains on this data set."""
    return PAPER_EPOCHS.get(str(recipe.get("dataset")), CIFAR_EPOCHS)


def place_of(group: Group) -> Place:
    """Where a group stands in the paper's tables; settings in the paper's terms."""
    recipe = group.recipe
    fractions = recipe.get("search_milestones") or recipe.get("milestones") or ()
    milestones = [canonical(fraction * paper_epochs(recipe)) for fraction in fractions]
    is_dense = recipe.get("method") == "dense"
    return {
        "model": str(recipe.get("model")),
        "dataset": str(recipe.get("dataset")),
        "method": str(recipe.get("method")),
        "prune_ratio": "" if is_dense else canonical(recipe.get("prune_ratio")),
        "lr_schedule": ";".join(f"{epoch}:x0.1" for epoch in milestones),
        "initial_lr": canonical(recipe.get("search_rate") or recipe.get("learning_rate")),
        "draw_epoch": draw_epoch(recipe) or "",
    }


@dataclass
class _Spot:
    """One cell's worth: our group, where there is one, and what is printed."""

    ours: Optional[Group] = None
    printed: Optional[Mapping[str, str]] = None


@dataclass
class _Part:
    """One section: its places by (row, column), and the rows and columns in their order."""

    title: str
    key: Tuple[str, ...]
    spots: Dict[Tuple[Tuple[str, ...], str], _Spot]

    def rows(self) -> List[Tuple[str, ...]]:
        return list(dict.fromkeys(row for row, _ in self.spots))

    def groups(self) -> List[Group]:
        return [spot.ours for spot in self.spots.values() if spot.ours is not None]


def has_runs(collection: Collection, number: int) -> bool:
    """Whether any run has a place that the paper's table has."""
    return any(
        part.groups() and any(s.printed and s.ours for s in part.spots.values())
        for part in _parts(collection, layout(number))
    )


def has_form(collection: Collection, number: int) -> bool:
    """Whether any run could stand in the table's columns, of whatever network and data set; dense training alone makes none."""
    plan = layout(number)
    groups = [group for group in pool(collection.runs) if group.recipe.get("method") and plan.belongs(group)]
    return any(plan.column is None or place_of(group)[plan.column] for group in groups)


def paper_table(collection: Collection, number: int, *, compare: bool, whole: bool = False) -> Table:
    """The table of this number; `compare`: the paper's value and the difference in each cell; `whole`: sections without a run."""
    plan = layout(number)
    parts = [part for part in _parts(collection, plan) if whole or part.groups()]
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
        notes=(*extrapolation_notes(runs), *charged_notes(runs, collection.runs), *findings_notes(runs), *left_out(collection)),
        sources=tuple((run.number, run.record.run_id) for run in runs),
    )  # fmt: skip


def _in_fitting_unit(measure: Measure, groups: Sequence[Group]) -> Measure:
    """The measure in the unit of our values, which may be far from the paper's."""
    if not measure.is_ratio:
        return measure
    found = [measure.of(group) for group in groups]
    factor, letter = prefix_for(q.value / measure.factor if q else None for q in found)
    unit = f"{letter}J" if measure.name == "energy" else letter
    return replace(measure, factor=1 / factor, title=f"{measure.title.partition('(')[0]}({unit})")


_ROW_TITLES = {"method": "Method", "prune_ratio": "p", "lr_schedule": "Learning rate", "initial_lr": "Initial rate"}
_COLUMN_TITLES = {"prune_ratio": "p = {}", "draw_epoch": "epoch {}"}


def _parts(collection: Collection, plan: Layout) -> List[_Part]:
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


def _part(plan: Layout, key: Tuple[str, ...], printed: Sequence[Any], groups: Sequence[Group], bench: str) -> _Part:
    spots: Dict[Tuple[Tuple[str, ...], str], _Spot] = {}
    # where several are of one place, it is that of the one that departs least from the paper
    in_order = sorted(groups, key=lambda g: (len(_departed(g)), float(place_of(g)["initial_lr"])))
    places = [(_spot_key(plan, place_of(g)), g) for g in in_order]
    labels = _labels(places)
    # a dense training stands above the paper's rows, also where the paper has no such row
    spots.update({spot: _Spot() for spot, group in places if group.recipe.get("method") == "dense"})
    for each in printed:
        spots[_spot_key(plan, each.place)] = _Spot(printed=each.texts)
    for ((row, column), group), label in zip(places, labels):
        spots.setdefault(((*row[:-1], row[-1] + label), column), _Spot()).ours = group
    ratio = f", p = {key[2]}" if len(key) > 2 else ""
    part = _Part(f"{key[0]} on {key[1]}{ratio} · {bench}", key, spots)
    if plan.number == 2 and not printed:  # a section of the paper brings its rows
        for value in sorted({column for _, column in spots if column}):
            if any(found is not None for found in improvement(_by_method(plan, part, value)).values()):
                spots[(IMPROVEMENT,), value] = _Spot()
    return part


def _spot_key(plan: Layout, place: Mapping[str, str]) -> Tuple[Tuple[str, ...], str]:
    return tuple(place[name] for name in plan.row), place[plan.column] if plan.column else ""


def _labels(places: Sequence[Tuple[Any, Group]]) -> List[str]:
    """Where several groups have one place: the settings that tell them apart, for a row of their own; else nothing."""
    found = []
    for spot, group in places:
        rivals = [g for s, g in places if s == spot]
        names = sorted(
            {n for g in rivals for n in g.recipe if n not in ("seed", "data_dir", "checkpoint_s", "share_phases")}
        )
        differing = [n for n in names if len({str(g.recipe.get(n)) for g in rivals}) > 1]
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


def _columns(plan: Layout, parts: Sequence[_Part]) -> List[Tuple[Column, str, Measure]]:
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
    plan: Layout, part: _Part, columns: Sequence[Tuple[Column, str, Measure]], compare: bool
) -> Iterable[Dict[str, Cell]]:
    for row in part.rows():
        cells = {f"row-{i}": Cell(_row_text(name, text)) for i, (name, text) in enumerate(zip(plan.row, row))}
        groups = []
        for column, value, measure in columns:
            spot = _spot(part, row, value) or _Spot()
            ours, printed = _values(plan, part, row, value, measure, spot)
            cells[column.key] = Cell(
                _cell_text(measure, ours, printed, compare, row[0] == IMPROVEMENT),
                _cell_notes(plan, part, row, value, measure, spot, compare),
            )
            groups += [spot.ours] if spot.ours is not None and spot.ours not in groups else []
        if row[0] == IMPROVEMENT:  # made from all rows above
            groups = part.groups()
        ends = _ends(groups)
        yield {**cells, **ends, **({"runs": Cell("rows above")} if row[0] == IMPROVEMENT else {})}


def _spot(part: _Part, row: Tuple[str, ...], value: str) -> Optional[_Spot]:
    """What stands there; dense training has no prune ratio and stands in every column."""
    return part.spots.get((row, value)) or part.spots.get((row, ""))


def _row_text(name: str, text: str) -> str:
    if name == "method":
        head, comma, rest = text.partition(",")
        return "EB Train Improv." if head == IMPROVEMENT else method_title(head) + comma + rest
    if name == "lr_schedule":
        return "÷10 at " + ", ".join(step.split(":")[0] for step in text.split(";")) if ":" in text else text
    return text or MISSING_TEXT


def _values(
    plan: Layout, part: _Part, row: Tuple[str, ...], value: str, measure: Measure, spot: _Spot
) -> Tuple[Optional[Quantity], Optional[str]]:
    """Ours, in the table's unit, and the paper's as printed."""
    printed = (spot.printed or {}).get(measure.name)
    if row[0] == IMPROVEMENT:
        found = improvement(_by_method(plan, part, value))[measure.name]
        return None if found is None else Quantity(found), printed
    if spot.ours is None:
        return None, printed
    if measure.name in _GAINS:
        return _gain(plan, part, measure, spot.ours), printed
    return measure.of(spot.ours), printed


def _by_method(plan: Layout, part: _Part, value: str) -> Dict[str, Dict[str, float]]:
    """Our values at one prune ratio, by method and measure."""
    found: Dict[str, Dict[str, float]] = {}
    for (row, column), spot in part.spots.items():
        if column == value and spot.ours is not None and "," not in row[0]:
            values = {m.name: m.of(spot.ours) for m in plan.measures}
            found[row[0]] = {name: q.value for name, q in values.items() if q is not None}
            if spot.ours.bench.kind == ESTIMATED:  # never over or under an energy that was measured
                found[row[0]].pop("energy", None)
    return found


def _gain(plan: Layout, part: _Part, measure: Measure, group: Group) -> Optional[Quantity]:
    """The accuracy over that of dense training in the same section (percentage points)."""
    base = next(m for m in plan.measures if m.name == _GAINS[measure.name])
    dense = next((g for g in part.groups() if g.recipe.get("method") == "dense"), None)
    own = base.of(group)
    reference = base.of(dense) if dense is not None and dense is not group else None
    return Quantity(own.value - reference.value) if own and reference else None


def _cell_text(
    measure: Measure, ours: Optional[Quantity], printed: Optional[str], compare: bool, is_factor: bool
) -> str:
    own = format_quantity(ours, measure.decimals)
    if is_factor and measure.is_ratio and ours is not None:
        own = f"{ours.value:.1f}×"
    if not compare:
        return own
    if ours is None and printed is None:
        return MISSING_TEXT
    return f"{own} / {MISSING_TEXT if printed is None else printed.replace('-', '−')} / {_difference(measure, ours, printed)}"


def _difference(measure: Measure, ours: Optional[Quantity], printed: Optional[str]) -> str:
    if ours is None or printed is None:
        return MISSING_TEXT
    if measure.is_ratio:
        return signed(100 * (ours.value / float(printed) - 1), 1) + " %"
    return signed(ours.value - float(printed), 2)


def signed(value: float, decimals: int) -> str:
    """With its sign, but for a zero."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _cell_notes(
    plan: Layout, part: _Part, row: Tuple[str, ...], value: str, measure: Measure, spot: _Spot, compare: bool
) -> Tuple[str, ...]:
    """What keeps ours from being a reproduction, and the paper's from being right."""
    notes = []
    is_printed = any(each.printed for each in part.spots.values())
    if spot.ours is not None and measure is plan.measures[0] and is_printed:
        notes += _departures(spot.ours)
    if compare and (spot.printed or {}).get(measure.name) is not None:
        place = dict(zip((*plan.section, *plan.row), (*part.key, *row)))
        if plan.column:
            place[plan.column] = value
        found = doubt(plan.number, place, measure.name)
        notes += [f"The paper's value: {found}"] if found else []
    return tuple(notes)


def _departures(group: Group) -> List[str]:
    """In what a run is not the paper's protocol, in one sentence."""
    found = _departed(group)
    found += ["no accuracy: the training is extrapolated"] if EXTRAPOLATED in group.bench.kind else []
    estimate = group.runs[0].record.energy.estimate
    found += (
        [f"energy estimated with the unit energies {estimate['unit_energies']['name']}, not of this board"]
        if estimate
        else []
    )
    return [f"Ours: {'; '.join(found)}"] if found else []


def _departed(group: Group) -> List[str]:
    recipe = group.recipe
    epochs, wanted = recipe.get("epochs"), paper_epochs(recipe)
    found = [f"{epochs} epochs, the paper trains {wanted}"] if epochs != wanted else []
    found += [f"the first {recipe['train_images']} training images only"] if recipe.get("train_images") else []
    found += (
        [f"batches of {recipe['batch_size']}, the paper's are 256"]
        if recipe.get("batch_size") not in (256, None)
        else []
    )
    return found


def _ends(groups: Sequence[Group]) -> Dict[str, Cell]:
    """Kind, verdict and runs of a row."""
    kinds = list(dict.fromkeys(group.bench.kind for group in groups))
    verdict = worst([group.verdict for group in groups]) if groups else MISSING_TEXT
    return {
        "kind": Cell("; ".join(kinds) or MISSING_TEXT, badge=kinds[0].split(",")[0] if kinds else None),
        "verdict": Cell(verdict, badge=verdict if groups else None),
        "runs": Cell("" if groups else MISSING_TEXT, runs=tuple(run.number for group in groups for run in group.runs)),
    }


def paper_table_csv(collection: Collection, number: int) -> str:
    """The same as numbers, a line per value: ours, its half width, the paper's, the difference, all in the table's units."""
    plan = layout(number)
    lines = []
    for part in _parts(collection, plan):
        for _, value, measure in _columns(plan, [part]):
            for row in part.rows():
                spot = _spot(part, row, value)
                if spot is None:
                    continue
                ours, printed = _values(plan, part, row, value, measure, spot)
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
