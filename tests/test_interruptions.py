"""Runs that are killed at chosen moments and resumed: the same network, and energies that are true."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conductor import only_run, record, weights, write_experiment
from truth import energy_j, segments, truth_of

from ebbench.energy.traces.trace import TraceReader, TraceWriter
from ebbench.rundir import RunDir
from ebbench.sealing.record import record_of

pytestmark = pytest.mark.realtime

#: three steps in each of four epochs
SMALL = {"images": 48, "idle_s": 0.2, "amplify_s": 3.0}
#: of each scenario: seconds between checkpoints, then when the run is killed, once per start
SCENARIOS = {
    "checkpoints at every step": (
        0.001,
        [
            {"after": "begin idle"},
            {"after": "begin search/epoch-2/checkpoint", "times": 3, "power_cut": True},
            {"after": "begin prune", "power_cut": True},
            {"after": "begin retrain/epoch-4/checkpoint", "times": 2},
        ],
    ),
    "no checkpoint before the ticket": (
        600.0,
        [
            {"after": "end search/epoch-2/draw"},
            {"after": "replace state.npz", "power_cut": True},
            {"after": "mark block", "times": 2},
            {"after": "replace record.json"},
        ],
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, nursery):
    """The run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    experiment = write_experiment(folder, **SMALL)
    code, _, err = nursery.call("run", experiment, "--out", "runs", cwd=folder)
    assert code == 0, err
    return only_run(folder / "runs")


@pytest.fixture(scope="module", params=list(SCENARIOS))
def killed(request, tmp_path_factory, nursery):
    """A run that was killed at each moment of a scenario, and resumed to its end."""
    folder = tmp_path_factory.mktemp("killed")
    checkpoint_s, moments = SCENARIOS[request.param]
    experiment = write_experiment(folder, checkpoint_s=checkpoint_s, **SMALL)
    for moment in moments:
        code, _, err = nursery.call("run", experiment, "--out", "runs", "--resume", cwd=folder, moment=moment)
        assert code == -9, (moment, err)
    code, _, err = nursery.call("run", experiment, "--out", "runs", "--resume", cwd=folder)
    assert code == 0, err
    return only_run(folder / "runs")


def test_it_ends_with_the_same_masks_and_weights(killed, whole):
    assert weights(killed) == weights(whole)


def test_it_finds_the_same(killed, whole):
    found, expected = record(killed), record(whole)
    for part in ("status", "ticket", "accuracy", "flops", "notes"):
        assert found[part] == expected[part]
    assert found["mask_distance_overhead"]["flops_fraction"] == expected["mask_distance_overhead"]["flops_fraction"]


def test_the_sums_contain_the_truth(killed):
    energy, truth = record(killed)["energy"], truth_of(killed)
    margin_j = 1.5 * energy["uncertainty_j"]
    assert abs(energy["total_j"] - truth.total_j) <= margin_j
    assert 0 < energy["redone_j"] < energy["total_j"]
    assert abs(energy["redone_j"] - truth.redone_j) <= margin_j
    assert abs(energy["other_j"] - truth.other_j) <= margin_j + 0.02 * truth.other_j
    assert energy["covered_s"] == pytest.approx(truth.covered_s, abs=1e-6)


def test_every_phase_contains_the_truth(killed):
    """Nine intervals in ten, and every one within twice its width."""
    inside = []
    for phase in record(killed)["energy"]["phases"]:
        truth_j, covered_s = energy_j(killed, phase["start_ns"], phase["end_ns"])
        assert (phase["status"] == "missing") == (covered_s == 0), phase
        if covered_s > 0.05:
            off_j = abs(phase["energy_j"] - truth_j)
            assert off_j <= 2 * phase["uncertainty_j"] + 1e-9, phase
            inside.append(off_j <= phase["uncertainty_j"] + 1e-9)
    assert sum(inside) >= 0.9 * len(inside) - 1


def test_the_time_between_death_and_start_is_down_time(killed):
    """From the last sign of life of each start to the next start."""
    groups, energy = segments(killed), record(killed)["energy"]
    longest_s = sum(b[0]["t_ns"] - a[-1]["t_ns"] for a, b in zip(groups, groups[1:])) * 1e-9
    assert longest_s - 1.0 * (len(groups) - 1) < energy["down_s"] <= longest_s


def test_reasons_are_short_and_about_their_own_time(killed):
    energy = record(killed)["energy"]
    for phase in [energy, *energy["phases"], *energy["by_phase"].values()]:
        assert len(phase["reason"] or "") < 200, phase["reason"]
        assert " after it" not in (phase["reason"] or "")


