"""A power analyzer through SPEC's PTDaemon, as MLPerf Power reads it: ``ptdaemon:HOST[:8888]?scope=wall``.

The daemon samples on its own schedule and its own clock. Ranges are fixed before it starts, and put back at the end. What a
sample covers is not told, and no public document was found that says it; it is taken for the mean over its interval, which
``averaging_s=`` changes.
"""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, Availability, Block, Column, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S
from ebbench_devices.instruments.other_clock import OtherClock, said_s
from ebbench_devices.instruments.ptdaemon_link import PtdaemonLink, Sample
from ebbench_devices.meter.external import address_of, named, unnamed
from ebbench_devices.meter.feed import patience_s
from ebbench_devices.meter.options import DOUBTS, LATENESS, Options
from ebbench_devices.meter.untrusted import quoted, shown

OPTIONS = ("scope", "voltage_range_v", "current_range_a", "timeout_s", *DOUBTS, *LATENESS)
EXAMPLE = "ptdaemon:10.0.0.5:8888?scope=wall"
PORT, DEFAULT_RATE_HZ, DEFAULT_TIMEOUT_S = 8888, 1.0, 2.0
RAIL = "INPUT"
#: alternating and direct current are asked for in two ways
QUESTIONS = ("RL", "DC-RL")
UNKNOWN = ("unknown command", "invalid number of parameters")
#: our measurement's name in the daemon's log
MARK = "ebbench"
#: the sampler takes what there is about so often (s); a sample's time is known to within that
TAKEN_EVERY_S = 0.1
#: at the start it is asked more often, so that its clock is known better
EAGER_NS = 5_000_000
#: a range: its letter in PTDaemon's commands, its name, our option, and its place in the answer to RR
RANGES = (("V", "voltage", "voltage_range_v", 3), ("A", "current", "current_range_a", 1))


