"""The meters of a bench file, looked at one by one before a run needs them together."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ebbench import plugins
from ebbench.config import Bench, load_bench, read_bench
from ebbench.energy.sampler import Sampler
from ebbench.errors import ConfigError, EbbenchError, nearest
from ebbench.meter_ref import MeterRef, refs_of
from ebbench.obstacles import FAIL, OK, Finding
from ebbench.obstacles import finding as _finding
from ebbench.protocols import Availability, Board
from ebbench.remote.board import RemoteBoard
from ebbench.remote.session import names_there
from ebbench.units import format_si


def meters_of(path: Path, name: Optional[str] = None) -> Tuple[Bench, List[MeterRef]]:
    """The bench of a file and its meters, the reference first; of them the one called `name`, if one is asked for."""
    bench = load_bench(read_bench(path), {}, str(path))
    refs = [ref for ref in refs_of(bench.meters) if name in (None, ref.called)]
    if not refs:
        known = [ref.called for ref in refs_of(bench.meters)]
        raise ConfigError(f"{path}: no meter is called {name!r}; {nearest(str(name), known)}")
    return bench, refs


def bench_findings(path: Path) -> List[Finding]:
    """What a bench file would use, and what stands in the way: its board, and each of its meters, which is opened and read.

    Nothing is contacted but what the file names.
    """
    bench = load_bench(read_bench(path), {}, str(path))
    if bench.on is not None:
        there = _finding_there(bench)
        return [there, *_meter_findings(refs_of(bench.laptop_meters), None, bench)]
    board = plugins.choose_board(bench.board)
    title = board.title if board else "no known board"
    refs = [] if bench.is_unmetered else refs_of(bench.meters)
    return [_finding("board", OK, title), *_meter_findings(refs, board, bench)]


def _finding_there(bench: Bench) -> Finding:
    """The board of a run on another machine, and the meters that it would read."""
    assert bench.on is not None
    name = f"board {bench.on}"
    try:
        with contextlib.closing(RemoteBoard(bench.on, bench.on_command, lambda line: None)) as board:
            names = names_there(board, bench, may_simulate=False)
    except EbbenchError as error:
        return _finding(name, FAIL, "cannot be used", str(error))
    return _finding(name, OK, f"answers; it would read {', '.join(names) or 'no meter of its own'}")


def _meter_findings(refs: Sequence[MeterRef], board: Optional[Board], bench: Bench) -> List[Finding]:
    """One finding per meter. All are opened at once, each in a process of its own, as in a run."""
    with tempfile.TemporaryDirectory(prefix="ebbench-") as folder, contextlib.ExitStack() as ended:
        begun = []
        for number, ref in enumerate(refs):
            begun.append(_Trial(ref, "its energy counts" if number == 0 else "compared with the one that counts"))
            begun[-1].begin(board, bench.rate_hz, Path(folder) / f"{number}.arrows")
            ended.callback(begun[-1].end)
        return [trial.finding() for trial in begun]


class _Trial:
    """One meter that is tried: `begin`, then its `finding`, then `end`."""

    def __init__(self, ref: MeterRef, use: str) -> None:
        self._ref, self._use = ref, use
        self._there: Optional[Availability] = None
        self._sampler: Optional[Sampler] = None
        self._fault: Optional[str] = None

    def begin(self, board: Optional[Board], rate_hz: Optional[float], trace: Path) -> None:
        """Start to open it, if nothing stands in the way."""
        try:
            ((called, factory, request),) = plugins.choose_meters([self._ref], board)
            self._there = plugins.probe(factory, request)
            if self._there.available:
                self._sampler = Sampler.start(factory, request, trace, rate_hz, metadata={"name": called})
            else:
                self._fault = self._there.reason
        except EbbenchError as error:
            self._fault = str(error)

    def finding(self) -> Finding:
        """What it gives, or what mends it."""
        summary: Dict[str, Any] = {}
        if self._sampler is not None:
            try:
                self._sampler.wait_ready()
                summary = self._sampler.stop()
            except EbbenchError as error:
                self._fault = str(error)
        name, said = f"meter {self._ref.called}", f"({'; '.join(self._said())})"
        if self._fault is not None:
            return _finding(name, FAIL, f"cannot be read {said}", self._fault)
        assert self._there is not None
        where = self._ref.address or self._there.reason
        return _finding(name, OK, f"{where}: read, {_shown_power(summary.get('power_w'))} {said}")

    def end(self) -> None:
        """Leave nothing running."""
        if self._sampler is not None:
            self._sampler.kill()

    def _said(self) -> List[str]:
        there = self._there
        said = [f"scope {there.scope}"] if there is not None else []
        said += [self._use]
        said += ["simulated"] if there is not None and there.simulated else []
        return said + ([f"wiring: {self._ref.wiring}"] if self._ref.wiring else [])


def _shown_power(power_w: Optional[float]) -> str:
    return "no total" if power_w is None else f"{format_si(power_w, 'W', 3)} now"
