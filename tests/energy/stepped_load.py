"""A meter of a stated response under idle and busy plateaus, in closed form."""

from __future__ import annotations

import numpy as np

from ebbench.energy.step_response.plateaus import BUSY, HALF, IDLE, Plateau, levels, noise_w
from ebbench.energy.step_response.response import AVERAGE, fit_response

LEVELS_W = {IDLE: 2.5, HALF: 6.0, BUSY: 9.0}


def plateaus(rng, mean_s=2.0, names=(IDLE, BUSY) * 8 + (IDLE,)):
    edges_s = 10 + np.concatenate(([0.0], np.cumsum(mean_s * rng.uniform(0.75, 1.25, len(names)))))
    edges_ns = np.rint(edges_s * 1e9).astype(np.int64)
    return [Plateau(name, int(a), int(b)) for name, a, b in zip(names, edges_ns, edges_ns[1:])]


def shape(model, x_s, delay_s, width_s):
    """How much of a step at 0 shows at `x_s`: written down anew, not taken from the code under test."""
    if width_s == 0:
        return (x_s >= delay_s).astype(float)
    if model == AVERAGE:
        return np.clip((x_s - delay_s + width_s / 2) / width_s, 0, 1)
    late_s = x_s - (delay_s - width_s)
    return np.where(late_s > 0, 1 - np.exp(-np.maximum(late_s, 0) / width_s), 0.0)


def readings(rng, found, rate_hz, model, delay_s, width_s, noise=0.0, step=0.0, period_s=0.0, levels_w=None):
    """Times (ns) and powers (W) of a meter read at a random moment of each slot."""
    levels_w = levels_w or LEVELS_W
    start_s, end_s = found[0].start_ns * 1e-9, found[-1].end_ns * 1e-9
    times_s = start_s + (np.arange(int((end_s - start_s) * rate_hz)) + rng.uniform(0, 1)) / rate_hz
    times_s = times_s + rng.uniform(-0.4, 0.4, times_s.size) / rate_hz
    looked_s = times_s
    if period_s:
        shift_s = rng.uniform(0, period_s)
        looked_s = np.floor((times_s - shift_s) / period_s) * period_s + shift_s
    power_w = np.full(times_s.size, levels_w[found[0].name])
    for before, after in zip(found, found[1:]):
        change_w = levels_w[after.name] - levels_w[before.name]
        power_w += change_w * shape(model, looked_s - after.start_ns * 1e-9, delay_s, width_s)
    if noise:
        _, same = np.unique(looked_s, return_inverse=True)
        power_w = power_w + rng.normal(0, noise, same.max() + 1)[same]
    if step:
        power_w = np.rint(power_w / step) * step
    return np.rint(times_s * 1e9).astype(np.int64), power_w


def counted_j(model, x_s, delay_s, width_s):
    """The integral of `shape`: how much energy of a step of 1 W at 0 shows at `x_s`."""
    if width_s == 0:
        return np.maximum(x_s - delay_s, 0)
    if model == AVERAGE:
        return width_s / 2 * shape(model, x_s, delay_s, width_s) ** 2 + np.maximum(x_s - delay_s - width_s / 2, 0)
    late_s = np.maximum(x_s - (delay_s - width_s), 0)
    return late_s - width_s * (1 - np.exp(-late_s / width_s))


def counts(rng, found, rate_hz, model, delay_s, width_s, count_j=0.0, period_s=0.0):
    """Times (ns) and energies (J) of a counter of such a power, which turns every `period_s`; read as above."""
    start_s, end_s = found[0].start_ns * 1e-9, found[-1].end_ns * 1e-9
    slots = np.arange(int((end_s - start_s) * rate_hz))
    times_s = start_s + (slots + rng.uniform(0, 1, slots.size)) / rate_hz
    turned_s = times_s
    if period_s:
        shift_s = rng.uniform(0, period_s)
        turned_s = np.floor((times_s - shift_s) / period_s) * period_s + shift_s
    energy_j = LEVELS_W[found[0].name] * (turned_s - start_s)
    for before, after in zip(found, found[1:]):
        change_w = LEVELS_W[after.name] - LEVELS_W[before.name]
        energy_j += change_w * counted_j(model, turned_s - after.start_ns * 1e-9, delay_s, width_s)
    return np.rint(times_s * 1e9).astype(np.int64), np.floor(energy_j / count_j) * count_j if count_j else energy_j


def fitted(seed, rate_hz, model, delay_s, width_s, noise=0.0, step=0.0, mean_s=2.0):
    rng = np.random.default_rng(seed)
    found = plateaus(rng, mean_s)
    time_ns, power_w = readings(rng, found, rate_hz, model, delay_s, width_s, noise, step)
    seen = levels(time_ns, power_w, found)
    return fit_response(time_ns, power_w, seen, max(noise_w(seen, IDLE) or 0.0, noise_w(seen, BUSY) or 0.0), step)
