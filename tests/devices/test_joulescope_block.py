from __future__ import annotations

import math

import pytest

pytest.importorskip("joulescope")
from fake_joulescope import block_of

from ebbench_devices.instruments.joulescope_block import Statistics


def test_a_block_is_its_means_and_the_energy_counted():
    found = Statistics.of(block_of(100, 200, 6.0, 40.0), 7)
    assert (found.arrival_ns, found.first, found.last, found.values) == (7, 100, 200, (6.0, 40.0, 12.0, 0.5))


@pytest.mark.parametrize("power_w", [math.nan, math.inf, 9.9e37])
def test_what_cannot_be_is_no_reading(power_w):
    assert math.isnan(Statistics.of(block_of(100, 200, power_w, 40.0), 7).values[0])


def test_another_unit_or_another_form_is_refused():
    with pytest.raises(ValueError, match="in mW and not in W"):
        Statistics.of(block_of(100, 200, 6000.0, 40.0, units="mW"), 7)
    with pytest.raises(KeyError):
        Statistics.of({"signals": {}, "time": {}}, 7)
