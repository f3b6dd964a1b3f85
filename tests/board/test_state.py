"""The board's state during a run, from lines of which a test knows what happened."""

from __future__ import annotations

import json

import pytest

from ebbench.board.state import board_state, facts
from ebbench.sealing.checks import check_run

S = 1_000_000_000


def line(event, at_s, **values):
    return {"event": event, "t_ns": int(at_s * S), **values}


@pytest.fixture
def logged(tmp_path):
    def summarise(*events):
        path = tmp_path / "board.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return board_state(path)

    return summarise


def quiet(start_s=0, end_s=10, **first):
    """A log in which nothing happens, one reading per second."""
    state = {
        "power_mode": "0",
        "settings": {"policy0/scaling_max_freq": "2000000"},
        "throttled": [],
        "mig": False,
        **first,
    }
    lines = [line("start", start_s, absent={}), line("state", start_s, **state)]
    return lines + [
        line("state", t, throttled=[], temperature_c={"cpu": 40.0 + t}) for t in range(start_s + 1, end_s + 1)
    ]


def test_a_run_in_which_nothing_happened_says_so(logged):
    state = logged(*quiet())
    assert (state["watched_s"], state["throttled_s"], state["power_mode_changes"]) == (10.0, 0.0, 0)
    assert state["settings_changed"] == [] and state["mig"] is False
    assert state["temperature_c"]["cpu"] == {"start": 41.0, "end": 50.0, "min": 41.0, "max": 50.0}
    found = facts(state, 10.5)
    assert (found["throttled_s"], found["power_mode_changed"], found["clocks_changed"], found["mig"]) == (0, 0, 0, 0)


def test_nothing_logged_is_nothing_known(tmp_path):
    assert board_state(tmp_path / "board.jsonl") is None
    assert facts(None, 10.0) == {}


def test_what_cannot_be_read_is_unknown_and_not_zero(logged):
    state = logged(line("start", 0, absent={"nvml": "no GPU"}), line("state", 0), line("state", 10))
    for key in (
        "throttled_s",
        "power_mode",
        "power_mode_changes",
        "settings_changed",
        "temperature_c",
        "foreign_processes",
    ):
        assert state[key] is None, key
    found = facts(state, 10.0)
    assert found["throttled_s"] is found["power_mode_changed"] is found["clocks_changed"] is None
    assert "mig" not in found and "foreign_processes" not in found


def test_throttling_counts_the_intervals_on_both_sides_of_a_reading_that_shows_it(logged):
    events = quiet()
    events[5]["throttled"] = ["cpu-balanced cooling_device1"]  # the reading at 4 s
    state = logged(*events)
    assert state["throttled_s"] == 2.0 and state["throttled_by_s"] == {"cpu-balanced cooling_device1": 2.0}


def test_a_counter_that_rises_is_throttling_in_between_and_its_value_at_the_start_is_none(logged):
    events = quiet(throttle_counts={"oc3": 27})
    events[7]["throttle_counts"] = {"oc3": 29}
    state = logged(*events)
    assert state["throttled_s"] == 1.0 and state["throttled_by_s"] == {"oc3": 1.0}


def test_a_mode_that_changes_and_comes_back_has_changed(logged):
    events = quiet()
    events[4]["power_mode"], events[6]["power_mode"] = "2", "0"
    state = logged(*events)
    assert state["power_mode"] == {"start": "0", "end": "0"} and state["power_mode_changes"] == 2
    assert facts(state, 10.0)["power_mode_changed"] == 1.0


def test_limits_of_clocks_that_change_are_named_and_a_cpu_that_goes_away_is_no_other_limit(logged):
    events = quiet(settings={"a/max_freq": "1", "b/max_freq": "1", "cpu online": "0-3"})
    events[4]["settings"] = {"a/max_freq": "1", "cpu online": "0-1"}
    events[6]["settings"] = {"a/max_freq": "2", "cpu online": "0-1"}
    assert logged(*events)["settings_changed"] == ["a/max_freq", "cpu online"]


