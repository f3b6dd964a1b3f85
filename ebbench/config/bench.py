"""With what to measure: a bench, and how it is read from a file."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from ebbench.config.values import coerce, load_toml, refuse_unknown, typed_scalar
from ebbench.errors import ConfigError, Faults, nearest
from ebbench.meter_ref import OFF, MeterRef, Named, refs_of
from ebbench.units import MOST_HZ


@dataclass(frozen=True)
class Bench:
    """With what to measure. None in a field means "the default of the meter".

    One of the meters is the reference: the one that says so, else the first. Each is a URI, or a `MeterRef` from a file.
    """

    meters: Tuple[Named, ...] = ("auto",)
    board: str = "auto"
    device: str = "auto"
    rate_hz: Optional[float] = None
    idle_s: float = 10.0
    warmup_s: float = 0.0
    #: before the run, wait until the warmest sensor of the board shows at most this (degrees Celsius)
    cooldown_c: Optional[float] = None
    #: seconds spent on amplified blocks of mask-distance checks; 0 is off
    amplify_s: float = 30.0
    #: seconds of the power signature at either end; 0 is off (None: where a meter has a clock of its own, as long as it needs)
    signature_s: Optional[float] = None
    #: at least so many where that is None: what meters need that another machine reads (`on`); 0 is none
    signature_least_s: float = 0.0
    #: longest interval between readings that is interpolated (None: max(1 s, 10 median intervals))
    max_gap_s: Optional[float] = None
    #: from which an arithmetic that is only simulated here is estimated: a table of ebbench/energy/unit_energies.toml, or a file
    unit_energies: str = "horowitz-45nm"
    #: for the run only, put back afterwards: a power mode by number or name (None: as it is), clocks at their greatest
    power_mode: Optional[str] = None
    lock_clocks: bool = False
    #: use what `ebbench calibrate` found out about the meters on this machine
    calibration: bool = True
    #: the board to run on, as ssh names it (None: this machine); `meters` are then those of this machine, beside `board_meters`
    on: Optional[str] = None
    #: the command there, and the folder there that keeps what is run
    on_command: str = "ebbench"
    on_out: str = "ebbench-remote"
    board_meters: Tuple[Named, ...] = ("auto",)

    def __post_init__(self) -> None:
        faults = [
            f"{n} = {getattr(self, n)} is below 0"
            for n in ("idle_s", "warmup_s", "amplify_s", "signature_s", "signature_least_s")
            if getattr(self, n) is not None and not getattr(self, n) >= 0
        ]
        faults += [
            f"{n} = {getattr(self, n)} is not above 0"
            for n in ("rate_hz", "max_gap_s", "cooldown_c")
            if getattr(self, n) is not None and not getattr(self, n) > 0
        ]
        if self.rate_hz is not None and self.rate_hz > MOST_HZ:
            faults.append(f"rate_hz = {self.rate_hz:g} is above {MOST_HZ:g}; leave it out for the meter's own")
        if not self.meters:
            faults.append("meters is empty; name at least one, or 'auto'")
        try:
            refs_of(self.meters)
        except ConfigError as error:
            faults.append(str(error))
        if self.device not in ("auto", "cpu", "cuda") and not self.device.startswith("cuda:"):
            faults.append(f"device = {self.device!r}: {nearest(self.device, ('auto', 'cpu', 'cuda'))}")
        faults += _remote_faults(self)
        if faults:
            raise ConfigError(*faults)

    @property
    def is_unmetered(self) -> bool:
        """Whether no meter is read here: another machine measures what this one does."""
        return [str(meter) for meter in self.meters] == [OFF]

    @property
    def laptop_meters(self) -> Tuple[Named, ...]:
        """The meters of this machine beside a board: those that were named; `auto` would find what this machine draws itself."""
        return () if self.meters == ("auto",) else self.meters

    def on_board(self) -> Bench:
        """The bench as the board sees it."""
        here = Bench()
        return dataclasses.replace(
            self, meters=self.board_meters, on=None, on_command=here.on_command, on_out=here.on_out,
            board_meters=here.board_meters,
        )  # fmt: skip

    def settings(self) -> Dict[str, Any]:
        """All fields as JSON values; a meter from a file as its table."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.loads(json.dumps(values, default=MeterRef.settings))


