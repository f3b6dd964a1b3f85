"""A board with a running jtop.service: the real one of jetson-stats, on a folder (see jtop_service.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

from fake_boards import FakeBoard, write

SERVICE = Path(__file__).with_name("jtop_service.py")


class JtopBoard(FakeBoard):
    """`root` must be short: a Unix socket's path has at most 108 bytes."""

    def __init__(self, root: Path, kind: str) -> None:
        super().__init__(root, kind)
        drivers = dict.fromkeys(self.kind.chips, "ina3221x" if self.kind.layout == "iio" else "ina3221")
        if self.kind.ina238 is not None:
            drivers[self.kind.ina238] = "ina238"
        for chip, driver in drivers.items():
            write(root / "sys/bus/i2c/drivers" / driver / chip / "name", driver + "\n")
            link = root / "sys/bus/i2c/devices" / chip
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(f"../drivers/{driver}/{chip}")
        self.socket = root / "run/jtop.sock"
        self.socket.parent.mkdir()
        self._process: Optional[subprocess.Popen[Any]] = None
        self.worker = 0

    def supply(self, name: str, millivolts: int, milliamperes: int) -> None:
        """A power supply as the kernel shows one (microvolts, microamperes)."""
        folder = self.root / "sys/class/power_supply" / name
        write(folder / "type", "USB\n")
        write(folder / "online", "1\n")
        write(folder / "voltage_now", f"{millivolts * 1000}\n")
        write(folder / "current_now", f"{milliamperes * 1000}\n")

    def show(self, rail: str, milliwatts: int) -> None:
        """As `set` at 5 V, in steps that the service cannot catch half-way: the kernel never shows half a number."""
        quantity, number = ("power", milliwatts) if self.kind.layout == "iio" else ("current", milliwatts // 5)
        self.put(rail, quantity, f"{number}\n")
        self.truth_w[rail] = milliwatts * 1e-3

    def put(self, rail: str, quantity: str, text: str) -> None:
        """Any text in a rail's file, at once."""
        handle, path = tempfile.mkstemp(dir=self.root)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(path, self.file(rail, quantity))

    def start(self, *options: str) -> None:
        """Start the service; returns when it serves."""
        log = open(self.root / "service.log", "a")  # noqa: SIM115 - the service's, given away
        with log:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVICE), str(self.root), *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        said = self._process.stdout.readline().split()
        assert said[:1] == ["ready"], (self.root / "service.log").read_text()
        self.worker = int(said[1])

    def stop(self) -> None:
        """As ``systemctl stop``: SIGTERM to all of it, and SIGKILL to what is left."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As the kernel out of memory; the socket's file stays."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(5.0 if number == signal.SIGTERM else 0.0)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()

    def signal_worker(self, number: int) -> None:
        """To the process that samples, not to the one that holds the socket."""
        os.kill(self.worker, number)
