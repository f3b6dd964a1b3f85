"""Doubts about meters beside each other, and about their clocks."""

from __future__ import annotations

import math
from typing import Any, Iterable, List, Mapping, Tuple

from ebbench.records import FAIL, NOT_CHECKED, NOT_MEASURED, PASS, WARN, Check, EnergyAccount
from ebbench.sealing.checks.energy import counting
from ebbench.sealing.checks.grading import graded, not_measured

#: the bound on a meter's clock, as a part of a phase
CLOCK_SHARE = 0.005
#: of the ratio of two meters: relative scatter over the training, the same scope and another (the share of what lies between
#: changes with the load); the training that may be missing in one of them; how wrong a meter of unknown gain may be
STEADY, STEADY_ACROSS_SCOPES, COMPARED, UNKNOWN_METER = 0.05, 0.15, 0.05, 0.2
_GRAVITY = (NOT_CHECKED, PASS, WARN, FAIL)


def meter_checks(energy: EnergyAccount) -> List[Check]:
    """All of them."""
    checks = [_cross_meter(energy), _clock(energy), *_other_meters(energy)]
    return not_measured(checks) if energy.kind == NOT_MEASURED else checks


def _cross_meter(energy: EnergyAccount) -> Check:
    ratio = energy.trace.get("cross_meter_ratio")
    return graded(
        "meters agree", None if ratio is None else abs(ratio - 1), 0.05, 0.2,
        "two meters of the same scope disagree; check the wiring and the ranges", "one meter of this scope only",
    )  # fmt: skip


def _clock(energy: EnergyAccount) -> Check:
    """The bound on the reference's clock, against the shortest phase that counts; a clock that could not be aligned is said.

    The clocks of other meters touch no energy that counts: what they lack is said beside the verdict, and does not change it.
    """
    lengths_s = [p.duration_s / p.count for p in counting(energy).values() if p.duration_s > 0]
    ours = [c for c in energy.clocks if c["meter"] == energy.reference.get("meter")]
    if not ours or not lengths_s:
        return Check("clock", NOT_CHECKED, None, CLOCK_SHARE, "no phase holds 1 % of the energy or more, or no trace")
    shortest_s = min(lengths_s)
    found = max(ours, key=_clock_doubt)
    loose = _is_loose(found, shortest_s)
    said = [_clock_known(found), "the interval holds what that may do"] if loose else []
    said += ["state its bound, play a longer --signature, or run longer phases"] if loose else []
    # of each other meter the worst trace
    others = {c["meter"]: c for c in sorted(energy.clocks, key=_clock_doubt) if c not in ours}
    said += [f"beside it, {_clock_known(c)}" for c in others.values() if _is_loose(c, shortest_s)]
    return Check("clock", WARN if loose else PASS, found["bound_s"] / shortest_s, CLOCK_SHARE, "; ".join(said))


def _clock_doubt(clock: Mapping[str, Any]) -> Tuple[bool, float]:
    return clock["reason"] is not None, clock["bound_s"]


def _is_loose(clock: Mapping[str, Any], shortest_s: float) -> bool:
    return clock["reason"] is not None or clock["bound_s"] > CLOCK_SHARE * shortest_s


def _clock_known(clock: Mapping[str, Any]) -> str:
    why = f" ({clock['reason']})" if clock["reason"] else ""
    return f"the times of {clock['meter']} are known to {clock['bound_s']:.3g} s{why}"


def _other_meters(energy: EnergyAccount) -> Iterable[Check]:
    """Each doubt about the meters beside the reference once, with the meter that shows it most."""
    charged_s = float((energy.charged or {}).get("duration_s", 0.0))  # what the lender did was the lender's to compare
    own_s = energy.duration_s - charged_s
    for doubt in (_scope_order, _steady_ratio, _compared) if energy.cross_checks else ():
        found = [doubt(each, own_s) for each in energy.cross_checks]
        yield max(found, key=lambda check: (_GRAVITY.index(check.verdict), check.value or 0.0))


def _scope_order(other: Mapping[str, Any], _: float) -> Check:
    """What contains the reference shows no less than it, and what it contains no more."""
    name, wrong_by, half_width = "larger scope shows more", other["wrong_by"], other["uncertainty"]
    if wrong_by is None or other["expected"] == "1":
        return Check(name, NOT_CHECKED, None, 0.0, "no two meters of which one contains the other")
    fail = half_width if other["uncertainty_known"] else max(half_width, UNKNOWN_METER)
    advice = (
        f"{other['meter']} ({other['scope']}) shows {other['ratio']:.3g} times the reference ({other['reference_scope']}), which "
        f"cannot be: {other['expected']} follows from the scopes; check the wiring, the ranges and the stated scopes"
    )
    return graded(name, wrong_by, half_width, fail, advice)


def _steady_ratio(other: Mapping[str, Any], _: float) -> Check:
    """The scatter of the ratio over windows of the training, less what the readings' own scatter explains."""
    name, scatter = "ratio of the meters steady", None
    if other["ratio_sd"] is not None:
        scatter = math.sqrt(max(other["ratio_sd"] ** 2 - other["readings_sd"] ** 2, 0.0))
    limit = STEADY if other["expected"] == "1" else STEADY_ACROSS_SCOPES
    lowest, highest = other["windows"]["min"], other["windows"]["max"]
    advice = (
        f"{other['meter']} to the reference goes from {lowest:.3g} to {highest:.3g}; " if scatter is not None else ""
    )
    advice += "look for a range that switched, a loose contact, or another load on one of them"
    return graded(name, scatter, limit, math.inf, advice, "too few windows that both meters cover; run longer")


def _compared(other: Mapping[str, Any], duration_s: float) -> Check:
    """The part of the training that the other meter lacks."""
    lacking = max(1 - other["compared_s"] / duration_s, 0.0) if duration_s > 0 else None
    why = other["lost"] or "it or the reference has no readings for a while; see the gaps in the record"
    return graded(
        "other meters read throughout", lacking, COMPARED, math.inf, f"{other['meter']}: {why}", "no training phase"
    )
