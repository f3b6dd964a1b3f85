"""What the process of the state log does: ask every source of state once a second and write down what it says.

It is started by `state_log.StateLog`; a line on stdin, the end of stdin or the parent's death end it, after a last reading. It
writes ``board.jsonl``: a line ``start``, then lines ``state``. What seldom changes is written when it changes.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
from typing import Any, Dict, List, Mapping

from ebbench.clock import boot_id, monotonic_ns, read_clocks
from ebbench.units import NS_PER_S

PERIOD_NS = NS_PER_S
#: groups that are written with every line; the others only when they differ from what was last written
ALWAYS = ("temperature_c", "clock_hz", "throttled", "power_capped")


def main(spec: Mapping[str, Any]) -> None:
    """Run the state log of this process."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they may reach everyone at a terminal; the parent decides
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()
    sources, absent = _open(spec)
    fd = os.open(spec["path"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    clocks = read_clocks()
    start = {"event": "start", "t_ns": clocks.monotonic_ns, "wall_ns": clocks.realtime_ns, "boot_id": boot_id()}
    _write(fd, {**start, "sources": sorted(sources), "absent": absent})
    written: Dict[str, Any] = {}
    due_ns = monotonic_ns()
    while True:
        state = merged([reading for source in sources.values() if (reading := _ask(source)) is not None])
        news = {key: value for key, value in state.items() if key in ALWAYS or written.get(key) != value}
        written.update(news)
        last = _is_to_stop(parent, 0)
        _write(fd, {"event": "state", "t_ns": monotonic_ns(), **news, **({"last": True} if last else {})})
        if last:
            return
        due_ns = max(due_ns + PERIOD_NS, monotonic_ns())
        _is_to_stop(parent, due_ns - monotonic_ns())


def merged(readings: List[Mapping[str, Any]]) -> Dict[str, Any]:
    """One state from those of several sources: groups by name, lists one after the other."""
    state: Dict[str, Any] = {}
    for reading in readings:
        for key, value in reading.items():
            if isinstance(value, dict):
                state[key] = {**state.get(key, {}), **value}
            elif isinstance(value, list):
                state[key] = [*state.get(key, []), *value]
            else:
                state[key] = value
    return state


def _open(spec: Mapping[str, Any]) -> Any:
    """The sources that can be opened here, by name, and why the others cannot."""
    sources: Dict[str, Any] = {}
    absent: Dict[str, str] = {}
    for name, path in spec["sources"].items():
        module, _, cls = path.partition(":")
        try:
            sources[name] = getattr(importlib.import_module(module), cls)(spec["device_uuid"], spec["parent"])
        except Exception as error:  # noqa: BLE001 - a vendor's library may raise anything; the run goes on without it
            absent[name] = f"{type(error).__name__}: {error}"[:200]
    return sources, absent


def _ask(source: Any) -> Any:
    try:
        return source.read()
    except Exception:  # noqa: BLE001 - what could not be read is missing in this line
        return None


def _is_to_stop(parent: int, patience_ns: int) -> bool:
    """Wait up to `patience_ns` for a word of the parent; any word, or that it is gone, ends us."""
    heard, _, _ = select.select([0], [], [], max(0, patience_ns) / NS_PER_S)
    return bool(heard) or os.getppid() != parent


def _write(fd: int, event: Mapping[str, Any]) -> None:
    """One line, whole; where the disk takes none, the state is not known there, and the run says what is wrong."""
    try:
        os.write(fd, json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n")
    except (OSError, ValueError):
        pass
