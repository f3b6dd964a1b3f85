"""How a meter follows a step of the power: how much later, and over how long.

Many edges of a known load are laid over one another: each falls at another moment between two readings, so that together they
show the response more finely than the meter is read. Two shapes are fitted, with the mean delay c and the width a as parameters:

average   the mean of the last a seconds: a ramp from c - a/2 to c + a/2
lowpass   first order, with the time constant a: 1 - exp(-(t - c + a) / a) from c - a on

The standard uncertainties are the larger of what the residuals say (least squares) and what leaving out one edge after the
other says (jackknife); how finely the edges sampled the response, and the steps in which a quiet meter counts, are added. A
load does not begin in no time, and what it adds is only ever later: where rising and falling edges differ, the faster ones
count, and the difference widens the uncertainty.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.step_response.plateaus import BUSY, IDLE, Level
from ebbench.energy.traces.batches import Floats, Ints
from ebbench.errors import ResultError
from ebbench.units import NS_PER_S

AVERAGE, LOWPASS, INSTANT = "average", "lowpass", "instant"
#: fewer edges than this say nothing about how well they agree
FEWEST_EDGES = 6
#: the step must be this many times its own standard uncertainty
DISTINCT = 5.0
#: the response must end well before the plateau does, for the level after it to be known
SETTLED = 0.35
#: rising and falling edges differ when their delays do by this many standard uncertainties
DIFFERENT = 4.0
#: a residual further out than this (in standard deviations) counts as if it lay here, as Huber has it
_HUBER = 2.5
#: so many readings on either side of the response take part in the fit
NEIGHBOURS = 30
_ROOT2, _ROOT3, _ROOT12 = math.sqrt(2.0), math.sqrt(3.0), math.sqrt(12.0)
#: what the means between a counter's turns add to the uncertainty of a width, as a part of their length
UNEQUAL = 0.1
#: a centred mean of width 8/e time constants lets as much of a step leak over an edge as the low-pass does
LEAK_OF_LOWPASS = 8 / math.e


@dataclass(frozen=True)
class Response:
    """The fitted shape; times in s, each with its standard uncertainty (k = 1). Of `edges` edges by `step_w` on average.

    `delay_s` is how much later than the power a reading is on average; `width_s` the averaging time, or the time constant of a
    low-pass; 0 for a meter whose width does not show (`instant`), and `width_u_s` then says what may hide.
    """

    model: str
    delay_s: float
    delay_u_s: float
    width_s: float
    width_u_s: float
    step_w: float
    step_u_w: float
    edges: int
    rising_delay_s: Optional[float] = None
    falling_delay_s: Optional[float] = None

    @property
    def averaging_s(self) -> float:
        """The time over which a centred mean smears an edge as much as this response does."""
        return self.width_s * (LEAK_OF_LOWPASS if self.model == LOWPASS else 1.0)

    @property
    def ends_s(self) -> float:
        """When (s after a step) it has been followed: wholly, or by a low-pass to 98 %."""
        return self.delay_s + (self.width_s / 2 if self.model == AVERAGE else 3 * self.width_s)

    def without_mean(self, interval_s: float) -> Response:
        """The response itself, of one that was seen through means over `interval_s`: their variances add, their delays do not.

        Two means one after the other are no mean, and the intervals are not equal: a tenth of them is added to what is not known.
        """
        means_s = interval_s if self.model == AVERAGE else interval_s / _ROOT12
        width2_s2 = max(self.width_s**2 - means_s**2, 0.0)
        width_s, seen_u_s = math.sqrt(width2_s2), math.hypot(self.width_u_s, UNEQUAL * means_s)
        if width2_s2 > 2 * seen_u_s * self.width_s:
            return dataclasses.replace(self, width_s=width_s, width_u_s=seen_u_s * self.width_s / width_s)
        hidden_s = math.sqrt(width2_s2 + 2 * self.width_s * seen_u_s + seen_u_s**2)
        return dataclasses.replace(self, model=INSTANT, width_s=0.0, width_u_s=hidden_s)

    def to_json(self) -> Dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Edge:
    """Readings around one edge: seconds since it, power as a part of the step `step_w` (W; of a falling edge below 0)."""

    since_s: Floats
    risen: Floats
    step_w: float
    rises: bool


def fit_response(
    time_ns: Ints, power_w: Floats, found: Sequence[Optional[Level]], noise_w: float, resolution_w: float = 0.0
) -> Response:
    """Fit the response to all edges between idle and busy plateaus.

    `noise_w`: standard deviation of a reading; `resolution_w`: one step of it. Raises ResultError, with the numbers, where there
    is no distinct step or the meter does not settle within a plateau.
    """
    plateau_s = _shortest_s(found)
    edges = _edges(time_ns, power_w, found)
    step_w, step_u_w = _check_step(edges, found)
    noise = max(noise_w / step_w, 1e-4)
    # a reading that scatters over several steps is not rounded, on average
    rounding = math.sqrt(max(resolution_w**2 / 4 - noise_w**2, 0.0)) / step_w
    pooled = {rises: _Pooled.of([e for e in edges if e.rises is rises], noise) for rises in (True, False)}
    (rising_s, rising_u_s), (falling_s, falling_u_s) = (
        pooled[rises].centre(1.5 * SETTLED * plateau_s) for rises in (True, False)
    )
    apart_s, agree_s = abs(rising_s - falling_s), DIFFERENT * math.hypot(rising_u_s, falling_u_s)
    if apart_s <= agree_s:
        chosen = _fit(_Pooled.of(edges, noise), plateau_s, rounding)
    else:
        chosen = _fit(pooled[rising_s < falling_s], plateau_s, rounding)
        chosen = dataclasses.replace(chosen, delay_u_s=math.hypot(chosen.delay_u_s, apart_s / _ROOT12))
    slow_s = chosen.ends_s + 2 * chosen.delay_u_s
    if not slow_s < SETTLED * plateau_s:
        raise ResultError(
            f"the meter follows a step within about {slow_s:.2g} s, too slow for plateaus of {plateau_s:.2g} s; "
            f"give {1.1 * slow_s / (SETTLED * plateau_s):.2g} times the --seconds"
        )
    return dataclasses.replace(
        chosen, step_w=step_w, step_u_w=step_u_w, edges=len(edges),
        rising_delay_s=rising_s, falling_delay_s=falling_s,
    )  # fmt: skip


def _shortest_s(found: Sequence[Optional[Level]]) -> float:
    lengths_ns = [level.plateau.end_ns - level.plateau.start_ns for level in found if level is not None]
    if not lengths_ns:
        raise ResultError("the meter gave fewer than two readings in every plateau; give more --seconds")
    return min(lengths_ns) / NS_PER_S


def _edges(time_ns: Ints, power_w: Floats, found: Sequence[Optional[Level]]) -> List[_Edge]:
    """All steps between idle and busy whose levels on both sides are known."""
    edges = []
    for before, after in zip(found, found[1:]):
        if before is None or after is None or {before.plateau.name, after.plateau.name} != {IDLE, BUSY}:
            continue
        rises = after.plateau.name == BUSY
        at_ns = after.plateau.start_ns if rises else before.plateau.end_ns
        first, last = np.searchsorted(time_ns, (before.plateau.tail[0], after.plateau.end_ns))
        step_w = after.power_w - before.power_w
        risen = (power_w[first:last] - before.power_w) / (step_w or math.inf)
        edges.append(_Edge((time_ns[first:last] - at_ns) / NS_PER_S, risen, step_w, rises))
    return edges


def _check_step(edges: Sequence[_Edge], found: Sequence[Optional[Level]]) -> Tuple[float, float]:
    """The mean size of the step from idle to busy and its standard uncertainty (W)."""
    if min(sum(e.rises for e in edges), sum(not e.rises for e in edges)) < FEWEST_EDGES / 2:
        raise ResultError(
            f"too few edges ({len(edges)}) have readings on both sides; give more --seconds, or a higher --rate"
        )
    upward_w = np.array([edge.step_w if edge.rises else -edge.step_w for edge in edges])
    mean_w, u_w = float(upward_w.mean()), float(upward_w.std(ddof=1)) / math.sqrt(upward_w.size)
    if not mean_w > DISTINCT * u_w:
        idle_w = np.mean([level.power_w for level in found if level is not None and level.plateau.name == IDLE])
        raise ResultError(
            f"no distinct step: idle {idle_w:.4g} W, under load {mean_w:+.2g} W of it, known to {2 * u_w:.2g} W (k = 2); "
            "does the load run on what this meter measures (--device)? Stop other work, or give more --seconds"
        )
    return mean_w, u_w


def _fit(pooled: _Pooled, plateau_s: float, rounding: float) -> Response:
    """The better of the two shapes."""
    starts = {model: _search(model, pooled, plateau_s) for model in (AVERAGE, LOWPASS)}
    near = pooled.near(min(c - 3 * a for c, a in starts.values()), max(c + 6 * a for c, a in starts.values()))
    fits = {model: _refined(model, near, _closer(model, near, start), steps=15) for model, start in starts.items()}
    model = min(fits, key=lambda name: near.loss(name, *fits[name]))
    return _response(model, near, fits[model], rounding)


def _response(model: str, near: _Pooled, found: Tuple[float, float], rounding: float) -> Response:
    """The fitted shape with its uncertainties."""
    c, a = found
    u_c, u_a = _uncertainties(model, near, c, a)
    u_c, u_a = math.hypot(u_c, 2 * rounding * a / _ROOT3), math.hypot(u_a, 3 * rounding * a / _ROOT3)
    if a > 2 * u_a:
        return Response(model, c, u_c, a, u_a, 0.0, 0.0, near.edges)
    return Response(INSTANT, near.middle_s(c), u_c, 0.0, u_a + a / 2, 0.0, 0.0, near.edges)


def _shape(model: str, x_s: Floats, c: float, a: float) -> Floats:
    """How much of a step at 0 shows at `x_s`."""
    if model == AVERAGE:
        ramp: Floats = np.clip((x_s - c) / a + 0.5, 0.0, 1.0)
        return ramp
    rest: Floats = 1 - np.exp(-np.maximum((x_s - c) / a + 1, 0.0))
    return rest


@dataclass(frozen=True)
class _Pooled:
    """All edges laid over one another, in the order of the time since the edge; `noise` as a part of the step."""

    x_s: Floats
    z: Floats
    edge: Ints
    noise: Floats

    @classmethod
    def of(cls, edges: Sequence[_Edge], noise: float) -> _Pooled:
        x_s = np.concatenate([e.since_s for e in edges])
        order = np.argsort(x_s, kind="stable")
        number = np.repeat(np.arange(len(edges)), [e.since_s.size for e in edges])
        mean_w = float(np.mean([abs(e.step_w) for e in edges]))
        scales = np.array([noise * mean_w / max(abs(e.step_w), 1e-3 * mean_w) for e in edges])
        return cls(x_s[order], np.concatenate([e.risen for e in edges])[order], number[order], scales[number[order]])

    @property
    def edges(self) -> int:
        return int(np.unique(self.edge).size)

    def middle_s(self, at_s: float) -> float:
        """The middle between the two neighbours around `at_s`: a jump may lie anywhere between them."""
        k = int(np.clip(np.searchsorted(self.x_s, at_s), 1, self.x_s.size - 1))
        return float(self.x_s[k - 1] + self.x_s[k]) / 2

    def rows(self, rows: Any) -> _Pooled:
        return _Pooled(self.x_s[rows], self.z[rows], self.edge[rows], self.noise[rows])

    def near(self, start_s: float, end_s: float) -> _Pooled:
        """The readings from `start_s` to `end_s`, and some on either side."""
        spacing_s, whole_s = float(np.median(np.diff(self.x_s))), float(self.x_s[-1] - self.x_s[0])
        more_s = max(NEIGHBOURS * spacing_s, 0.02 * whole_s) + (end_s - start_s) / 4
        return self.rows((self.x_s >= start_s - more_s) & (self.x_s <= end_s + more_s))

    def residuals(self, model: str, c: float, a: float) -> Floats:
        """In standard deviations."""
        return (self.z - _shape(model, self.x_s, c, a)) / self.noise

    def loss(self, model: str, c: float, a: float) -> float:
        """Huber's loss."""
        r = np.abs(self.residuals(model, c, a))
        return float(np.where(r <= _HUBER, r * r, 2 * _HUBER * r - _HUBER**2).sum())

    def centre_s(self, until_s: float) -> float:
        """The mean delay as the area over the response, whatever its shape, up to `until_s`."""
        at = self.x_s <= until_s
        rest = np.where(self.x_s[at] < 0, -self.z[at], 1 - self.z[at])
        return float(np.sum(0.5 * (rest[1:] + rest[:-1]) * np.diff(self.x_s[at])))

    def centre(self, until_s: float) -> Tuple[float, float]:
        """`centre_s` with its standard uncertainty, from leaving out one edge after the other."""
        each = np.array([self.rows(self.edge != k).centre_s(until_s) for k in np.unique(self.edge)])
        u_s = math.sqrt((each.size - 1) / each.size * float(((each - each.mean()) ** 2).sum()))
        return self.centre_s(until_s), math.hypot(u_s, self.fineness_s(0.0, 0.0) / _ROOT12)

    def fineness_s(self, start_s: float, end_s: float) -> float:
        """The largest distance between two neighbours that reaches into [start, end], or is one of the three around it."""
        first = max(int(np.searchsorted(self.x_s, start_s)) - 3, 0)
        last = min(int(np.searchsorted(self.x_s, end_s, "right")) + 3, self.x_s.size)
        return float(np.diff(self.x_s[first:last]).max(initial=0.0)) if last - first > 1 else math.inf


