"""The tables beside Table 2: the mask-distance overhead, the checks, the runs; and what every table says below."""

from __future__ import annotations

import csv
import io
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ebbench.quantity import MISSING_TEXT, Quantity, aligned, with_unit
from ebbench.records import ESTIMATED, FAIL, NOT_CHECKED, NOT_MEASURED, OK, SIMULATED, WARN
from ebbench.units import format_duration, format_si
from ebbench_reports.collect import Collection, Run, method_title, ratio_text
from ebbench_reports.markup import Cell, Column, Section, Table, ranges

SIMULATED_BANNER = "POWER SIMULATED: no energy here was measured, all come from a simulated sensor; do not cite them."
PARTLY_SIMULATED_BANNER = (
    "POWER PARTLY SIMULATED: energies of the kind 'simulated' are not measurements; do not cite them."
)
WHAT_IS_REAL = "Accuracies, masks and FLOPs are of trainings that really ran."
EXTRAPOLATED_BANNER = (
    "EXTRAPOLATED: of such a training a few epochs of each phase really ran, and stand for all: its energy and FLOPs are those of "
    "the whole schedule, its mask is that of the last epoch that ran, and it has no accuracy."
)
ESTIMATED_BANNER = (
    "ESTIMATED: rows of the kind 'estimated' were trained in a simulated arithmetic; their energy comes from counted operations "
    "and bytes, not from a meter. Compare them with each other, never with a measured row."
)
NOT_MEASURED_BANNER = "NOT MEASURED: rows of the kind 'not measured' are of runs without a meter; they have no energy."


def banner(runs: Iterable[Run]) -> str:
    """What must be shouted above everything that is made from these runs; empty when all is measured."""
    runs = list(runs)
    kinds = {run.record.kind for run in runs}
    is_cut = [run.record.is_extrapolated for run in runs]
    simulated = SIMULATED_BANNER if kinds == {SIMULATED} else PARTLY_SIMULATED_BANNER if SIMULATED in kinds else ""
    others = [(ESTIMATED, ESTIMATED_BANNER), (NOT_MEASURED, NOT_MEASURED_BANNER)]
    real = WHAT_IS_REAL if simulated and not any(is_cut) else ""
    parts = [
        simulated,
        real,
        EXTRAPOLATED_BANNER if any(is_cut) else "",
        *(text for kind, text in others if kind in kinds),
    ]
    return " ".join(text for text in parts if text)


def write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Comma-separated text; a float is written so that it reads back as the same float."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def scaled(quantity: Optional[Quantity], factor: float) -> Optional[Quantity]:
    """`Quantity.scaled`, where there is one."""
    return quantity and quantity.scaled(factor)


def findings(runs: Sequence[Run]) -> List[Dict[str, Any]]:
    """Every check that is not PASS, worst first, each once with the runs that it concerns."""
    order = {FAIL: 0, WARN: 1, NOT_CHECKED: 2}
    found: Dict[Tuple[str, str, str], Dict[str, Any]] = {}
    for run in runs:
        for check in run.record.checks:
            if check.verdict in order:
                key = (check.verdict, check.name, check.advice)
                entry = found.setdefault(key, {"check": check, "values": [], "runs": []})
                entry["runs"].append(run.number)
                entry["values"] += [] if check.value is None else [check.value]
    return sorted(found.values(), key=lambda e: (order[e["check"].verdict], -len(e["runs"]), e["check"].name))


def findings_notes(runs: Sequence[Run]) -> List[str]:
    """Every WARN and FAIL in one sentence, for below a table."""
    notes = []
    for entry in findings(runs):
        check = entry["check"]
        if check.verdict != NOT_CHECKED:
            numbers = f": {_values_text(entry['values'])}, limit {_number(check.limit)}" if entry["values"] else ""
            notes.append(
                f"{check.verdict} {check.name}{numbers} (run {ranges(entry['runs'])}). {_sentence(check.advice)}"
            )
    return notes


def left_out(collection: Collection) -> List[str]:
    """Runs that ended badly and folders that give no run, each in one sentence."""
    notes = []
    for run in collection.runs:
        if run.record.status != "success":
            spent = format_si(_spent_j(run), "J")
            reason = run.record.reason or "no reason recorded"
            notes.append(
                f"Run {run.number} ({run.record.run_id}) {run.record.status} and is in no row: {reason}; {spent} spent."
            )
        notes += [f"Run {run.number}: {_sentence(note)}" for note in run.notes]
    return notes + [_sentence(unread.reason) for unread in collection.unread]


def _spent_j(run: Run) -> Optional[float]:
    """What the run itself took and was measured; not what it is charged, nor what was to be extrapolated or estimated from it."""
    seen = run.record.energy.while_simulating or vars(run.record.energy)
    total_j = (seen.get("extrapolation") or {}).get("measured", seen)["total_j"]
    elsewhere_j = run.charged["energy_j"] if run.charged else 0.0
    return None if total_j is None or elsewhere_j is None else total_j - elsewhere_j


