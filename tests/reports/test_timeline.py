from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sample_runs import BOOT, SPANS, early_bird, record, write_run

from ebbench.clock import ClockReading
from ebbench.energy.traces.trace import Chunk
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench_reports import figures, timeline
from ebbench_reports.collect import collect
from ebbench_reports.curves import accuracy_curve, phase_energies, ticket_distances
from ebbench_reports.timeline import Band, Clockwork, Point, Timeline, power_at, read_timeline


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("traced") / "run", early_bird(), traced=True)
    run = collect([folder]).runs[0]
    return run, read_timeline(run)


def test_the_bands_are_the_phases_in_seconds_since_the_start(traced):
    _, found = traced
    tops = [(b.path, round(b.start_s, 6), round(b.end_s, 6)) for b in found.bands if b.depth == 0]
    assert tops == [(path, float(start), float(end)) for path, start, end in SPANS]
    assert {b.name for b in found.bands if b.depth == 2} == {"draw"}


def test_the_ticket_and_the_accuracies_are_points_with_their_phase(traced):
    _, found = traced
    ticket = next(p for p in found.points if p.name == "ticket")
    assert ticket.values["epoch"] == 11 and ticket.time_s == pytest.approx(123.999)
    assert {p.phase for p in found.points if p.name == "accuracy"} == {"search", "retrain"}


def test_the_envelope_keeps_the_mean_and_every_extreme_and_breaks_at_the_gap(traced):
    _, found = traced
    power = found.power
    known = np.isfinite(power.low_w)
    assert np.all(power.low_w[known] <= power.mean_w[known]) and np.all(power.mean_w[known] <= power.high_w[known])
    assert len(known) <= timeline.BINS + 1 and (~known).sum() == 1
    assert 150 <= power.time_s[~known][0] <= 158
    idle = known & (power.time_s < 9.5)
    assert np.mean(power.mean_w[idle]) == pytest.approx(3.1, abs=0.05)


def test_the_envelope_does_not_depend_on_how_a_trace_is_cut_into_batches():
    time_s = np.sort(np.random.default_rng(5).uniform(0, 60, 5000))
    power_w = np.random.default_rng(6).normal(10, 2, 5000)
    whole, cut = timeline._Bins(60.0), timeline._Bins(60.0)
    whole.add(time_s, power_w, 1.0)
    for piece in np.array_split(np.arange(5000), 37):
        cut.add(time_s[piece], power_w[piece], 1.0)
    for one, other in zip(vars(whole.envelope()).values(), vars(cut.envelope()).values()):
        np.testing.assert_allclose(one, other)
    assert np.nanmax(whole.envelope().high_w) == power_w.max()


def chunk(**values):
    n = len(next(iter(values.values())))
    arrays = {name: np.asarray(v, dtype=float) for name, v in values.items()}
    stamps = np.arange(n, dtype=np.int64) * 1_000_000_000
    return Chunk(stamps, stamps * 0, np.arange(n), arrays, ClockReading(0, 0, 0), (), {})


def power_of_chunk(rails, found, **facts):
    info = MeterInfo(
        "m",
        "module",
        False,
        tuple(Rail(rail, "module", **facts) for rail in rails),
        tuple(map(Column, found.values)),
        (),
        1.0,
    )
    return power_at(info, rails, found)


@pytest.mark.parametrize(
    "rails, values, power_w",
    [
        (["IN"], {"IN_w": [5, 6]}, [5, 6]),
        (["IN"], {"IN_v": [5, 5], "IN_a": [1, 2]}, [5, 10]),
        (["GPU"], {"GPU_j": [0, 7, 14]}, [7, 7, 7]),
        (["A", "B"], {"A_w": [1, 2], "B_w": [10, 20]}, [11, 22]),
        (["A", "B"], {"A_w": [1, 2]}, None),
    ],
)
def test_power_comes_from_watts_or_volts_times_amperes_or_a_counter(rails, values, power_w):
    found = chunk(**values)
    time_ns, power = power_of_chunk(rails, found)
    assert (power if power is None else power.tolist()) == power_w and time_ns.tolist() == found.time_ns.tolist()


def test_power_is_drawn_as_the_account_takes_it_earlier_by_its_delay_and_corrected():
    found = chunk(IN_w=[5, 6])
    time_ns, power_w = power_of_chunk(["IN"], found, delay_s=0.25, gain_correction=1.1, offset_correction_w=-0.5)
    assert power_w == pytest.approx([5.0, 6.1]) and (found.time_ns - time_ns).tolist() == [250_000_000] * 2


def test_boots_are_joined_by_the_wall_clock_and_a_boot_by_its_own():
    start = {"event": "start", "boot_id": "one", "t_ns": 50_000_000_000, "wall_ns": 1_000_000_000_000}
    again = {"event": "start", "boot_id": "two", "t_ns": 3_000_000_000, "wall_ns": 1_100_000_000_000}
    clockwork = Clockwork([start, again])
    assert clockwork.seconds("one", 51_000_000_000) == 1.0
    assert clockwork.seconds("two", 3_500_000_000) == 100.5
    assert clockwork.seconds("three", 0) is None


