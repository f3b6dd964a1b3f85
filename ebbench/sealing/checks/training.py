"""Doubts about what was trained: the ticket, the ratio, epochs measured for many, and the overhead of mask-distance checks."""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, Optional

from ebbench.records import FAIL, NOT_CHECKED, NOT_MEASURED, PASS, WARN, Check
from ebbench.sealing.checks.grading import NO_METER, graded

#: a layer that keeps less of its channels is a bottleneck: 1 of 512 stayed at chance (docs/examples), 7 did well (docs/results)
NARROWEST = 0.01


def training_checks(
    extrapolation: Optional[Mapping[str, Any]],
    ticket: Optional[Mapping[str, Any]],
    overhead: Optional[Mapping[str, Any]],
) -> Iterable[Check]:
    """All of them, of what the record says of these three; None where it has none."""
    yield from _extrapolation(extrapolation)
    if ticket is not None:
        yield from (_ticket(ticket), _narrowest_layer(ticket))
        if "auto" in ticket:
            yield _prune_ratio(ticket["auto"])
    if overhead is not None:
        yield _overhead(overhead)
        yield from _both_ways(overhead)


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
    yield graded("epochs steady", max(drifts, default=0.0), 1.0, math.inf, advice)
    widened = max((s["widened"] for s in stages), default=1.0)
    advice = (
        "the first of the measured epochs did not foretell the last, and the interval was widened; measure more epochs"
    )
    yield graded("epochs foretold", widened, 1.0, math.inf, advice)


def _ticket(ticket: Mapping[str, Any]) -> Check:
    if ticket.get("assumed"):
        advice = f"the ticket's epoch {ticket['epoch']} is assumed, its mask is the one after {ticket['searched_epochs']} epochs"
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
        why = NO_METER if overhead.get("kind") == NOT_MEASURED else "no amplified blocks; give --amplify SECONDS"
        return Check(name, NOT_CHECKED, None, 1.0, why)
    if energy <= 0:
        return Check(name, WARN, None, 1.0, "not above zero; give --amplify more seconds")
    advice = "its interval includes zero; give --amplify more seconds"
    return graded(name, half_width / energy, 1.0, math.inf, advice)


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
    yield graded("mask-distance overhead both ways", found["apart"], 1.0, math.inf, advice)