def extrapolation_notes(runs: Sequence[Run]) -> List[str]:
    """What each extrapolated energy was made from, and what it assumes; one sentence for runs of which the same is true."""
    found: Dict[str, List[int]] = {}
    for run in runs:
        extrapolation = run.record.extrapolation
        if extrapolation is not None and extrapolation["refused"] is None:
            is_estimate = run.record.energy.extrapolation is None
            which = "trained_epochs" if is_estimate else "measured_epochs"
            stages = " and ".join(
                f"{stage[which]} epochs of {stage['scheduled_epochs']} of {path}"
                for path, stage in extrapolation["by_phase"].items()
                if stage["energy_j"] is not None
            )
            made = (
                f"estimated for the whole schedule; trained: {stages}" if is_estimate else f"extrapolated from {stages}"
            )
            parts = [made, *(f"assumed: {a}" for a in extrapolation["assumptions"])]
            found.setdefault("; ".join(parts), []).append(run.number)
    return [f"Run {ranges(numbers)}: {_sentence(text)}" for text, numbers in found.items()]


def charged_notes(runs: Sequence[Run], collected: Sequence[Run]) -> List[str]:
    """Which runs are charged for a training that another run did and measured; the lender's number, if it is among `collected`."""
    numbers = {run.record.run_id: run.number for run in collected}
    found: Dict[str, Dict[str, List[int]]] = {}
    for run in runs:
        charge = run.charged
        if charge is not None:
            epochs = f"{charge['epochs']} epoch{'s' if charge['epochs'] > 1 else ''}"
            found.setdefault(str(charge["from"]), {}).setdefault(epochs, []).append(run.number)
    taken = []
    for lender, by_length in found.items():
        name = f"run {numbers[lender]}" if lender in numbers else f"{lender}, which is not in this report"
        parts = [f"run {ranges(members)} ({epochs})" for epochs, members in by_length.items()]
        taken.append(f"{', '.join(parts)} by {name}")
    if not taken:
        return []
    few = any(run.charged and run.record.energy.extrapolation for run in runs)
    but = ", but for the scatter of the epochs that stand for others" if few else ""
    return [
        "First trainings that were done and measured once, and are charged to each run that begins with them: "
        f"{'; '.join(taken)}. What their energies have in common cancels in their ratios, and the intervals know it{but}."
    ]


def checks_table(runs: Sequence[Run]) -> Table:
    """All findings with their numbers and what to do."""
    rows = []
    for entry in findings(runs):
        check = entry["check"]
        rows.append({
            "verdict": Cell(check.verdict, badge=check.verdict),
            "check": Cell(check.name),
            "value": Cell(_values_text(entry["values"])),
            "limit": Cell(_number(check.limit)),
            "advice": Cell(_sentence(check.advice)),
            "runs": Cell("", runs=tuple(entry["runs"])),
        })  # fmt: skip
    columns = (
        Column("verdict", "Verdict"), Column("check", "Check"), Column("value", "Value", number=True),
        Column("limit", "Limit", number=True), Column("advice", "What to do"), Column("runs", "Runs"),
    )  # fmt: skip
    passed = sum(check.verdict == "PASS" for run in runs for check in run.record.checks)
    caption = f"{passed} checks passed; those that did not, or could not be made, are below."
    return Table("checks", "Checks", caption, columns, (Section("", tuple(rows)),) if rows else ())


def runs_table(runs: Sequence[Run]) -> Table:
    """What each run number stands for."""
    columns = (
        Column("run", "Run", number=True), Column("id", "Run id", code=True), Column("energy", "Energy", number=True),
        Column("redone", "Done twice", number=True), Column("time", "Duration", number=True), Column("kind", "Kind"),
        Column("status", "Status"), Column("verdict", "Verdict"), Column("started", "Started"),
        Column("folder", "Folder", code=True),
    )  # fmt: skip
    rows = [
        {
            "run": Cell(str(run.number)),
            "id": Cell(run.record.run_id),
            "energy": Cell(_energy_text(run)),
            "redone": Cell(format_si(run.record.energy.redone_j, "J")),
            "time": Cell(format_duration(run.record.duration_s)),
            "kind": Cell(run.record.kind_text, badge=run.record.kind),
            "status": Cell(run.record.status, badge=run.record.status),
            "verdict": Cell(run.record.verdict, badge=run.record.verdict),
            "started": Cell(run.started or MISSING_TEXT),
            "folder": Cell(str(run.folder)),
        }
        for run in runs
    ]
    return Table("runs", "Runs", "Every number above leads back to these.", columns, (Section("", tuple(rows)),))


