"""The parts of the page that are neither table nor figure: the facts on top, and the raw material below."""

from __future__ import annotations

import json
import math
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

from ebbench.quantity import MISSING_TEXT, Quantity, at_least, with_unit
from ebbench.records import MEASURED, SIMULATED, worst
from ebbench.units import format_duration, format_si
from ebbench_reports.collect import Collection, Run, method_title
from ebbench_reports.compare import bench_key
from ebbench_reports.markup import as_html, ranges

#: runs whose recipe, environment and budget are spelled out; the records hold them for all
MAX_DETAILS = 50
#: a component of a budget below this part of the largest, or (of what rounding leaves) of the energy, is said to be below it
LEAST_OF_LARGEST, LEAST_OF_TOTAL = 1e-3, 1e-9


def facts(collection: Collection) -> str:
    """What was run, on what, measured how, when, and whether it can be believed."""
    runs = collection.runs
    keys = [bench_key(run) for run in runs]
    ended = sum(run.record.status == "success" for run in runs)
    items = [
        (
            "Runs",
            f"{ended} succeeded, {len(runs) - ended} failed or aborted, {len(collection.unread)} without a record",
        ),
        ("Methods", _listed(method_title(run.record.recipe.get("method")) for run in runs)),
        ("Networks and data", _listed(_task(run) for run in runs)),
        ("Board", _listed(key.board or "unknown" for key in keys)),
        ("Accelerator", _listed(key.device for key in keys if key.device)),
        ("Meter, rail (scope)", _listed(f"{k.meter}, {k.rail} ({k.scope})" for k in keys if k.meter)),
        ("Kind of the energies", _listed(key.kind for key in keys)),
        ("Verdict", _verdict(runs)),
        ("Date", _dates(runs)),
        ("Duration of all", format_duration(sum(run.record.duration_s for run in runs)) if runs else MISSING_TEXT),
    ]
    return (
        '<dl class="facts">'
        + "".join(f"<div><dt>{as_html(k)}</dt><dd>{as_html(v)}</dd></div>" for k, v in items)
        + "</dl>"
    )


def details(runs: Sequence[Run]) -> str:
    """One folded part per run: phases, budget of the uncertainty, recipe, board, environment and files."""
    parts = [_details_of(run) for run in runs[:MAX_DETAILS]]
    if len(runs) > MAX_DETAILS:
        parts.append(f'<p class="empty">The first {MAX_DETAILS} of {len(runs)} runs; the records hold the others.</p>')
    return "\n".join(parts)


def unread_list(collection: Collection) -> str:
    """Folders that give no run, with the reason."""
    if not collection.unread:
        return ""
    items = "".join(f"<li><code>{as_html(str(u.folder))}</code>: {as_html(u.reason)}</li>" for u in collection.unread)
    return f'<figure><figcaption><strong>Folders without a run.</strong></figcaption><ul class="notes">{items}</ul></figure>'


def _details_of(run: Run) -> str:
    record = run.record
    parts = [
        ("Energy by phase", _phases(run)),
        ("Uncertainty budget of the total (standard uncertainties, k = 1)", _grid(_budget(run))),
        (
            "Extrapolation (k = 2 or 95 %; the meter's part is in the total's budget)",
            _grid(
                _stages(run),
                ("Phase", "Measured", "Scheduled", "One epoch", "Scatter", "Worth", "Drift per epoch", "All epochs"),
            ),
        ),
        ("Meters", _grid(_meters(run), ("Meter", "Type", "Kind", "Scope", "Counts", "Address", "Options", "Wiring"))),
        (
            "Other meters against the one that counts",
            _grid(
                _cross_checks(run),
                ("Meter", "Scope", "Kind", "Must be", "Ratio (k = 2)", "Scatter", "Windows", "Compared", ""),
            ),
        ),
        ("Recipe", _grid(_flat(record.recipe))),
        ("Board", _grid(_flat(record.board))),
        ("Environment", _grid(_flat(record.environment))),
        ("Notes", _grid((str(i), note) for i, note in enumerate(record.notes, 1))),
        ("Raw files (SHA-256)", _grid(sorted(record.files.items()))),
    ]
    body = "".join(f"<h3>{as_html(title)}</h3>{content}" for title, content in parts if content)
    return f"<details><summary>Run {run.number} · <code>{as_html(record.run_id)}</code></summary>{body}</details>"


def _phases(run: Run) -> str:
    rows = []
    for path, phase in run.record.energy.by_phase.items():
        energy = with_unit(None if phase.energy_j is None else Quantity(phase.energy_j, phase.uncertainty_j), "J")
        doubt = "" if phase.status == "ok" else f"{phase.status}: {phase.reason or 'no reason recorded'}"
        doubt = doubt or ("unresolved: too short for the sampling period" if phase.unresolved else "")
        doubt = doubt or (f"its training was measured by {phase.measured_by}" if phase.measured_by else "")
        rows.append((path, energy, format_duration(phase.duration_s), phase.count, phase.kind, doubt))
    return _grid(rows, ("Phase", "Energy (k = 2)", "Duration", "Times", "Kind", ""))


