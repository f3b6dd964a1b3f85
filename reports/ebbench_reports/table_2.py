"""Table 2 of the paper, from our runs: accuracy, energy with its interval, FLOPs and the saving against dense training."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, Union

from ebbench.quantity import MISSING_TEXT, Quantity, aligned, format_quantity, prefix_for
from ebbench.records import MISSING, PARTIAL
from ebbench.units import format_si
from ebbench_reports.collect import Collection, method_title, ratio_text
from ebbench_reports.compare import Group, Saving, differing_settings, find_reference, pool, saving, settings_text
from ebbench_reports.markup import Cell, Column, Section, Table
from ebbench_reports.tables import (
    banner,
    charged_notes,
    extrapolation_notes,
    findings_notes,
    left_out,
    scaled,
    write_csv,
)

_HOW = (
    "Energy is gross, of the training phases of the stated rail, without work that was done twice (total - redone). "
    "Intervals: k = 2 for what the meter contributes; from two replicates on they also hold the 95 % interval of the mean "
    "(Student's t). Saving = 1 - energy / energy of dense training on the same bench; errors common to both cancel in it."
)


#: components that are the same fraction of every energy, and so leave a ratio as it is
_PROPORTIONAL = ("gain", "time_base")


def table_2(collection: Collection) -> Table:
    """Method x model x data set x prune ratio, in the form of the paper's Table 2; a section per bench, model and data set."""
    groups = pool(collection.runs)
    columns, rows = _rows(groups)
    sections: Dict[str, List[Mapping[str, Cell]]] = {}
    for group, row in zip(groups, rows):
        sections.setdefault(_section_title(group), []).append(row)
    return Table(
        name="table-2",
        title="Accuracy and energy of training",
        caption=_HOW,
        columns=columns,
        sections=tuple(Section(title, tuple(found)) for title, found in sections.items()),
        banner=banner(collection.runs),
        notes=(
            *extrapolation_notes(collection.runs),
            *charged_notes(collection.runs, collection.runs),
            *findings_notes(collection.runs),
            *left_out(collection),
        ),
        sources=tuple((run.number, run.record.run_id) for run in collection.runs),
    )


def compared(group: Group, groups: Sequence[Group]) -> Union[Saving, str]:
    """The saving of `group` against its dense training, or why there is none."""
    reference = find_reference(group, groups)
    return reference if isinstance(reference, str) else saving(group, reference)


def _rows(groups: Sequence[Group]) -> Tuple[Tuple[Column, ...], List[Dict[str, Cell]]]:
    """The columns, with one unit for all rows, and a row per group."""
    reasons = [compared(g, groups) for g in groups]
    columns, texts = _numbers(groups, [s.ratio if isinstance(s, Saving) else None for s in reasons])
    rows = []
    for i, (group, reason, name) in enumerate(zip(groups, reasons, _method_names(groups))):
        row = {key: Cell(column[i]) for key, column in texts.items()}
        row["energy"] = Cell(texts["energy"][i], _energy_notes(group))
        row["saving"] = Cell(texts["saving"][i], _saving_notes(group, reason))
        row["method"] = Cell(name)
        row["kind"] = Cell(group.bench.kind, badge=group.bench.kind.split(",")[0])
        row["verdict"] = Cell(group.verdict, badge=group.verdict)
        row["runs"] = Cell("", runs=tuple(run.number for run in group.runs))
        rows.append(row)
    ends = (Column("kind", "Kind"), Column("verdict", "Verdict"), Column("runs", "Runs"))
    return (Column("method", "Method"), *columns, *ends), rows


