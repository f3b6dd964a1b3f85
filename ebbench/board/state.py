"""What ``board.jsonl`` says about a run: a summary for its record, and the facts for its checks. Pure functions of the file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ebbench.units import NS_PER_S

Event = Mapping[str, Any]
#: a run counts as watched where at most this part of it, and at most this long at its ends, is without a reading
UNSEEN_RATIO, UNSEEN_S = 0.1, 2.0
#: threads that wanted a processor for less than this part of the time are not those that did the work
SEEN_WORKING = 0.05


@dataclass
class _Watched:
    """What was seen so far."""

    seen_s: float = 0.0
    throttled_s: Optional[float] = None
    throttled_by: Dict[str, float] = field(default_factory=dict)
    power_capped_s: Optional[float] = None
    power_modes: List[str] = field(default_factory=list)
    settings_changed: Optional[List[str]] = None
    ranges: Dict[str, Dict[str, List[float]]] = field(default_factory=lambda: {"temperature_c": {}, "clock_hz": {}})
    fan: Dict[str, float] = field(default_factory=dict)
    foreign: Optional[Dict[int, str]] = None
    mig: Optional[bool] = None
    processor: Dict[str, float] = field(default_factory=dict)


def read_events(path: Path) -> List[Event]:
    """The whole lines of the file, in their order; a torn or foreign line is passed over."""
    events: List[Event] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return events
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events


def board_state(path: Path) -> Optional[Dict[str, Any]]:
    """The summary of a run's state, None where none was logged. What was never readable is None in it, never 0.

    Times in s, temperatures in degrees Celsius, clocks in Hz. `throttled_s` counts the intervals between readings in which
    something was slowed down; `settings_changed` names the limits of clocks that did not stay as they were.
    """
    events = read_events(path)
    starts = [e for e in events if e["event"] == "start"]
    watched = _Watched()
    for before, now in _pairs(events):
        _take(watched, before, now)
    control = [dict(e) for e in events if e["event"] in ("changed", "restored")]
    if not starts and not control:
        return None
    temperatures = watched.ranges["temperature_c"]
    return {
        "watched_s": watched.seen_s,
        "power_mode": {"start": watched.power_modes[0], "end": watched.power_modes[-1]}
        if watched.power_modes
        else None,
        "power_mode_changes": len(watched.power_modes) - 1 if watched.power_modes else None,
        "settings_changed": watched.settings_changed,
        "temperature_c": {name: _range(values) for name, values in temperatures.items()} or None,
        "clock_hz": {name: _range(values) for name, values in watched.ranges["clock_hz"].items()} or None,
        "throttled_s": watched.throttled_s,
        "throttled_by_s": watched.throttled_by,
        "power_capped_s": watched.power_capped_s,
        "fan": watched.fan or None,
        "foreign_processes": _named(watched.foreign),
        "mig": watched.mig,
        "processor": watched.processor or None,
        "absent": starts[-1].get("absent", {}) if starts else {},
        "control": control or None,
    }


def facts(state: Optional[Mapping[str, Any]], duration_s: float) -> Dict[str, Any]:
    """What `ebbench.sealing.checks` asks about the board; a key with None could not be answered.

    That nothing happened counts only where the run was watched almost all of the time; what did happen always counts.
    """
    if state is None:
        return {}
    unseen_s = duration_s - state["watched_s"]
    whole = unseen_s <= max(UNSEEN_S, UNSEEN_RATIO * duration_s)
    changes, settings = state["power_mode_changes"], state["settings_changed"]
    found = {
        "throttled_s": state["throttled_s"],
        "power_mode_changed": changes if changes is None else float(changes > 0),
        "clocks_changed": None if settings is None else float(len(settings)),
    }
    times = state["processor"] or {}
    if sum(times.values()) > SEEN_WORKING * state["watched_s"]:
        found["processor_waited"] = times["waited_s"] / sum(times.values())
    if "nvml" not in state["absent"] or state["mig"] is not None:
        foreign = state["foreign_processes"]
        found["foreign_processes"] = None if foreign is None else float(len(foreign))
        found["mig"] = None if state["mig"] is None else float(state["mig"])
    known = {key: value if value or whole else None for key, value in found.items()}
    return {**known, "watched_s": state["watched_s"], "foreign_names": state["foreign_processes"]}


def _pairs(events: List[Event]) -> Iterator[Tuple[Optional[Dict[str, Any]], Dict[str, Any]]]:
    """Each reading with the one before it in the same start; what was not written again is filled in."""
    before: Optional[Dict[str, Any]] = None
    for event in events:
        if event["event"] == "start":
            before = None
        elif event["event"] == "state":
            now = {**{k: v for k, v in (before or {}).items() if k not in ("throttled", "power_capped")}, **event}
            yield before, now
            before = now


def _take(watched: _Watched, before: Optional[Mapping[str, Any]], now: Mapping[str, Any]) -> None:
    elapsed_s = (now["t_ns"] - before["t_ns"]) / NS_PER_S if before else 0.0
    watched.seen_s += elapsed_s
    _take_throttling(watched, before or {}, now, elapsed_s)
    if now.get("power_mode") is not None and watched.power_modes[-1:] != [now["power_mode"]]:
        watched.power_modes.append(now["power_mode"])
    if "settings" in now:
        older = (before or now).get("settings", {})
        changed = {k for k, v in now["settings"].items() if k in older and older[k] != v}
        watched.settings_changed = sorted({*(watched.settings_changed or []), *changed})
    for group, ranges in watched.ranges.items():
        for name, value in now.get(group, {}).items():
            low_high = ranges.setdefault(name, [value, value, value, value])
            low_high[1:] = [value, min(low_high[2], value), max(low_high[3], value)]
    for name, value in now.get("fan", {}).items():
        watched.fan[name] = max(value, watched.fan.get(name, value))
    if "foreign_processes" in now:
        seen = {each["pid"]: each["name"] for each in now["foreign_processes"]}
        watched.foreign = {**(watched.foreign or {}), **seen}
    times, older = now.get("processor", {}), (before or {}).get("processor", {})
    for name in sorted(times.keys() & older.keys()):  # a thread that has ended takes its times with it
        watched.processor[name] = watched.processor.get(name, 0.0) + max(times[name] - older[name], 0.0)
    if now.get("mig") is not None:
        watched.mig = bool(watched.mig or now["mig"])


def _take_throttling(watched: _Watched, before: Mapping[str, Any], now: Mapping[str, Any], elapsed_s: float) -> None:
    if "throttled" in now or "throttle_counts" in now:
        counts = before.get("throttle_counts", {})
        risen = [k for k, v in now.get("throttle_counts", {}).items() if k in counts and v > counts[k]]
        causes = {*before.get("throttled", []), *now.get("throttled", []), *risen}
        watched.throttled_s = (watched.throttled_s or 0.0) + (elapsed_s if causes else 0.0)
        for cause in causes:
            watched.throttled_by[cause] = watched.throttled_by.get(cause, 0.0) + elapsed_s
    if "power_capped" in now:
        capped_s = elapsed_s if now["power_capped"] or before.get("power_capped") else 0.0
        watched.power_capped_s = (watched.power_capped_s or 0.0) + capped_s


def _range(values: List[float]) -> Dict[str, float]:
    return dict(zip(("start", "end", "min", "max"), values))


def _named(foreign: Optional[Mapping[int, str]]) -> Optional[List[Dict[str, Any]]]:
    return None if foreign is None else [{"pid": pid, "name": name} for pid, name in sorted(foreign.items())]
