"""What people see on the terminal: progress while a run goes on (stderr), tables when it is done (stdout)."""

from __future__ import annotations

import contextlib
import sys
import textwrap
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, TextIO, Type, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from ebbench.cli.hangup import Outliving
from ebbench.config import told_apart
from ebbench.errors import printable
from ebbench.quantity import Quantity, at_least, with_unit
from ebbench.records import EXTRAPOLATED, FAIL, NOT_MEASURED, OTHER_PHASES, PASS, SIMULATED, WARN, RunRecord
from ebbench.units import format_duration, format_si

_UNBROKEN = 10_000  # columns of what is no terminal
_STYLES = {PASS: "green", WARN: "yellow", FAIL: "bold red", "ok": "green", "warn": "yellow", "fail": "bold red"}


class Progress:
    """Phase, epoch, power now, energy so far and time left, on stderr; plain lines where that is no terminal."""

    def __init__(self) -> None:
        self._console = Console(file=cast(TextIO, Outliving(sys.stderr)), highlight=False)
        self._bars = Bars(
            TextColumn("{task.fields[phase]:<28}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[power]:>9}"),
            TextColumn("{task.fields[energy]:>9}"),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bars.add_task("", total=1.0, phase="starting", power="", energy="", left="")
        self._started_s, self._started_at = time.monotonic(), 0.0

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._bars.stop()

    def end_bars(self) -> None:
        """Plain lines from now on: what the bars were drawn on has gone."""
        self._bars.stop()
        self._console = Console(stderr=True, highlight=False)

    def update(self, path: str, fraction: float, live: Mapping[str, Any]) -> None:
        """Draw the state now; the time left extrapolates the pace since this process began the work."""
        fields: Dict[str, str] = {"phase": path}
        if path.split("/")[0] in ("idle", "amplify"):
            fields["left"] = ""
        else:
            if fraction < self._started_at or self._started_at == 0.0:
                self._started_s, self._started_at = time.monotonic(), fraction
            gained = fraction - self._started_at
            left_s = (time.monotonic() - self._started_s) * (1 - fraction) / gained if gained > 0 else None
            fields["left"] = f"{format_duration(left_s)} left" if left_s is not None else ""
        fields["power"] = format_si(live.get("power_w"), "W", 3) if live.get("power_w") is not None else ""
        fields["energy"] = format_si(live.get("energy_j"), "J", 4) if live.get("energy_j") is not None else ""
        self._bars.update(self._task, completed=fraction, **fields)

    def say(self, text: str) -> None:
        """One line above the bars."""
        with contextlib.suppress(OSError):  # a terminal that has just gone ends no run
            self._console.print(printable(text), markup=False, soft_wrap=True)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; texts are shown as they are, never as markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(_styled(cell) for cell in row))
    _stdout().print(table)


def print_findings(findings: Sequence[Mapping[str, str]]) -> None:
    """The doctor's findings, each with what mends it below it; folded to a terminal's width, else unbroken."""
    console, margin = _stdout(), 5
    width = max(20, min(console.width, 100)) if console.is_terminal else _UNBROKEN

    def folded(text: str) -> List[str]:
        return textwrap.wrap(printable(text), width - margin, break_on_hyphens=False)

    for found in findings:
        first, *rest = folded(f"{found['name']}: {found['found']}")
        console.print(Text(f"{found['verdict']:<{margin}}", style=_STYLES[found["verdict"]]) + Text(first))
        for line in rest:
            console.print(Text(" " * margin + line))
        for line in folded(f"-> {found['advice']}") if found["advice"] else []:
            console.print(Text(" " * margin + line, style="bold"))