def _numbers(
    groups: Sequence[Group], ratios: Sequence[Optional[Quantity]]
) -> Tuple[List[Column], Dict[str, List[str]]]:
    """The columns of numbers and their texts, a text per group."""
    factor, letter = prefix_for(g.energy_j.value if g.energy_j else None for g in groups)
    flops = [g.mean("flops", "total") for g in groups]
    flops_factor, flops_letter = prefix_for(q.value if q else None for q in flops)
    titles = [_section_title(g) for g in groups]
    ours = [None if _is_dense(g) else ratio for g, ratio in zip(groups, ratios)]

    def in_line(quantities: Sequence[Optional[Quantity]], decimals: Optional[int] = None) -> List[str]:
        return _aligned_by_section(quantities, titles, decimals)

    found = [
        ("p", "p", [_prune_ratio(g) for g in groups]),
        (
            "final",
            "Final acc. (%)",
            in_line([scaled(g.mean("accuracy", "final"), 100) for g in groups], 2),
        ),
        ("best", "Best acc. (%)", in_line([scaled(g.mean("accuracy", "best"), 100) for g in groups], 2)),
        ("energy", f"Energy ({letter}J)", in_line([scaled(g.energy_j, 1 / factor) for g in groups])),
        ("range", f"Replicates ({letter}J)", [_range_text(g, factor) for g in groups]),
        ("saving", "Saving (%)", in_line([_saving_percent(r) for r in ours], 1)),
        ("factor", "Dense / this (×)", in_line([_factor(r) for r in ours], 2)),
        (
            "flops",
            f"FLOPs ({flops_letter})" if flops_letter else "FLOPs",
            in_line([q and Quantity(q.value / flops_factor) for q in flops]),
        ),
    ]
    if all(len(g.runs) == 1 for g in groups):
        found = [column for column in found if column[0] != "range"]
    return [Column(key, title, number=True) for key, title, _ in found], {key: texts for key, _, texts in found}


def _aligned_by_section(
    quantities: Sequence[Optional[Quantity]], titles: Sequence[str], decimals: Optional[int]
) -> List[str]:
    """`aligned` among the rows of each section: a section of joules does not spread one of kilojoules."""
    texts = [""] * len(titles)
    for title in set(titles):
        rows = [i for i, t in enumerate(titles) if t == title]
        for i, text in zip(rows, aligned([quantities[i] for i in rows], decimals)):
            texts[i] = text
    return texts


def table_2_csv(collection: Collection) -> str:
    """The rows of Table 2 as numbers: SI units, fractions, full precision; what is missing is empty."""
    groups = pool(collection.runs)
    lines = [_csv_row(group, compared(group, groups)) for group in groups]
    return write_csv(lines, list(_csv_row_names()))


def _csv_row(group: Group, compared_to: Union[Saving, str]) -> Dict[str, Any]:
    energies = [run.energy_j for run in group.runs if run.energy_j is not None]
    ratio = compared_to.ratio if isinstance(compared_to, Saving) else None
    row: Dict[str, Any] = {n: group.recipe.get(n) for n in ("method", "model", "dataset", "prune_ratio")}
    if _is_dense(group):
        row["prune_ratio"] = None
    row.update({n: getattr(group.bench, n) for n in ("kind", "board", "device", "meter", "rail", "scope")})
    row.update(verdict=group.verdict, replicates=len(group.runs), energy_status=_status(group))
    for name in ("final", "best"):
        row.update(_pair(f"accuracy_{name}", group.mean("accuracy", name)))
    row.update(_pair("energy_j", group.energy_j))
    row.update(energy_min_j=min(energies, default=None), energy_max_j=max(energies, default=None))
    row["redone_j"] = sum(run.record.energy.redone_j or 0.0 for run in group.runs) / len(group.runs)
    row.update(_pair("energy_ratio_to_dense", ratio))
    row["not_compared"] = compared_to if isinstance(compared_to, str) else None
    row.update(_pair("flops_total", group.mean("flops", "total")))
    ratio = group.mean("ticket", "prune_ratio")
    row["ticket_prune_ratio"] = ratio and ratio.value
    row["run_ids"] = " ".join(run.record.run_id for run in group.runs)
    return row


def _csv_row_names() -> Iterable[str]:
    yield from ("method", "model", "dataset", "prune_ratio")
    yield from ("kind", "board", "device", "meter", "rail", "scope", "verdict", "replicates", "energy_status")
    for name in ("accuracy_final", "accuracy_best", "energy_j"):
        yield from (name, f"{name}_half_width")
    yield from ("energy_min_j", "energy_max_j", "redone_j", "energy_ratio_to_dense", "energy_ratio_to_dense_half_width")
    yield from ("not_compared", "flops_total", "flops_total_half_width", "ticket_prune_ratio")
    yield "run_ids"


def _pair(name: str, quantity: Optional[Quantity]) -> Dict[str, Optional[float]]:
    return {name: quantity and quantity.value, f"{name}_half_width": quantity and quantity.half_width}


def _section_title(group: Group) -> str:
    model, dataset = group.recipe.get("model"), group.recipe.get("dataset")
    what = f"{model} on {dataset}" if model and dataset else group.runs[0].record.run_id
    return f"{what} · {group.bench.title()}"