def overhead_table(runs: Sequence[Run]) -> Optional[Table]:
    """Mask-distance checks as fractions of the whole training; None where no run has any."""
    runs = [run for run in runs if run.record.mask_distance_overhead]
    if not runs:
        return None
    parts = [run.record.mask_distance_overhead or {} for run in runs]
    energies = [_fraction(p, "energy_fraction") for p in parts]
    per = {key: [_fraction(p, f"{key}_fraction") for p in parts] for key in ("time", "flops", "memory")}
    paper = {
        key: [_fraction(p.get("paper_convention") or {}, f"{key}_fraction") for p in parts]
        for key in ("flops", "memory")
    }
    columns = {"energy": energies, **per, **{f"paper_{key}": column for key, column in paper.items()}}
    units = {key: _unit_of(column) for key, column in columns.items()}
    texts = {key: aligned([scaled(q, units[key][0]) for q in column]) for key, column in columns.items()}
    rows = []
    for i, run in enumerate(runs):
        row = {key: Cell(column[i]) for key, column in texts.items()}
        row["energy"] = Cell(texts["energy"][i], _overhead_notes(energies[i], run.record.kind))
        row["method"] = Cell(method_title(run.record.recipe.get("method")))
        row["p"] = Cell(ratio_text([run]))
        row["draws"] = Cell(str(parts[i].get("draws", MISSING_TEXT)))
        row["kind"] = Cell(run.record.kind_text, badge=run.record.kind)
        row["runs"] = Cell("", runs=(run.number,))
        rows.append(row)
    return Table(
        name="overhead",
        title="Overhead of the mask-distance checks",
        caption=(
            "Fractions of the whole training's energy (interval: k = 2, from amplified blocks), time, FLOPs and peak memory. "
            "The last two columns follow the paper: a float mask over the parameters, and one check over ONE image's forward pass."
        ),
        columns=_overhead_columns({key: unit for key, (_, unit) in units.items()}),
        sections=(Section("", tuple(rows)),),
        banner=banner(runs),
        sources=tuple((run.number, run.record.run_id) for run in runs),
    )


def _overhead_columns(units: Mapping[str, str]) -> Tuple[Column, ...]:
    titles = {
        "energy": "Energy", "time": "Time", "flops": "FLOPs", "memory": "Memory", "paper_memory": "Paper: memory",
        "paper_flops": "Paper: FLOPs",
    }  # fmt: skip
    return (
        Column("method", "Method"),
        Column("p", "p", number=True),
        Column("draws", "Checks", number=True),
        *(Column(key, f"{title} ({units[key]})", number=True) for key, title in titles.items()),
        Column("kind", "Kind"),
        Column("runs", "Run"),
    )


def _unit_of(fractions: Sequence[Optional[Quantity]]) -> Tuple[float, str]:
    """Percent, as in the paper; for a column that is below .001 % throughout, millionths or billionths."""
    largest = max((abs(q.value) for q in fractions if q), default=1.0)
    return (1e2, "%") if largest >= 1e-5 else (1e6, "ppm") if largest >= 1e-7 else (1e9, "ppb")


def _fraction(part: Mapping[str, Any], name: str) -> Optional[Quantity]:
    value = part.get(name)
    return None if value is None else Quantity(value, part.get(f"{name}_uncertainty"))


def _overhead_notes(energy: Optional[Quantity], kind: str) -> Tuple[str, ...]:
    if kind == NOT_MEASURED:
        return ("Not measured: no meter was read",)
    if energy is None:
        return ("Not measured: no amplified blocks; run with --amplify SECONDS",)
    if energy.half_width is not None and energy.half_width >= energy.value:
        return ("Not resolved: the interval includes zero",)
    return ()


def _energy_text(run: Run) -> str:
    account = run.record.energy
    if run.energy_j is None:
        return MISSING_TEXT
    text = with_unit(Quantity(run.energy_j, account.uncertainty_j), "J")
    return text + ("" if account.status == OK else f" ({account.status})")


def _values_text(values: Sequence[float]) -> str:
    if not values:
        return MISSING_TEXT
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} … {high}"


def _number(value: Optional[float]) -> str:
    return MISSING_TEXT if value is None else f"{value:.3g}".replace("-", "−")


def _sentence(text: str) -> str:
    text = text.strip()
    is_word = text.partition(" ")[0].isalpha()  # the id of a run stays as it is
    return text and (text[0].upper() + text[1:] if is_word else text) + ("" if text.endswith(".") else ".")


def overhead_csv(runs: Sequence[Run]) -> str:
    """The fractions of `overhead_table` as they are in the records."""
    names = [f"{part}_fraction" for part in ("energy", "time", "flops", "memory")]
    names.insert(1, "energy_fraction_uncertainty")
    rows = []
    for run in runs:
        overhead = run.record.mask_distance_overhead
        if overhead:
            paper = overhead.get("paper_convention") or {}
            row = {
                "run_id": run.record.run_id,
                "kind": overhead.get("kind") or run.record.kind,
                "draws": overhead.get("draws"),
            }
            row.update({name: overhead.get(name) for name in names})
            row.update({f"paper_{part}_fraction": paper.get(f"{part}_fraction") for part in ("flops", "memory")})
            rows.append(row)
    return write_csv(rows, ["run_id", "kind", "draws", *names, "paper_flops_fraction", "paper_memory_fraction"])
