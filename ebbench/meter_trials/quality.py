"""How good a meter is: what it really gives, and how well an energy would be known with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ebbench import plugins
from ebbench.calibration import store as calibration_store
from ebbench.clock import read_clocks
from ebbench.energy.calibration import calibrated, misfit, summary
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import Series, series_of
from ebbench.energy.traces.trace import Chunk
from ebbench.energy.uncertainty import budget
from ebbench.errors import EbbenchError
from ebbench.meter_trials.sampling import sample, total_power
from ebbench.protocols import Board, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S

#: the energy that is asked about: this power for this time
POWER_W, LENGTH_S = 10.0, 60.0
TRIED_S = 1.5


@dataclass(frozen=True)
class Quality:
    """`rate_hz` and `scatter_w` as obtained, `resolution_w` as stated (None: unknown); of `POWER_W` over `LENGTH_S` the half
    width (k = 2) as a part of it, with the components that are unknown and so not in it. `calibration`: in one line, or why not.
    """

    meter: str
    simulated: bool
    rate_hz: float
    scatter_w: Optional[float]
    resolution_w: Optional[float]
    uncertainty: float
    unknown: Tuple[str, ...]
    calibration: Optional[str]

    @property
    def text(self) -> str:
        """All of it in one sentence."""
        step = "steps unknown" if self.resolution_w is None else f"steps of {self.resolution_w:.2g} W"
        scatter = "" if self.scatter_w is None else f", scatters by {self.scatter_w:.2g} W"
        unknown = f" with {', '.join(self.unknown)} unknown and left out" if self.unknown else ""
        return (
            f"{self.meter}: {self.rate_hz:.3g} readings/s, {step}{scatter}; {POWER_W:g} W over {LENGTH_S:g} s would be known to "
            f"{100 * self.uncertainty:.2g} % (k = 2){unknown}"
        )


def assess(name: str, board: Optional[Board]) -> Quality:
    """Read the meter for a moment and work out what it is good for. Raises what reading it raises."""
    ((short, _, request),) = plugins.choose_meters([name], board)
    last: List[Tuple[MeterInfo, Chunk, int]] = []
    found = sample(name, TRIED_S, board=board.name if board else "auto", look=lambda i, c, s, _: last.append((i, c, s)))
    info, chunk, start_ns = last[-1]
    _, power_w = total_power(info, chunk, start_ns)
    document, note = _calibration(info, board, request)
    scatter_w = float(np.diff(power_w).std() / np.sqrt(2)) if power_w.size > 3 else None
    series = series_of(calibrated(info, document), info.total or (info.rails[0].name,))
    uncertainty, unknown = stated(series, found["rate_hz"], scatter_w or 0.0, info.simulated)
    return Quality(
        short, info.simulated, found["rate_hz"], scatter_w, series.rail.resolution_w, uncertainty, unknown, note
    )


def _calibration(
    info: MeterInfo, board: Optional[Board], request: MeterRequest
) -> Tuple[Optional[Dict[str, Any]], str]:
    """What is kept of this meter and fits it, and what there is to say about it."""
    try:
        document = calibration_store.find(board, info, request)
    except EbbenchError as error:
        return None, str(error)
    if document is None:
        return None, ""
    reason = misfit(info, document)
    return (document, summary(document)) if reason is None else (None, f"not used: {reason}")


def stated(
    series: Series, rate_hz: float, scatter_w: float, is_simulated: bool = False
) -> Tuple[float, Tuple[str, ...]]:
    """The half width (k = 2) of `POWER_W` for `LENGTH_S`, as a part of it, by the same budget as any run's; what it lacks."""
    rate_hz = max(rate_hz, 0.1)
    behind = series.lateness.shift_s * rate_hz + 3
    time_ns = np.rint(np.arange(-2, LENGTH_S * rate_hz + behind) / rate_hz * NS_PER_S).astype(np.int64) + 10 * NS_PER_S
    power_w = POWER_W + scatter_w * np.random.default_rng(0).standard_normal(time_ns.size)
    if series.rail.resolution_w:
        power_w = np.rint(power_w / series.rail.resolution_w) * series.rail.resolution_w
    values = np.cumsum(power_w) / rate_hz if series.is_counter else power_w
    plain = Series(series.name, (("P",),), _uncorrected(series), series.is_counter, series.step_j)
    zeros = np.zeros_like(time_ns)
    chunk = Chunk(time_ns, zeros, np.arange(time_ns.size), {"P": values}, read_clocks(), (), {})
    edges = np.array([10, 10 + LENGTH_S]) * NS_PER_S
    found = integrate(
        [chunk], [plain], survey([chunk], [plain]), edges[:1].astype(np.int64), edges[1:].astype(np.int64)
    )[0]
    components = budget(found, time_base=0.0) if is_simulated else budget(found)
    unknown = tuple(name for name, value in components.components_j.items() if value is None)
    return float(components.half_width_j[0]) / (POWER_W * LENGTH_S), unknown


def _uncorrected(series: Series) -> Rail:
    """The readings are made up right: nothing is to be corrected in them."""
    return dataclasses.replace(series.rail, gain_correction=1.0, offset_correction_w=0.0)
