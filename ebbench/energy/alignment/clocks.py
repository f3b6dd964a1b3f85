"""How the times of a trace relate to the phases' clock: which map, from what, and how far it may be off.

A meter that stamps with this machine's clock is taken as it is. One with a clock of its own is aligned when the run is sealed, from
what the phase log holds: round trips (marks ``round-trips``), else signatures (marks ``signature``). A meter of the laptop beside
the board is brought onto the board's clock by the round trips between the two (`links`). The trace stays as it was written; the
same raw files give the same map again.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.alignment.line import MAX_DRIFT, ClockMap, RoundTrips, line_between
from ebbench.energy.alignment.links import UNLINKED, Link, link_of, log_beside
from ebbench.energy.alignment.signature import CHIPS, Fit, Looks, NotFound, Played, chip_s, fit, looks_of
from ebbench.energy.phases import Event, read_events
from ebbench.energy.traces.batches import Chunk, Floats, Ints
from ebbench.energy.traces.pace import valid_blocks
from ebbench.energy.traces.series import Series, series_of
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import InputError, MeterError
from ebbench.protocols import MONOTONIC, MeterInfo
from ebbench.units import NS_PER_S

SAME, STATED, ROUND_TRIP, SIGNATURE = "same", "stated", "round-trip", "signature"
#: the times in a signature's mark
_PLAYED_NS = ("start_ns", "end_ns", "busy_ns")
#: how far off a clock of its own may be that states no bound (s)
UNKNOWN_BOUND_S = 5.0
#: by how much the rate of a clock changes during a run: quartz in a warming room, NTP correcting its own estimate
WANDER = 5e-6


@dataclass(frozen=True)
class TraceClock:
    """One trace's clock. `reason` says why it could not be aligned better; None where nothing was left to wish for.

    `peak_ratio`: how distinct the signature was (the least of those looked for), None without one.
    """

    method: str
    bound_s: float
    map: Optional[ClockMap] = None
    peak_ratio: Optional[float] = None
    reason: Optional[str] = None
    #: of a trace that another machine wrote: the boot of the phases' machine that `map` leads to, "unknown" where none does
    boot_id: Optional[str] = None

    @property
    def is_linked(self) -> bool:
        """Whether another machine than that of the phases wrote the trace."""
        return self.boot_id is not None

    def facts(self, meter: str, trace: str) -> Dict[str, Any]:
        """As the record has it. `offset_s`: how far the meter's clock is ahead at `at_ns`; None where it was not determined."""
        return {
            "meter": meter,
            "trace": trace,
            "method": self.method,
            "at_ns": self.map.at_ns if self.map else None,
            "offset_s": self.map.offset_ns / NS_PER_S if self.map else 0.0 if self.method == SAME else None,
            "drift": self.map.drift if self.map else 0.0 if self.method == SAME else None,
            "bound_s": self.bound_s,
            "peak_ratio": self.peak_ratio,
            "reason": self.reason,
        }

    def applied(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The chunks with their times on the phases' clock."""
        for chunk in chunks:
            if self.map is None:
                yield chunk
            else:
                yield dataclasses.replace(
                    chunk, time_ns=self.map.to_monotonic_ns(chunk.time_ns), notes=self._moved(chunk.notes)
                )

    def _moved(self, notes: Tuple[Dict[str, Any], ...]) -> Tuple[Dict[str, Any], ...]:
        """The sampler's notes, which are stamped by its machine's clock and not by the meter's."""
        if self.boot_id is None or self.map is None or not notes:
            return notes
        times_ns = self.map.to_monotonic_ns(np.array([note["t_ns"] for note in notes], np.int64))
        return tuple({**note, "t_ns": int(t_ns)} for note, t_ns in zip(notes, times_ns))


def is_own(info: MeterInfo) -> bool:
    """Whether a meter has a clock of its own, which is to be aligned."""
    return info.clock != MONOTONIC


def chip_for(
    infos: Sequence[MeterInfo], rate_hz: Optional[float], signature_s: Optional[float], least_s: float = 0.0
) -> float:
    """Length of a signature's chip (s), 0 where none is to be played: `signature_s` in all, None: as long as the meters need.

    `least_s`: what meters need, in all, that another machine reads.
    """
    if signature_s is not None:
        return signature_s / CHIPS
    return max([least_s / CHIPS, *(chip_s(_looks_every_s(info, rate_hz)) for info in infos if is_own(info))])


def _looks_every_s(info: MeterInfo, rate_hz: Optional[float]) -> float:
    """The time over which a meter shows one power: between readings, averaged over, or held."""
    read_hz = min(rate_hz or info.default_rate_hz, info.max_rate_hz or math.inf)
    return max([1 / read_hz, *(max(r.averaging_s or 0.0, r.update_period_s or 0.0) for r in info.rails)])


def clock_of(info: MeterInfo, total: Series, path: Path, events: Sequence[Event]) -> TraceClock:
    """The clock of one trace of a meter; `total` is the series that a signature is looked for in."""
    log = log_beside(path)
    if log is None:
        return _clock_here(info, total, path, events)
    own_events = read_events(log)
    try:
        ends_ns = _ends_ns(path)
        link = link_of(_marks_of_boot(own_events, TraceReader(path).metadata.get("boot_id")), ends_ns)
    except (InputError, MeterError) as error:
        return TraceClock(STATED, UNKNOWN_BOUND_S, reason=str(error), boot_id=UNLINKED)
    here = _clock_here(info, total, path, own_events, signatures_there(events, link))
    return _linked(here, link, ends_ns)


def _linked(here: TraceClock, link: Link, ends_ns: Tuple[int, int]) -> TraceClock:
    """A trace of the laptop on the board's clock; `here`: how its times relate to the laptop's own."""
    onto = link.map
    link_s = onto.bound_s + _beyond_s(onto, ends_ns)
    if here.map is not None:
        onto = here.map.then(onto)
    method = ROUND_TRIP if here.method == SAME else here.method
    if here.method == SIGNATURE:  # the board's signature came over the same link
        link_s *= 2
    return dataclasses.replace(here, method=method, bound_s=here.bound_s + link_s, map=onto, boot_id=link.boot_id)


def signatures_there(events: Sequence[Event], link: Link) -> List[Event]:
    """The signatures that the board played, as marks on the laptop's clock."""
    back = link.map.inverse()
    found: List[Event] = []
    for mark in _marks_of_boot(events, link.boot_id):
        if mark["name"] == "signature" and Played.is_in(mark["values"]):
            times = {key: back.to_monotonic_ns(np.array(mark["values"][key], np.int64)).tolist() for key in _PLAYED_NS}
            found.append({**mark, "values": {**mark["values"], **times}})
    return found


def _beyond_s(clock: ClockMap, ends_ns: Tuple[int, int]) -> float:
    """What its bound grows by, for times beyond those it was found for."""
    away_ns = max(clock.first_ns - ends_ns[0], ends_ns[1] - clock.last_ns, 0)
    return (MAX_DRIFT + abs(clock.drift)) * away_ns / NS_PER_S


def _clock_here(
    info: MeterInfo, total: Series, path: Path, events: Sequence[Event], signatures: Sequence[Event] = ()
) -> TraceClock:
    """The clock of a trace against that of the machine that wrote it, and wrote `events`; `signatures` came from elsewhere."""
    if not is_own(info):
        return TraceClock(STATED if info.time_bound_s > 0 else SAME, info.time_bound_s)
    stated = TraceClock(STATED, info.time_bound_s or UNKNOWN_BOUND_S)
    try:
        ends_ns = _ends_ns(path)
        marks = [*_marks_of_boot(events, TraceReader(path).metadata.get("boot_id")), *signatures]
    except InputError:  # its header is damaged: it has no readings, and the trace says so itself
        return stated
    found = (
        _by_round_trips(info.name, marks, ends_ns, stated)
        if any(_is_of(info.name, mark) for mark in marks)
        else _by_signature(total, path, marks, ends_ns, stated)
    )
    if found.method != STATED or info.time_bound_s:
        return found
    unknown = f"no offset_bound_s is stated for it, {UNKNOWN_BOUND_S:g} s is taken"
    return dataclasses.replace(found, reason="; ".join(filter(None, (unknown, found.reason))))


def clock_of_trace(path: Path, events: Sequence[Event]) -> TraceClock:
    """The clock of a trace by what its own header says of the meter. Raises InputError where that cannot be read."""
    info = TraceReader(path).info
    return clock_of(info, series_of(info, info.total or [info.rails[0].name]), path, events)


def _marks_of_boot(events: Sequence[Event], boot_id: Any) -> List[Event]:
    """The marks of one boot: times of two boots are not comparable."""
    found, now = [], None
    for event in events:
        if event["event"] == "start":
            now = event["boot_id"]
        elif event["event"] == "mark" and now == boot_id:
            found.append(event)
    return found


def _ends_ns(path: Path) -> Tuple[int, int]:
    """First and last time of a trace, by its own clock; of one without readings (0, 0)."""
    first_ns: Optional[int] = None
    last_ns = 0
    for chunk in TraceReader(path, columns=[]):
        if chunk.time_ns.size:
            first_ns = int(chunk.time_ns[0]) if first_ns is None else first_ns
            last_ns = int(chunk.time_ns[-1])
    return first_ns or 0, last_ns


def _by_round_trips(name: str, marks: Sequence[Event], ends_ns: Tuple[int, int], stated: TraceClock) -> TraceClock:
    """The clock by the round trips that were marked for this meter; the stated bound, with the reason, where they disagree."""
    trips = RoundTrips()
    try:
        for mark in marks:
            if _is_of(name, mark):
                for sent_ns, remote_ns, received_ns in mark["values"]["trips"]:
                    trips.add(sent_ns, remote_ns, received_ns)
        found = trips.clock_map()
    except MeterError as error:
        return dataclasses.replace(stated, reason=str(error))
    return TraceClock(ROUND_TRIP, found.bound_s + _beyond_s(found, ends_ns), found)


def _is_of(name: str, mark: Event) -> bool:
    """Whether a mark holds round trips to this meter's clock."""
    return bool(mark["name"] == "round-trips" and mark["values"].get("meter") == name and mark["values"].get("trips"))


def _by_signature(
    total: Series, path: Path, marks: Sequence[Event], ends_ns: Tuple[int, int], stated: TraceClock
) -> TraceClock:
    """The clock by the signatures that lie in this trace; the stated bound, with the reason, where none is found."""
    margin_ns = round(stated.bound_s * NS_PER_S)
    played = [Played.of(m["values"]) for m in marks if m["name"] == "signature" and Played.is_in(m["values"])]
    played = [p for p in played if p.start_ns + margin_ns >= ends_ns[0] and p.end_ns - margin_ns <= ends_ns[1]]
    found: List[Tuple[Played, Fit]] = []
    reasons: List[str] = [] if played else ["no signature was played while this trace was written"]
    ratios: List[float] = []
    for one, looks in zip(played, _looks(total, path, played, margin_ns)):
        try:
            found.append((one, fit(looks, one, stated.bound_s)))
            ratios.append(found[-1][1].peak_ratio)
        except NotFound as error:
            reasons.append(str(error))
            ratios.append(error.peak_ratio)
    known = [(one.middle_ns + round(f.offset_s * NS_PER_S), f.offset_s, f.bound_s) for one, f in found]
    reasons += _steps(known)
    told = dataclasses.replace(stated, peak_ratio=min(ratios, default=None), reason="; ".join(reasons) or None)
    if not known or _steps(known):
        return told
    line = line_between(known, WANDER, MAX_DRIFT, *ends_ns)
    if line.bound_s >= stated.bound_s:
        reasons.append(f"the signature leaves {line.bound_s:.3g} s, no better than what is stated")
        return dataclasses.replace(told, reason="; ".join(reasons))
    return dataclasses.replace(told, method=SIGNATURE, bound_s=line.bound_s, map=line)


def _steps(known: Sequence[Tuple[int, float, float]]) -> List[str]:
    """Why two offsets cannot be of one clock; nothing where they can."""
    if len(known) < 2:
        return []
    (at_ns, offset_s, bound_s), (end_ns, end_s, end_bound_s) = known[0], known[-1]
    gained_s, apart_s = end_s - offset_s, (end_ns - at_ns) / NS_PER_S
    if abs(gained_s) <= MAX_DRIFT * apart_s + bound_s + end_bound_s:
        return []
    return [f"its clock gained {gained_s:.3g} s in {apart_s:.3g} s between the signatures, so it was stepped"]


def _looks(total: Series, path: Path, played: Sequence[Played], margin_ns: int) -> List[Looks]:
    """The readings around each signature; the trace is read once, and only what lies near one is kept."""
    margin_ns += 10 * NS_PER_S  # a search is at least some chips wide
    times: List[List[Ints]] = [[np.zeros(0, np.int64)] for _ in played]
    values: List[List[Floats]] = [[np.zeros(0)] for _ in played]
    for chunk in TraceReader(path, columns=sorted({c for group in total.columns for c in group})):
        for time_ns, value in valid_blocks(total, chunk):
            for number, one in enumerate(played):
                first, last = np.searchsorted(time_ns, (one.start_ns - margin_ns, one.end_ns + margin_ns))
                times[number].append(time_ns[first:last])
                values[number].append(value[first:last])
    return [looks_of(total, np.concatenate(t), np.concatenate(v)) for t, v in zip(times, values)]
