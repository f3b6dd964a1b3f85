"""The seams: Meter, Board, Pipeline, Report and what passes through them. Each in as few verbs as possible.

A meter from outside is one class and one entry point in the group ``ebbench.meters``; likewise ``ebbench.boards``,
``ebbench.pipelines`` and ``ebbench.reports``. The built-in ones use the same door.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

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
    `resolution_w` is one step of the reading. Unknown is None, never 0.

    A calibration adds `delay_u_s`, the standard uncertainty of `delay_s`, and the corrections with which a power is
    reading x `gain_correction` + `offset_correction_w`. A meter itself leaves them as they are.
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
    averaging_s: float = 0.0
    delay_s: float = 0.0
    delay_u_s: float = 0.0
    gain_correction: float = 1.0
    offset_correction_w: float = 0.0


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
        fields["rails"] = tuple(Rail(**r) for r in fields["rails"])
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


@dataclass(frozen=True)
class Board:
    """Facts of one kind of board, from its TOML; see devices/README.md for the keys."""

    name: str
    title: str
    facts: Mapping[str, Any]


class StateSource(Protocol):
    """Says what state the machine is in. Made and read only in the process of the state log, once a second.

    Registered under the entry point group ``ebbench.states``; all of them are asked, and what they say is put together.
    """

    def __init__(self, device_uuid: Optional[str], run_pid: int) -> None:
        """Find what there is to read. Raises where there is nothing. `run_pid`: the measured process; its children are too."""
        ...

    def read(self) -> Mapping[str, Any]:
        """JSON values by these keys, each left out where it cannot be read:

        ``power_mode`` (text); ``temperature_c``, ``clock_hz``, ``fan`` ({name: number}); ``settings`` ({name: text}: the limits
        within which clocks move); ``throttled`` (names of what is slowed down now); ``throttle_counts`` ({name: events so far});
        ``power_capped``, ``mig`` (bool); ``foreign_processes`` ([{"pid", "name"}] on the accelerator);
        ``processor`` ({"ran_s", "waited_s"}: how long the run's threads computed and waited for a processor so far).
        """
        ...


@dataclass(frozen=True)
class BoardChange:
    """What is to be changed on the board for a run, and by which `BoardControl` (its name and ``package.module:Class``)."""

    control: str
    factory: str
    power_mode: Optional[str] = None
    lock_clocks: bool = False
    device_uuid: Optional[str] = None


class BoardControl(Protocol):
    """Changes the power mode and the clocks of this machine, and puts them back.

    Registered under the entry point group ``ebbench.controls``. Used in the guardian's process (`ebbench.board.guardian_main`),
    which has no terminal: what needs root is done by ``sudo -n`` or not at all, and nothing waits for an answer.
    """

    def __init__(self, device_uuid: Optional[str]) -> None: ...

    @classmethod
    def probe(cls) -> bool:
        """Whether this machine is of its kind."""
        ...

    def check(self, power_mode: Optional[str], lock_clocks: bool) -> None:
        """Raise ConfigError for what this machine does not know or cannot do. Changes nothing and needs no root."""
        ...

    def store(self, power_mode: Optional[str], lock_clocks: bool, folder: Path) -> Dict[str, Any]:
        """All that `restore` will need, as JSON values; files may be left in `folder`. Nothing is changed yet."""
        ...

    def apply(self, power_mode: Optional[str], lock_clocks: bool) -> Dict[str, Any]:
        """Change what is asked for and say what was found afterwards. Raises DeviceError where it is not as asked."""
        ...

    def restore(self, before: Mapping[str, Any], same_boot: bool) -> Dict[str, Any]:
        """Put back what `store` found, and say what is there now; may be called again. Raises DeviceError where it is not back."""
        ...


@dataclass(frozen=True)
class Lending:
    """What a run shares with others that begin with the same training (`ebbench.sharing.first_training`).

    `folder`: where it keeps what the runs with the recipes `wanted` will take; `taken`: the file that another run kept for it.
    """

    folder: Path
    wanted: Tuple[Any, ...] = ()
    taken: Optional[Path] = None


class RunContext(Protocol):
    """All that a pipeline may say and ask. Given to it by the session.

    Example::

        with context.phase("search"):
            with context.phase("epoch-3"):
                train_one_epoch()
                with context.phase("draw"):
                    mask = draw_mask(gamma, prune_ratio)
        context.mark("ticket", epoch=3)
        context.metric("accuracy", 0.93, epoch=3)
    """

    device: str
    #: None where nothing is shared
    lending: Optional[Lending]

    def phase(self, name: str) -> ContextManager[None]:
        """A phase inside the one that is open; its edges wait for the accelerator and then read the clock."""
        ...

    def mark(self, name: str, **values: Any) -> None:
        """This happened, now."""
        ...

    def metric(self, name: str, value: float, **where: Any) -> None:
        """This value is now so."""
        ...

    def progress(self, done: float, total: float) -> None:
        """How much of the pipeline's work is done, in units of its own; cheap enough for every step."""
        ...

    def checkpoint_due(self) -> bool:
        """Whether `checkpoint_s` seconds have passed since the last checkpoint."""
        ...

    def save_checkpoint(self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint, whole or not at all; opens the phase ``checkpoint`` itself."""
        ...

    def load_checkpoint(self) -> Optional[Tuple[Dict[str, np.ndarray], Dict[str, Any]]]:
        """What the last `save_checkpoint` of this run got; None in a run that starts."""
        ...

    def save_masks(self, masks: np.ndarray, epochs: Sequence[int], gamma: np.ndarray) -> None:
        """Keep the drawn masks (bool [m, N]) and |gamma| of every epoch (float32 [e, N]) in ``masks.npz``, bit-packed."""
        ...


@dataclass
class Outcome:
    """What a pipeline found. Accuracies are fractions; FLOPs are of the arithmetic really done."""

    accuracy: Dict[str, Optional[float]]
    flops: Dict[str, Any]
    ticket: Optional[Dict[str, Any]] = None
    #: one mask-distance check exactly as the search does it, to be repeated in amplified blocks
    repeat_draw: Optional[Callable[[], None]] = None
    #: cost of one check in FLOPs and bytes, and the network's parameter count, for the overhead's fractions
    draw_cost: Optional[Dict[str, float]] = None
    notes: List[str] = field(default_factory=list)
    #: what a training did whose arithmetic is simulated, by phase, as `ebbench.training.work` counts it: its energy is estimated
    work: Optional[Dict[str, Any]] = None


@dataclass(frozen=True)
class Stage:
    """A top-level phase that trains epoch after epoch: what the recipe schedules of it, and what was trained."""

    path: str
    epochs: int
    trained: int
    evaluations: int
    #: epochs that are complete in the schedule when the stage begins
    first: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether epochs are missing."""
        return self.trained < self.epochs


class Pipeline(Protocol):
    """Trains, and says what phase it is in. One class per method.

    A class with `is_simulated = True` simulates an arithmetic that the machine does not do: the energy of its runs is estimated
    from `Outcome.work`, and what is measured meanwhile is kept apart. One with a method `check_device(device)` is asked, before
    anything is written, to raise UserError for a device that it cannot train on. One that has `stored_bytes` after `check`
    ({what it is for: bytes}, two of what is replaced whole) is refused where the disk has no room for it.
    """

    def __init__(self, recipe: Any) -> None: ...

    def check(self) -> None:
        """Raise UserError for everything that cannot be trained; called before anything is written or measured."""
        ...

    def run(self, context: RunContext) -> Outcome:
        """Train from start (or from `context.load_checkpoint()`) to end."""
        ...


class Report(Protocol):
    """Renders records. One class per kind of report."""

    def render(self, runs: Sequence[Path], out: Path, options: Mapping[str, Any]) -> List[Path]:
        """Write the report of the run folders `runs` under `out`; returns the files written."""
        ...
