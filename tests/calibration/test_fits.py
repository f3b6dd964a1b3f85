"""Of each rail of a meter its power and its counter are fitted, each as far as it shows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "energy"))
import stepped_load
from waveforms import chunk_of

from ebbench.calibration.fits import fit_of, own_fit
from ebbench.energy.step_response.response import AVERAGE
from ebbench.errors import ResultError
from ebbench.protocols import Column, MeterInfo, Rail

BOTH = MeterInfo("m", "gpu", False, (Rail("A", "gpu"), Rail("V", "rail")), (Column("A_w"), Column("A_j"), Column("V_v")),
                 ("A",), 20.0)  # fmt: skip


def traced(count_j):
    """Power 0.03 s late and 0.02 s wide, its counter 0.2 s late; under the same load."""
    plateaus = stepped_load.plateaus(np.random.default_rng(3))
    time_ns, power_w = stepped_load.readings(np.random.default_rng(4), plateaus, 50.0, AVERAGE, 0.03, 0.02, 0.05)
    counted_ns, energy_j = stepped_load.counts(np.random.default_rng(5), plateaus, 200.0, AVERAGE, 0.2, 0.0)
    energy_j = np.interp(time_ns, counted_ns, energy_j)
    columns = {"A_w": power_w, "A_j": np.floor(energy_j / count_j) * count_j, "V_v": np.full(time_ns.size, 5.0)}
    return chunk_of(time_ns, **columns), plateaus


def test_power_and_counter_of_a_rail_have_a_response_of_their_own():
    chunk, plateaus = traced(1e-3)
    fit = fit_of(chunk, BOTH, ["A"], plateaus)
    for part, late_s in (("response", 0.03), ("counter", 0.2)):
        assert abs(fit[part]["delay_s"] - late_s) <= 3 * fit[part]["delay_u_s"] < 0.02


def test_a_counter_too_coarse_to_show_anything_leaves_the_power_its_fit():
    chunk, plateaus = traced(3600.0)
    fit = fit_of(chunk, BOTH, ["A"], plateaus)
    assert fit["counter"] is None and fit["response"]["delay_s"] == pytest.approx(0.03, abs=0.005)
    alone = MeterInfo("m", "gpu", False, BOTH.rails, (Column("A_j"), Column("V_v")), ("A",), 20.0)
    with pytest.raises(ResultError, match="the counter of A hardly turned; give more --seconds"):
        fit_of(chunk, alone, ["A"], plateaus)


def test_a_rail_with_neither_power_nor_counter_has_no_fit():
    chunk, plateaus = traced(1e-3)
    assert own_fit(BOTH, "V", chunk, plateaus, {}, ["A"]) == {}
