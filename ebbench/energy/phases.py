"""What happened when: the append-only ``phases.jsonl`` of a run, written by one process, read by others as it grows.

One JSON object per line, written with one write while the file's lock (flock) is held. The stamp of a line is read
while holding that lock, so whoever takes the lock, reads the clock as `t_safe` and then reads the file knows every edge
before `t_safe`. A torn last line is ignored by readers and cut by the next writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ebbench.clock import Clock, boot_id, monotonic_ns, read_clocks
from ebbench.errors import ConfigError, DiskError, InputError, UserError

Event = Dict[str, Any]


class PhaseLog:
    """Writes the edges of phases, marks and metrics of one start of a run (a segment), each with its time.

    `synchronize` waits for the accelerator; it is called before every edge of a phase, before the lock is taken. Where something
    has failed already, one that cannot be waited for any more does not hide what it was. A log that nobody
    holds any more is closed.
    """

    _fd = -1

    def __init__(
        self, path: Path, clock: Clock = monotonic_ns, synchronize: Optional[Callable[[], None]] = None
    ) -> None:
        self.path = Path(path)
        self.synchronize = synchronize
        self._clock = clock
        self._open: Dict[int, str] = {}
        self._threads = threading.Lock()  # a flock does not keep two threads of one process apart
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            with self._locked():
                _cut_torn_line(self._fd)
            events = read_events(self.path)
        except OSError as error:
            raise DiskError(f"cannot write {self.path}: {error.strerror}; choose another folder with --out") from error
        #: the number of the segment that `start` begins next
        self.next_segment: int = sum(e["event"] == "start" for e in events)

    def start(self, restored: Optional[Mapping[str, int]] = None) -> int:
        """Begin a segment and return its number; `restored` {"segment", "t_ns"} says from when the state is."""
        fields = {"event": "start", "segment": self.next_segment, "boot_id": boot_id(), "pid": os.getpid()}
        fields.update(boottime_ns=read_clocks().boottime_ns, restored=dict(restored) if restored else None)
        self._write(fields)
        self.next_segment += 1
        return self.next_segment - 1

    def begin(self, path: str) -> int:
        """Open the phase at `path` (full, such as ``search/epoch-3/draw``) and return its id."""
        if not path or not path.isprintable() or not all(part.strip() for part in path.split("/")):
            raise ConfigError(f"phase {path!r}: a path is printable names joined with '/', such as search/epoch-3")
        event = self._edge({"event": "begin", "id": None, "path": path})
        self._open[event["id"]] = path
        return int(event["id"])

    def end(self, number: int, failed: bool = False) -> None:
        """Close the phase that `begin` gave this id."""
        if number not in self._open:
            raise ConfigError(f"phase {number} is not open in {self.path} (open: {self._open})")
        self._edge({"event": "end", "id": number, "path": self._open[number], "failed": failed})
        del self._open[number]

    def adopt(self, path: str) -> int:
        """The id of the phase at `path` that another process began and left open, to be ended here; the newest of several."""
        events = read_events(self.path)
        ended = {e["id"] for e in events if e["event"] == "end"}
        found = [e["id"] for e in events if e["event"] == "begin" and e["path"] == path and e["id"] not in ended]
        if not found:
            raise UserError(f"phase {path!r} is not open in {self.path}; begin it first")
        self._open[found[-1]] = path
        return int(found[-1])

    @contextlib.contextmanager
    def phase(self, path: str) -> Iterator[int]:
        """The phase at `path` around a block; `failed` where the block raises."""
        number = self.begin(path)
        try:
            yield number
        except BaseException:
            self.end(number, failed=True)
            raise
        self.end(number)

    def mark(self, name: str, **values: Any) -> None:
        """This happened, now."""
        self._write({"event": "mark", "name": name, "values": _plain(values)})

    def metric(self, name: str, value: Optional[float], **where: Any) -> None:
        """This value is now so; a value that is not finite is written as null."""
        self._write({"event": "metric", "name": name, "value": _plain(value), "where": _plain(where)})

    def stop(self, status: str, reason: Optional[str] = None) -> int:
        """The run's process ends: success, failed or aborted, and why; returns the stamp (ns). Open phases stay open."""
        event = self._edge({"event": "stop", "status": status, "reason": reason})
        os.fdatasync(self._fd)
        return int(event["t_ns"])

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _edge(self, event: Event) -> Event:
        """The one edge function: wait for the accelerator, lock, read the clock, write; the same order at both ends."""
        if self.synchronize is not None:
            try:
                self.synchronize()
            except Exception:
                if not event.get("failed") and event.get("status", "success") == "success":
                    raise
        return self._write(event)

    def _write(self, event: Event) -> Event:
        with self._threads, self._locked():
            event.update(t_ns=self._clock(), wall_ns=time.time_ns())
            size = os.fstat(self._fd).st_size
            if event["event"] == "begin":
                event["id"] = size  # where the line lies: no other phase has that, whichever process begins it
            self._append(json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n", size)
        return event

    def _append(self, line: bytes, size: int) -> None:
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise self._full(str(error.strerror)) from error
        if written != len(line):
            os.ftruncate(self._fd, size)
            raise self._full("No space left on device")

    def _full(self, reason: str) -> DiskError:
        return DiskError(f"cannot write {self.path}: {reason}; make room, then continue with --resume")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)


