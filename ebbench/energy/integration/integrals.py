"""What readings say about intervals of time: energies, and what their uncertainty is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
import numpy.typing as npt

from ebbench.energy.traces.batches import Floats, Ints
from ebbench.energy.traces.pace import Pace
from ebbench.energy.traces.series import Series

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Gap:
    """A stretch [start_ns, end_ns) between readings that was not bridged, and why."""

    start_ns: int
    end_ns: int
    reason: str


@dataclass(frozen=True)
class Edges:
    """What surrounds one end of each of m intervals; arrays [m]. In gaps `step_w` is 0, outside the trace `interval_s` too.

    The edge lies in an interval of `interval_s` between two readings, at `place` 0..1 of it, and over that interval the power
    steps by `step_w` (a counter's from the interval before to the one after: up and down together, signed as the whole way).
    `around_w` [m, probes] is the power read around the edge, as long as the sensor remembers (`integrate.probes_ns`; no probes
    for a sensor without memory).
    """

    interval_s: Floats
    place: Floats
    step_w: Floats
    around_w: Floats


@dataclass(frozen=True)
class Integrals:
    """What the readings of one series of one trace say about m intervals; arrays [m], in the order of the intervals.

    `energy_j` is of the covered part, NaN where nothing is. `longest_s`: the longest interval between two readings that
    touches the interval. Of the intervals between readings (h, over which the power steps by dP) that lie inside: `jump_j2`,
    the sum of (h dP)^2; `cross_j2` and `cross_2_j2`, of its products with the h dP before and the one before that; `long_s2`,
    of the squares of what exceeds 1.5 median intervals. `variance_w2`: variance of the readings inside; `changes`: readings
    that differ from the one before, counted where the rail's resolution is known. `clock_changes_j` [m, k]: by how much k errors
    of the clock, each within its bound, change the energy (`shifts`); k = 0 where the clock is the phases' own.
    `low_w`, `high_w`: range of power in the whole trace; `whole_...`: its sums, `whole_jump_j4` that of (h dP)^4; `usual_step_w`:
    root mean square of the steps from one mean power of a counter to the next, 0 for a power. `saturated`: readings at the end of
    the rail's range.
    """

    series: Series
    pace: Pace
    max_gap_s: float
    duration_s: Floats
    covered_s: Floats
    energy_j: Floats
    readings: Ints
    longest_s: Floats
    jump_j2: Floats
    cross_j2: Floats
    cross_2_j2: Floats
    long_s2: Floats
    variance_w2: Floats
    changes: Floats
    clock_changes_j: Floats
    start: Edges
    end: Edges
    low_w: float
    high_w: float
    whole_jump_j2: float
    whole_jump_j4: float
    whole_cross_j2: float
    whole_cross_2_j2: float
    usual_step_w: float
    first_ns: Optional[int]
    last_ns: Optional[int]
    saturated: int
    gaps: Tuple[Gap, ...]
    gap_count: int
    starts_ns: Ints
    ends_ns: Ints

    @property
    def is_missing(self) -> Bools:
        """Where nothing is covered: there is no energy."""
        return np.isnan(self.energy_j)

    @property
    def is_partial(self) -> Bools:
        """Where a part of the interval is not covered."""
        return ~self.is_missing & (self.covered_s < self.duration_s)

    def reason(self, at: int) -> Optional[str]:
        """Why interval number `at` is not wholly covered; None where it is."""
        if not (self.is_missing[at] or self.is_partial[at]):
            return None
        if self.first_ns is None or self.last_ns is None:
            return f"{self.series.name} has no reading"
        shift_ns = self.series.shift_ns
        start_ns, end_ns = int(self.starts_ns[at]) + shift_ns, int(self.ends_ns[at]) + shift_ns
        if end_ns <= self.first_ns:
            return f"the readings begin {(self.first_ns - end_ns) * 1e-9:.3g} s after it"
        behind = [g.reason for g in self.gaps if g.start_ns == self.last_ns]
        if start_ns >= self.last_ns:
            return "; ".join(behind) or f"the readings end {(start_ns - self.last_ns) * 1e-9:.3g} s before it"
        reasons = [g.reason for g in self.gaps if g.start_ns < end_ns and g.end_ns > start_ns]
        if start_ns < self.first_ns:
            reasons.append(f"the readings begin {(self.first_ns - start_ns) * 1e-9:.3g} s after its start")
        if end_ns > self.last_ns and not behind:
            reasons.append(f"the readings end {(end_ns - self.last_ns) * 1e-9:.3g} s before its end")
        return "; ".join(dict.fromkeys(reasons)) or f"intervals over {self.max_gap_s:g} s without a reading"
