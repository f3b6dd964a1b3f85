"""A conducted run, from the experiment's file to the sealed record; locked, killed, failed."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conductor import call, only_run, record, start, write_experiment

from ebbench.energy.phases import read_events
from ebbench.rundir import RunDir

pytestmark = pytest.mark.realtime


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """One whole run of EB Train with idle phases and amplified blocks, started as a user starts it."""
    folder = tmp_path_factory.mktemp("sealed")
    experiment = write_experiment(folder, idle_s=0.3, amplify_s=3.0)
    code, out, err = call("run", experiment, "--out", folder / "runs", "--json", cwd=folder)
    assert code == 0, err
    return only_run(folder / "runs"), json.loads(out)


def test_a_folder_of_runs_is_checked_run_by_run_and_one_that_did_not_end_hides_none(sealed, tmp_path, nursery):
    folder, _ = sealed
    shutil.copytree(folder, tmp_path / "whole")
    (tmp_path / "begun").mkdir()
    shutil.copy(folder / "manifest.json", tmp_path / "begun")
    code, out, err = nursery.call("check", tmp_path, "--json", cwd=tmp_path)
    ((*sealed_checks, last),) = [run["checks"] for run in json.loads(out)["runs"]]
    assert sealed_checks == record(folder)["checks"]
    assert (last["name"], last["verdict"]) == ("raw files as sealed", "PASS")
    assert code == 2 and "begun holds a run that did not end" in err


def test_the_record_printed_is_the_record_stored(sealed):
    folder, printed = sealed
    assert printed["runs"] == [record(folder)]


def test_every_phase_of_early_bird_training_is_in_the_account(sealed):
    found = record(sealed[0])["energy"]["by_phase"]
    expected = {"idle", "search", "search/epoch", "search/epoch/draw", "prune", "retrain", "retrain/epoch", "amplify"}
    assert expected <= set(found)
    assert all(found[path]["status"] == "ok" and found[path]["energy_j"] > 0 for path in ("search", "retrain", "idle"))
    assert found["search/epoch/draw"]["count"] == record(sealed[0])["ticket"]["searched_epochs"]


def test_the_total_is_the_training_phases_without_evaluation_and_checkpoints(sealed):
    energy = record(sealed[0])["energy"]
    phases = energy["phases"]
    training = sum(p["energy_j"] for p in phases if p["path"] in ("search", "prune", "retrain"))
    nested = sum(
        p["energy_j"]
        for p in phases
        if p["path"].split("/")[0] in ("search", "prune", "retrain")
        and p["path"].split("/")[-1] in ("evaluate", "checkpoint")
    )
    assert energy["total_j"] == pytest.approx(training - nested, rel=1e-9)


def test_a_run_without_a_meter_is_not_measured_and_says_so(tmp_path, nursery):
    experiment = write_experiment(tmp_path, method="dense", epochs=1)
    code, out, err = nursery.call("run", experiment, "--meter", "off", "--out", "runs", cwd=tmp_path)
    assert code == 0, err
    assert "not measured" in out and "NOT MEASURED: no meter was read" in out and "gaps" not in out
    found = record(only_run(tmp_path / "runs"))
    assert (found["kind"], found["energy"]["kind"], found["energy"]["total_j"]) == ("not measured",) * 2 + (None,)
    assert {phase["kind"] for phase in found["energy"]["by_phase"].values()} == {"not measured"}
    assert {phase["energy_j"] for phase in found["energy"]["by_phase"].values()} == {None}


def test_a_simulated_run_says_so_everywhere(sealed):
    found = record(sealed[0])
    assert found["kind"] == "simulated"
    assert {phase["kind"] for phase in found["energy"]["by_phase"].values()} == {"simulated"}
    assert all(meter["simulated"] for meter in found["meters"])
    assert found["mask_distance_overhead"]["kind"] == "simulated"


def test_the_energies_contain_the_closed_form_truth(sealed):
    """The simulated meter's power is a stated function of the stamped edges: the truth is a sum of power times duration."""
    from ebbench_devices.sim import SimulatedPower

    folder = RunDir(sealed[0])
    events = read_events(folder.phases)
    truth = SimulatedPower(events=events)
    energy = record(sealed[0])["energy"]
    judged = [phase for phase in energy["phases"] if phase["status"] == "ok" and phase["duration_s"] > 0.2]
    assert {"idle", "search"} <= {phase["path"] for phase in judged}
    for phase in judged:
        expected = truth.energy_j(phase["start_ns"], phase["end_ns"])
        assert abs(phase["energy_j"] - expected) <= 1.5 * phase["uncertainty_j"], phase


