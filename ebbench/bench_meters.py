"""The meters of a bench file, looked at one by one before a run needs them together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ebbench import plugins
from ebbench.config import Bench, load_bench, read_bench
from ebbench.doctor import FAIL, OK, Finding
from ebbench.errors import ConfigError, EbbenchError, nearest
from ebbench.meter_ref import MeterRef, refs_of
from ebbench.protocols import Board


def meters_of(path: Path, name: Optional[str] = None) -> Tuple[Bench, List[MeterRef]]:
    """The bench of a file and its meters, the reference first; of them the one called `name`, if one is asked for."""
    bench = load_bench(read_bench(path), {}, str(path))
    refs = [ref for ref in refs_of(bench.meters) if name in (None, ref.called)]
    if not refs:
        known = [ref.called for ref in refs_of(bench.meters)]
        raise ConfigError(f"{path}: no meter is called {name!r}; {nearest(str(name), known)}")
    return bench, refs


def bench_findings(path: Path) -> List[Finding]:
    """What a bench file would use, and what stands in the way: its board, and each of its meters."""
    bench, refs = meters_of(path)
    board = plugins.choose_board(bench.board)
    title = board.title if board else "no known board"
    return [_finding("board", OK, title), *_meter_findings(refs, board)]


def _meter_findings(refs: List[MeterRef], board: Optional[Board]) -> Iterator[Finding]:
    for number, ref in enumerate(refs):
        name = f"meter {ref.called}"
        try:
            ((called, factory, request),) = plugins.choose_meters([ref], board)
            there = plugins.probe(factory, request)
        except EbbenchError as error:
            yield _finding(name, FAIL, "cannot be used", str(error))
            continue
        said = [f"scope {there.scope}", "its energy counts" if number == 0 else "compared with the one that counts"]
        said += ["simulated"] if there.simulated else []
        said += [f"wiring: {ref.wiring}"] if ref.wiring else []
        if there.available:
            yield _finding(f"meter {called}", OK, f"{there.reason} ({'; '.join(said)})")
        else:
            yield _finding(f"meter {called}", FAIL, f"cannot be read ({'; '.join(said)})", there.reason)


def _finding(name: str, verdict: str, found: str, advice: str = "") -> Dict[str, Any]:
    return {"name": name, "verdict": verdict, "found": found, "advice": advice}