class PtdaemonMeter:
    """The analyzer that one PTDaemon controls: watts, volts and amperes."""

    def __init__(self, request: MeterRequest) -> None:
        host, port = _host_and_port(address_of("ptdaemon", request, EXAMPLE))
        self._options = Options("ptdaemon", request, OPTIONS)
        self._scope = self._options.stated_scope()
        self._stated = {letter: self._options.number(option, above=0.0) for letter, _, option, _ in RANGES}
        rate_hz = DEFAULT_RATE_HZ if request.rate_hz is None else request.rate_hz
        if not 0 < rate_hz <= 1000:
            raise ConfigError(
                f"ptdaemon: {rate_hz:g} samples/s; PTDaemon is told whole milliseconds, and 1 per second is usual"
            )
        self._interval_s = round(1000 / rate_hz) / 1000
        timeout_s = self._options.number("timeout_s", DEFAULT_TIMEOUT_S, above=0.0) or DEFAULT_TIMEOUT_S
        self._link = PtdaemonLink(host, port, timeout_s)
        self._clock = OtherClock()
        self._question = QUESTIONS[0]
        self._before: Dict[str, str] = {}  # what the ranges were, as PTDaemon wants to be told
        self._first: List[Sample] = []
        self._notes: List[Tuple[int, str]] = []
        self._asked_ns = self._heard_ns = self._last_ns = 0

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether an address is named; it never contacts anything."""
        if not request.address:
            return unnamed(EXAMPLE)
        cls(request)
        return named(request)

    def open(self) -> MeterInfo:
        """Connect, fix the ranges, start it, and wait for a first sample. Raises MeterError for every error that it reports."""
        self._link.open()
        try:
            identity: Dict[str, Any] = {"analyzer": shown(self._link.ask("Identify"))}
            volts, amperes = self._fix_ranges()
            self._start()
            round_trip_s = self._wait_for_first()
            identity.update(voltage_range_v=volts, current_range_a=amperes, ranges_before=self._before)
            identity["uncertainty"] = uncertainty = self._uncertainty()
        except (MeterError, ConfigError):
            self.close()
            raise
        identity.update(
            interval_s=self._interval_s, round_trip_s=round_trip_s, clock_bound_s=self._clock.bound_ns / NS_PER_S
        )
        rail = self._options.applied(
            Rail(
                RAIL,
                self._scope,
                gain_ratio=uncertainty and uncertainty / 3**0.5,
                range_w=volts * amperes if volts and amperes else None,
                kind=AVERAGE,
                update_period_s=self._interval_s,
                averaging_s=self._interval_s,
            )
        )
        columns = tuple(Column(f"{RAIL}_{unit}") for unit in ("w", "v", "a"))
        bound_s = (TAKEN_EVERY_S + round_trip_s) / 2
        return MeterInfo(
            "ptdaemon",
            self._scope,
            is_simulated_root(),
            (rail,),
            columns,
            (RAIL,),
            DEFAULT_RATE_HZ,
            None,
            identity,
            time_bound_s=bound_s,
        )

    def drain(self, rate_hz: float) -> Block:
        """The samples since the last call. Raises MeterError where it fails or has been silent for too long."""
        first, self._first = self._first, []
        return self._block(first + self._take())

    def close(self) -> None:
        """Stop it, put the ranges back, hang up."""
        with contextlib.suppress(MeterError):
            self._link.say("Stop")
            for letter, before in self._before.items():
                self._link.say(f"SR,{letter},{before}")
        self._link.close()

    def _fix_ranges(self) -> Tuple[Optional[float], Optional[float]]:
        """Set the stated ranges; the others stay, and must be fixed. Returns volts and amperes, None where it does not say."""
        before = _ranges(self._link.ask("RR"))
        self._link.say("Stop")  # a measurement that was left over; that there is none is an error that is none
        for letter, name, option, _ in RANGES:
            stated, (automatic, range_) = self._stated[letter], before[letter]
            if stated is None:
                if automatic != 0:
                    raise ConfigError(f"ptdaemon: the {name} range is not fixed; fix it with {option}=")
                continue
            self._before[letter] = f"{range_:g}" if automatic == 0 and range_ else "Auto"
            answer = self._link.ask(f"SR,{letter},{stated:g}")
            if answer != f"Range {letter} changed":
                raise MeterError(
                    f"ptdaemon: SR,{letter},{stated:g} is answered {quoted(answer)}; state another {option}="
                )
        after = _ranges(self._link.ask("RR"))
        for letter, name, _, _ in RANGES:
            if after[letter][0] == 1:
                raise MeterError(f"ptdaemon: the {name} range stays automatic; see PTDaemon's own log")
        return after["V"][1], after["A"][1]

    def _start(self) -> None:
        """Forget what is left of another measurement, and begin."""
        answer = self._link.say(self._question)
        if answer.lower().partition("error: ")[2].startswith(UNKNOWN) or answer.lower().startswith(UNKNOWN):
            self._question = QUESTIONS[1]
            answer = self._link.say(self._question)
        count = re.match(r"Last (\d{1,6})", answer)
        for _ in range(int(count.group(1)) if count else 0):
            self._link.line(self._question)
        self._asked_ns = self._heard_ns = monotonic_ns()
        answer = self._link.ask(f"Go,{round(self._interval_s * 1000)},0,{MARK}")
        if not answer.startswith("Starting"):
            raise MeterError(f"ptdaemon: Go is answered {quoted(answer)}; see PTDaemon's own log")

    def _wait_for_first(self) -> float:
        """Take the first sample; returns the longest round trip on the way (s)."""
        longest_ns = 0
        while not self._first:
            begun_ns = monotonic_ns()
            self._first = self._take()
            longest_ns = max(longest_ns, monotonic_ns() - begun_ns)
            self._link.pause(EAGER_NS / NS_PER_S)
        return longest_ns / NS_PER_S

    def _take(self) -> List[Sample]:
        """Ask for what is new; each sample was not there when it was asked last, and is there now: that aligns the clocks."""
        asked_ns = monotonic_ns()
        samples = self._link.samples(self._question)
        heard_ns = monotonic_ns()
        for sample in samples:
            set_by_ns = self._clock.saw(sample.stamp_ns, self._asked_ns, heard_ns)
            if set_by_ns:
                self._notes.append((heard_ns, f"ptdaemon: its clock was set by {said_s(set_by_ns)}; times follow it"))
        self._asked_ns = asked_ns
        silence_s = patience_s(self._interval_s)
        if samples:
            self._heard_ns = heard_ns
        elif heard_ns > self._heard_ns + silence_s * NS_PER_S:
            self._link.close()
            raise MeterError(f"ptdaemon: no sample for {silence_s:g} s; it is started again (see PTDaemon's own log)")
        return samples

    def _block(self, samples: List[Sample]) -> Block:
        """Readings on our clock, in order; a sample without power is told."""
        notes, self._notes = self._notes, []
        times_ns: List[int] = []
        values: List[Tuple[float, float, float]] = []
        for sample in samples:
            time_ns = sample.stamp_ns + self._clock.offset_ns
            if time_ns <= self._last_ns:
                notes.append(
                    (self._last_ns, "ptdaemon: a sample is stamped before the one that came before it; left out")
                )
                continue
            if math.isnan(sample.values[0]):
                notes.append((time_ns, "ptdaemon: a sample without power (over range, or the analyzer did not answer)"))
            self._last_ns = time_ns
            times_ns.append(time_ns)
            values.append(sample.values)
        return Block(np.array(times_ns, np.int64), np.array(values, np.float64).reshape(-1, 3), tuple(notes))

    def _uncertainty(self) -> Optional[float]:
        """What the daemon states of the samples so far: the largest uncertainty, as a ratio; None where it states none."""
        words = self._link.say("Uncertainty").split(",")
        try:
            largest = float(words[3])
        except (IndexError, ValueError):
            return None
        return largest if words[0] == "Uncertainty" and 0 < largest < 1 else None


def _host_and_port(address: str) -> Tuple[str, int]:
    """``host``, ``host:port`` or ``[v6]:port``."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", address, re.ASCII)
    if match is None or not 0 < int(match.group(2) or PORT) < 65536:
        raise ConfigError(f"ptdaemon: {quoted(address)} is no HOST or HOST:PORT; write it as in {EXAMPLE}")
    return match.group(1).strip("[]"), int(match.group(2) or PORT)


def _ranges(answer: str) -> Dict[str, Tuple[int, Optional[float]]]:
    """``Ranges,{A automatic},{A},{V automatic},{V}``: automatic 1 or 0, -1 unknown; the range None where unknown (-1.0)."""
    words = answer.split(",")
    try:
        return {letter: (int(words[at]), _known(float(words[at + 1]))) for letter, _, _, at in RANGES}
    except (IndexError, ValueError):
        raise MeterError(f"ptdaemon: RR is answered {quoted(answer)}, which are no ranges") from None


def _known(value: float) -> Optional[float]:
    return value if value > 0 else None
