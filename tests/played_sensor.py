"""A sensor of a board that is not there, whose power a test plays: the truth is known from the times of the writes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "devices"))
from fake_boards import FakeBoard

from ebbench.clock import monotonic_ns


class PlayedSensor:
    """The total of a Jetson Nano's INA3221 below `root` (iio: the driver's own power, a reading is instantaneous)."""

    rail = "POM_5V_IN"

    def __init__(self, root: Path, power_w: float) -> None:
        board = FakeBoard(root, "nano")
        self._fd = os.open(board.file(self.rail, "power"), os.O_WRONLY)
        self._steps = []
        self.set(power_w)

    def set(self, power_w: float) -> None:
        """Let the sensor show this from now on."""
        before_ns = monotonic_ns()
        os.pwrite(self._fd, f"{round(power_w * 1000):05d}\n".encode(), 0)
        self._steps.append(((before_ns + monotonic_ns()) // 2, power_w))

    def play(self, steps) -> None:
        """Show each power (W) for its seconds, on an absolute schedule: (power_w, seconds) one after the other."""
        due_s = time.monotonic()
        for power_w, seconds in steps:
            self.set(power_w)
            due_s += seconds
            time.sleep(max(0.0, due_s - time.monotonic()))

    def energy_j(self, start_ns: int, end_ns: int) -> float:
        """What was shown between two times."""
        ends_ns = [t for t, _ in self._steps[1:]] + [end_ns]
        pieces = zip(self._steps, ends_ns)
        return sum(p * max(min(e, end_ns) - max(t, start_ns), 0) for (t, p), e in pieces) * 1e-9

    def close(self) -> None:
        os.close(self._fd)
