"""What is refused before a run on a board is started."""

from __future__ import annotations

import sys

import pytest
from laptop_and_board import COMMAND
from sshd import SSHD

from ebbench import cli
from ebbench.config import Bench
from ebbench.context import Silent
from ebbench.errors import ConfigError, DeviceError, EbbenchError
from ebbench.meter_trials.bench import bench_findings
from ebbench.remote.session import conductor

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(SSHD is None, reason="NO SSHD ON THIS MACHINE: runs over ssh are not tested (openssh-server)"),
]


def test_a_meter_that_the_board_lacks_is_refused_before_anything_is_started(sshd, place):
    with pytest.raises(EbbenchError, match=r"board: .*unknown meter 'sym'") as caught:
        place.conduct(board_meters=("sym",))
    assert caught.value.exit_code == 2
    assert not (place.folder / "board").exists() and not (place.folder / "laptop").exists()


def test_two_meters_of_one_name_are_refused_before_anything_is_started(sshd, place):
    with pytest.raises(ConfigError, match="'sim' is named twice"):
        place.conduct(meters=("sim",))
    with pytest.raises(ConfigError, match="name that with --on"), conductor(Bench(board_meters=("sim",)), Silent()):
        pass


@pytest.fixture()
def ebbench(sshd, place, capfd, monkeypatch):
    """The command line in this process: exit code, and the lines on stderr that no run of the experiment announces itself by."""
    monkeypatch.chdir(place.folder)

    def call(*arguments):
        code = cli._run(["run", "quickstart", "--out", "laptop", "--meter", place.meter, *arguments])
        return code, [line for line in capfd.readouterr().err.splitlines() if not line.startswith("run 1 of")]

    return call


@pytest.mark.parametrize(
    "on, command, code, says",
    [
        ("nobody", COMMAND, 3, "cannot reach nobody: "),
        ("stranger", COMMAND, 3, "Permission denied"),
        ("board", "no-such-ebbench", 2, "--on-command /full/path/to/ebbench"),
        ("board", f"{sys.executable} -m json.tool", 2, "install the same ebbench there as here"),
        ("-oProxyCommand=touch pwned", COMMAND, 2, "is no name of a machine"),
        ("board", "ebbench; touch pwned", 2, "--on-command /full/path/to/ebbench"),
    ],
)
def test_a_board_that_cannot_be_used_is_one_line_that_says_what_to_do(ebbench, place, on, command, code, says):
    found, lines = ebbench(f"--on={on}", "--on-command", command)
    assert found == code and len(lines) == 1, lines
    assert lines[0].startswith("ebbench: ") and says in lines[0]
    assert not (place.folder / "laptop").exists() and not (place.folder / "pwned").exists()


def test_another_version_there_is_refused_with_both(ebbench, place):
    script = place.folder / "other"
    script.write_text('#!/bin/sh\necho "Welcome to the board"\necho \'ebbench-agent {"ebbench": "9.9"}\'\nexec cat\n')
    script.chmod(0o755)
    found, lines = ebbench("--on", "board", "--on-command", str(script))
    assert found == 2 and len(lines) == 1
    assert "board has ebbench 9.9, this machine" in lines[0]


def test_a_meter_of_the_laptop_that_is_not_there_leaves_no_folder_behind(sshd, place):
    with pytest.raises(DeviceError, match="Connection refused"):
        place.conduct(meters=("tcp:127.0.0.1:1?scope=wall&pattern=([0-9]+)&unit=W",))
    assert list((place.folder / "laptop").iterdir()) == [] and not list(place.folder.glob("board/*/runs"))


def test_doctor_asks_the_board_that_a_bench_names(sshd, place):
    path = place.folder / "desk.toml"
    text = f'on = "board"\non_command = "{COMMAND}"\nmeters = ["{place.meter}"]\n'
    path.write_text(text + 'board_meters = ["sim"]\n')
    board, meter = bench_findings(path)
    assert (board["name"], board["verdict"]) == ("board board", "ok") and "would read sim" in board["found"]
    assert (meter["name"], meter["verdict"]) == ("meter replay", "ok") and "20 W now" in meter["found"]
    path.write_text(text.replace('"board"', '"nobody"'))
    board, meter = bench_findings(path)
    assert board["verdict"] == "fail" and "ssh nobody true" in board["advice"] and meter["verdict"] == "ok"