def _search(model: str, pooled: _Pooled, plateau_s: float) -> Tuple[float, float]:
    """c and a (s) near the least loss, from a grid around the centre of the area over the response."""
    top_s = SETTLED * plateau_s
    least_s = max(float(np.median(np.diff(pooled.x_s))) / 4, 1e-7)
    start = (pooled.centre_s(1.5 * top_s), math.sqrt(least_s * top_s))
    return _zoomed(model, pooled, start, 0.15 * top_s, (least_s, 2 * top_s))


def _closer(model: str, near: _Pooled, start: Tuple[float, float]) -> Tuple[float, float]:
    """Search again where the response is, now that fewer readings have to be looked at."""
    c, a = start
    fineness_s = max(near.fineness_s(c - a, c + a), 1e-7)
    return _zoomed(model, near, start, a + 4 * fineness_s, (min(a, fineness_s) / 4, 2 * (a + fineness_s)))


def _zoomed(
    model: str, pooled: _Pooled, start: Tuple[float, float], span_s: float, widths_s: Tuple[float, float]
) -> Tuple[float, float]:
    """The best of ever finer grids: c within `span_s` of the start's, a within `widths_s`; on at most 1500 readings."""
    few = pooled.rows(slice(None, None, max(1, pooled.x_s.size // 1500)))
    best, ratio = start, math.sqrt(widths_s[1] / widths_s[0])
    for _ in range(9):
        cs = best[0] + span_s * np.linspace(-1, 1, 13)
        widths = np.unique(np.clip(best[1] * ratio ** np.linspace(-1, 1, 13), *widths_s))
        best = min(((float(c), float(a)) for c in cs for a in widths), key=lambda p: few.loss(model, *p))
        span_s, ratio = span_s / 2.5, ratio**0.5
    return best


def _curvature(model: str, pooled: _Pooled, c: float, a: float) -> Tuple[Floats, Floats]:
    """Curvature [2, 2] and descent [2] of half the loss by c and a."""
    r = pooled.residuals(model, c, a)
    weight = np.minimum(1.0, _HUBER / np.maximum(np.abs(r), 1e-12))
    d = a * 1e-2
    by_c = (_shape(model, pooled.x_s, c + d, a) - _shape(model, pooled.x_s, c - d, a)) / (2 * d)
    by_a = (_shape(model, pooled.x_s, c, a + d) - _shape(model, pooled.x_s, c, a - d)) / (2 * d)
    slopes = np.stack((by_c, by_a), axis=1) / pooled.noise[:, None]
    return slopes.T @ (slopes * weight[:, None]), slopes.T @ (weight * r)


def _refined(model: str, pooled: _Pooled, start: Tuple[float, float], steps: int) -> Tuple[float, float]:
    """Levenberg and Marquardt's way down from `start`."""
    (c, a), damping, loss = start, 1e-3, pooled.loss(model, *start)
    for _ in range(steps):
        curvature, descent = _curvature(model, pooled, c, a)
        matrix = curvature + damping * np.diag(np.diag(curvature)) + 1e-12 * np.eye(2)
        step_c, step_a = np.linalg.solve(matrix, descent)
        new = c + float(step_c), float(np.clip(a + step_a, a / 3, a * 3))
        new_loss = pooled.loss(model, *new)
        if not new_loss < loss:
            damping *= 8
            continue
        is_done = loss - new_loss < 1e-9 * (1 + loss)
        (c, a), loss, damping = new, new_loss, damping / 5
        if is_done:
            break
    return c, a


def _uncertainties(model: str, pooled: _Pooled, c: float, a: float) -> Tuple[float, float]:
    """Standard uncertainties of c and a (s), but for the steps in which the meter counts."""
    curvature, _ = _curvature(model, pooled, c, a)
    r = np.minimum(np.abs(pooled.residuals(model, c, a)), 2 * _HUBER)
    scale = max(1.0, math.sqrt(float(np.mean(r * r))) if r.size else 1.0)
    by_residuals = np.sqrt(np.diag(np.linalg.pinv(curvature))) * scale
    edges = np.unique(pooled.edge)
    left_out = np.array([_refined(model, pooled.rows(pooled.edge != k), (c, a), steps=5) for k in edges])
    by_edges = np.sqrt((edges.size - 1) / edges.size * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    fineness_s = pooled.fineness_s(c - a / 2, c + a / 2)
    # curvature vanishes where no reading lies on the slope: then the distance of the readings is all that is known
    largest = np.minimum(np.maximum(by_residuals, by_edges), fineness_s + a)
    return math.hypot(float(largest[0]), fineness_s / _ROOT12), math.hypot(float(largest[1]), fineness_s / _ROOT2)
