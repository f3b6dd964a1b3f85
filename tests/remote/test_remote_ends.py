"""Runs on a board that are cut off, killed or fail, there or here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conductor import environment
from laptop_and_board import RECIPE, WATTS, Meanwhile, Place
from sshd import SSHD

from ebbench.config import Recipe
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import DeviceError, UserError
from ebbench.remote import agent, session
from ebbench.rundir import RunDir

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(SSHD is None, reason="NO SSHD ON THIS MACHINE: runs over ssh are not tested (openssh-server)"),
]


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


def write_images(path):
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    labels = np.arange(64) % 10
    np.savez(path, x_train=images, y_train=labels, x_test=images[:16], y_test=labels[:16])


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
