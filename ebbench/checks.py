"""The doubts about a run, each with its number, its limit and what to do. A pure function of what was recorded.

A check whose input is missing says NOT CHECKED, never PASS.
"""

from __future__ import annotations

import math
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

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

#: a phase counts in the sample check when it holds this part of the total energy or more
SHARE_THAT_COUNTS = 0.01
#: a layer that keeps less of its channels is a bottleneck: 1 of 512 stayed at chance (docs/examples), 7 did well (docs/results)
NARROWEST = 0.01
#: a run that was slowed down for more than this part of its time is another run
THROTTLED_TOO_LONG = 0.05
#: MLPerf Power asks for 60 samples of a measurement; fewer than 10 leave the energy to its neighbours
ENOUGH_READINGS, TOO_FEW_READINGS = 60, 10
#: a counter and the integral of the same meter's power
COUNTER, COUNTER_FAIL = 0.02, 0.1
#: the bound on a meter's clock, as a part of a phase
CLOCK_SHARE = 0.005
#: of the ratio of two meters: relative scatter over the training, the same scope and another (the share of what lies between
#: changes with the load); the training that may be missing in one of them; how wrong a meter of unknown gain may be
STEADY, STEADY_ACROSS_SCOPES, COMPARED, UNKNOWN_METER = 0.05, 0.15, 0.05, 0.2
#: a run that waited for a processor for more than this part of the time in which it wanted one took longer than it does alone
WAITED = 0.05
_GRAVITY = (NOT_CHECKED, PASS, WARN, FAIL)
_NO_METER = "no meter was read ('off' was asked for)"


def check_run(
    energy: EnergyAccount,
    *,
    whole: Optional[EnergyAccount] = None,
    ticket: Optional[Mapping[str, Any]] = None,
    overhead: Optional[Mapping[str, Any]] = None,
    facts: Optional[Mapping[str, Any]] = None,
) -> List[Check]:
    """All checks of one run. `energy` is what was measured; `whole`, where epochs were measured for many, the whole schedule's.

    `facts`: what the bench logged of the board (`ebbench.board.state.facts`), where it did.
    """
    facts = facts or {}
    checks = [
        _coverage(energy),
        _gaps(energy),
        _trace_damage(energy),
        _readings(energy),
        _missed(energy),
        _uncertainty(whole or energy),
        _saturation(energy),
        _idle_drift(energy),
        *_counter(energy),
        _cross_meter(energy),
        _clock(energy),
        *_other_meters(energy),
        _redone(energy),
    ]
    if energy.kind == NOT_MEASURED:
        checks[1:] = [Check(each.name, NOT_CHECKED, None, each.limit, _NO_METER) for each in checks[1:]]
    checks += [
        *_bench_facts(facts),
        *_extrapolation((whole or energy).extrapolation),
    ]
    if ticket is not None:
        checks += [_ticket(ticket), _narrowest_layer(ticket)]
        checks += [_prune_ratio(ticket["auto"])] if "auto" in ticket else []
    if overhead is not None:
        checks += [_overhead(overhead), *_both_ways(overhead)]
    return checks


def _graded(name: str, value: Optional[float], warn: float, fail: float, advice: str, missing: str = "") -> Check:
    """PASS up to `warn`, WARN up to `fail`, FAIL beyond: larger is worse."""
    if value is None:
        return Check(name, NOT_CHECKED, None, warn, missing or "its input was not recorded")
    verdict = PASS if value <= warn else WARN if value <= fail else FAIL
    return Check(name, verdict, value, warn if verdict != FAIL else fail, "" if verdict == PASS else advice)


