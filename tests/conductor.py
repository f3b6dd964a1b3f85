"""A small real run for tests: a few steps of a small network on a small synthetic data set, under the simulated meter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

EXPERIMENT = """
[experiment]
description = "a run of seconds"
may_simulate = true
[recipe]
method = "{method}"
model = "vgg16-small"
dataset = "synthetic"
train_images = {images}
test_images = 32
epochs = {epochs}
batch_size = 16
{search}
checkpoint_s = {checkpoint_s}
[bench]
meters = ["sim"]
idle_s = {idle_s}
amplify_s = {amplify_s}
device = "cpu"
"""


def write_experiment(
    folder, method="eb-ff", images=96, epochs=4, checkpoint_s=600.0, idle_s=0.0, amplify_s=0.0, extra=""
):
    """Write the experiment's TOML and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.toml"
    search = "epsilon = 0.9\nfifo_length = 2" if method.startswith("eb-") else ""
    text = EXPERIMENT.format(
        search=search,
        method=method,
        images=images,
        epochs=epochs,
        checkpoint_s=checkpoint_s,
        idle_s=idle_s,
        amplify_s=amplify_s,
    )
    path.write_text(text + extra)
    return path


def environment(**more):
    """The environment of a child that imports what we import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1", **more}


def start(*arguments, cwd, **more):
    """Start ``ebbench`` with these arguments as a real process."""
    return subprocess.Popen(
        [sys.executable, "-m", "ebbench", *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*arguments, cwd, **more):
    """Run ``ebbench`` to its end: (exit code, stdout, stderr)."""
    process = start(*arguments, cwd=cwd, **more)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


class Nursery:
    """Runs ``ebbench`` in forks of a process that has loaded torch, which may be told when to die (`mortal` says how)."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).parent / "mortal.py")]
        self._process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def call(self, *arguments, cwd, moment=None):
        """Run to the end, or to the moment of death: (exit code or minus the signal, stdout, stderr)."""
        out, err = (Path(cwd) / f"printed-{name}.txt" for name in ("out", "err"))
        task = {"cwd": str(cwd), "arguments": [str(a) for a in arguments], "moment": moment}
        task.update(out=str(out), err=str(err))
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()), out.read_text(), err.read_text()


def only_run(out: Path) -> Path:
    """The one run folder under `out`."""
    (folder,) = [p.parent for p in Path(out).glob("*/manifest.json")]
    return folder


def record(folder: Path):
    """A run's record as JSON values."""
    return json.loads((folder / "record.json").read_text())


def weights(folder: Path):
    """Every stored array of a run's last checkpoint, and its masks: name -> bytes."""
    found = {}
    for name in ("checkpoint/state.npz", "masks.npz"):
        path = folder / name
        if path.exists():
            with np.load(path, allow_pickle=False) as stored:
                found.update({f"{name}/{k}": stored[k].tobytes() for k in stored.files if k != "state"})
    return found