def _method_names(groups: Sequence[Group]) -> List[str]:
    """The method of each row; where two rows would read the same, also the settings in which they differ."""
    heads = [(_section_title(g), method_title(g.recipe.get("method")), _prune_ratio(g)) for g in groups]
    names = []
    for group, head in zip(groups, heads):
        alike = [g for g, h in zip(groups, heads) if h == head]
        differing = differing_settings([g.recipe for g in alike])
        if _is_dense(group):
            differing = [k for k in differing if k != "prune_ratio"]
        names.append(head[1] + settings_text(group.recipe, differing))
    return names


def _is_dense(group: Group) -> bool:
    return group.recipe.get("method") == "dense"


def _prune_ratio(group: Group) -> str:
    return MISSING_TEXT if _is_dense(group) else ratio_text(group.runs)


def _saving_percent(ratio: Optional[Quantity]) -> Optional[Quantity]:
    return ratio and Quantity((1 - ratio.value) * 100, ratio.half_width and ratio.half_width * 100)


def _factor(ratio: Optional[Quantity]) -> Optional[Quantity]:
    return ratio and Quantity(1 / ratio.value, ratio.half_width and ratio.half_width / ratio.value**2)


def _range_text(group: Group, factor: float) -> str:
    energies = [run.energy_j / factor for run in group.runs if run.energy_j is not None]
    if len(energies) < 2:
        return "1" if energies else MISSING_TEXT
    low, high = (format_quantity(Quantity(e)) for e in (min(energies), max(energies)))
    return f"{len(energies)}: {low} … {high}"


def _status(group: Group) -> str:
    return MISSING if group.energy_j is None else group.runs[0].record.energy.status


def _energy_notes(group: Group) -> Tuple[str, ...]:
    """What the reader must know about this energy."""
    notes = []
    accounts = [run.record.energy for run in group.runs]
    if _status(group) in (PARTIAL, MISSING):
        reasons = "; ".join(sorted({a.reason for a in accounts if a.reason})) or "no reason recorded"
        covered_s, duration_s = sum(a.covered_s for a in accounts), sum(a.duration_s for a in accounts)
        share = (
            f"{100 * covered_s / duration_s:.3g} % of the training time covered" if duration_s else "nothing covered"
        )
        notes.append(f"Energy {_status(group)}: {share} ({reasons})")
    elif group.energy_j is not None and accounts[0].estimate is not None:
        notes.append(_estimate_note(group, accounts[0].estimate))
    elif group.energy_j is not None and group.energy_j.half_width is None:
        notes.append("No interval: an uncertainty is not stated in the record")
    if _unknown(group) and group.energy_j is not None:
        notes.append(f"The interval leaves out what is not known of the meter: {', '.join(sorted(_unknown(group)))}")
    redone_j = sum(a.redone_j or 0.0 for a in accounts)
    if redone_j > 0:
        notes.append(f"{format_si(redone_j, 'J')} of work done twice after an interruption left out")
    if any(a.redone_j is None for a in accounts) and group.energy_j is not None:
        notes.append("Work done twice is not known and is included")
    return tuple(notes)


def _saving_notes(group: Group, compared_to: Union[Saving, str]) -> Tuple[str, ...]:
    """Why there is no saving, or what its interval leaves out: an unknown gain is the same in both energies, an offset is not."""
    if _is_dense(group):
        return ()
    if isinstance(compared_to, str):
        return (compared_to,)
    unknown = (_unknown(group) | _unknown(compared_to.reference)) - set(_PROPORTIONAL)
    left_out = f"The intervals of the comparison leave out what is not known of the meter: {', '.join(sorted(unknown))}"
    return (left_out,) if unknown else ()


def _unknown(group: Group) -> Set[str]:
    """The components of the energies' intervals that are not known."""
    return {name for run in group.runs for name, part in run.record.energy.components_j.items() if part is None}


def _estimate_note(group: Group, estimate: Mapping[str, Any]) -> str:
    """From what an energy is estimated, and the same work in float32 by the same table."""
    units = estimate["unit_energies"]
    float32_j = sum((run.record.energy.estimate or {}).get("float32_j") or 0.0 for run in group.runs) / len(group.runs)
    ratio = f", {float32_j / group.energy_j.value:.3g} times as much" if group.energy_j and group.energy_j.value else ""
    return (
        f"Estimated with the unit energies {units['name']} ({units['title']}), interval not known; by the same table the same work "
        f"takes {format_si(float32_j, 'J')} in float32{ratio}"
    )
