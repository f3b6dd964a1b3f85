"""Every fault of the user's is one line on stderr that says what to do, exit code 2, and no traceback."""

from __future__ import annotations

import json
import re

import click
import numpy as np
import pytest

from ebbench import plugins
from ebbench.cli import cli, main
from ebbench.measuring.monitor import EnergyMonitor


@pytest.fixture
def ebbench(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as leaving:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return leaving.value.code, out, err

    return call


def npz(path, **replaced):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8),
        "y_train": np.arange(20) % 10,
        "x_test": rng.integers(0, 256, (10, 32, 32, 3)).astype(np.uint8),
        "y_test": np.arange(10) % 10,
    }
    arrays.update(replaced)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return f"npz:{path}"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "quickstrat"], ["quickstrat", "did you mean 'quickstart'"]),
        (["run", "--method", "eb-fff"], ["eb-fff", "did you mean 'eb-ff'"]),
        (["run", "--model", "vgg61"], ["vgg61", "vgg16"]),
        (["run", "--dataset", "cifar11"], ["cifar11", "cifar10"]),
        (["run", "--dataset", "npz:nowhere.npz"], ["nowhere.npz"]),
        (["run", "--dataset", "cifar10", "--data-dir", "nowhere"], ["nowhere"]),
        (["run", "--meter", "ina3212"], ["ina3212", "did you mean 'ina3221'"]),
        (["run", "--board", "tx3"], ["tx3", "tx2"]),
        (["run", "--prune-ratio", "1.5"], ["prune_ratio", "(0, 1)"]),
        (["run", "--prune-ratio", "0"], ["prune_ratio", "(0, 1)"]),
        (["run", "--prune-ratio", "most"], ["'most'", "neither a number nor 'auto'"]),
        (["run", "--method", "dense", "--prune-ratio", "auto"], ["prune_ratio = 'auto'", "nothing to method 'dense'"]),
        (["run", "--method", "ns", "--prune-ratio", "auto"], ["eb-ff and eb-reinit", "'ns'", "give it a number"]),
        (["run", "--method", "eb-ll", "--prune-ratio", "auto"], ["eb-ff and eb-reinit", "'eb-ll'"]),
        (["run", "--prune-ratio", "auto", "--auto-ratio", "1.2"], ["auto_ratios = [1.2]", "(0, 1)"]),
        (["run", "--prune-ratio", "auto", "--auto-ratio", "0.5", "--auto-ratio", "0.5"], ["rise, each once"]),
        (["run", "--prune-ratio", "auto", "--auto-epochs", "0"], ["auto_epochs = 0", "outside 1.."]),
        (["run", "--prune-ratio", "auto", "--auto-max-loss", "2"], ["auto_max_loss = 2.0", "percentage points"]),
        (["run", "--prune-ratio", "auto", "--auto-images", "3"], ["auto_images = 3", "below 10"]),
        (["run", "--prune-ratio", "auto", "--draw", "final"], ["'auto' draws at 'early-bird'"]),
        (
            ["run", "--prune-ratio", "auto", "--measure-epochs", "3", "--ticket-epoch", "9"],
            ["measure_epochs = 3", "decide"],
        ),
        (
            ["run", "--method", "eb-ff", "--auto-epochs", "2"],
            ["auto_epochs: only prune_ratio = 'auto'", "leave it out"],
        ),
        (["run", "--width-multiple", "0"], ["width_multiple = 0", "below 1"]),
        (["run", "--method", "sfp", "--width-multiple", "8"], ["width_multiple = 8", "nothing to method 'sfp'"]),
        (
            ["run", "--width-multiple", "64"],
            ["width_multiple = 64", "every layer of 'vgg16-small' whole", "at most 32"],
        ),
        (["run", "--seed", "99999999999999999999"], ["seed = 99999999999999999999 is above"]),
        (["run", "--epochs", "0"], ["epochs"]),
        (["run", "--draw", "sometimes"], ["draw", "early-bird"]),
        (["run", "--draw", "99"], ["draw", "1..16"]),
        (["run", "--amplify", "much"], ["--amplify", "off"]),
        (["run", "--idle", "-1"], ["idle_s"]),
        (["run", "--rate", "1e12"], ["rate_hz = 1e+12 is above 2e+06"]),
        (["calibrate", "sim", "--rate", "1e12"], ["rate_hz = 1e+12"]),
        (["meters", "sample", "sim", "--rate", "1e12"], ["rate = 1000000000000.0", "at most 2e+06"]),
        (["run", "--device", "tpu"], ["tpu", "cpu"]),
        (["run", "vgg16-cifar10", "--scale", "small"], ["vgg16-cifar10", "no scale 'small'"]),
        (["run", "table2", "--scale", "smal"], ["did you mean 'small'"]),
        (["run", "--method", "dense", "--prune-ratio", "0.3"], ["prune_ratio = 0.3", "nothing to method 'dense'"]),
        (["run", "--method", "sfp", "--draw", "final"], ["draw = 'final'", "nothing to method 'sfp'"]),
        (["run", "--method", "ns", "--draw", "early-bird"], ["EB Train's", "'best-accuracy'"]),
        (["run", "--method", "ns", "--prune-ratio", "0.99"], ["each of its 13 layers keeps one", "take at most"]),
        (["run", "--method", "lt", "--prune-ratio", "0.99999"], ["of its 13 layers keeps one", "take at most"]),
        (["run", "nowhere.toml"], ["nowhere.toml", "not there"]),
        (["run", "--bench", "nowhere.toml"], ["nowhere.toml", "not there"]),
        (["run", "--sedd", "1"], ["--sedd", "--seed"]),
        (["rum"], ["rum", "--help"]),
        (["report", "nowhere"], ["nowhere"]),
        (["check", "nowhere"], ["nowhere"]),
        (["integrate", "nowhere"], ["nowhere"]),
        (["integrate"], ["--trace"]),
        (["integrate", "--trace", "a.csv"], ["--phases"]),
        (["integrate", "nowhere", "--gain", "0.01"], ["--gain", "--trace"]),
        (["integrate", "nowhere", "--time-unit", "ms"], ["--time-unit", "--trace"]),
        (["integrate", "--trace", "a.csv", "--phases", "b.csv"], ["b.csv"]),
        (["export", "nowhere"], ["nowhere"]),
        (["mark", "begin", "load"], ["ebbench measure"]),
        (["meters", "sample", "ina3212"], ["ina3212", "ina3221"]),
        (["flops", "--model", "vgg61"], ["vgg61", "vgg16"]),
        (["flops", "--method", "eb-ff", "--prune-ratio", "2"], ["prune"]),
        (["measure", "--meter", "sim", "--", "no-such-program"], ["no-such-program"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_fault_is_one_line_that_names_it(ebbench, arguments, words):
    code, _, err = ebbench(*arguments)
    assert code == 2, err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("ebbench: ")]
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    "arguments, faults",
    [
        (
            [
                "run",
                "--rate",
                "abc",
                "--seed",
                "1",
                "--seed",
                "b",
                "--amplify",
                "on",
                "--method",
                "foo",
                "--meter",
                "bar",
            ],
            [
                "'abc' is not a valid float",
                "'b' is not a valid integer",
                "neither a number nor 'off'",
                "method 'foo'",
                "meter 'bar'",
            ],
        ),
        (["run", "--measure-epochs", "x", "--ticket-epoch", "20"], ["'x' is not a valid integer"]),
        (["run", "nowhere.toml", "--epochs", "x"], ["'x' is not a valid integer", "nowhere.toml is not there"]),
        (["measure", "--rate", "abc", "--max-gap", "x"], ["'abc' is", "'x' is", "Missing argument"]),
        (["meters", "sample", "sim", "--seconds", "a", "--rate", "b"], ["'a' is", "'b' is"]),
        (["flops", "--epochs", "a", "--convention", "b"], ["'a' is", "'b' is"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_values_of_another_type_hide_nothing_and_are_said_at_once(ebbench, arguments, faults):
    """What settings mean together is not said where one of them could not be read: it would be said of what nobody typed."""
    code, _, err = ebbench(*arguments)
    assert code == 2 and len(err.splitlines()) == 1
    assert all(fault in err for fault in faults) and err.count("; ") == err.count("; known") + len(faults) - 1, err


@pytest.mark.parametrize("out", ["a-file", "a-file/below", "n" * 300, "a-circle/below"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--method", "dense", "--meter", "sim"],
        ["measure", "--meter", "sim"],
        ["report", "sealed"],
        ["export", "sealed"],
    ],
    ids=" ".join,
)
def test_an_out_that_cannot_be_a_folder_is_the_users_to_mend(ebbench, tmp_path, arguments, out):
    (tmp_path / "a-file").write_text("")
    (tmp_path / "a-circle").symlink_to("a-circle")
    if "sealed" in arguments:
        with EnergyMonitor("sim", tmp_path / "sealed"):
            pass
    code, _, err = ebbench(*arguments, "--out", out, *(["--", "true"] if arguments[0] == "measure" else []))
    assert code == 2 and "Traceback" not in err, err
    assert out in err.splitlines()[-1] and re.search("choose another|give another path", err), err


@pytest.mark.parametrize(
    "fault, words",
    [
        ({"y_test": None}, ["y_test"]),
        ({"x_train": np.zeros((20, 32, 32, 3), np.float32)}, ["x_train", "uint8"]),
        ({"x_train": np.zeros((20, 32, 32), np.uint8)}, ["x_train"]),
        ({"x_train": np.zeros((20, 3, 32, 32), np.uint8)}, ["x_train"]),
        ({"x_train": np.zeros((19, 32, 32, 3), np.uint8)}, ["19", "20"]),
        ({"y_train": np.arange(20) - 5}, ["y_train", "-5"]),
        ({"y_train": np.linspace(0, 1, 20)}, ["y_train", "integer"]),
        ({"x_train": np.zeros((0, 32, 32, 3), np.uint8), "y_train": np.zeros(0, np.int64)}, ["x_train"]),
        ({"y_train": np.array([{}] * 20, dtype=object)}, ["pickle"]),
    ],
    ids=["missing", "dtype", "shape", "channels first", "lengths", "negative", "fractions", "empty", "pickle"],
)
def test_a_faulty_npz_is_refused_before_any_training(ebbench, tmp_path, fault, words):
    dataset = npz(tmp_path / "images.npz", **fault)
    code, _, err = ebbench("run", "--dataset", dataset, "--method", "dense")
    assert code == 2, err
    assert len(err.strip().splitlines()) <= 2, err  # the title of the run, then the fault
    for word in words:
        assert word in err.splitlines()[-1]


def test_every_command_has_help_with_an_example(ebbench):
    _, out, _ = ebbench("--help")
    commands = re.findall(r"^  ([a-z]+) {2,}", out.partition("Commands:")[2], flags=re.M)
    assert len(commands) >= 12
    for command in commands:
        code, text, _ = ebbench(command, "--help")
        assert code == 0
        assert re.search(rf"^ +ebbench {command}", text, flags=re.M), command


def every_command(group, name):
    for part, command in group.commands.items():
        yield f"{name} {part}", command
        if isinstance(command, click.Group):
            yield from every_command(command, f"{name} {part}")


def test_every_option_of_every_command_says_what_it_means():
    found = {
        f"{name} {each.opts[0]}": each for name, command in every_command(cli, "ebbench") for each in command.params
    }
    options = {name: each for name, each in found.items() if isinstance(each, click.Option)}
    assert len(options) > 90
    assert [name for name, each in options.items() if not each.help] == []


@pytest.mark.parametrize(
    "arguments", [["run", "--on"], ["run", "--epochs"], ["measure", "--meter"], ["report", "--table"]]
)
def test_an_option_without_its_value_points_to_the_help_of_its_command(ebbench, arguments):
    code, _, err = ebbench(*arguments)
    assert code == 2 and f"{arguments[1]}' requires an argument. (see ebbench {arguments[0]} --help)" in err


def test_an_option_of_a_command_in_a_group_points_to_that_commands_help(ebbench):
    code, _, err = ebbench("meters", "sample", "--rate")
    assert code == 2 and "(see ebbench meters sample --help)" in err


class Ledger:
    """A report from outside that only writes."""

    def render(self, runs, out, options):
        return [out / "ledger.txt"]


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        ([], 0, "1 file in report\n"),
        (["--json"], 0, json.dumps({"files": ["report/ledger.txt"], "failing": None}) + "\n"),
        (["--strict"], 2, "--strict: the report 'ledger' does not say which runs failed; use `ebbench check`"),
    ],
)
def test_a_report_from_outside_need_not_judge_and_strict_then_says_so(ebbench, monkeypatch, arguments, code, said):
    monkeypatch.setattr(plugins, "load", lambda group, name: Ledger)
    found, out, err = ebbench("report", "runs", "--kind", "ledger", *arguments)
    assert found == code and said in (out if code == 0 else err), err
