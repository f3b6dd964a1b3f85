"""Runs on a board over a real ssh: laptop and board are this machine, in two folders."""

from __future__ import annotations

import dataclasses
import json

import pytest
from conductor import record
from laptop_and_board import RECIPE, WATTS, Meanwhile, Place
from own_clock import AHEAD_S, DRIFT, TruePower
from sshd import SSHD

from ebbench import plugins
from ebbench.protocols import MeterRequest
from ebbench.sealing.record import record_of

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(SSHD is None, reason="NO SSHD ON THIS MACHINE: runs over ssh are not tested (openssh-server)"),
]


TICKET = dataclasses.replace(RECIPE, method="lt", draw="final")


@pytest.fixture(scope="module")
def cut(sshd, tmp_path_factory):
    """A run whose connections are cut while the board rests; as a whole, then as it was shown."""
    place = Place(tmp_path_factory.mktemp("cut"))
    display = Meanwhile("idle", lambda: count.append(sshd.cut()))
    count = []
    found = place.conduct(display, among=(RECIPE, TICKET))
    assert count and count[0] >= 1
    return place, found, display.said


def test_a_run_goes_on_without_its_connection_and_comes_back_whole(cut):
    place, found, said = cut
    assert found.status == "success" and place.starts() == 1
    assert any("goes on" in line for line in said) and any("answers again" in line for line in said)
    there = next(place.job.glob("runs/*"))
    for name in ("phases.jsonl", "checkpoint/state.npz"):
        assert (place.run.path / name).read_bytes() == (there / name).read_bytes()


def test_the_laptops_meter_counts_and_the_boards_is_kept_beside_it(cut):
    _, found, _ = cut
    energy = found.energy
    assert energy.reference == {"meter": "replay", "rail": "AC", "scope": "wall"}
    assert energy.status == "ok" and energy.total_j == pytest.approx(WATTS * energy.duration_s, rel=1e-6)
    assert energy.rails["sim/VDD_IN"]["total_j"] > 0 and energy.rails["sim/VDD_IN"]["scope"] == "module"
    assert [(m["name"], m["reference"]) for m in found.meters] == [("replay", True), ("sim", False)]
    assert [m["calibration"]["reason"] for m in found.meters] == ["this meter was not calibrated on this machine"] * 2


def test_the_clocks_of_one_machine_are_found_to_be_one(cut):
    """The truth here is an offset of 0: the bound must hold it, and be of the size of a round trip."""
    _, found, _ = cut
    linked, same = found.energy.clocks
    assert (linked["meter"], linked["method"], linked["reason"]) == ("replay", "round-trip", None)
    assert (same["meter"], same["method"]) == ("sim", "same")
    phases = [p["start_ns"] for p in found.energy.phases]
    errors_s = [linked["offset_s"] + linked["drift"] * (t - linked["at_ns"]) * 1e-9 for t in phases]
    assert max(map(abs, errors_s)) <= linked["bound_s"] < 0.1


def test_the_next_run_on_the_board_takes_its_first_training_and_is_charged_what_the_laptop_measured(cut):
    place, dense, _ = cut
    said = Meanwhile("never", None)
    found = place.conduct(said, recipe=TICKET, among=(RECIPE, TICKET))
    assert f"board: its first training (3 epochs) is taken from {dense.run_id}, and charged" in said.said
    charge = found.energy.charged
    assert charge["from"] == dense.run_id and charge["energy_j"] == pytest.approx(dense.energy.total_j, rel=1e-12)
    assert (found.status, found.energy.status, found.energy.reference["meter"]) == ("success", "ok", "replay")
    assert found.energy.total_j == pytest.approx(WATTS * found.energy.duration_s, rel=1e-6)
    assert found.energy.total_j > charge["energy_j"]


def test_integrating_the_run_again_gives_the_same_record(cut):
    place, found, _ = cut
    assert record_of(place.run).to_json() == found.to_json() == record(place.run.path)


def test_a_sealed_run_is_kept_and_the_board_is_not_asked(cut, monkeypatch):
    place, found, _ = cut
    monkeypatch.setenv("PATH", "")
    assert place.conduct().to_json() == found.to_json()


def test_without_a_meter_here_the_boards_counts(sshd, place):
    found = place.conduct(meters=("auto",), idle_s=0.0)
    assert found.energy.reference["meter"] == "sim" and found.energy.total_j > 0
    assert not (place.run.path / "phases-laptop.jsonl").exists()


def test_a_board_without_a_meter_of_its_own_is_measured_from_here_alone(sshd, place):
    found = place.conduct(board_meters=("off",))
    assert (found.status, found.energy.status, found.energy.reference["meter"]) == ("success", "ok", "replay")
    assert found.energy.total_j == pytest.approx(WATTS * found.energy.duration_s, rel=1e-6)
    assert [m["name"] for m in found.meters] == ["replay"] and not list(place.job.glob("runs/*/trace-*"))
    there = json.loads(next(place.job.glob("runs/*/record.json")).read_text())
    assert (there["energy"]["total_j"], there["energy"]["status"]) == (None, "missing")
    assert there["energy"]["reason"] == "no meter was read ('off' was asked for)"


def test_a_meter_here_with_a_clock_of_its_own_is_aligned_by_a_signature_that_the_board_plays(sshd, place, monkeypatch):
    """It is 0.8 s ahead and drifts; the board is told to play a signature since this meter needs one."""
    chosen = [("own", "own_clock:OwnClockMeter", MeterRequest(options={"board": str(place.folder / "board")}))]
    monkeypatch.setattr(plugins, "choose_meters", lambda *_: chosen)  # of this process: the board's are its own
    found = place.conduct(meters=("own",), board_meters=("off",), idle_s=0.5)
    (clock,) = found.energy.clocks
    assert (clock["method"], clock["reason"]) == ("signature", None)
    assert clock["offset_s"] == pytest.approx(AHEAD_S, abs=0.02 + 60 * DRIFT) and clock["bound_s"] < 0.1
    power = TruePower(place.run.phases)
    checked = [p for p in found.energy.phases if p["status"] == "ok" and p["duration_s"] > 0.05]
    assert {"idle", "train"} <= {p["path"] for p in checked}
    for phase in checked:
        truth_j = power.energy_j(phase["start_ns"], phase["end_ns"])
        assert abs(phase["energy_j"] - truth_j) <= phase["uncertainty_j"], phase
