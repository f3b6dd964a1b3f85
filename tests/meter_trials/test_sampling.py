from __future__ import annotations

import numpy as np
import pytest

from ebbench.clock import read_clocks
from ebbench.energy.traces.trace import Chunk
from ebbench.errors import ConfigError
from ebbench.meter_trials import sampling
from ebbench.protocols import Column, MeterInfo, Rail

S = 1_000_000_000


def info_of(columns, total):
    rails = dict.fromkeys(name[:-2] for name in columns)
    return MeterInfo(
        "m", "module", True, tuple(Rail(r, "rail") for r in rails), tuple(Column(c) for c in columns), total, 10.0
    )


def chunk_of(**values):
    count = len(next(iter(values.values())))
    time_ns = np.arange(count) * (S // 10)
    arrays = {name: np.array(v, dtype=float) for name, v in values.items()}
    return Chunk(time_ns, np.zeros(count, np.int64), np.arange(count), arrays, read_clocks(), (), {})


def test_a_sample_sums_up_the_rails_of_the_total():
    chunk = chunk_of(A_w=[1, 2, 3, 4, 99], B_w=[5, 5, np.nan, 5, 99])
    found = sampling.summarise(info_of(["A_w", "B_w"], ("A", "B")), chunk, 0, 0.4, {"missed": 2, "asked_hz": 10.0})
    assert found["rails"]["A"] == {"mean_w": 2.5, "min_w": 1.0, "max_w": 4.0, "readings": 4}
    assert found["rails"]["B"]["readings"] == 3 and found["total_w"] == pytest.approx(7.5)
    assert (found["missed"], found["rate_hz"]) == (2, pytest.approx(10.0))


def test_a_sample_without_a_total_or_with_a_dead_one_has_none():
    chunk = chunk_of(A_w=[1, 2], B_w=[np.nan, np.nan])
    for total in ((), ("A", "B")):
        found = sampling.summarise(info_of(["A_w", "B_w"], total), chunk, 0, 1.0, {"missed": None, "asked_hz": 10.0})
        assert found["total_w"] is None and found["missed"] == 8
    assert found["rails"]["B"] == {"mean_w": None, "min_w": None, "max_w": None, "readings": 0}


def test_the_mean_power_of_a_counter_is_its_rise_over_the_time():
    found = sampling.summarise(
        info_of(["A_j"], ("A",)), chunk_of(A_j=[0, 1, 2, 3]), 0, 1.0, {"missed": 0, "asked_hz": 10.0}
    )
    assert found["total_w"] == pytest.approx(10.0)


@pytest.mark.realtime
def test_a_simulated_meter_can_be_sampled():
    found = sampling.sample("sim?idle_w=3", seconds=0.5)
    assert found["simulated"] and found["total_w"] == pytest.approx(3.0) and found["missed"] <= 1
    assert found["rate_hz"] == pytest.approx(100, rel=0.05)


def test_a_wrong_time_or_meter_is_said_before_anything_starts():
    for arguments in (("sim", 0.0), ("sim", 1.0, -5.0), ("smi", 1.0)):
        with pytest.raises(ConfigError):
            sampling.sample(*arguments)


@pytest.mark.realtime
def test_who_looks_on_is_shown_the_readings_as_they_come():
    seen = []
    found = sampling.sample("sim?idle_w=3", seconds=1.2, look=lambda info, chunk, start_ns, said: seen.append(chunk))
    sizes = [chunk.time_ns.size for chunk in seen]
    assert len(sizes) >= 2 and sizes == sorted(sizes) and sizes[-1] >= found["rails"]["VDD_IN"]["readings"]


def test_the_power_of_a_counter_is_its_rise_between_two_renewals():
    info = info_of(["A_j"], ("A",))
    times_s, power_w = sampling.total_power(info, chunk_of(A_j=[0, 0, 1, 1, 3, 3]), 0)
    assert list(times_s) == [pytest.approx(0.4)] and list(power_w) == [pytest.approx(10.0)]
