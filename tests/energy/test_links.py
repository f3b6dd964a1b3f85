"""The meters of a laptop beside the board: their times are on the board's clock, within the bound, or they mean nothing."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linked import METER, TRUTH_J, Pair, S

from ebbench.energy.account import account
from ebbench.energy.alignment.line import ClockMap
from ebbench.energy.export import export_run
from ebbench.protocols import REMOTE
from ebbench.rundir import write_json
from ebbench.sealing.checks import check_run

maps = st.builds(
    ClockMap,
    at_ns=st.integers(0, 10**15),
    offset_ns=st.integers(-(10**18), 10**18),
    drift=st.floats(-5e-4, 5e-4),
    bound_s=st.floats(0, 1),
    first_ns=st.just(0),
    last_ns=st.just(10**15),
)


@given(maps, st.integers(0, 10**13))
def test_a_map_and_its_inverse_lead_back(clock, after_ns):
    there_ns = np.array([clock.at_ns, clock.at_ns + after_ns])
    back_ns = clock.inverse().to_monotonic_ns(clock.to_monotonic_ns(there_ns))
    assert np.abs(back_ns - there_ns).max() <= 3
    assert clock.inverse().bound_s >= clock.bound_s * (1 - 6e-4)


@given(maps, st.integers(-(10**18), 10**18), st.floats(-5e-4, 5e-4), st.integers(0, 10**13))
def test_two_maps_in_one_are_one_after_the_other(first, offset_ns, drift, after_ns):
    times_ns = np.array([first.at_ns, first.at_ns + after_ns])
    middle_ns = first.to_monotonic_ns(times_ns)
    second = ClockMap(int(middle_ns[0]) - 10**12, offset_ns, drift, 0.01, 0, 1)
    expected_ns = second.to_monotonic_ns(middle_ns)
    both = first.then(second)
    assert np.abs(both.to_monotonic_ns(times_ns) - expected_ns).max() <= 4
    assert both.bound_s >= (first.bound_s + 0.01) * (1 - 6e-4)


@pytest.mark.parametrize("ahead_s, drift", [(4321.5, 40e-6), (-99.0, -300e-6), (1e6, 0.0)])
def test_every_phase_holds_the_truth_whatever_the_laptops_clock_shows(tmp_path, ahead_s, drift):
    pair = Pair(tmp_path / "run", ahead_s, drift)
    pair.laptop_starts()
    pair.board_starts()
    pair.phases()
    pair.trips(98, 162)
    pair.trace(97, 163)
    found = account(pair.rundir)
    (clock,) = found.clocks
    assert clock["method"] == "round-trip" and clock["reason"] is None
    times_s = np.linspace(97, 163, 100)
    theirs_ns = pair.laptop_ns(times_s)
    ours_ns = theirs_ns - clock["offset_s"] * S - clock["drift"] * (theirs_ns - clock["at_ns"])
    assert np.abs(ours_ns - times_s * S).max() / S <= clock["bound_s"] < 0.01
    for path, truth_j in TRUTH_J.items():
        phase = found.by_phase[path]
        assert phase.status == "ok"
        assert abs(phase.energy_j - truth_j) <= phase.uncertainty_j, path
    assert found.components_j["clock"] > 0
    assert found.reference == {"meter": "wall", "rail": "AC", "scope": "wall"}


def test_integrating_again_gives_the_same_and_changes_no_file(tmp_path):
    pair = whole(tmp_path)
    before = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in pair.rundir.path.iterdir()}
    assert account(pair.rundir) == account(pair.rundir)
    assert before == {p.name: hashlib.sha256(p.read_bytes()).digest() for p in pair.rundir.path.iterdir()}


def test_an_export_has_the_boards_times(tmp_path):
    pair = whole(tmp_path)
    export_run(pair.rundir, tmp_path / "out", "csv")
    (path,) = (tmp_path / "out").glob("trace-wall-000.csv")
    with open(path, newline="") as handle:
        first = next(csv.DictReader(handle))
    assert float(first["time_s"]) == pytest.approx(97 - 100, abs=0.02)  # zero is the run's start, at 100 s of the board


def whole(tmp_path):
    pair = Pair(tmp_path / "run")
    pair.laptop_starts()
    pair.board_starts()
    pair.phases()
    pair.trips(98, 162)
    pair.trace(97, 163)
    return pair


def test_without_a_round_trip_there_is_no_energy_and_the_check_says_why(tmp_path):
    pair = Pair(tmp_path / "run", ahead_s=0.0, drift=0.0)  # even where the clocks happen to agree
    pair.laptop_starts()
    pair.board_starts()
    pair.phases()
    pair.trace(97, 163)
    found = account(pair.rundir)
    assert found.total_j is None and found.status == "missing"
    assert found.by_phase["search"].energy_j is None
    assert "was not asked" in found.clocks[0]["reason"]
    assert {c.name: c.verdict for c in check_run(found)}["coverage"] != "PASS"


def test_why_the_laptops_meter_failed_is_said_of_the_board_time_in_which_it_did(tmp_path):
    pair = Pair(tmp_path / "run")
    pair.laptop_starts()
    pair.board_starts()
    pair.phases()
    pair.trips(98, 162)
    pair.trace(97, 163, rate_hz=2.0, fails_s=(110, 112))
    found = account(pair.rundir)
    assert (found.by_phase["search"].status, found.by_phase["retrain"].status) == ("partial", "ok")
    assert "the plug is out" in found.by_phase["search"].reason
    search = found.by_phase["search"]
    assert abs(search.energy_j - 9 * search.covered_s) <= search.uncertainty_j


def test_a_laptops_meter_with_a_clock_of_its_own_is_aligned_by_the_signature_that_the_board_played(tmp_path):
    """Its clock is 0.7 s ahead of the laptop's, which is 4321.5 s ahead of the board's."""
    own = dataclasses.replace(METER, clock=REMOTE, time_bound_s=2.0)
    pair = Pair(tmp_path / "run")
    write_json(pair.rundir.manifest, {"meters": [{**own.to_json(), "reference": True, "host": "laptop"}], "bench": {}})
    pair.laptop_starts()
    pair.board_starts()
    pair.sign()
    pair.phases(stops=False)
    pair.sign()
    pair.trips(98, pair.at_s + 2)
    pair.trace(90, pair.at_s + 8, info=own, own_s=0.7)
    found = account(pair.rundir)
    (clock,) = found.clocks
    assert (clock["method"], clock["reason"]) == ("signature", None)
    at_s = np.linspace(100, 220, 50)
    theirs_ns = pair.laptop_ns(at_s) + round(0.7 * S)
    ours_ns = theirs_ns - clock["offset_s"] * S - clock["drift"] * (theirs_ns - clock["at_ns"])
    assert np.abs(ours_ns - at_s * S).max() / S <= clock["bound_s"] < 0.1
    for path in ("search", "retrain"):
        phase = found.by_phase[path]
        assert phase.status == "ok" and abs(phase.energy_j - TRUTH_J[path]) <= phase.uncertainty_j


def test_round_trips_of_another_time_do_not_count(tmp_path):
    pair = Pair(tmp_path / "run")
    pair.laptop_starts()
    pair.board_starts()
    pair.phases()
    pair.trips(10, 20)
    pair.trace(97, 163)
    assert account(pair.rundir).total_j is None


def test_a_clock_that_was_stepped_leaves_no_energy_and_says_so(tmp_path):
    pair = Pair(tmp_path / "run")
    pair.laptop_starts()
    pair.board_starts()
    pair.phases()
    pair.trips(98, 130)
    pair.ahead_s += 0.5
    pair.trips(130, 162)
    pair.trace(97, 163)
    found = account(pair.rundir)
    assert found.total_j is None
    assert "stepped" in found.clocks[0]["reason"]


def test_a_board_that_was_started_anew_has_a_clock_of_its_own(tmp_path):
    """The laptop stays on: one boot of it, two of the board, a trace for each."""
    pair = Pair(tmp_path / "run")
    pair.laptop_starts()
    pair.board_starts()
    pair.trips(98, 130)
    pair.phases(PHASES_OF_FIRST, stops=False)
    pair.trace(97, 140)
    pair.boot, pair.ahead_s, pair.at_s = "board-2", pair.ahead_s + 500.0, 10.0  # its clock begins anew
    pair.power = [(0.0, 3.0)]
    pair.board_starts(segment=1)
    pair.phases((("retrain", 30.0, 12.0),))
    pair.trips(9, 42)
    pair.trace(8, 43, number=1)
    found = account(pair.rundir)
    assert [c["reason"] for c in found.clocks] == [None, None]
    assert found.by_phase["search"].energy_j == pytest.approx(180.0, abs=0.2)
    assert found.by_phase["retrain"].energy_j == pytest.approx(360.0, abs=0.2)


PHASES_OF_FIRST = (("idle", 5.0, 3.0), ("search", 20.0, 9.0))


def test_readings_of_the_laptop_are_no_sign_of_life_of_the_board(tmp_path):
    """The board dies in a phase at 105 s; the laptop reads on to 163 s, and that is nothing that the phase used."""
    pair = Pair(tmp_path / "run")
    pair.laptop_starts()
    pair.board_starts()
    pair._board(event="begin", id=7, path="search")
    pair.at_s += 5
    pair._board(event="metric", name="loss", value=1.0, where={})
    pair.trips(98, 162)
    pair.trace(97, 163)
    found = account(pair.rundir)
    assert found.duration_s == pytest.approx(5.0)
    assert found.total_j == pytest.approx(15.0, abs=0.1)


def test_a_meter_with_its_own_clock_at_the_laptop_goes_both_ways(tmp_path):
    """The meter is 2 s ahead of the laptop, which asks it for its time; both lines together lead to the board."""
    pair = whole(tmp_path)
    manifest = json.loads(pair.rundir.manifest.read_text())
    manifest["meters"][0].update(clock="remote", time_bound_s=5.0)
    pair.rundir.manifest.write_text(json.dumps(manifest))
    log = pair.rundir.path / "phases-laptop.jsonl"
    marks = [json.loads(line) for line in log.read_text().splitlines()]
    own = []
    for mark in [m for m in marks if m["event"] == "mark"]:
        sent_ns, _, received_ns = mark["values"]["trips"][0]
        own.append([sent_ns, (sent_ns + received_ns) // 2 + 2 * S, received_ns])
        mark["values"]["trips"][0] = [sent_ns, mark["values"]["trips"][0][1], received_ns]
    trips = {"event": "mark", "name": "round-trips", "values": {"meter": "wall", "trips": own}, "t_ns": 0, "wall_ns": 0}
    log.write_text("".join(json.dumps(m) + "\n" for m in [*marks, trips]))
    found = account(pair.rundir)
    (clock,) = found.clocks
    assert clock["method"] == "round-trip"
    at_ns = pair.laptop_ns(130.0) + 2 * S
    ours_ns = at_ns - clock["offset_s"] * S - clock["drift"] * (at_ns - clock["at_ns"])
    assert abs(ours_ns - 130.0 * S) / S <= clock["bound_s"] < 0.02