def print_runs(records: Sequence[RunRecord], out: Path) -> None:
    """One line per run: energy with its interval, kind, accuracy, verdict; every finding below."""
    apart = told_apart([record.recipe for record in records])
    rows = [
        [
            record.run_id, *([differing] if any(apart) else []),
            _energy(record), record.kind_text, _percent(record.accuracy), record.verdict, record.status,
        ]
        for record, differing in zip(records, apart)
    ]  # fmt: skip
    with_settings = ["settings"] if any(apart) else []
    print_table(["run", *with_settings, "energy (k = 2)", "kind", "accuracy", "verdict", "status"], rows)
    for record in records:
        if "auto" in (record.ticket or {}):
            _stdout().print(f"{record.run_id}: {record.ticket['auto']['how']}", markup=False)
    for record in records:
        _print_findings(record)
        _print_reasons(record)
    _print_unknown(records)
    if any(record.kind == SIMULATED for record in records):
        real = " Accuracies are of trainings that really ran." if any(record.accuracy for record in records) else ""
        _stdout().print(f"Energies are SIMULATED: no real meter was read.{real}", style="bold yellow")
    if any(record.kind == NOT_MEASURED for record in records):
        _stdout().print(
            "NOT MEASURED: no meter was read ('off' was asked for), there is no energy.", style="bold yellow"
        )
    if any(record.is_extrapolated for record in records):
        _stdout().print(
            "EXTRAPOLATED: of each phase a few epochs were trained, and stand for all; no such run has an accuracy.",
            style="bold yellow",
        )
    _print_estimates(records)
    _stdout().print(f"Report: ebbench report {escape(str(out))}")


def print_measurement(record: RunRecord, path: Path) -> None:
    """The energies of one measurement, phase by phase."""
    rows = [
        [
            name,
            _with_interval(phase.energy_j, phase.uncertainty_j),
            format_duration(phase.duration_s),
            str(phase.count),
            f"{phase.status}, unresolved" if phase.unresolved else phase.status,
        ]
        for name, phase in record.energy.by_phase.items()
    ]
    print_table(["phase", "energy (k = 2)", "duration", "count", "status"], rows)
    reference = record.energy.reference
    _stdout().print(
        f"total {energy_text(record)} ({record.kind_text}; {reference.get('meter')} {reference.get('rail')}, "
        f"scope {reference.get('scope')}); verdict {record.verdict}; {path}",
        markup=False,
    )
    names = [path.rpartition("/")[2] for path in record.energy.by_phase]
    others = [name for name in OTHER_PHASES if name in names]
    if others:
        _stdout().print(
            f"left out of the total: {', '.join(others)} ({format_si(record.energy.other_j, 'J')})", markup=False
        )
    _print_unknown([record])
    _print_estimates([record])
    _print_findings(record)


def print_checks(record: RunRecord) -> None:
    """All checks of one run."""
    _stdout().print(f"{record.run_id}: {record.verdict} ({record.status}; energy {record.kind_text})", markup=False)
    rows = [[c.verdict, c.name, _number(c.value), _number(c.limit), c.advice] for c in record.checks]
    print_table(["", "check", "value", "limit", "advice"], rows)
    _print_cross_checks(record)


def _print_cross_checks(record: RunRecord) -> None:
    """The other meters of a run against its reference."""
    if not record.energy.cross_checks:
        return
    reference = record.energy.reference
    rows = [
        [
            c["meter"],
            c["scope"],
            c.get("kind") or "–",
            c["expected"] or "–",
            at_least(Quantity(c["ratio"], c["uncertainty"]), c["uncertainty_known"])
            if c["ratio"] is not None
            else "missing",
            _number(c["ratio_sd"]),
            str(c["windows"]["n"]),
        ]
        for c in record.energy.cross_checks
    ]
    against = f"ratio to {reference.get('meter')} ({reference.get('scope')})"
    print_table(["meter", "scope", "kind", "must be", against, "scatter", "windows"], rows)


def print_integral(document: Mapping[str, Any]) -> None:
    """The document of ``integrate --trace``."""
    rows: List[List[str]] = []
    for phase in document["phases"]:
        for rail, found in phase["rails"].items():
            energy = _with_interval(found["energy_j"], found["uncertainty_j"])
            rows.append(
                [
                    phase["phase"],
                    rail,
                    energy,
                    format_duration(phase["duration_s"]),
                    found["status"],
                    found["reason"] or "",
                ]
            )
    print_table(["phase", "rail", "energy (k = 2)", "duration", "status", "reason"], rows)
    of_rails: Dict[str, List[str]] = {}
    for rail, unknown in document["unknown"].items():
        of_rails.setdefault(", ".join(unknown), []).append(rail)
    _print_left_out(of_rails)
    if document.get("kind") == SIMULATED:
        _stdout().print("The trace is of a simulated meter: these energies are SIMULATED.", style="bold yellow")


