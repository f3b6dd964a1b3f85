"""Runs on a board over a real ssh: laptop and board are this machine, in two folders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from conductor import environment, only_run, record
from own_clock import AHEAD_S, DRIFT, TruePower
from sshd import SSHD, Sshd

from ebbench import cli, plugins
from ebbench.config import Bench, Recipe
from ebbench.context import Silent
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import ConfigError, DeviceError, EbbenchError, UserError
from ebbench.meter_trials.bench import bench_findings
from ebbench.protocols import MeterRequest
from ebbench.remote import agent, session
from ebbench.remote.session import conductor
from ebbench.rundir import RunDir
from ebbench.sealing.record import record_of

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(SSHD is None, reason="NO SSHD ON THIS MACHINE: runs over ssh are not tested (openssh-server)"),
]

RECIPE = Recipe(
    method="dense", model="vgg16-small", dataset="synthetic", train_images=64, test_images=16, epochs=3, batch_size=16
)
COMMAND = f"{sys.executable} -m ebbench"
WATTS = 20.0


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, Sshd(tmp_path_factory.mktemp("sshd")) as found:
        patch.setenv("PATH", f"{found.bin}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(session, "LOOK_EVERY_S", 0.2)
        yield found


class Place:
    """A laptop's folder and a board's, and a meter at the laptop that shows 20 W."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = "".join(f"{n * 0.02:.2f},{WATTS}\n" for n in range(100))
        (folder / "wall.csv").write_text("time_s,AC_w\n" + rows)
        self.meter = f"replay:{folder}/wall.csv?scope=wall&loop=1"

    def bench(self, **more) -> Bench:
        settings = {"meters": (self.meter,), "board_meters": ("sim",), "idle_s": 1.0, "amplify_s": 0.0, "device": "cpu"}
        settings.update(on="board", on_command=COMMAND, on_out=str(self.folder / "board"), **more)
        return Bench(**settings)

    def conduct(self, display=None, recipe=RECIPE, resume=False, **bench):
        bench, display = self.bench(**bench), display or Silent()
        with conductor(bench, display) as conduct:
            return conduct(recipe, bench, self.folder / "laptop", resume=resume, display=display)

    @property
    def run(self) -> RunDir:
        """The run's folder on the laptop."""
        return RunDir(only_run(self.folder / "laptop"))

    @property
    def job(self) -> Path:
        """The job's folder on the board."""
        (found,) = (self.folder / "board").glob("dense-*")
        return found

    def starts(self):
        """How often the run was started on the board."""
        (log,) = self.job.glob("runs/*/phases.jsonl")
        return log.read_text().count('"event":"start"')


@pytest.fixture()
def place(tmp_path):
    return Place(tmp_path)


class Meanwhile:
    """A display that does something once, when it first shows a phase of this name."""

    def __init__(self, phase, do) -> None:
        self.said, self._phase, self._do = [], phase, do

    def update(self, path, fraction, live) -> None:
        if path.startswith(self._phase) and self._do is not None:
            do, self._do = self._do, None
            do()

    def say(self, text) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def cut(sshd, tmp_path_factory):
    """A run whose connections are cut while the board rests; as a whole, then as it was shown."""
    place = Place(tmp_path_factory.mktemp("cut"))
    display = Meanwhile("idle", lambda: count.append(sshd.cut()))
    count = []
    found = place.conduct(display)
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


def test_integrating_the_run_again_gives_the_same_record(cut):
    place, found, _ = cut
    assert record_of(place.run).to_json() == found.to_json() == record(place.run.path)


def test_a_sealed_run_is_kept_and_the_board_is_not_asked(cut, monkeypatch):
    place, found, _ = cut
    monkeypatch.setenv("PATH", "")
    assert place.conduct().to_json() == found.to_json()


