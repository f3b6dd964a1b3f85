"""A meter: what it is, what it reads, and how it is asked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy as np

#: what a reading of a rail stands for, and so how it is integrated
INSTANT = "instant"  # the power at the reading's time
AVERAGE = "average"  # the mean power over the `averaging_s` before the reading's time
HOLD = "hold"  # a register that keeps its value for `update_period_s`

#: the scope of an external meter that nobody has named yet: what the user will state
STATED = "stated"

#: whose clock a meter's readings are stamped by
MONOTONIC = "monotonic"  # this machine's CLOCK_MONOTONIC, to within `time_bound_s`
REMOTE = "remote"  # another clock, brought near CLOCK_MONOTONIC (to within `time_bound_s`, 0: unknown) and still to be aligned


@dataclass(frozen=True)
class Rail:
    """One place where power is measured.

    `scope` says what it includes: ``module``, ``devkit``, ``wall``, ``gpu``, ``cpu`` or ``rail``. `inside_of` names the rail of
    the same meter that already contains it (then the two must not be added).

    The uncertainties are standard (k = 1) and of two kinds: a `gain_ratio` common to all readings of the rail (it
    does not average down, and cancels in the ratio of two runs on one bench) and an `offset_w` that is constant too.
    `resolution_w` is one step of the reading. Unknown is None, never 0: `averaging_s` = 0 says that the sensor does not
    average, None that nobody knows over how long it does.

    `delay_s` is how much later than the power that it stands for a reading is stamped, on average, and `delay_u_s` its standard
    uncertainty. None: nobody knows of a delay, and a mean over `averaging_s` then stands for the middle of that time; 0: it is
    stated that there is none. What is said of the power is not said of an energy counter, which may be filtered otherwise: of
    that the same three begin with `counter_`, and the energy it shows is that of the power so averaged and so late.

    A calibration adds the corrections with which a power is reading x `gain_correction` + `offset_correction_w`. A meter
    itself leaves them as they are.
    """

    name: str
    scope: str
    inside_of: Optional[str] = None
    gain_ratio: Optional[float] = None
    offset_w: Optional[float] = None
    resolution_w: Optional[float] = None
    range_w: Optional[float] = None
    kind: str = INSTANT
    update_period_s: Optional[float] = None
    averaging_s: Optional[float] = 0.0
    delay_s: Optional[float] = None
    delay_u_s: float = 0.0
    counter_averaging_s: Optional[float] = None
    counter_delay_s: Optional[float] = None
    counter_delay_u_s: float = 0.0
    gain_correction: float = 1.0
    offset_correction_w: float = 0.0

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rail:
        """From JSON values. In what was written before counters were spoken of, a `delay_s` of 0 meant that none is known."""
        fields = dict(document)
        if "counter_delay_s" not in fields and not fields.get("delay_s"):
            fields["delay_s"] = None
        return cls(**fields)


@dataclass(frozen=True)
class Column:
    """One column of a trace: ``<rail>_w``, ``_v``, ``_a`` or ``_j`` (a counter). SI value = stored value x `scale`.

    With `raw` the meter gives integers (milliwatts, say) that are stored as int32 (int64 for ``_j``) without rounding.
    """

    name: str
    scale: float = 1.0
    raw: bool = False


@dataclass(frozen=True)
class MeterInfo:
    """What the readings of an opened meter will mean; written to the manifest before there are any.

    `total` names the rails whose sum is the power of the board at `scope` (often one); empty: the meter has no total.
    `time_bound_s`: by how much a reading's time may be off the clock of the phases (half width, s); 0 where the meter is read by
    this machine and its time is this machine's. `clock` says whose stamps they are (MONOTONIC or REMOTE).
    """

    name: str
    scope: str
    simulated: bool
    rails: Tuple[Rail, ...]
    columns: Tuple[Column, ...]
    total: Tuple[str, ...]
    default_rate_hz: float
    max_rate_hz: Optional[float] = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    time_bound_s: float = 0.0
    clock: str = MONOTONIC

    def to_json(self) -> Dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MeterInfo:
        """From what `to_json` gave."""
        fields = dict(document)
        fields["rails"] = tuple(Rail.from_json(rail) for rail in fields["rails"])
        fields["columns"] = tuple(Column(**c) for c in fields["columns"])
        fields["total"] = tuple(fields["total"])
        return cls(**fields)


@dataclass(frozen=True)
class MeterRequest:
    """All that a meter is told: its address and options, the board's facts, the accelerator, and the run's phase log.

    `phases` is the path of ``phases.jsonl``: only the simulated meter reads it, to know what is running. `rate_hz` is what the
    user asked for, None where that was left to the meter: for one whose other end must be told when it is opened.
    `options` are texts where a URI gave them, and any JSON value where a bench file did.
    """

    address: Optional[str] = None
    options: Mapping[str, Any] = field(default_factory=dict)
    board: Optional[Mapping[str, Any]] = None
    device_uuid: Optional[str] = None
    phases: Optional[str] = None
    rate_hz: Optional[float] = None

    def to_json(self) -> Dict[str, Any]:
        """As JSON values; the sampler's process gets it this way."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Availability:
    """Whether a meter can be used here and now. `present` but not available: something stands in the way, `reason` mends it.

    `scope` is that of the total, or STATED where it is the user's to say.
    """

    available: bool
    present: bool
    reason: str
    scope: str
    simulated: bool = False


