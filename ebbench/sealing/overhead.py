"""What the mask-distance checks of a search cost, as fractions of the whole training.

A check lasts far less than a sampling period, so its energy is the power seen in amplified blocks of the same check times
the time that the checks of the search really took by the clock (docs/measuring.md, section 7).
"""

from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Optional

from ebbench.energy.amplify import AmplifiedDraw
from ebbench.records import EnergyAccount

DRAW_PATH = "search/epoch/draw"


def mask_distance_overhead(
    energy: EnergyAccount,
    amplified: Optional[AmplifiedDraw],
    draw_cost: Mapping[str, Any],
    *,
    total_flops: float,
    peak_memory_bytes: Optional[int],
) -> Optional[Dict[str, Any]]:
    """Fractions of energy (with the half width of its k = 2 interval), time, FLOPs and memory; None without draws.

    Energy and time are those of the training as `total_j` has it, without evaluations and what else is nested in it.
    """
    draws = energy.by_phase.get(DRAW_PATH)
    if draws is None or draws.count == 0:
        return None
    document: Dict[str, Any] = {
        "draws": draws.count,
        "duration_s": draws.duration_s,
        "time_fraction": draws.duration_s / energy.duration_s if energy.duration_s else None,
        "flops_fraction": _checked_epochs(energy) * draw_cost["flops"] / total_flops if total_flops else None,
        "memory_fraction": draw_cost["bytes"] / peak_memory_bytes if peak_memory_bytes else None,
        "energy_j": None,
        "energy_fraction": None,
        "energy_fraction_uncertainty": None,
        "kind": energy.kind,
        "paper_convention": draw_cost.get("paper_convention"),
    }
    if amplified is not None:
        document.update(_energy_fraction(energy, amplified, draws.duration_s))
    return document


def _checked_epochs(energy: EnergyAccount) -> int:
    """How many epochs were checked: one that was done again after a kill is counted once, as its images are."""
    if energy.extrapolation is not None:
        return energy.by_phase[DRAW_PATH].count
    return len(
        {p["path"] for p in energy.phases if p["path"].startswith("search/epoch-") and p["path"].endswith("/draw")}
    )


def _energy_fraction(energy: EnergyAccount, amplified: AmplifiedDraw, draws_s: float) -> Dict[str, Any]:
    """Energy of the search's own checks, and its share of the total.

    The interval of the share takes the two as independent. The meter's gain is common to both and would cancel; leaving it
    in makes the interval a little wider than it need be, never narrower.
    """
    energy_j = amplified.power_w * draws_s
    relative = amplified.uncertainty_j / amplified.energy_j if amplified.energy_j else math.inf
    fraction = energy_j / energy.total_j if energy.total_j else None
    total_relative = (energy.uncertainty_j or 0.0) / energy.total_j if energy.total_j else 0.0
    return {
        "energy_j": energy_j,
        "energy_fraction": fraction,
        "energy_fraction_uncertainty": None
        if fraction is None
        else abs(fraction) * math.hypot(relative, total_relative),
        "amplified": {
            "energy_per_draw_j": amplified.energy_j,
            "uncertainty_j": amplified.uncertainty_j,
            "duration_per_draw_s": amplified.duration_s,
            "power_w": amplified.power_w,
            "regression_energy_j": amplified.regression_energy_j,
            "regression_uncertainty_j": amplified.regression_uncertainty_j,
            "apart": amplified.apart,
            "agree": amplified.agree,
        },
    }