def _remote_faults(bench: Bench) -> Iterable[str]:
    """What is wrong with the settings of a run on another machine."""
    if bench.on is None:
        return
    if not bench.on.isprintable() or bench.on.startswith("-") or not bench.on or " " in bench.on:
        yield f"on = {bench.on!r} is no name of a machine; write user@board, or a name of ~/.ssh/config"
    if not bench.board_meters:
        yield "board_meters is empty; name at least one, or 'auto'"
    try:
        for_board = [ref.name for ref in refs_of(bench.laptop_meters) if ref.name in ("auto", OFF)]
        if for_board:
            yield f"meters: {for_board[0]} is for the board (board_meters); name the meters of this machine"
        elif refs_of(bench.board_meters)[0].name != OFF:
            refs_of([*bench.laptop_meters, *bench.board_meters])
        elif not bench.laptop_meters:
            yield f"board_meters is '{OFF}' and no meter here is named: nothing would be measured; name one with --meter"
    except ConfigError as error:
        yield str(error)
    for name in ("on_command", "on_out"):
        if not getattr(bench, name).strip() or not getattr(bench, name).isprintable():
            yield f"{name} = {getattr(bench, name)!r} is empty, or more than one line"
    try:
        shlex.split(bench.on_command)
    except ValueError as error:
        yield f"on_command = {bench.on_command!r}: {error}"


#: the parts of an experiment's file, which somebody may take for those of a bench file
_SECTIONS = ("experiment", "recipe", "bench")


def load_bench(settings: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> Bench:
    """A bench from the values of a file with the command line's on top. Raises ConfigError with all faults of the file."""
    known = [f.name for f in dataclasses.fields(Bench)]
    faults = Faults()
    values: Dict[str, Any] = {}
    with faults.gathered():
        refuse_unknown([key for key in settings if key not in _SECTIONS], known, where)
    for section in (key for key in settings if key in _SECTIONS):
        faults.found.append(
            f"{where}: [{section}] is of an experiment's file; in a bench file its settings and [[meters]] stand at the top"
        )
    for key in (key for key in settings if key in known):
        with faults.gathered(f"{where}: "):
            values[key] = _bench_value(key, settings[key])
    with faults.gathered(f"{where}: "):
        Bench(**values)
    faults.refuse()
    refuse_unknown(overrides, known, where)
    return Bench(**{**values, **{key: _bench_value(key, value) for key, value in overrides.items()}})


def read_bench(path: Path) -> Dict[str, Any]:
    """The settings of a bench file, which are those of `Bench`, checked. Raises ConfigError with all its faults."""
    settings = load_toml(path)
    load_bench(settings, {}, str(path))
    return settings


def _bench_value(key: str, value: Any) -> Any:
    return _meters(value) if key in ("meters", "board_meters") else coerce(key, value, Bench)


def _meters(value: Any) -> Tuple[Named, ...]:
    """The meters of a bench, each as a URI or as a table; a table of nothing but a URI is that URI."""
    meters: List[Named] = []
    faults: List[str] = []
    for number, each in enumerate(value if isinstance(value, (list, tuple)) else [value], 1):
        try:
            if isinstance(each, MeterRef):
                meters.append(each)
            elif isinstance(each, Mapping):
                ref = MeterRef.from_table(each)
                meters.append(each["uri"] if set(each) == {"uri"} else ref)
            else:
                meters.append(typed_scalar("meters", each, "str"))
        except ConfigError as error:
            faults.append(f"meter {number}: {error}" if isinstance(each, Mapping) else str(error))
    if faults:
        raise ConfigError(*faults)
    return tuple(meters)