def test_the_overhead_has_an_interval_and_is_positive(sealed):
    overhead = record(sealed[0])["mask_distance_overhead"]
    assert 0 < overhead["energy_fraction"] < 0.1
    assert overhead["energy_fraction_uncertainty"] > 0
    assert overhead["time_fraction"] == overhead["duration_s"] / record(sealed[0])["energy"]["duration_s"] < 0.1
    assert 0 < overhead["flops_fraction"] < 1e-3
    assert 0 < overhead["memory_fraction"] < 1e-2


def test_every_raw_file_is_hashed_and_the_hashes_hold(sealed):
    folder = sealed[0]
    files = record(folder)["files"]
    assert {"manifest.json", "phases.jsonl", "masks.npz"} <= set(files)
    assert any(name.startswith("trace-sim-") for name in files)
    for name, digest in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_integrating_again_gives_the_same_record_beside_the_sealed_one(sealed, nursery):
    folder = sealed[0]
    before = (folder / "record.json").read_bytes()
    code, _, err = nursery.call("integrate", folder, cwd=folder.parent)
    assert code == 0, err
    assert (folder / "record-2.json").read_bytes() == before == (folder / "record.json").read_bytes()
    (folder / "record-2.json").unlink()


def test_a_sealed_run_is_found_and_not_repeated(sealed, nursery):
    folder = sealed[0]
    before = (folder / "record.json").stat().st_mtime_ns
    experiment = folder.parent.parent / "small.toml"
    code, _, err = nursery.call("run", experiment, "--out", folder.parent, cwd=folder.parent)
    assert code == 0 and "kept as it is" in err
    assert (folder / "record.json").stat().st_mtime_ns == before


def test_a_folder_that_another_process_writes_is_refused(tmp_path, nursery):
    experiment = write_experiment(tmp_path, idle_s=60.0)
    first = start("run", experiment, "--out", "runs", cwd=tmp_path)
    try:
        _wait_for(lambda: list((tmp_path / "runs").glob("*/phases.jsonl")), first)
        for how in ([], ["--resume"]):
            code, _, err = nursery.call("run", experiment, "--out", "runs", *how, cwd=tmp_path)
            assert code == 2
            assert "another process is writing" in err and "did not end" not in err
    finally:
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "Traceback" not in err and "--resume" in err


def test_a_run_that_did_not_end_is_refused_without_resume(tmp_path, nursery):
    experiment = write_experiment(tmp_path, idle_s=60.0)
    assert nursery.call("run", experiment, "--out", "runs", cwd=tmp_path, moment={"after": "begin idle"})[0] == -9
    code, _, err = nursery.call("run", experiment, "--out", "runs", cwd=tmp_path)
    assert code == 2 and "--resume" in err


def test_a_run_whose_meter_is_not_there_leaves_no_folder_behind(tmp_path, nursery):
    experiment = write_experiment(tmp_path)
    meter = "tcp:127.0.0.1:1?scope=wall&pattern=([0-9]+)&unit=W"
    code, _, err = nursery.call("run", experiment, "--meter", "sim", "--meter", meter, "--out", "runs", cwd=tmp_path)
    assert code == 3 and "Connection refused" in err
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_loss_that_is_nan_fails_the_run_and_keeps_what_was_measured(tmp_path, nursery):
    experiment = write_experiment(tmp_path, method="dense", extra="")
    text = experiment.read_text().replace("[bench]", "learning_rate = 1e30\n[bench]")
    experiment.write_text(text)
    code, _, err = nursery.call("run", experiment, "--out", "runs", cwd=tmp_path)
    assert code == 1, err
    assert "Traceback" not in err
    found = record(only_run(tmp_path / "runs"))
    assert found["status"] == "failed"
    assert "loss" in found["reason"]
    assert found["energy"]["total_j"] > 0
    assert found["verdict"] == "FAIL"
    (ended,) = [check for check in found["checks"] if check["name"] == "run ended"]
    assert ended["verdict"] == "FAIL" and found["reason"] in ended["advice"]


def _wait_for(happened, process, patience_s=60.0):
    """Poll until something is so; fail at once when the process ends before."""
    deadline_s = time.monotonic() + patience_s
    while not happened():
        if process.poll() is not None:
            if happened():
                return
            raise AssertionError(f"ended early with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.005)