def test_after_ctrl_c_the_run_goes_on_is_not_started_twice_and_is_reattached(sshd, place):
    def interrupt():
        other = Place(place.folder)
        with pytest.raises(UserError, match="another run is going there"):
            other.conduct(recipe=Recipe(method="dense", seed=7, dataset="synthetic", epochs=1))
        raise KeyboardInterrupt

    display = Meanwhile("idle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        place.conduct(display, idle_s=3.0)
    (said,) = [line for line in display.said if "reattach" in line]
    assert "--resume" in said and "ssh board kill" in said
    (folder,) = (place.folder / "laptop").glob("dense-vgg16-small-*")
    with pytest.raises(UserError, match="--resume"):
        place.conduct(idle_s=3.0)
    again = Meanwhile("never", None)
    found = place.conduct(again, resume=True, idle_s=3.0)
    assert any("reattached" in line for line in again.said)
    assert found.status == "success"
    assert len(RunDir(folder).traces("replay")) == 2
    assert found.energy.total_j == pytest.approx(WATTS * found.energy.covered_s, rel=1e-6)
    assert next(place.folder.glob("board/dense-vgg16-small-*/runs/*/phases.jsonl")).read_text().count('"start"') == 1


def test_a_laptop_that_is_killed_reattaches_too(sshd, place):
    bench = place.bench(idle_s=3.0)
    (place.folder / "run.toml").write_text(session._experiment(RECIPE, bench, False))
    arguments = [sys.executable, "-m", "ebbench", "run", place.folder / "run.toml", "--out", place.folder / "laptop"]
    laptop = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)
    for line in laptop.stderr:
        if line.startswith("board: run 1 of 1"):
            break
    laptop.send_signal(signal.SIGKILL)
    laptop.wait()
    laptop.stderr.close()
    found = place.conduct(resume=True, idle_s=3.0)
    assert found.status == "success" and place.starts() == 1
    assert all(TraceReader(path).metadata["host"] == "laptop" for path in place.run.traces("replay"))
    assert {c["reason"] for c in found.energy.clocks} == {None}


def test_a_run_that_dies_on_the_board_is_said_to_and_resumed(sshd, place):
    def kill():
        (lock,) = place.folder.glob("board/.lock")
        supervisor = json.loads(lock.read_text())["pid"]
        child = int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0])
        for pid in (supervisor, child):
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(DeviceError, match=r"died without a word.*--resume"):
        place.conduct(Meanwhile("idle", kill))
    found = place.conduct(resume=True)
    assert found.status == "success" and place.starts() == 2


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


def test_what_a_run_says_when_it_fails_there_is_said_here_with_its_exit_code(sshd, place):
    recipe = Recipe(
        method="dense", model="vgg16-small", dataset=f"npz:{place.folder}/late.npz", epochs=1, batch_size=16
    )
    with pytest.raises(UserError, match=r"^board: .*late\.npz"):
        place.conduct(recipe=recipe)
    assert not list(place.folder.glob("board/dense-*")) and list((place.folder / "laptop").iterdir()) == []
    write_images(place.folder / "late.npz")
    assert place.conduct(recipe=recipe, idle_s=0.0).status == "success"  # the same command again, without --resume


def test_what_has_begun_on_the_board_is_never_forgotten(tmp_path):
    run = RunDir(tmp_path / "job" / "runs" / "one")
    run.create()
    start, begin = (
        json.dumps({"event": e, "id": 1, "path": "idle", "segment": 0, "boot_id": "b", "t_ns": 1, "wall_ns": 1})
        for e in ("start", "begin")
    )
    run.phases.write_text(f"{start}\n{begin}\n")
    assert not agent.forget({"out": str(tmp_path), "job": "job"})["forgotten"] and run.phases.exists()
    run.phases.write_text(start + "\n")
    (run.path / "notes.txt").write_text("of the user")
    assert agent.forget({"out": str(tmp_path), "job": "job"})["forgotten"]
    assert [p.name for p in run.path.iterdir()] == ["notes.txt"]
    assert agent.forget({"out": str(tmp_path), "job": "none"})["forgotten"] and not (tmp_path / "none").exists()


def write_images(path):
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    labels = np.arange(64) % 10
    np.savez(path, x_train=images, y_train=labels, x_test=images[:16], y_test=labels[:16])


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
