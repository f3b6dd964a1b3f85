"""A Jetson's power as NVIDIA's tegrastats prints it: the last resort, for where neither /sys nor jtop can be read.

It is a text front end of the same INA3221 in whole milliwatts. Its lines carry local time in seconds at best, so a reading's time
is the arrival of its line. Rails are printed ``VDD_IN 2930/3405`` (L4T 32) or ``VDD_GPU_SOC 5139mW/5139mW`` (JetPack 5 and newer;
some with a third number). The first number is the power now; the others, statistics since its start, are not used.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.clock import Clock, monotonic_ns
from ebbench.energy.source import RETRY_NS
from ebbench.environment import below_root, is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import Availability, Block, Column, MeterInfo, MeterRequest
from ebbench.units import NS_PER_S
from ebbench_devices.lines.spoken import Line, SpokenLines
from ebbench_devices.meter.untrusted import quoted
from ebbench_devices.nvidia.board_rails import rail_of, total_of

PROGRAM = "/usr/bin/tegrastats"
DEFAULT_RATE_HZ = 2.0
MAX_RATE_HZ = 10.0
#: it hangs when it says nothing for so long, or for so many intervals
SILENCE_S, SILENCE_INTERVALS = 5.0, 5

_RAIL = re.compile(r"(?<!\S)([A-Za-z]\w*) (\d{1,8})(?:mW)?(?:/\d+(?:mW)?){1,2}(?!\S)", re.ASCII)


class TegrastatsMeter:
    """All rails that it prints, the total's first; `drain` hands over what came since, and starts it again after a loss."""

    def __init__(self, request: MeterRequest, clock: Clock = monotonic_ns) -> None:
        if request.options or request.address:
            given = next(iter(request.options), None) or request.address or ""
            raise ConfigError(f"tegrastats: unknown option or address {given!r}; it takes none")
        rate_hz = DEFAULT_RATE_HZ if request.rate_hz is None else request.rate_hz
        if not 0 < rate_hz <= MAX_RATE_HZ:
            raise ConfigError(
                f"tegrastats: {rate_hz:g} readings/s is more than it holds (at most {MAX_RATE_HZ:g}); "
                "use --meter ina3221, or a lower --rate"
            )
        self._interval_ms = max(1, round(1000 / rate_hz))
        self._patience_s = max(SILENCE_S, SILENCE_INTERVALS / rate_hz)
        self._board = request.board or {}
        self._clock = clock
        self._program: Optional[SpokenLines] = None
        self._first: List[Line] = []  # what `open` took, for the trace to begin with
        self._retry_ns = 0
        self._names: Tuple[str, ...] = ()
        self._total: Tuple[str, ...] = ()

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

    def open(self) -> MeterInfo:
        """Start it and wait for a line that has the total. Raises MeterError with what stands in the way."""
        self._start()
        try:
            rails = self._first_rails()
        except MeterError:
            self.close()
            raise
        self._names = (*self._total, *(name for name in rails if name not in self._total))
        return MeterInfo(
            "tegrastats",
            str(self._board.get("scope", "module")),
            is_simulated_root(),
            tuple(rail_of(name, self._board, self._total) for name in self._names),
            tuple(Column(f"{name}_w", 1e-3, raw=True) for name in self._names),
            self._total,
            DEFAULT_RATE_HZ,
            MAX_RATE_HZ,
            identity={
                "program": find_program(),
                "interval_ms": self._interval_ms,
                "time": "arrival of the line",
                "total_from": "board" if "total" in self._board else "name",
            },
        )

    def _start(self) -> None:
        program = find_program()
        if program is None:
            raise MeterError("tegrastats is not on PATH; only a Jetson has it, use another --meter")
        self._program = SpokenLines([program, "--interval", str(self._interval_ms)], self._patience_s)

    def _first_rails(self) -> Dict[str, int]:
        """The rails of the first line that has all of the total, which is then known."""
        fault: Optional[MeterError] = None
        deadline_ns = self._clock() + round(self._patience_s * NS_PER_S)
        while True:
            lines = self._heard(fault)
            for number, line in enumerate(lines):
                rails = rails_of(line.text)
                if not rails:
                    continue
                try:
                    self._total = total_of("tegrastats", rails, self._board)
                except MeterError as error:
                    fault = error
                    continue
                self._first = lines[number:]
                return rails
            if self._clock() > deadline_ns:
                raise fault or MeterError(
                    f"tegrastats prints no power for {self._patience_s:g} s; run it by hand to see why"
                )

    def _heard(self, fault: Optional[MeterError]) -> List[Line]:
        """The lines since the last call, after a short wait. Its end or its hang is less than a `fault` that is known."""
        assert self._program is not None
        self._program.news.wait(0.1)
        try:
            return self._program.take()
        except MeterError as error:
            raise fault or error from None

    def drain(self, rate_hz: float) -> Block:
        """The readings since the last call. Raises MeterError once for each end, hang or failure to start."""
        try:
            if self._program is None:
                if self._clock() >= self._retry_ns:
                    self._start()
                return self._block([])
            first, self._first = self._first, []
            return self._block(first or self._program.take())
        except MeterError:
            self.close()
            self._retry_ns = self._clock() + RETRY_NS
            raise

    def close(self) -> None:
        """Kill the program."""
        if self._program is not None:
            self._program.close()
        self._program = None

    def _block(self, lines: Sequence[Line]) -> Block:
        """Readings of `lines`: a rail that a line lacks is NaN, and a part of the total that it lacks is told."""
        values = np.full((len(lines), len(self._names)), math.nan)
        notes: List[Tuple[int, str]] = []
        for row, line in zip(values, lines):
            rails = rails_of(line.text)
            row[:] = [rails.get(name, math.nan) for name in self._names]
            missing = [name for name in self._total if name not in rails]
            if missing:
                lacks = f"tegrastats: {', '.join(missing)} is not in a line, so the total is missing"
                notes.append((line.time_ns, lacks if rails else _without_power(line)))
        return Block(np.array([line.time_ns for line in lines], dtype=np.int64), values, tuple(notes))


def rails_of(line: str) -> Dict[str, int]:
    """The power (mW) of each rail in a line of tegrastats, by name; ``NC`` is left out."""
    return {name: int(power_mw) for name, power_mw in _RAIL.findall(line) if name != "NC"}


def find_program() -> Optional[str]:
    """Where tegrastats is: below the root, or else on PATH; None where it is not."""
    if is_simulated_root():
        path = str(below_root(PROGRAM))
        return path if os.path.exists(path) else None
    return shutil.which("tegrastats") or (PROGRAM if os.path.exists(PROGRAM) else None)


def _without_power(line: Line) -> str:
    return f"tegrastats says {quoted(line.text)}, which holds no power"
