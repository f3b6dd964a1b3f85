"""The meters of this package in the process that really runs them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ebbench import plugins
from ebbench.energy.phases import PhaseLog, read_events
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.trace import TraceReader, read_whole
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import MeterRequest
from ebbench_devices.sim import SimulatedPower

pytestmark = pytest.mark.realtime
METERS = plugins.registered(plugins.METERS)


def test_every_reading_of_the_sim_is_exactly_the_power_of_its_time(tmp_path):
    log = PhaseLog(tmp_path / "phases.jsonl")
    log.start()
    request = MeterRequest(phases=str(tmp_path / "phases.jsonl"))
    sampler = Sampler.start(METERS["sim"], request, tmp_path / "trace.arrows", 500.0)
    sampler.wait_ready()
    for i in range(60):
        with log.phase("search"):
            time.sleep(0.0031)
            with log.phase("search/draw" if i % 2 else "search/evaluate"):
                time.sleep(0.0047)
    stop_ns = log.stop("success")
    sampler.stop()
    chunk = read_whole(tmp_path / "trace.arrows")
    truth = SimulatedPower(read_events(tmp_path / "phases.jsonl"))
    assert len(chunk.time_ns) > 200
    assert np.array_equal(chunk.values["VDD_IN_w"], truth.power_w(chunk.time_ns))
    assert set(np.diff(chunk.time_ns)) == {2_000_000} and chunk.time_ns[-1] > stop_ns


def test_a_sim_that_fails_leaves_a_gap_with_its_reason(tmp_path):
    request = MeterRequest(options={"fail_after_s": "0.3"})
    sampler = Sampler.start(METERS["sim"], request, tmp_path / "trace.arrows")
    sampler.wait_ready()
    time.sleep(0.8)
    sampler.stop()
    notes = [note for chunk in TraceReader(tmp_path / "trace.arrows") for note in chunk.notes]
    assert any("fail_after_s" in note["reason"] for note in notes)


def test_a_recording_that_ends_leaves_a_gap_with_its_reason(tmp_path):
    (tmp_path / "power.csv").write_text("time_s,A_w\n0,1\n0.1,2\n0.2,3\n")
    request = MeterRequest(address=str(tmp_path / "power.csv"))
    sampler = Sampler.start(METERS["replay"], request, tmp_path / "trace.arrows")
    sampler.wait_ready()
    time.sleep(1.8)  # longer than the second after which a meter that fails is opened again
    sampler.stop()
    chunk = read_whole(tmp_path / "trace.arrows")
    assert chunk.values["A_w"].tolist() == [1.0, 2.0, 3.0]
    assert any("ended" in note["reason"] for note in chunk.notes)


def test_a_wrong_option_reaches_the_user_as_what_it_is(tmp_path):
    sampler = Sampler.start(METERS["sim"], MeterRequest(options={"nois_w": "1"}), tmp_path / "trace.arrows")
    with pytest.raises(ConfigError, match="noise_w"):
        sampler.wait_ready()


def test_a_fake_tx2_is_recorded_raw(tmp_path, fake_board):
    fake = fake_board("tx2")
    board = dict(plugins.choose_board().facts)
    sampler = Sampler.start(METERS["ina3221"], MeterRequest(board=board), tmp_path / "trace.arrows", 50.0)
    info = sampler.wait_ready()
    time.sleep(0.4)
    sampler.stop()
    chunk = read_whole(tmp_path / "trace.arrows")
    assert info.simulated and set(chunk.values["VDD_IN_w"]) == {fake.truth_w["VDD_IN"]}
    assert np.isfinite(chunk.values["VDD_IN_v"]).sum() < len(chunk.time_ns) / 4


def test_a_board_whose_sensor_never_answers_is_refused_at_the_start(tmp_path, fake_board):
    fake = fake_board("nano")
    for rail in fake.truth_w:
        fake.file(rail, "power").write_text("")
    sampler = Sampler.start(METERS["ina3221"], MeterRequest(), tmp_path / "trace.arrows")
    with pytest.raises(MeterError, match="in_power0_input: empty"):
        sampler.wait_ready()
