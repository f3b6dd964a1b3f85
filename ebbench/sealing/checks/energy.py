"""Doubts about the energy: what is missing of it, how finely it was read, how well it is known."""

from __future__ import annotations

import math
from typing import Dict, Iterable, List, Optional

from ebbench.energy.uncertainty import FEW
from ebbench.records import (
    FAIL,
    NOT_CHECKED,
    NOT_MEASURED,
    OTHER_PHASES,
    PASS,
    WARN,
    Check,
    EnergyAccount,
    PhaseEnergy,
    worst,
)
from ebbench.sealing.checks.grading import NO_METER, graded, not_measured

#: a phase counts in the sample check when it holds this part of the total energy or more
SHARE_THAT_COUNTS = 0.01
#: MLPerf Power asks for 60 samples of a measurement; fewer than 10 leave the energy to its neighbours
ENOUGH_READINGS, TOO_FEW_READINGS = 60, 10
#: a counter and the integral of the same meter's power
COUNTER, COUNTER_FAIL = 0.02, 0.1
#: a half width, as a part of the total, from which it is a doubt
_UNCERTAINTY, _WIDE = "uncertainty of the total", 0.05


def energy_checks(energy: EnergyAccount, whole: Optional[EnergyAccount], is_estimated: bool = False) -> List[Check]:
    """All of them. Where epochs were measured for many, `whole` is the whole schedule's account.

    A run without a meter fails, unless its energy `is_estimated`: that needs none, and states no interval to be checked.
    """
    checks = [
        _coverage(energy),
        _gaps(energy),
        _trace_damage(energy),
        _readings(energy),
        _missed(energy),
        _no_interval() if is_estimated else _uncertainty(whole or energy),
        _saturation(energy),
        _idle_drift(energy),
        *_counter(energy),
        _redone(energy),
    ]
    if energy.kind == NOT_MEASURED:
        kept = 0 if is_estimated else 1  # the coverage, which says so
        checks[kept:] = not_measured(checks[kept:])
    return checks


def _coverage(energy: EnergyAccount) -> Check:
    if energy.duration_s <= 0:
        return Check("coverage", WARN, None, 0.001, "there is no total: no phase was opened that counts as training")
    if energy.kind == NOT_MEASURED:
        return Check(
            "coverage", FAIL, 1.0, 0.01, f"{NO_METER}, so nothing was measured; run again with a meter (--meter)"
        )
    return graded(
        "coverage", max(0.0, 1 - energy.covered_s / energy.duration_s), 0.001, 0.01,
        "part of the training time has no readings and its energy is missing from the total; see the gaps, then run again",
    )  # fmt: skip


def _gaps(energy: EnergyAccount) -> Check:
    """The longest stretch without readings that was too long to interpolate, against the training time."""
    share, why = None, ""
    if energy.trace.get("readings") and energy.duration_s > 0:
        here = (None, energy.reference.get("meter"))  # another meter's gaps are its own check's
        gaps = [g for g in energy.gaps if not g.get("down") and g.get("meter") in here]
        longest = max(gaps, key=lambda gap: float(gap["duration_s"]), default=None)
        share = longest["duration_s"] / energy.duration_s if longest else 0.0
        why = f" ({longest['reason']})" if longest and longest.get("reason") else ""
    return graded(
        "longest gap", share, 0.001, 0.01,
        f"readings failed for a while{why}; mend the meter and run again (energy.gaps in the record has all gaps)",
        "no reading of the reference rail",
    )  # fmt: skip


def _trace_damage(energy: EnergyAccount) -> Check:
    damage = energy.trace.get("damage")
    verdict = WARN if damage else PASS
    return Check("trace whole", verdict, float(bool(damage)), 0.0, f"the trace is damaged: {damage}" if damage else "")


def _readings(energy: EnergyAccount) -> Check:
    """Readings per instance of the phases that count; one that happens once and is short has its interval and never fails.

    Instances that are each too short to be seen, but are known together, count as one.
    """
    rate_hz = energy.trace.get("rate_hz") or math.inf
    counted = [
        (_readings_of(phase), phase.count == 1 and phase.duration_s * rate_hz < TOO_FEW_READINGS)
        for phase in counting(energy).values()
    ]
    if not counted:
        return Check(
            "readings per phase", NOT_CHECKED, None, ENOUGH_READINGS, "no phase holds 1 % of the energy or more"
        )
    verdict = worst([_enough(*each) for each in counted])
    advice = "" if verdict == PASS else "run longer phases, or sample faster with --rate or a faster meter"
    return Check("readings per phase", verdict, min(counted)[0], ENOUGH_READINGS, advice)


