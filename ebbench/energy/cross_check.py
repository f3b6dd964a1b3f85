"""Two meters of one run against each other while it trains, or a meter's power against its own counter: ratio and steadiness.

Both are integrated over the same windows of the training time, and only windows that both cover wholly are compared: a meter that
failed for a while says nothing about the other in that while.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.measured import Measured
from ebbench.energy.traces.batches import Ints
from ebbench.energy.uncertainty import COMMON
from ebbench.protocols import MeterInfo
from ebbench.records import MEASURED, OK, SIMULATED
from ebbench.units import NS_PER_S

#: the training time is cut into so many windows, fewer where a window would hold less than so many readings of the slowest meter
MAX_WINDOWS, READINGS_PER_WINDOW = 12, 10
#: from fewer windows no scatter is told
FEWEST_WINDOWS = 3
#: each scope contains those of a lower level
LEVELS: Mapping[str, int] = {"wall": 3, "devkit": 2, "module": 1, "gpu": 0, "cpu": 0}

#: a stretch of time of one boot: start (ns), end (ns), boot id
Row = Tuple[int, int, str]


def windows_of(rows: Sequence[Row], interval_s: float) -> List[List[Row]]:
    """The stretches `rows` cut into windows of equal length; `interval_s` is that of the slowest meter's readings."""
    total_ns = sum(end - start for start, end, _ in rows)
    if total_ns <= 0:
        return []
    shortest_ns = max(interval_s * READINGS_PER_WINDOW * NS_PER_S, 1.0)
    count = max(1, min(MAX_WINDOWS, int(total_ns / shortest_ns)))
    edges_ns = [round(total_ns * number / count) for number in range(1, count + 1)]
    windows: List[List[Row]] = [[] for _ in range(count)]
    number, passed_ns = 0, 0
    for start, end, boot in rows:
        while start < end:
            until = min(end, start + edges_ns[number] - passed_ns)
            windows[number].append((start, until, boot))
            passed_ns += until - start
            start = until
            number += passed_ns >= edges_ns[number] and number < count - 1
    return windows


def expected_ratio(scope: str, reference_scope: str) -> Optional[str]:
    """What the ratio of a meter to the reference must be by their scopes: "1", ">= 1", "<= 1"; None where nothing follows."""
    if scope == reference_scope:
        return "1"
    if scope not in LEVELS or reference_scope not in LEVELS or LEVELS[scope] == LEVELS[reference_scope]:
        return None
    return ">= 1" if LEVELS[scope] > LEVELS[reference_scope] else "<= 1"


def cross_check(
    meter: Tuple[MeterInfo, Measured],
    reference: Tuple[MeterInfo, Measured],
    windows: Sequence[Ints],
    lost: Optional[str],
) -> Dict[str, Any]:
    """One meter against the reference over `windows` (each the numbers of its intervals).

    ``ratio`` is of the energies of all windows compared, ``uncertainty`` its half width (k = 2, of what is known of the two meters;
    ``uncertainty_known``: that is all), ``wrong_by`` how far it is on the wrong side of ``expected``. ``ratio_sd`` is the relative
    standard deviation over the windows, ``readings_sd`` the part of it that the readings' own scatter explains. ``lost``: why the
    meter's readings ended before the run did. From a simulated meter nothing follows for a measured one, nor the other way round.
    """
    (info, one), (reference_info, other) = meter, reference
    compared = _covered_by_both(one, other, windows)
    at = np.concatenate([*compared, np.zeros(0, np.int64)])
    ratio, uncertainty, is_known = _ratio(one, other, at)
    are_comparable = info.total and reference_info.total and info.simulated == reference_info.simulated
    expected = expected_ratio(info.scope, reference_info.scope) if are_comparable else None
    return {
        "meter": info.name,
        "rail": one.series.name,
        "scope": info.scope,
        "reference_scope": reference_info.scope,
        "kind": SIMULATED if info.simulated else MEASURED,
        "expected": expected,
        "ratio": ratio,
        "uncertainty": uncertainty,
        "uncertainty_known": is_known,
        "wrong_by": _wrong_by(ratio, expected),
        **_steadiness(one, other, compared),
        "compared_s": float(one.duration_s[at].sum()),
        "lost": lost,
    }


def counter_check(
    power: Measured, counter: Measured, windows: Sequence[Ints]
) -> Tuple[Optional[float], Optional[float]]:
    """Integrated power over the energy counter of the same rails, and its half width (k = 2) without what both have in common."""
    at = np.concatenate([*_covered_by_both(power, counter, windows), np.zeros(0, np.int64)])
    ratio, _, _ = _ratio(power, counter, at)
    own = 2 * math.hypot(own_ratio(power, at), own_ratio(counter, at))
    return ratio, None if ratio is None else ratio * own


def _covered_by_both(one: Measured, other: Measured, windows: Sequence[Ints]) -> List[Ints]:
    whole = np.array([a == b == OK for a, b in zip(one.statuses, other.statuses)], bool)
    return [at for at in windows if whole[at].all() and (other.total(at)[0] or 0.0) > 0]


def _ratio(one: Measured, other: Measured, at: Ints) -> Tuple[Optional[float], Optional[float], bool]:
    """Ratio of the energies over `at`, its half width, and whether all of both budgets is known."""
    (one_j, one_u, one_c), (other_j, other_u, other_c) = one.total(at), other.total(at)
    if one_j is None or not other_j:
        return None, None, False
    ratio = one_j / other_j
    # what an average smears over the edges of the windows goes from one into the next, and out at the two ends alone
    is_known = all(c is not None for name, c in (*one_c.items(), *other_c.items()) if name != "lag")
    return ratio, math.hypot(one_u or 0.0, ratio * (other_u or 0.0)) / other_j, is_known


def _wrong_by(ratio: Optional[float], expected: Optional[str]) -> Optional[float]:
    if ratio is None or expected is None:
        return None
    return {"1": abs(ratio - 1), ">= 1": max(1 - ratio, 0.0), "<= 1": max(ratio - 1, 0.0)}[expected]


def _steadiness(one: Measured, other: Measured, compared: Sequence[Ints]) -> Dict[str, Any]:
    ratios = [ratio for at in compared if (ratio := _ratio(one, other, at)[0]) is not None]
    mean = float(np.mean(ratios)) if ratios else None
    is_told = len(ratios) >= FEWEST_WINDOWS and mean is not None and mean > 0
    return {
        "ratio_sd": float(np.std(ratios, ddof=1)) / mean if is_told and mean else None,
        "readings_sd": _readings_sd(one, other, compared) if is_told else None,
        "windows": {
            "n": len(ratios),
            "mean": mean,
            "min": min(ratios, default=None),
            "max": max(ratios, default=None),
        },
    }


def _readings_sd(one: Measured, other: Measured, compared: Sequence[Ints]) -> float:
    """How much the windows' ratios scatter by what the meters do not have in common from window to window (relative, k = 1)."""
    squares = [own_ratio(one, at) ** 2 + own_ratio(other, at) ** 2 for at in compared]
    return math.sqrt(sum(squares) / len(squares))


def own_ratio(measured: Measured, at: Ints) -> float:
    """The part of an energy's uncertainty that differs from one window to the next, over the energy."""
    energy_j, _, components_j = measured.total(at)
    own_j = math.sqrt(sum((c or 0.0) ** 2 for name, c in components_j.items() if name not in COMMON))
    return own_j / energy_j if energy_j else 0.0
