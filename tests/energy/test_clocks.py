"""A meter with a clock of its own: aligned when the run is sealed, within its bound, or with a reason why not."""

from __future__ import annotations

import numpy as np
import pytest
from signed import OwnClock, S, SignedRun, power_of, signed

from ebbench.energy.account import account
from ebbench.energy.alignment.clocks import chip_for
from ebbench.energy.alignment.signature import CHIPS, pattern
from ebbench.energy.export import export_run

TRUTH_J = {"search": 9.0 * 20, "retrain": 12.0 * 35, "idle": 3.0 * 8}


def clock_of(found):
    (clock,) = found.clocks
    return clock


def error_s(clock, meter):
    """The largest error of the recorded map over the run (s)."""
    times_s = np.linspace(25, 95, 50)
    theirs_ns = (times_s + meter.ahead_at_s(times_s)) * S
    ahead_ns = clock["offset_s"] * S + clock["drift"] * (theirs_ns - clock["at_ns"])
    return np.abs(theirs_ns - ahead_ns - times_s * S).max() / S


@pytest.mark.parametrize("noise_w", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("ahead_s, drift", [(0.8, 50e-6), (-1.3, -120e-6), (0.0, 0.0)])
def test_a_clock_that_is_off_and_drifts_is_aligned_and_every_phase_holds_the_truth(tmp_path, ahead_s, drift, noise_w):
    meter = OwnClock(ahead_s, drift, noise_w=noise_w)
    found = account(signed(tmp_path, meter))
    clock = clock_of(found)
    assert clock["method"] == "signature" and clock["reason"] is None
    assert error_s(clock, meter) <= clock["bound_s"] < 0.05
    for path, truth_j in TRUTH_J.items():
        phase = found.by_phase[path]
        assert abs(phase.energy_j - truth_j) <= phase.uncertainty_j, path
        assert phase.status == "ok"
    assert found.uncertainty_j < 0.02 * found.total_j


def test_without_alignment_the_phases_would_be_far_off(tmp_path):
    """The same readings, taken for this machine's: the search loses its last 0.8 s."""
    meter = OwnClock()
    found = account(signed(tmp_path, meter, info=meter.info(clock="monotonic", time_bound_s=0.0)))
    assert clock_of(found)["method"] == "same"
    search = found.by_phase["search"]
    assert abs(search.energy_j - TRUTH_J["search"]) > 2 * search.uncertainty_j


def test_a_stated_bound_is_in_the_interval(tmp_path):
    meter = OwnClock(0.3, 0.0)
    plain = account(signed(tmp_path / "a", meter, info=meter.info(clock="monotonic", time_bound_s=0.0)))
    found = account(signed(tmp_path / "b", meter, info=meter.info(clock="monotonic", time_bound_s=0.4)))
    assert clock_of(found)["method"] == "stated" and clock_of(found)["bound_s"] == 0.4
    assert "clock" not in plain.components_j and found.components_j["clock"] > 0
    for path, truth_j in TRUTH_J.items():
        assert abs(found.by_phase[path].energy_j - truth_j) <= found.by_phase[path].uncertainty_j
    assert plain.total_j == found.total_j


def test_coverage_over_many_runs_with_aligned_clocks(tmp_path):
    rng = np.random.default_rng(5)
    inside = []
    for number in range(12):
        meter = OwnClock(rng.uniform(-1.5, 1.5), rng.uniform(-1e-4, 1e-4), 10.0, rng.choice([0.0, 0.1]), 0.5)
        found = account(signed(tmp_path / str(number), meter, seed=number))
        inside += [abs(found.by_phase[p].energy_j - t) <= found.by_phase[p].uncertainty_j for p, t in TRUTH_J.items()]
        assert error_s(clock_of(found), meter) <= clock_of(found)["bound_s"]
    assert np.mean(inside) >= 0.93


def test_a_wrong_pattern_leaves_the_stated_bound_and_says_why(tmp_path):
    run = SignedRun(tmp_path, OwnClock(noise_w=0.1))
    wrong = (0, *np.random.default_rng(4).permutation(pattern()[1:-1]), 0)
    run.sign(wrong)
    run.work()
    run.sign(wrong)
    found = account(run.finish())
    clock = clock_of(found)
    assert (clock["method"], clock["bound_s"], clock["offset_s"]) == ("stated", 2.0, None)
    assert "does not show the signature" in clock["reason"] and clock["peak_ratio"] > 0
    for path, truth_j in TRUTH_J.items():
        assert abs(found.by_phase[path].energy_j - truth_j) <= found.by_phase[path].uncertainty_j, path
    assert found.components_j["clock"] > 0.5 * found.uncertainty_j / 2


def test_a_run_that_was_killed_has_one_signature_and_a_bound_that_grows_with_the_distance(tmp_path):
    meter = OwnClock(drift=100e-6)
    run = SignedRun(tmp_path, meter)
    run.sign()
    run.work()
    found = account(run.finish())
    clock = clock_of(found)
    assert clock["method"] == "signature" and clock["drift"] == 0
    assert error_s(clock, meter) <= clock["bound_s"] and clock["bound_s"] > 500e-6 * 60


def test_without_a_signature_the_bound_is_the_stated_one_or_what_nobody_knows(tmp_path):
    for folder, stated_s, bound_s in (("a", 2.0, 2.0), ("b", 0.0, 5.0)):
        meter = OwnClock(bound_s=stated_s)
        run = SignedRun(tmp_path / folder, meter)
        run.work()
        clock = clock_of(account(run.finish()))
        assert (clock["method"], clock["bound_s"]) == ("stated", bound_s)
        assert "no signature was played" in clock["reason"]
        assert ("no offset_bound_s is stated for it, 5 s" in clock["reason"]) == (stated_s == 0.0)


def test_a_signature_is_as_long_as_the_slowest_meter_with_a_clock_of_its_own_needs_here_or_elsewhere():
    slow, fast = OwnClock().info(), OwnClock().info(clock="monotonic")
    rate_hz = 1.0
    needed_s = CHIPS * chip_for([fast, slow], rate_hz, None)
    assert needed_s == pytest.approx(CHIPS * 1.5)
    assert CHIPS * chip_for([slow], rate_hz, None, least_s=10.0) == pytest.approx(needed_s)
    assert CHIPS * chip_for([slow], rate_hz, None, least_s=200.0) == pytest.approx(200.0)
    assert CHIPS * chip_for([fast], rate_hz, None, least_s=10.0) == pytest.approx(10.0)
    assert CHIPS * chip_for([slow], rate_hz, 20.0, least_s=200.0) == pytest.approx(20.0)  # what the user says is done
    assert chip_for([fast], rate_hz, None) == 0.0


def test_a_clock_that_was_stepped_between_the_signatures_is_not_drawn_a_line_through(tmp_path):
    class Stepped(OwnClock):
        def ahead_at_s(self, time_s):
            return np.where(np.asarray(time_s) < 60, 0.2, 1.2)

    clock = clock_of(account(signed(tmp_path, Stepped())))
    assert clock["method"] == "stated" and "gained 1 s" in clock["reason"] and "stepped" in clock["reason"]


def test_round_trips_that_were_marked_come_before_a_signature(tmp_path):
    meter = OwnClock(-0.6, 20e-6)
    run = SignedRun(tmp_path, meter)
    run.sign()
    run.work()
    trips = []
    for at_s in np.arange(16, 110, 2.0):
        remote_s = at_s + 0.004 + float(meter.ahead_at_s(at_s + 0.004))
        trips.append([round(at_s * S), round(remote_s * S), round((at_s + 0.006) * S)])
    run.log.mark("round-trips", meter="another", trips=[[0, 0, -1]])
    run.log.mark("round-trips", meter="own", trips=trips)
    clock = clock_of(account(run.finish()))
    assert clock["method"] == "round-trip" and error_s(clock, meter) <= clock["bound_s"] < 0.02


def test_the_trace_stays_as_it_was_written_and_gives_the_same_again(tmp_path):
    rundir = signed(tmp_path, OwnClock(noise_w=0.2))
    before = rundir.trace("own", 0).read_bytes()
    assert account(rundir) == account(rundir)
    assert rundir.trace("own", 0).read_bytes() == before


def test_a_signature_that_tells_less_than_the_meter_states_is_not_used(tmp_path):
    """A clock known to 20 ms, one signature, 80 s away from the end: the drift alone may be 40 ms."""
    run = SignedRun(tmp_path, OwnClock(0.01, 0.0, bound_s=0.02))
    run.sign()
    run.work()
    clock = clock_of(account(run.finish()))
    assert (clock["method"], clock["bound_s"]) == ("stated", 0.02) and "no better" in clock["reason"]


def test_marks_of_a_user_by_the_same_names_are_not_taken_for_signatures(tmp_path):
    run = SignedRun(tmp_path, OwnClock())
    run.log.mark("signature", by="me")
    run.log.mark("signature", start_ns=0, end_ns=1, chip_s=0.1, busy_ns=[])
    run.log.mark("round-trips", meter="own")
    run.sign()
    run.work()
    run.sign()
    assert clock_of(account(run.finish()))["method"] == "signature"


def test_exported_readings_lie_on_the_phases_clock(tmp_path):
    """Power rises at the begin of the search, as the exported phases have it."""
    run = signed(tmp_path / "run", OwnClock())
    export_run(run, tmp_path / "out", "csv")
    phases = dict(line.split(",")[:2] for line in (tmp_path / "out" / "phases.csv").read_text().splitlines()[1:])
    rows = np.loadtxt(tmp_path / "out" / "trace-own-000.csv", delimiter=",", skiprows=1)
    near = np.abs(rows[:, 0] - float(phases["search"])) < 1.5
    risen = rows[near][np.argmax(rows[near][:, 2] > 8.9)]
    assert 0 <= risen[0] - float(phases["search"]) < 0.22


def test_a_damaged_header_is_the_traces_own_affair(tmp_path):
    rundir = signed(tmp_path, OwnClock())
    rundir.trace("own", 0).write_bytes(b"")
    found = account(rundir)
    assert clock_of(found)["method"] == "stated" and found.trace["damage"]


def test_the_true_power_of_these_runs_is_what_they_say(tmp_path):
    run = SignedRun(tmp_path, OwnClock())
    run.sign()
    run.work()
    wave = power_of(run.steps)
    begin_s = 20 + 65 * 0.15 + 4
    assert float(wave.energy_j(begin_s + 20) - wave.energy_j(begin_s)) == pytest.approx(TRUTH_J["search"])