def test_between_two_starts_nothing_was_watched(logged):
    state = logged(*quiet(0, 4), *quiet(1000, 1004, power_mode="1"))
    assert state["watched_s"] == 8.0 and state["power_mode_changes"] == 1


def test_a_log_that_ends_early_proves_nothing_but_what_it_saw_counts(logged):
    assert facts(logged(*quiet(0, 4)), 60.0)["throttled_s"] is None
    events = quiet(0, 4)
    events[3]["throttled"] = ["gpu temperature"]
    assert facts(logged(*events), 60.0)["throttled_s"] == 2.0


def test_waiting_for_a_processor_is_counted_over_all_starts_against_the_time_that_one_was_wanted(logged):
    first = [line("start", 0, absent={})]
    first += [line("state", t, processor={"ran_s": 5 + 0.6 * t, "waited_s": 0.2 * t}) for t in range(11)]
    first.append(line("state", 11, processor={"ran_s": 0.5, "waited_s": 0.1}))  # a thread has ended
    second = [line("start", 50, absent={})]
    second += [line("state", 50 + t, processor={"ran_s": 0.1 * t, "waited_s": 0.2 * t}) for t in range(11)]
    state = logged(*first, *second)
    assert state["processor"] == pytest.approx({"ran_s": 7.0, "waited_s": 4.0})
    assert facts(state, 21.0)["processor_waited"] == pytest.approx(4 / 11)
    assert "processor_waited" not in facts(logged(*quiet()), 10.0)
    idle = [line("state", t, processor={"ran_s": 0.01 * t, "waited_s": 0.01 * t}) for t in range(11)]
    assert "processor_waited" not in facts(logged(line("start", 0, absent={}), *idle), 10.0)  # somebody else works


def test_a_torn_line_costs_itself_only(logged, tmp_path):
    logged(*quiet())
    path = tmp_path / "board.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:5], lines[5][:20], b"\xff\x00", *lines[6:-1], lines[-1][:9]]))
    assert board_state(path)["watched_s"] == 9.0


@pytest.mark.parametrize(
    ("found", "name", "verdict"),
    [
        ({"throttled_s": 1.0, "watched_s": 100.0}, "thermal throttling", "WARN"),
        ({"throttled_s": 6.0, "watched_s": 100.0}, "thermal throttling", "FAIL"),
        ({"power_mode_changed": 1.0}, "power mode unchanged", "FAIL"),
        ({"clocks_changed": 2.0}, "clocks unchanged", "WARN"),
        ({"foreign_processes": None}, "GPU used by this run alone", "NOT CHECKED"),
        ({"foreign_processes": 1.0, "foreign_names": [{"pid": 7, "name": "x"}]}, "GPU used by this run alone", "WARN"),
        ({"mig": 1.0}, "GPU not split", "WARN"),
        ({"processor_waited": 0.04}, "processor to itself", "PASS"),
        ({"processor_waited": 0.4}, "processor to itself", "WARN"),
        ({}, "processor to itself", "NOT CHECKED"),
        ({"start_limit_c": 40.0, "start_c": 41.5}, "temperature at the start", "WARN"),
        ({"start_limit_c": 40.0, "start_c": 39.5}, "temperature at the start", "PASS"),
        ({"start_limit_c": 40.0, "start_c": None}, "temperature at the start", "NOT CHECKED"),
    ],
)
def test_each_finding_has_its_check(found, name, verdict, account):
    (check,) = [each for each in check_run(account, facts=found) if each.name == name]
    assert check.verdict == verdict
    assert (check.advice == "") == (verdict == "PASS")


@pytest.fixture
def account():
    from ebbench.records import EnergyAccount

    return EnergyAccount({}, "simulated", 1.0, 0.1, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, {}, [], {}, {})