def test_the_overhead_is_of_the_blocks_of_the_last_start(killed):
    """Blocks of a start that was killed have other repeats: they are not mixed."""
    amplified = record(killed)["mask_distance_overhead"]["amplified"]
    blocks = [e["values"] for e in segments(killed)[-1] if e["event"] == "mark" and e["name"] == "block"]
    half_width_w = amplified["uncertainty_j"] / amplified["duration_per_draw_s"]
    assert abs(amplified["power_w"] - 6.0) <= 1.5 * half_width_w  # what the simulated board draws during a draw
    waited = {check["name"]: check["value"] for check in record(killed)["checks"]}["processor to itself"]
    alone = waited is not None and waited < 0.01  # what a moment in the blocks costs is little of the whole run's share
    assert half_width_w < (3.0 if alone else 6.0)  # among others it is wide, and still more than nothing
    draws = {block["path"]: block["repeats"] for block in blocks if block["kind"] == "draw"}
    rested_s = sum(block["rested_s"] for block in blocks if block["kind"] == "draw")
    last = [p for p in record(killed)["energy"]["phases"] if p["segment"] == len(segments(killed)) - 1]
    drawn_s = sum(p["duration_s"] for p in last if p["path"] in draws)
    assert amplified["duration_per_draw_s"] == pytest.approx((drawn_s - rested_s) / sum(draws.values()), rel=1e-9)


def test_nothing_is_left_over(killed):
    assert [p.name for p in killed.rglob("*.tmp")] == []


EARLIER_NS = 10**15  # the first boot had been up for eleven days more


def of_another_boot(folder, copy):
    """The same run, but its first start was on an earlier boot of the machine, whose clock showed other times."""
    shutil.copytree(folder, copy)
    groups = segments(copy)
    for event in groups[0]:
        event["t_ns"] += EARLIER_NS
    groups[0][0]["boot_id"] = "another"
    for restored in (group[0]["restored"] for group in groups[1:]):
        if restored and restored["segment"] == 0:
            restored["t_ns"] += EARLIER_NS
    lines = [json.dumps(event) + "\n" for group in groups for event in group]
    (copy / "phases.jsonl").write_text("".join(lines))
    reader = TraceReader(copy / "trace-sim-000.arrows")
    header = {k: v for k, v in reader.metadata.items() if k not in ("format_version", "meter", "boot_id")}
    writer = TraceWriter(copy / "first", reader.info, {**header, "boot_id": "another"})
    for chunk in reader:
        values = [chunk.values[c.name] / c.scale for c in reader.info.columns]
        writer.extend(chunk.time_ns + EARLIER_NS, chunk.read_ns, chunk.seq, np.stack(values, 1))
    writer.close()
    (copy / "first").replace(reader.path)
    return record_of(RunDir(copy)).energy


def test_a_reboot_in_between_changes_no_energy(killed, tmp_path):
    one, two = record(killed)["energy"], of_another_boot(killed, tmp_path / "run")
    assert {e["boot_id"] for e in (g[0] for g in segments(tmp_path / "run"))} > {"another"}
    for name in ("total_j", "redone_j", "other_j", "covered_s", "duration_s", "uncertainty_j"):
        assert getattr(two, name) == pytest.approx(one[name], rel=1e-6), name
    assert abs(two.down_s - one["down_s"]) < 1.5  # by the wall clock, from the last event and not the last reading
    assert len(two.gaps) == len(one["gaps"]) - 1  # the hole between two boots is in `down_s` alone


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied"])
def test_a_damaged_trace_of_the_first_start_costs_no_more_than_itself(killed, tmp_path, damage):
    shutil.copytree(killed, tmp_path / "run")
    path = tmp_path / "run" / "trace-sim-000.arrows"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        start = 3 * len(content) // 4  # a stretch, since a single bit may lie in the padding between buffers
        content[start : start + 64] = bytes(byte ^ 0x10 for byte in content[start : start + 64])
    path.write_bytes({"flipped": content, "cut": content[: len(content) // 2 | 1], "emptied": b""}[damage])
    run = record_of(RunDir(tmp_path / "run"))
    whole = record(killed)["energy"]
    lost = [p for p in whole["phases"] if p["segment"] == 0]
    assert "trace-sim-000" in run.energy.trace["damage"]
    assert next(c for c in run.checks if c.name == "trace whole").verdict == "WARN"
    assert run.energy.covered_s <= whole["covered_s"]
    assert all(p["status"] != "ok" for p in run.energy.phases if p["segment"] == 0)
    assert [p for p in run.energy.phases if p["segment"] > 0] == [p for p in whole["phases"] if p["segment"] > 0]
    if any(p["path"].startswith("search") for p in lost):
        assert run.energy.status == "partial" and run.energy.reason