def _readings_of(phase: PhaseEnergy) -> float:
    each = phase.readings / phase.count
    return phase.readings if each < FEW and not phase.unresolved else each


def counting(energy: EnergyAccount) -> Dict[str, PhaseEnergy]:
    """The top-level training phases that hold enough of the energy to count, by path."""
    total_j = energy.total_j or 0.0
    return {
        path: phase
        for path, phase in energy.by_phase.items()
        if "/" not in path and path not in OTHER_PHASES and phase.count
        and total_j > 0 and (phase.energy_j or 0.0) >= SHARE_THAT_COUNTS * total_j
    }  # fmt: skip


def _enough(readings: float, is_short: bool) -> str:
    if readings >= ENOUGH_READINGS:
        return PASS
    return WARN if readings >= TOO_FEW_READINGS or is_short else FAIL


def _missed(energy: EnergyAccount) -> Check:
    missed, readings = energy.trace.get("missed"), energy.trace.get("readings")
    share = None if missed is None or not readings else missed / (missed + readings)
    return graded(
        "missed sampling slots", share, 0.01, 0.2,
        "the sampler could not keep its rate; lower --rate, or leave a core free for it",
    )  # fmt: skip


def _no_interval() -> Check:
    return graded(_UNCERTAINTY, None, _WIDE, math.inf, "", "the energy is estimated: its interval is not known")


def _uncertainty(energy: EnergyAccount) -> Check:
    ratio = energy.uncertainty_j / energy.total_j if energy.total_j and energy.uncertainty_j is not None else None
    top = [phase for path, phase in energy.by_phase.items() if "/" not in path and path not in OTHER_PHASES]
    # the interval of phases too short, or of few epochs, says so: wide is not wrong
    says_so = energy.extrapolation is not None or (bool(top) and all(phase.unresolved for phase in top))
    largest = max(energy.components_j, key=lambda name: energy.components_j[name] or 0.0, default="")
    advice = "look at the largest component of the budget in the record; calibrate the meter or sample faster"
    if largest == "extrapolation":
        advice = "the measured epochs scatter too much to stand for so many; give a larger --measure-epochs"
    elif largest == "unresolved":
        seen = "hardly a reading fell into its phases"
        if not any(phase.readings for phase in top):
            seen = "no reading fell into its phases: its interval ends at twice the power around them, and they may have drawn more"
        advice = f"{seen}; open one phase around many of them, run longer ones, or sample faster"
    return graded(_UNCERTAINTY, ratio, _WIDE, math.inf if says_so else 0.25, advice)


def _saturation(energy: EnergyAccount) -> Check:
    return graded(
        "readings at the meter's limit", energy.trace.get("saturated"), 0, 0,
        "the meter was at the end of its range and the energy is too low; choose a larger range",
        "the meter states no range",
    )  # fmt: skip


def _idle_drift(energy: EnergyAccount) -> Check:
    """The idle phases' powers against one another, beyond what the readings' scatter explains."""
    drift, half_width = energy.trace.get("idle_drift"), energy.trace.get("idle_drift_uncertainty")
    return graded(
        "idle power drift", None if drift is None else max(drift - (half_width or 0.0), 0.0), 0.05, 0.2,
        "idle power before and after differ: the board warmed up or something else runs; give --warmup or a longer --idle",
        "fewer than two idle phases that were read throughout; give --idle SECONDS",
    )  # fmt: skip


def _counter(energy: EnergyAccount) -> Iterable[Check]:
    """A meter's energy counter against the integral of its own power, beyond what the readings' scatter explains."""
    ratio = energy.trace.get("counter_ratio")
    if ratio is not None:
        beyond = max(abs(ratio - 1) - energy.trace["counter_ratio_uncertainty"], 0.0)
        advice = f"integrated power is {ratio:.3g} times what the counter counted; sample faster, or use another meter"
        yield graded("counter agrees with power", beyond, COUNTER, COUNTER_FAIL, advice)


def _redone(energy: EnergyAccount) -> Check:
    share = energy.redone_j / energy.total_j if energy.total_j and energy.redone_j is not None else None
    return graded(
        "work done twice", share, 0.05, 1.0,
        "the run was interrupted and part of it repeated; tables use the total less the repeated part",
    )  # fmt: skip