def print_flops(document: Mapping[str, Any]) -> None:
    """The document of ``ebbench flops``."""
    rows = [
        [
            p["phase"],
            str(p["epochs"]),
            str(p["images"]),
            format_si(p["forward_flops"], "FLOP"),
            format_si(p["flops"], "FLOP"),
        ]
        for p in document["phases"]
    ]
    print_table(["phase", "epochs", "images", "one forward", "whole phase"], rows)
    _stdout().print(
        f"total {format_si(document['total_flops'], 'FLOP')} ({document['convention']} convention), "
        f"{document['forward_macs']:,} MACs of one dense forward pass, "
        f"{document['parameters']:,} parameters, {document['prunable_channels']:,} prunable channels"
    )
    if document["evaluation"] is not None:
        _stdout().print(f"evaluations, in no total: {format_si(document['evaluation']['flops'], 'FLOP')}")
    for assumption in document.get("assumptions", []):
        _stdout().print(f"assumed: {assumption}", markup=False)


def _print_estimates(records: Sequence[RunRecord]) -> None:
    """Where an energy is estimated: from what, and what else the record holds."""
    for record in (r for r in records if r.energy.estimate is not None and r.energy.while_simulating is not None):
        estimate, meanwhile = record.energy.estimate or {}, record.energy.while_simulating or {}
        units = estimate["unit_energies"]
        seen = _with_interval(meanwhile["total_j"], meanwhile["uncertainty_j"])
        kind = meanwhile["kind"] + (
            f", {EXTRAPOLATED}" if meanwhile["extrapolation"] and meanwhile["kind"] != EXTRAPOLATED else ""
        )
        _stdout().print(
            f"{record.run_id} is ESTIMATED, not measured: {units['title']} ({units['name']}); the same work in float32: "
            f"{format_si(estimate['float32_j'], 'J')}; while it was simulated: {seen} ({kind})",
            style="bold yellow",
            markup=False,
        )


def energy_text(record: RunRecord) -> str:
    """The run's total with its interval; a missing energy says why."""
    if record.energy.total_j is None:
        return f"missing ({record.energy.reason or 'no readings'})"
    return _energy(record)


def _energy(record: RunRecord) -> str:
    if record.energy.total_j is None:
        return "missing"
    partial = "" if record.energy.status == "ok" else f" ({record.energy.status})"
    return _with_interval(record.energy.total_j, record.energy.uncertainty_j) + partial


def _with_interval(energy_j: Optional[float], half_width_j: Optional[float]) -> str:
    if energy_j is None:
        return "missing"
    text = with_unit(Quantity(energy_j, half_width_j), "J")
    return text if half_width_j is not None else f"{text} ± unknown"


def _print_unknown(records: Sequence[RunRecord]) -> None:
    """What the intervals above do not hold; the runs are named where it is not the same for all."""
    of_runs: Dict[str, List[str]] = {}
    for record in records:
        of_runs.setdefault(", ".join(record.energy.unknown), []).append(record.run_id)
    _print_left_out(of_runs)


def _print_left_out(found: Mapping[str, Sequence[str]]) -> None:
    """What the intervals do not hold; those of which it is so are named where it is not the same for all."""
    for unknown, names in found.items():
        if unknown:
            where = f" ({', '.join(names)})" if len(found) > 1 else ""
            _stdout().print(
                f"The interval leaves out what is not known of the meter: {unknown}{where}",
                style="yellow",
                markup=False,
            )


def _print_findings(record: RunRecord) -> None:
    for each in record.checks:
        if each.verdict in (WARN, FAIL):
            _stdout().print(
                f"{each.verdict} {record.run_id}: {each.name} = {_number(each.value)}: {each.advice}", markup=False
            )


def _print_reasons(record: RunRecord) -> None:
    """Why there is no energy, and why the run failed, where no finding has said so."""
    found = [each.advice for each in record.checks if each.verdict == FAIL]
    missing = record.energy.reason or "no readings" if record.energy.total_j is None else None
    for what, why in (("energy missing", missing), (record.status, record.reason)):
        if why is not None and not any(why in advice for advice in found):
            _stdout().print(f"{record.run_id}: {what}: {why}", markup=False)


def _percent(accuracy: Optional[Mapping[str, Any]]) -> str:
    final = (accuracy or {}).get("final")
    return "–" if final is None else f"{100 * final:.2f} %"


def _number(value: Optional[float]) -> str:
    return "–" if value is None else f"{value:.4g}"


def _styled(cell: str) -> str:
    style = _STYLES.get(cell)
    return f"[{style}]{cell}[/]" if style else escape(printable(cell))


def _stdout() -> Console:
    """Tables fit a terminal; elsewhere nothing is broken into lines that a program would have to join again."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=_UNBROKEN)