def _coverage(energy: EnergyAccount) -> Check:
    if energy.duration_s <= 0:
        return Check("coverage", WARN, None, 0.001, "there is no total: no phase was opened that counts as training")
    if energy.kind == NOT_MEASURED:
        return Check(
            "coverage", FAIL, 1.0, 0.01, f"{_NO_METER}, so nothing was measured; run again with a meter (--meter)"
        )
    return _graded(
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
    return _graded(
        "longest gap", share, 0.001, 0.01,
        f"readings failed for a while{why}; mend the meter and run again (energy.gaps in the record has all gaps)",
        "no reading of the reference rail",
    )  # fmt: skip


def _trace_damage(energy: EnergyAccount) -> Check:
    damage = energy.trace.get("damage")
    verdict = WARN if damage else PASS
    return Check("trace whole", verdict, float(bool(damage)), 0.0, f"the trace is damaged: {damage}" if damage else "")


def _readings(energy: EnergyAccount) -> Check:
    """Readings per instance of the phases that count; one that happens once and is short has its interval and never fails."""
    rate_hz = energy.trace.get("rate_hz") or math.inf
    counted = [
        (phase.readings / phase.count, phase.count == 1 and phase.duration_s * rate_hz < TOO_FEW_READINGS)
        for phase in _counting(energy).values()
    ]
    if not counted:
        return Check(
            "readings per phase", NOT_CHECKED, None, ENOUGH_READINGS, "no phase holds 1 % of the energy or more"
        )
    verdict = worst([_enough(*each) for each in counted])
    advice = "" if verdict == PASS else "run longer phases, or sample faster with --rate or a faster meter"
    return Check("readings per phase", verdict, min(counted)[0], ENOUGH_READINGS, advice)


def _counting(energy: EnergyAccount) -> Dict[str, PhaseEnergy]:
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
    return _graded(
        "missed sampling slots", share, 0.01, 0.2,
        "the sampler could not keep its rate; lower --rate, or leave a core free for it",
    )  # fmt: skip


def _uncertainty(energy: EnergyAccount) -> Check:
    ratio = energy.uncertainty_j / energy.total_j if energy.total_j and energy.uncertainty_j is not None else None
    top = [phase for path, phase in energy.by_phase.items() if "/" not in path and path not in OTHER_PHASES]
    # the interval of phases too short, or of few epochs, says so: wide is not wrong
    says_so = energy.extrapolation is not None or (bool(top) and all(phase.unresolved for phase in top))
    largest = max(energy.components_j, key=lambda name: energy.components_j[name] or 0.0, default="")
    advice = "look at the largest component of the budget in the record; calibrate the meter or sample faster"
    if largest == "extrapolation":
        advice = "the measured epochs scatter too much to stand for so many; give a larger --measure-epochs"
    return _graded("uncertainty of the total", ratio, 0.05, math.inf if says_so else 0.25, advice)


def _saturation(energy: EnergyAccount) -> Check:
    return _graded(
        "readings at the meter's limit", energy.trace.get("saturated"), 0, 0,
        "the meter was at the end of its range and the energy is too low; choose a larger range",
        "the meter states no range",
    )  # fmt: skip


def _idle_drift(energy: EnergyAccount) -> Check:
    """The idle phases' powers against one another, beyond what the readings' scatter explains."""
    drift, half_width = energy.trace.get("idle_drift"), energy.trace.get("idle_drift_uncertainty")
    return _graded(
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
        yield _graded("counter agrees with power", beyond, COUNTER, COUNTER_FAIL, advice)


def _cross_meter(energy: EnergyAccount) -> Check:
    ratio = energy.trace.get("cross_meter_ratio")
    return _graded(
        "meters agree", None if ratio is None else abs(ratio - 1), 0.05, 0.2,
        "two meters of the same scope disagree; check the wiring and the ranges", "one meter of this scope only",
    )  # fmt: skip


def _clock(energy: EnergyAccount) -> Check:
    """The bound on the reference's clock, against the shortest phase that counts; a clock that could not be aligned is said.

    The clocks of other meters touch no energy that counts: what they lack is said beside the verdict, and does not change it.
    """
    lengths_s = [p.duration_s / p.count for p in _counting(energy).values() if p.duration_s > 0]
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
    for doubt in (_scope_order, _steady_ratio, _compared) if energy.cross_checks else ():
        found = [doubt(each, energy.duration_s) for each in energy.cross_checks]
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
    return _graded(name, wrong_by, half_width, fail, advice)


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
    return _graded(name, scatter, limit, math.inf, advice, "too few windows that both meters cover; run longer")


def _compared(other: Mapping[str, Any], duration_s: float) -> Check:
    """The part of the training that the other meter lacks."""
    lacking = max(1 - other["compared_s"] / duration_s, 0.0) if duration_s > 0 else None
    why = other["lost"] or "it or the reference has no readings for a while; see the gaps in the record"
    return _graded(
        "other meters read throughout", lacking, COMPARED, math.inf, f"{other['meter']}: {why}", "no training phase"
    )


def _redone(energy: EnergyAccount) -> Check:
    share = energy.redone_j / energy.total_j if energy.total_j and energy.redone_j is not None else None
    return _graded(
        "work done twice", share, 0.05, 1.0,
        "the run was interrupted and part of it repeated; tables use the total less the repeated part",
    )  # fmt: skip


def _bench_facts(facts: Mapping[str, Any]) -> Iterable[Check]:
    for name, key, fail, advice in (
        (
            "thermal throttling", "throttled_s", THROTTLED_TOO_LONG * (facts.get("watched_s") or 0.0),
            "the board slowed itself down (board_state in the record says what); cool it, or choose a lower power mode",
        ),
        ("power mode unchanged", "power_mode_changed", 0, "the power mode changed during the run; fix it and run again"),
        (
            "clocks unchanged", "clocks_changed", math.inf,
            "the limits of the clocks changed during the run (settings_changed in the record); lock them: --lock-clocks",
        ),
    ):  # fmt: skip
        yield _fact(facts, name, key, fail, advice)
    waited = facts.get("processor_waited")
    advice = (
        "other programs (or more --threads and --workers than processors) made it wait: it took longer and more energy than alone; "
        "run it alone"
    )
    yield _graded("processor to itself", waited, WAITED, math.inf, advice, "not logged by this bench")
    if "foreign_processes" in facts:
        names = ", ".join(f"{each['name']} ({each['pid']})" for each in facts.get("foreign_names") or [])
        advice = f"other programs used the GPU, and their energy is in the total: {names}; stop them and run again"
        yield _fact(facts, "GPU used by this run alone", "foreign_processes", math.inf, advice)
    if "mig" in facts:
        advice = (
            "the GPU is split (MIG), and its power is that of all parts; turn MIG off, or leave the other parts idle"
        )
        yield _fact(facts, "GPU not split", "mig", math.inf, advice)
    if "start_limit_c" in facts:
        limit_c = facts["start_limit_c"]
        advice = "the board was warmer at the start than --cooldown allows; let it cool and run again"
        yield _graded("temperature at the start", facts.get("start_c"), limit_c, math.inf, advice, "not readable")


def _fact(facts: Mapping[str, Any], name: str, key: str, fail: float, advice: str) -> Check:
    value = facts.get(key)
    return _graded(name, None if value is None else float(value), 0, fail, advice, "not logged by this bench")


def _extrapolation(extrapolation: Optional[Mapping[str, Any]]) -> Iterable[Check]:
    """Whether the measured epochs were alike, and whether the early ones foretold the later ones."""
    if extrapolation is None:
        return
    stages = [s for s in extrapolation["by_phase"].values() if s["drift_j"] is not None]
    drifts = [abs(s["drift_j"]) / s["drift_uncertainty_j"] for s in stages if s["drift_uncertainty_j"]]
    if extrapolation["refused"]:
        yield Check("epochs steady", FAIL, None, 1.0, extrapolation["refused"])
        return
    advice = "the measured epochs drift a little, which is in the interval; give --warmup or a larger --measure-epochs"
    yield _graded("epochs steady", max(drifts, default=0.0), 1.0, math.inf, advice)
    widened = max((s["widened"] for s in stages), default=1.0)
    advice = (
        "the first of the measured epochs did not foretell the last, and the interval was widened; measure more epochs"
    )
    yield _graded("epochs foretold", widened, 1.0, math.inf, advice)


def _ticket(ticket: Mapping[str, Any]) -> Check:
    if ticket.get("assumed"):
        advice = f"the ticket's epoch {ticket['epoch']} is assumed, its widths are those after {ticket['searched_epochs']} epochs"
        return Check("ticket found", WARN, None, 1.0, advice)
    found = bool(ticket.get("found"))
    advice = "" if found else "the mask never settled and the ticket was drawn at the last epoch; give more --epochs"
    return Check("ticket found", PASS if found else WARN, float(found), 1.0, advice)


def _narrowest_layer(ticket: Mapping[str, Any]) -> Check:
    """The smallest share of its channels that a layer kept: what passes through the network passes through there."""
    shares = [
        kept / channels for kept, channels in zip(ticket.get("layer_kept") or [], ticket.get("layer_channels") or [])
    ]
    if not shares:
        of_weights = "the mask is one of weights, every channel is there"
        why = of_weights if "kept_weights" in ticket else "the ticket does not say what its layers kept"
        return Check("narrowest layer", NOT_CHECKED, None, NARROWEST, why)
    narrowest = min(shares)
    where = shares.index(narrowest)
    advice = (
        f"layer {where + 1} keeps {ticket['layer_kept'][where]} of {ticket['layer_channels'][where]} channels and cuts the "
        "network almost through; search longer (--epochs, --train-images) or prune less (--prune-ratio)"
    )
    passed = narrowest >= NARROWEST
    return Check("narrowest layer", PASS if passed else WARN, narrowest, NARROWEST, "" if passed else advice)


def _prune_ratio(auto: Mapping[str, Any]) -> Check:
    """Whether a ratio that was to be found (`prune_ratio = "auto"`) was acceptable, and whether the trials could tell."""
    name, limit = "prune ratio acceptable", auto["max_loss"]
    tried = [each for each in auto["candidates"] if each["trial"] is not None]
    if not tried:
        advice = "the mask of no candidate settled, so none was tried and the smallest is taken; give more --epochs"
        return Check(name, WARN, None, limit, advice)
    loss, half_width, chance = tried[-1]["loss"], tried[-1]["loss_half_width"], auto["chance"]
    advice = ""
    if not auto["accepted"]:
        advice = "every candidate lost more; the smallest is taken, give smaller --auto-ratio or more --auto-epochs"
    elif auto["dense_accuracy"] <= chance + 2 * math.sqrt(chance * (1 - chance) / auto["images"]):
        advice = (
            "after so few epochs the dense network is no better than chance, the losses say nothing; more --auto-epochs"
        )
    elif half_width > limit:
        advice = (
            f"{auto['images']} held-out images tell a loss to within {100 * half_width:.2g} points, more than may be lost: "
            "hold out more (--auto-images) or allow more (--auto-max-loss)"
        )
    return Check(name, WARN if advice else PASS, loss, limit, advice)


def _overhead(overhead: Mapping[str, Any]) -> Check:
    name = "mask-distance overhead resolved"
    energy, half_width = overhead.get("energy_fraction"), overhead.get("energy_fraction_uncertainty")
    if energy is None or half_width is None:
        why = _NO_METER if overhead.get("kind") == NOT_MEASURED else "no amplified blocks; give --amplify SECONDS"
        return Check(name, NOT_CHECKED, None, 1.0, why)
    if energy <= 0:
        return Check(name, WARN, None, 1.0, "not above zero; give --amplify more seconds")
    advice = "its interval includes zero; give --amplify more seconds"
    return _graded(name, half_width / energy, 1.0, math.inf, advice)


def _both_ways(overhead: Mapping[str, Any]) -> Iterable[Check]:
    """The energy of one mask-distance check by its blocks and by the regression, where both are known."""
    found = overhead.get("amplified") or {}
    if found.get("apart") is None:
        return
    energies = f"{found['energy_per_draw_j']:.3g} J by blocks, {found['regression_energy_j']:.3g} J by the regression"
    advice = (
        f"one mask-distance check takes {energies}, more than their intervals explain, and the overhead's interval was widened for "
        "it; leave the board to this run alone, and give --amplify more seconds"
    )
    yield _graded("mask-distance overhead both ways", found["apart"], 1.0, math.inf, advice)