class PhaseTail:
    """Follows a growing phase log from another process (the simulated meter does, to know what is running)."""

    #: the writer holds the lock for microseconds; a poll gives up after these many waits of 1 ms and is repeated later
    PATIENCE = 50

    def __init__(self, path: Path, clock: Clock = monotonic_ns) -> None:
        self.path = Path(path)
        self._clock = clock
        self._fd = -1
        self._offset = 0
        self._safe_until_ns = 0

    def poll(self) -> Tuple[List[Event], int]:
        """The events since the last poll, and the time (ns) before which no event will ever be added."""
        if self._fd < 0:
            now_ns = self._clock()  # before looking: a writer makes the file before it reads its clock
            try:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self._safe_until_ns = now_ns
                return [], now_ns
        if not self._lock():
            return [], self._safe_until_ns
        try:
            self._safe_until_ns = self._clock()
            content = os.pread(self._fd, os.fstat(self._fd).st_size - self._offset, self._offset)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()], self._safe_until_ns

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self) -> bool:
        for _ in range(self.PATIENCE):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.001)
            else:
                return True
        return False


@dataclass(frozen=True)
class Interval:
    """One instance of a phase: [start_ns, end_ns) on CLOCK_MONOTONIC of the boot `boot_id`.

    `interrupted`: the process died inside; `parent`: the id of the innermost open phase whose path is a prefix.
    """

    path: str
    start_ns: int
    end_ns: int
    segment: int
    boot_id: str
    failed: bool
    interrupted: bool
    id: int
    parent: Optional[int]


@dataclass(frozen=True)
class Span:
    """A stretch [start_ns, end_ns) of one segment."""

    segment: int
    boot_id: str
    start_ns: int
    end_ns: int


def read_events(path: Path) -> List[Event]:
    """All whole lines of a phase log, in order; a torn last line is left out, no file is no events.

    Raises InputError for a damaged line that others follow.
    """
    try:
        content = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    events = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            event = json.loads(line)
            event["event"], event["t_ns"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} line {number} is damaged; restore it, or take the line out") from error
        events.append(event)
    return events


def spans(events: Sequence[Event], last_sign_ns: Optional[Mapping[int, int]] = None) -> List[Span]:
    """One span per segment: from its start to its last event, or to `last_sign_ns` (the trace's last reading) if later."""
    found: List[Span] = []
    for segment, group in enumerate(_by_segment(events)):
        end_ns = max(e["t_ns"] for e in group)
        if last_sign_ns and group[-1]["event"] != "stop":
            end_ns = max(end_ns, last_sign_ns.get(segment, end_ns))
        found.append(Span(segment, group[0]["boot_id"], group[0]["t_ns"], end_ns))
    return found


def intervals(events: Sequence[Event], last_sign_ns: Optional[Mapping[int, int]] = None) -> List[Interval]:
    """All phases in the order of their begins; one that was never closed ends with its segment (see `spans`)."""
    found: List[Interval] = []
    for group, span in zip(_by_segment(events), spans(events, last_sign_ns)):
        ends = {e["id"]: e for e in group if e["event"] == "end"}
        parents = _parents(group)
        for event in group:
            if event["event"] == "begin":
                end = ends.get(event["id"])
                found.append(
                    Interval(
                        path=event["path"],
                        start_ns=event["t_ns"],
                        end_ns=end["t_ns"] if end else span.end_ns,
                        segment=span.segment,
                        boot_id=span.boot_id,
                        failed=bool(end and end["failed"]),
                        interrupted=end is None,
                        id=event["id"],
                        parent=parents[event["id"]],
                    )
                )
    return found


def redone_intervals(events: Sequence[Event], last_sign_ns: Optional[Mapping[int, int]] = None) -> List[Span]:
    """The stretches whose work was done again: from the restored state's time to that segment's end, and all between.

    A later segment that restored nothing started over, so all before it was done again. Spans do not overlap.
    """
    segments = spans(events, last_sign_ns)
    since_ns: Dict[int, int] = {}  # segment -> from when on its work was lost
    for start in (e for e in events if e["event"] == "start"):
        restored = start["restored"] or {"segment": -1, "t_ns": 0}
        for span in segments[max(restored["segment"], 0) : start["segment"]]:
            lost_ns = restored["t_ns"] if span.segment == restored["segment"] else span.start_ns
            since_ns[span.segment] = min(lost_ns, since_ns.get(span.segment, lost_ns))
    return [Span(s.segment, s.boot_id, since_ns[s.segment], s.end_ns) for s in segments if s.segment in since_ns]


def _by_segment(events: Sequence[Event]) -> List[List[Event]]:
    groups: List[List[Event]] = []
    for event in events:
        if event["event"] == "start":
            groups.append([])
        if not groups:
            raise InputError("the phase log does not begin with a start; its first lines are missing")
        groups[-1].append(event)
    return groups


def _parents(group: Sequence[Event]) -> Dict[int, Optional[int]]:
    """The parent of each phase of one segment: of the phases open at its begin, the last with the longest prefix."""
    parents: Dict[int, Optional[int]] = {}
    open_paths: Dict[int, str] = {}
    for event in group:
        if event["event"] == "begin":
            around = [(len(p), i) for i, p in open_paths.items() if event["path"].startswith(p + "/")]
            parents[event["id"]] = max(around)[1] if around else None
            open_paths[event["id"]] = event["path"]
        elif event["event"] == "end":
            open_paths.pop(event["id"], None)
    return parents


def _cut_torn_line(fd: int) -> None:
    """Cut what follows the last newline: a write that a crash tore."""
    size = os.fstat(fd).st_size
    content = os.pread(fd, size, 0)
    whole = content.rfind(b"\n") + 1
    if whole != size:
        os.ftruncate(fd, whole)


def _plain(value: Any) -> Any:
    """`value` as JSON has it: numpy scalars as numbers, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item() if getattr(value, "size", 1) == 1 else value.tolist()
        return _plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
