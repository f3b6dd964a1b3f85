"""A Jetson's power as NVIDIA's tegrastats prints it: the last resort, for where neither /sys nor jtop can be read.

It is a text front end of the same INA3221 in whole milliwatts. Its lines carry local time in seconds at best, so a reading's time
is the arrival of its line. Rails are printed ``VDD_IN 2930/3405`` (L4T 32) or ``VDD_GPU_SOC 5139mW/5139mW`` (JetPack 5 and newer;
some with a third number). The first number is the power now; the others, statistics since its start, are not used.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Any, Dict, Optional, Sequence

from ebbench.environment import below_root, is_simulated_root
from ebbench.errors import MeterError
from ebbench.protocols import Availability, MeterRequest
from ebbench_devices.lines.spoken import Line, SpokenLines
from ebbench_devices.meter.feed import patience_s
from ebbench_devices.meter.untrusted import quoted
from ebbench_devices.nvidia.named_rails import NamedRails, Rails

PROGRAM = "/usr/bin/tegrastats"

_RAIL = re.compile(r"(?<!\S)([A-Za-z]\w*) (\d{1,8})(?:mW)?(?:/\d+(?:mW)?){1,2}(?!\S)", re.ASCII)


class TegrastatsMeter(NamedRails):
    """All rails that it prints."""

    NAME = "tegrastats"

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether the program is here; it is not started."""
        board = request.board or {}
        scope, simulated = str(board.get("scope", "module")), is_simulated_root()
        program = find_program()
        if program is None:
            return Availability(False, False, "no tegrastats on PATH; only a Jetson has it", scope, simulated)
        if board.get("total") == []:
            return Availability(False, False, f"a {board.get('title')} has no power monitor", scope, simulated)
        if not os.access(program, os.X_OK):
            return Availability(False, True, f"sudo chmod +x {program}", scope, simulated)
        return Availability(True, True, f"{program}; the last resort: whole mW, 10 Hz at most", scope, simulated)

    def connect(self) -> SpokenLines:
        """Start it."""
        program = find_program()
        if program is None:
            raise MeterError("tegrastats is not on PATH; only a Jetson has it, use another --meter")
        return SpokenLines([program, "--interval", str(self._interval_ms)], patience_s(self.interval_s))

    def rails_in(self, sample: Line) -> Rails:
        """The power that a line says, by rail."""
        return {name: (power_mw,) for name, power_mw in rails_of(sample.text).items()}

    def lack(self, sample: Line, missing: Sequence[str]) -> str:
        """That a line is another than the others, or none of its kind."""
        if not rails_of(sample.text):
            return f"it says {quoted(sample.text)}, which holds no power"
        return f"{', '.join(missing)} is not in a line, so the total is missing"

    def identity(self) -> Dict[str, Any]:
        """Which program, how often."""
        return {"program": find_program(), "interval_ms": self._interval_ms, "time": "arrival of the line"}

    @property
    def _interval_ms(self) -> int:
        return max(1, round(1000 * self.interval_s))


def rails_of(line: str) -> Dict[str, int]:
    """The power (mW) of each rail in a line of tegrastats, by name; ``NC`` is left out."""
    return {name: int(power_mw) for name, power_mw in _RAIL.findall(line) if name != "NC"}


def find_program() -> Optional[str]:
    """Where tegrastats is: below the root, or else on PATH; None where it is not."""
    if is_simulated_root():
        path = str(below_root(PROGRAM))
        return path if os.path.exists(path) else None
    return shutil.which("tegrastats") or (PROGRAM if os.path.exists(PROGRAM) else None)