class Meter(Protocol):
    """Gives readings when asked. Opened, read and closed only in the sampler's process.

    Example::

        class Constant:
            "Ten watts, always."

            def __init__(self, request): ...

            @classmethod
            def probe(cls, request):
                return Availability(True, True, "always there", scope="module", simulated=True)

            def open(self):
                rail = Rail("VDD_IN", "module")
                return MeterInfo("constant", "module", True, (rail,), (Column("VDD_IN_w"),), ("VDD_IN",), 100.0)

            def read(self):
                return (10.0,)

            def close(self): ...
    """

    def __init__(self, request: MeterRequest) -> None: ...

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Look, in milliseconds and without side effects, whether this meter is here."""
        ...

    def open(self) -> MeterInfo:
        """Open every file or connection once. Raises MeterError with the fix when that fails."""
        ...

    def read(self) -> Sequence[Optional[float]]:
        """One value per column of `MeterInfo.columns`, None where it was not read in this sweep. The total comes first.

        Raises MeterError (or OSError) when nothing could be read: the sampler records a gap with that reason.
        """
        ...

    def close(self) -> None:
        """Release what `open` took."""
        ...


class NumberFile(NamedTuple):
    """An open file that holds one whole number, read anew from its start: in every `every`-th sweep, and next in so many.

    `is_followed`: another file may be put in its place, and the meter then has another descriptor.
    """

    descriptor: int
    every: int = 1
    next_in: int = 0
    is_followed: bool = False


class FileMeter(Meter, Protocol):
    """A `Meter` that reads whole numbers from files and nothing else: compiled code may make sweeps between two calls of `read`."""

    def files(self) -> Sequence[NumberFile]:
        """What the next sweeps read, in this order; those of the total first."""
        ...

    def take(self, numbers: np.ndarray, offsets_ns: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """What sweeps that were made read, as `read` would have given it.

        Of `numbers` (float64 [n, files], NaN where a file was not due) and the times at which they were read after the sweep's
        start (int64 [n, files], ns): the values (float64 [n, columns], NaN = not read in that sweep) and their times.
        """
        ...


@dataclass(frozen=True)
class Block:
    """Readings that a meter took by itself. `time_ns` int64 [n], CLOCK_MONOTONIC; `values` float64 [n, columns], NaN = not read.

    `notes` say when (ns) and why a part of them was not read.
    """

    time_ns: np.ndarray
    values: np.ndarray
    notes: Tuple[Tuple[int, str], ...] = ()


class StreamedMeter(Protocol):
    """A meter that samples on its own schedule and hands over blocks: as `Meter`, with `drain` in the place of `read`."""

    def drain(self, rate_hz: float) -> Block:
        """All readings since the last call; called about every 100 ms, and once more at the end."""
        ...
