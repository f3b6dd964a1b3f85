"""Gain and offset against a reference: in the interval as often as is stated, and the reference's own part never lost."""

from __future__ import annotations

import numpy as np
import pytest
from stepped_load import plateaus, readings

from ebbench.energy.step_response.comparison import compare
from ebbench.energy.step_response.plateaus import BUSY, HALF, IDLE, levels
from ebbench.energy.step_response.response import AVERAGE
from ebbench.errors import ResultError
from ebbench.protocols import Rail

NAMES = (IDLE, BUSY) * 4 + (IDLE, HALF) * 3
RAIL = Rail("R", "module", gain_ratio=0.001, offset_w=0.004)


def both(seed, gain=1.05, offset_w=0.3, noise=0.2, step=0.0, rail=RAIL, levels_w=None, drift=0.0):
    rng = np.random.default_rng(seed)
    found = plateaus(rng, 1.0, NAMES)
    time_ns, true_w = readings(rng, found, 100, AVERAGE, 0.01, 0.02, levels_w=levels_w)
    true_w = true_w + drift * (time_ns - time_ns[0]) * 1e-9
    reference_w = true_w * (1 + rng.normal(0, rail.gain_ratio or 0)) + rng.normal(0, rail.offset_w or 0)
    meter_w = true_w * gain + offset_w + rng.normal(0, noise, true_w.size)
    if step:
        meter_w = np.rint(meter_w / step) * step
    return levels(time_ns, meter_w, found), levels(time_ns, reference_w + rng.normal(0, 0.05, true_w.size), found)


def test_the_corrected_power_is_the_true_one_as_often_as_is_stated():
    inside = []
    for seed in range(150):
        found = compare(*both(seed), 0.0, RAIL)
        for true_w in (2.5, 5.0, 9.0):
            corrected_w = (true_w * 1.05 + 0.3) * found.gain_correction + found.offset_correction_w
            inside.append(abs(corrected_w - true_w) <= 2 * np.hypot(found.gain_u * true_w, found.offset_u_w))
    assert np.mean(inside) >= 0.95


def test_gain_and_offset_each_lie_within_what_is_stated():
    found = [compare(*both(seed), 0.0, RAIL) for seed in range(150)]
    gains = [abs(1 / f.gain_correction - 1.05) / 1.05 <= 2 * f.gain_u for f in found]
    offsets = [abs(f.offset_correction_w + 0.3 / 1.05) <= 2 * f.offset_u_w for f in found]
    assert np.mean(gains) >= 0.93 and np.mean(offsets) >= 0.93


def test_no_meter_becomes_better_than_its_reference():
    found = compare(*both(1, noise=0.0), 0.0, RAIL)
    assert found.gain_u >= RAIL.gain_ratio and found.offset_u_w >= RAIL.offset_w


def test_steps_of_a_silent_meter_are_in_the_uncertainty():
    quiet, coarse = (compare(*both(2, noise=0.0, step=step), step, RAIL) for step in (0.0, 0.3))
    assert coarse.fit_offset_u_w > quiet.fit_offset_u_w + 0.05
    assert abs(coarse.offset_correction_w + 0.3 / 1.05) <= 2 * coarse.offset_u_w


def test_a_board_that_warms_up_drifts_for_both_meters_alike():
    found = compare(*both(3, noise=0.02, drift=0.1), 0.0, RAIL)
    assert 1 / found.gain_correction == pytest.approx(1.05, rel=0.004)


def test_levels_that_are_no_line_are_refused():
    with pytest.raises(ResultError, match="too close to each other"):
        compare(*both(4, noise=1.0, levels_w={IDLE: 5.0, HALF: 5.05, BUSY: 5.1}), 0.0, RAIL)


def test_too_few_levels_are_refused():
    meter, reference = both(5)
    with pytest.raises(ResultError, match="only 3 plateaus"):
        compare(meter[:3], reference[:3], 0.0, RAIL)