def test_without_a_phase_log_there_is_no_timeline(tmp_path):
    folder = write_run(tmp_path / "run", record())
    (folder / "phases.jsonl").unlink()
    assert read_timeline(collect([folder]).runs[0]) is None


def test_a_trace_that_cannot_be_read_leaves_the_phases(tmp_path):
    folder = write_run(tmp_path / "run", early_bird(), traced=True)
    next(folder.glob("trace-*")).write_bytes(b"no trace")
    found = read_timeline(collect([folder]).runs[0])
    assert found.power is None and found.bands


def test_epochs_go_on_counting_through_the_retraining(traced):
    _, found = traced
    epochs, values, changes = accuracy_curve(found)
    assert epochs == list(range(1, 21)) and changes == [11.5]
    assert len(values) == 20


def test_an_epoch_done_twice_counts_once(tmp_path):
    folder = write_run(tmp_path / "run", early_bird())
    lines = (folder / "phases.jsonl").read_text().splitlines(keepends=True)
    first = next(line for line in lines if '"metric"' in line)
    again = json.loads(first)
    again["value"] = 0.123
    lines.insert(lines.index(first) + 1, json.dumps(again) + "\n")
    (folder / "phases.jsonl").write_text("".join(lines))
    epochs, values, _ = accuracy_curve(read_timeline(collect([folder]).runs[0]))
    assert epochs == list(range(1, 21)) and values[0] == 0.123


def test_phases_that_only_evaluate_are_no_training_energy(traced):
    run, _ = traced
    energies = phase_energies(run)
    assert list(energies) == ["search", "prune", "retrain"]
    assert energies["search"] == pytest.approx(0.54 * 140e3)


def test_the_phases_of_a_bar_end_at_the_total_whatever_a_method_calls_its_parts(traced):
    run, _ = traced
    training = {
        "search": 70.0,
        "search/epoch": 30.0,
        "search/trial-0": 40.0,
        "search/trial-0/retrain": 39.0,
        "prune": 1.0,
    }
    others = {"search/evaluate": 5.0, "search/trial-0/retrain/evaluate": 2.0}
    one = run.record.energy.by_phase["search"]
    by_phase = {path: replace(one, energy_j=energy_j) for path, energy_j in {**training, **others}.items()}
    record = replace(run.record, energy=replace(run.record.energy, by_phase=by_phase))
    assert phase_energies(replace(run, record=record)) == {"search": 63.0, "prune": 1.0}


def test_distances_belong_to_the_epoch_whose_mask_is_newer(traced):
    run, _ = traced
    found = ticket_distances(run)
    assert [epoch for epoch, _ in found] == list(range(2, 12))
    assert BOOT and found[0][1] > found[-1][1]


@pytest.mark.parametrize(("first", "expected"), [(10, [9.0, 12.0]), (1, [9.0, 18.0])])
def test_a_stage_begins_after_the_last_epoch_that_was_trained_before_it_evaluated_or_not(first, expected):
    """A search of nine epochs, evaluated at the ninth or never, and a retraining that counts on or begins at 1."""
    bands = [Band(f"search/epoch-{n}", n, n + 1, False) for n in range(1, 10)]
    bands += [Band(f"retrain/epoch-{n}", 20 + n, 21 + n, False) for n in range(first, first + 9)]
    late = Point("accuracy", 30.0, "retrain", 0.7, {"epoch": int(expected[1]) if first == 10 else 9})
    early = Point("accuracy", 9.0, "search", 0.5, {"epoch": 9})
    assert accuracy_curve(Timeline(tuple(bands), (early, late), 50.0, None)) == (expected, [0.5, 0.7], [9.5])
    assert accuracy_curve(Timeline(tuple(bands), (late,), 50.0, None)) == (expected[1:], [0.7], [])


def test_the_power_of_an_extrapolated_run_says_so_inside_the_picture_and_that_its_ticket_is_assumed(traced):
    run, found = traced
    how = {"by_phase": {}, "assumptions": [], "refused": None}
    ticket = {**run.record.ticket, "assumed": True, "found": None}
    recipe = {**run.record.recipe, "model": "a-network-with-quite-a-long-name-for-its-size"}
    energy = replace(run.record.energy, extrapolation=how)
    cut = replace(run, record=replace(run.record, energy=energy, ticket=ticket, recipe=recipe))
    figure = figures.power(cut, found)
    said = figure.texts[0].get_text()
    assert said.replace("\n", " ").endswith("· of an extrapolated run") and max(map(len, said.split("\n"))) <= 96
    assert figure.texts[0].get_window_extent().x1 <= figure.bbox.x1
    assert any("mask drawn, for a ticket of epoch 11" in text.get_text() for text in figure.axes[0].texts)
    assert any("ticket drawn, epoch 11" in text.get_text() for text in figures.power(run, found).axes[0].texts)
