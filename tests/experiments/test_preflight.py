"""All that is the user's to fix is said before the first run, of every run, at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ebbench import session
from ebbench.config import Bench, Recipe, run_id
from ebbench.errors import ConfigError, Faults, InputError, MeterError, UserError
from ebbench.experiments import preflight
from ebbench.experiments.conduct import find_experiment
from ebbench.experiments.file import Experiment, load_experiment
from ebbench.manifest import refuse_other_run
from ebbench.rundir import RunDir
from ebbench.training.data import datasets as data

QUICK = {"model": "vgg16-small", "dataset": "synthetic", "train_images": 64, "test_images": 32, "epochs": 4}
SIM = Bench(meters=("sim",), board="auto")


def experiment(*recipes, bench=SIM):
    return Experiment("mine", "", tuple(Recipe(**{**QUICK, **each}) for each in recipes), bench)


def test_runs_in_which_nothing_is_wrong_may_begin(tmp_path):
    preflight.check_all(experiment({"method": "dense"}, {"method": "eb-ff"}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_faults_of_the_last_run_and_of_the_bench_are_said_before_the_first(tmp_path):
    runs = experiment(
        {"method": "dense"}, {"method": "ebff"}, {"model": "vgg61", "dataset": "cifar11"}, {"train_images": 10**6},
        bench=Bench(meters=("simm",), board="tx3"),
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        preflight.check_all(runs, tmp_path)
    for fault in ("method 'ebff'", "model 'vgg61'", "dataset 'cifar11'", "1000000", "board 'tx3'", "meter 'simm'"):
        assert str(caught.value).count(fault) == 1, fault


def test_faults_of_numbers_hide_none_of_names(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "[experiment]\nmay_simulate = true\n[recipe]\nepochs = 0\nmodel = 'vgg61'\n[matrix]\nmethod = ['dense', 'ebff']\n"
        "[bench]\nmeters = ['auto']\nboard = 'tx3'\n[scale.small]\ndataset = 'cifar11'\nlearning_rate = -1.0\n"
    )
    with pytest.raises(ConfigError) as caught:
        find_experiment(str(path), {"seed": [-1]}, {"meters": ["simm"], "idle_s": -2.0}, "small")
    numbers = ("epochs = 0", "learning_rate = -1", "seed = -1", "idle_s = -2")
    names = ("model 'vgg61'", "method 'ebff'", "dataset 'cifar11'", "board 'tx3'", "meter 'simm'")
    assert len(caught.value.faults) == len(numbers + names)
    for fault in numbers + names:
        assert str(caught.value).count(fault) == 1, fault


def test_a_fault_of_a_number_is_alone_where_all_names_are_known(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))  # without a sensor: the quickstart may simulate
    with pytest.raises(ConfigError, match=r"^epochs = 0 is below 1$"):
        find_experiment("quickstart", {"epochs": [0]}, {"device": "cpu"})
    with pytest.raises(
        ConfigError, match=r"^/.*quickstart\.toml has no scale 'big'; known: small; epochs = 0 is below 1$"
    ):
        find_experiment("quickstart", {"epochs": [0]}, {}, "big")


def test_what_a_misspelt_key_was_to_name_is_not_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    path = tmp_path / "mine.toml"
    path.write_text("[recipe]\ndatset = 'synthetic'\n[bench]\nmetters = ['sim']\n")
    with pytest.raises(ConfigError) as caught:
        find_experiment(str(path), {}, {})
    assert [fault.split("unknown key ")[1].split(";")[0] for fault in caught.value.faults] == ["'datset'", "'metters'"]


def test_a_machine_without_a_meter_hides_no_fault_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match=r"unknown model 'vgg61'.*no meter found"):
        preflight.check_all(experiment({"model": "vgg61"}, bench=Bench(device="cpu")), tmp_path / "runs")


def test_what_two_runs_have_in_common_is_said_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        preflight.check_all(experiment({"dataset": "cifar11", "seed": 1}, {"dataset": "cifar11", "seed": 2}), tmp_path)
    assert str(caught.value).count("unknown dataset") == 1


def test_a_run_that_is_sealed_needs_its_data_no_more(tmp_path):
    runs = experiment({"dataset": "npz:gone.npz"})
    with pytest.raises(ConfigError, match=r"gone\.npz is not there"):
        preflight.check_all(runs, tmp_path)
    sealed = RunDir(tmp_path / run_id(runs.recipes[0], runs.bench))
    sealed.create()
    sealed.record.write_text("{}")
    preflight.check_all(runs, tmp_path)


def test_data_and_meters_of_another_machine_are_not_looked_for_here(tmp_path):
    away = Bench(on="nobody@nowhere", board_meters=("ina3221",))
    preflight.check_all(experiment({"dataset": "npz:only-there.npz"}, bench=away), tmp_path)
    with pytest.raises(ConfigError, match="unknown method 'ebff'"):
        preflight.check_all(experiment({"method": "ebff"}, bench=away), tmp_path)


def test_unit_energies_and_a_type_that_the_device_lacks_are_faults_before_the_first_run(tmp_path):
    bench = replace(SIM, unit_energies="horowits", device="cpu")
    runs = experiment(
        {"method": "dense"}, {"method": "eb-ll"}, {"method": "eb-amp", "amp_dtype": "float16"}, bench=bench
    )
    with pytest.raises(ConfigError) as caught:
        preflight.check_all(runs, tmp_path)
    for fault in ("unit energies 'horowits'", "amp_dtype = 'float16'"):
        assert str(caught.value).count(fault) == 1, fault
    preflight.check_all(experiment({"method": "dense"}, bench=bench), tmp_path)  # nothing of it is estimated


def test_a_machine_without_a_meter_is_no_fault_of_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    with pytest.raises(MeterError):
        preflight.check_all(experiment({}, bench=Bench(device="cpu")), tmp_path / "runs")


def test_data_are_loaded_once_within_the_block_and_anew_after_it(tmp_path):
    def write(grey):
        images = np.full((4, 32, 32, 3), grey, np.uint8)
        labels = np.array([0, 1, 0, 1])
        np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)

    name = f"npz:{tmp_path / 'd.npz'}"
    write(1)
    with data.loaded_once():
        first = data.load_dataset(name)
        assert data.load_dataset(name) is first
        assert data.load_dataset(name, train_images=2) is not first
    write(2)
    assert data.load_dataset(name).fingerprint != first.fingerprint


def test_a_file_says_the_faults_of_all_its_tables_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        "[experiment]\nmay_simulate = 3\n[recipe]\nmodle = 'vgg16'\nepochs = 0\n[matrix]\nseed = 1\nprune_ratio = [0.5, 2.0]\n"
        "[bench]\nmeterr = 'x'\nidle_s = -1.0\n[scale.small]\nepoch = 3\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, {}, {})
    faults = ["may_simulate = 3", "'modle'", "epochs = 0", "seed: a non-empty list", "prune_ratio = 2.0", "'meterr'"]
    for fault in [*faults, "idle_s = -1", "'epoch'"]:
        assert str(caught.value).count(fault) == 1, fault


def test_faults_are_gathered_in_order_and_each_once():
    faults = Faults()
    for error in (ConfigError("a", "b"), InputError("c"), ConfigError("a")):
        with faults.gathered():
            raise error
    with pytest.raises(ConfigError, match=r"^a; b; c$") as caught:
        faults.refuse()
    assert caught.value.faults == ("a", "b", "c")
    Faults().refuse()


def test_a_setting_that_an_older_version_did_not_know_was_at_its_default(tmp_path):
    rundir = RunDir(tmp_path / "run")
    new = {"recipe": Recipe(method="dense").settings(), "device": {"name": "cpu"}}
    older = {name: value for name, value in new["recipe"].items() if name not in ("share_phases", "width_multiple")}
    refuse_other_run(rundir, {**new, "recipe": older}, new)
    other = {**new, "recipe": Recipe(method="dense", seed=2, epochs=3).settings()}
    with pytest.raises(UserError, match="cannot be resumed with another seed, epochs; choose another --out"):
        refuse_other_run(rundir, {**new, "recipe": older}, {**other})


def test_a_file_where_the_runs_are_to_go_is_one_line(tmp_path):
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot make the run folder .*choose another with --out"):
        session.conduct(Recipe(**QUICK), SIM, tmp_path / "runs")
