"""A laptop and a board that are this machine, in two folders."""

from __future__ import annotations

import sys
from pathlib import Path

from ebbench.config import Bench, Recipe
from ebbench.context import Silent
from ebbench.remote.session import conductor
from ebbench.rundir import RunDir

RECIPE = Recipe(
    method="dense", model="vgg16-small", dataset="synthetic", train_images=64, test_images=16, epochs=3, batch_size=16
)
COMMAND = f"{sys.executable} -m ebbench"
WATTS = 20.0


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

    def conduct(self, display=None, recipe=RECIPE, resume=False, among=(), **bench):
        bench, display = self.bench(**bench), display or Silent()
        with conductor(bench, display) as conduct:
            return conduct(recipe, bench, self.folder / "laptop", resume=resume, display=display, among=among)

    @property
    def run(self) -> RunDir:
        """The folder of the dense run on the laptop."""
        (found,) = (self.folder / "laptop").glob("dense-*")
        return RunDir(found)

    @property
    def job(self) -> Path:
        """Its job's folder on the board."""
        (found,) = (self.folder / "board").glob("dense-*")
        return found

    def starts(self):
        """How often the run was started on the board."""
        (log,) = self.job.glob("runs/*/phases.jsonl")
        return log.read_text().count('"event":"start"')


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
