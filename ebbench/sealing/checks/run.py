"""All checks of one run."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any, List, Mapping, Optional

from ebbench.records import FAIL, PASS, WARN, Check, EnergyAccount
from ebbench.sealing.checks.energy import energy_checks
from ebbench.sealing.checks.machine import machine_checks
from ebbench.sealing.checks.meters import meter_checks
from ebbench.sealing.checks.training import training_checks


def check_run(
    energy: EnergyAccount,
    *,
    whole: Optional[EnergyAccount] = None,
    ticket: Optional[Mapping[str, Any]] = None,
    overhead: Optional[Mapping[str, Any]] = None,
    facts: Optional[Mapping[str, Any]] = None,
    is_estimated: bool = False,
) -> List[Check]:
    """All checks of one run. `energy` is what was measured; `whole`, where epochs were measured for many, the whole schedule's.

    `facts`: what the bench logged of the board (`ebbench.board.state.facts`), where it did. `is_estimated`: the run's energy is
    counted, not measured, and needs no meter: a doubt about what was measured meanwhile is none about it, and fails no run.
    """
    measuring = [*energy_checks(energy, whole, is_estimated), *meter_checks(energy), *machine_checks(facts or {})]
    if is_estimated:
        measuring = [_beside_the_estimate(each) for each in measuring]
    return [*measuring, *training_checks((whole or energy).extrapolation, ticket, overhead)]


def _beside_the_estimate(check: Check) -> Check:
    if check.verdict not in (WARN, FAIL):
        return check
    advice = f"of what was measured while simulating, nothing of which is in the estimate: {check.advice}"
    return replace(check, verdict=WARN, advice=advice)


def run_ended(status: str, reason: Optional[str]) -> Check:
    """Whether the run came to its end: one that failed half way is no PASS, however well its half was measured."""
    name, ended = "run ended", status == "success"
    if ended:
        return Check(name, PASS, 1.0, 1.0, "")
    why = (
        reason
        or "it never said how (killed, or the power was cut); `ebbench run --resume` goes on with one that was conducted"
    )
    return Check(name, FAIL, 0.0, 1.0, f"{why}; counted is what ran until then")


def command_ended(exit_code: int) -> Check:
    """Whether a measured command did what it was started for; below 0, `exit_code` is the number of the signal that ended it."""
    name = "exit code of the command"
    if exit_code == 0:
        return Check(name, PASS, 0.0, 0.0, "")
    how = f"exit code {exit_code}" if exit_code > 0 else f"signal {-exit_code} ({signal.strsignal(-exit_code)})"
    value = exit_code if exit_code > 0 else 128 - exit_code
    advice = (
        f"the command ended with {how}: its energy is of what it did until then; see what it said, and run it again"
    )
    return Check(name, WARN, float(value), 0.0, advice)