def _budget(run: Run) -> List[Tuple[str, str]]:
    account = run.record.energy
    largest_j = max((c for c in account.components_j.values() if c is not None), default=0.0)
    least_j = max(LEAST_OF_LARGEST * largest_j, LEAST_OF_TOTAL * abs(account.total_j or 0.0))
    rows = []
    for name, component_j in account.components_j.items():
        if component_j and component_j < least_j:
            rows.append((name, f"< {format_si(10.0 ** math.ceil(math.log10(least_j)), 'J')}"))
            continue
        share = f" · {100 * component_j / account.total_j:.2g} %" if component_j is not None and account.total_j else ""
        rows.append((name, f"{format_si(component_j, 'J', 3)}{share}"))
    return rows


def _stages(run: Run) -> Iterator[Tuple[str, ...]]:
    """How each phase of an extrapolated run was carried on from its measured epochs."""
    for path, stage in (run.record.energy.extrapolation or {"by_phase": {}})["by_phase"].items():
        measured = f"{stage['measured_epochs']} epochs"
        if stage["energy_j"] is None:
            yield path, measured, str(stage["scheduled_epochs"]), *[MISSING_TEXT] * 5
            continue
        drift = Quantity(stage["drift_j"], stage["drift_uncertainty_j"])
        yield (
            path,
            measured,
            str(stage["scheduled_epochs"]),
            with_unit(Quantity(stage["epoch_j"]), "J"),
            f"{100 * stage['epoch_sd_j'] / stage['epoch_j']:.2g} %" if stage["epoch_j"] else MISSING_TEXT,
            f"{stage['n_eff']:.2g} epochs",
            with_unit(drift, "J"),
            with_unit(Quantity(stage["energy_j"], stage["uncertainty_j"]), "J"),
        )


def _meters(run: Run) -> Iterator[Tuple[str, ...]]:
    """How each meter of the run was named and connected."""
    for meter in run.record.meters:
        options = ", ".join(f"{key} = {value}" for key, value in _flat(meter.get("options") or {}))
        counts = "yes" if meter.get("reference") else "no"
        yield (
            meter["name"],
            str(meter.get("type") or meter["name"]),
            SIMULATED if meter.get("simulated") else MEASURED,
            meter["scope"],
            counts,
            meter.get("address") or "",
            options,
            meter.get("wiring") or "",
        )


def _cross_checks(run: Run) -> Iterator[Tuple[str, ...]]:
    """Each other meter: its ratio to the reference, how steady, over how much of the training."""
    for check in run.record.energy.cross_checks:
        ratio = (
            MISSING_TEXT
            if check["ratio"] is None
            else at_least(Quantity(check["ratio"], check["uncertainty"]), check["uncertainty_known"])
        )
        scatter = MISSING_TEXT if check["ratio_sd"] is None else f"{100 * check['ratio_sd']:.2g} %"
        compared = format_duration(check["compared_s"])
        windows = str(check["windows"]["n"])
        must_be = check["expected"] or MISSING_TEXT
        kind = check.get("kind") or MISSING_TEXT
        yield check["meter"], check["scope"], kind, must_be, ratio, scatter, windows, compared, check["lost"] or ""


def _grid(rows: Iterable[Sequence[Any]], head: Sequence[str] = ()) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{as_html(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    titles = "".join(f"<th>{as_html(title)}</th>" for title in head)
    titles = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{titles}<tbody>{cells}</tbody></table></div>' if cells else ""


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[Tuple[str, str]]:
    """Nested settings as dotted names with JSON values."""
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is None:
            yield f"{prefix}{key}", MISSING_TEXT
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _listed(values: Any) -> str:
    """Each once, in order; a long list is cut and says so."""
    unique = list(dict.fromkeys(values))
    return ("; ".join(unique[:6]) + (f"; and {len(unique) - 6} more" if len(unique) > 6 else "")) or MISSING_TEXT


def _task(run: Run) -> str:
    model, dataset = run.record.recipe.get("model"), run.record.recipe.get("dataset")
    return f"{model} on {dataset}" if model else run.record.run_id


def _verdict(runs: Sequence[Run]) -> str:
    by_verdict: Dict[str, List[int]] = {}
    for run in runs:
        by_verdict.setdefault(run.record.verdict, []).append(run.number)
    if len(by_verdict) <= 1:
        return next(iter(by_verdict), MISSING_TEXT)
    parts = "; ".join(f"{verdict}: run {ranges(numbers)}" for verdict, numbers in sorted(by_verdict.items()))
    return f"{worst(list(by_verdict))} ({parts})"


def _dates(runs: Sequence[Run]) -> str:
    started = sorted(run.started for run in runs if run.started)
    if not started:
        return MISSING_TEXT
    return started[0] if started[0] == started[-1] else f"{started[0]} to {started[-1]}"
