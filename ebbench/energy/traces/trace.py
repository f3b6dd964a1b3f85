"""Readings as arrays, on disk: an append-only Arrow IPC stream per start of a sampler (format: `batches`).

Every flush is one batch, serialised in memory and handed to the system in one write, so that a crash tears at most the
last one. Nothing already written is ever touched again; sealing replaces the file by one with larger batches.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from array import array
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import pyarrow as pa

from ebbench.clock import ClockReading, boot_id, read_clocks
from ebbench.energy.traces import batches
from ebbench.energy.traces.batches import Chunk, Damaged, Floats, Ints
from ebbench.errors import DiskError, InputError
from ebbench.protocols import MeterInfo

__all__ = ["SEALED_ROWS", "Chunk", "TraceReader", "TraceWriter", "compact", "read_whole"]

#: rows per batch of a sealed trace; batches of 1,000 rows make integration three times slower
SEALED_ROWS = 65_536
#: how batches are compressed: as readings come in by what takes an eighth of the time, in a sealed trace by what takes less room
GROWING, SEALED = "lz4", "zstd"
#: a sweep that takes longer has the mean offset of each column stored
SLOW_SWEEP_NS = 1_000_000
#: what waits in memory while the disk takes nothing; half an hour of 12 rails at 100 Hz
MAX_WAITING_BYTES = 8_000_000

_END = b"\xff\xff\xff\xff\0\0\0\0"  # Arrow's end-of-stream marker
_UNREADABLE = (Damaged, pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError, EOFError)


def stored_row(values: Sequence[Optional[float]]) -> array[float]:
    """One sweep as the writer keeps it, None as NaN. Raises TypeError for what is no number."""
    return array("d", [math.nan if v is None else v for v in values])


class TraceWriter:
    """Writes one trace file. No method raises for a disk that takes nothing: see `error`."""

    def __init__(
        self,
        path: Path,
        info: MeterInfo,
        metadata: Mapping[str, Any],
        clocks: Callable[[], ClockReading] = read_clocks,
        compression: str = GROWING,
    ) -> None:
        self.path = Path(path)
        #: why the disk does not take what is written; None when all is written
        self.error: Optional[str] = None
        #: readings that did not fit into memory while the disk was full
        self.lost = 0
        #: slots missed so far, written with every batch; None: not known
        self.missed: Optional[int] = None
        #: what the sampler says at its end, written by `close`
        self.summary: Optional[Dict[str, Any]] = None
        self._clocks = clocks
        start = clocks()
        header = {"boot_id": boot_id(), "start_clocks_ns": _triple(start), **metadata}
        self._schema = batches.schema_of(info, header)
        self._layout = batches.Layout.of(self._schema)
        self._notes: List[Dict[str, Any]] = []
        self._waiting: List[bytes] = []
        self._after_seq = -1
        self._times, self._values = array("q"), array("d")  # three times per sweep; a value per sweep and column
        self._offsets: List[Sequence[int]] = []
        self._blocks: List[Tuple[Ints, Ints, Ints, Floats]] = []
        try:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error
        self._size = 0
        self._sink = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
        self._stream = pa.ipc.new_stream(self._sink, self._schema, options=options)
        self._encode(*self._rows(), offsets=np.zeros(0))  # Arrow writes the header only with a first batch
        self._send()

    def append(
        self,
        time_ns: int,
        read_ns: int,
        seq: int,
        values: Sequence[Optional[float]],
        offsets_ns: Optional[Sequence[int]] = None,
    ) -> None:
        """Add one sweep: a value per column, None where it was not read."""
        self._values.extend(values if isinstance(values, array) else stored_row(values))
        self._times.extend((time_ns, read_ns, seq))
        if offsets_ns is not None and read_ns > SLOW_SWEEP_NS:
            self._offsets.append(offsets_ns)

    def extend(
        self, time_ns: Ints, read_ns: Ints, seq: Ints, values: Floats, offsets_ns: Optional[Ints] = None
    ) -> None:
        """Add many readings: int64 [n] each, values float64 [n, columns], NaN = not read, and offsets int64 [n, columns]."""
        self._blocks.append(self._rows())
        self._blocks.append((time_ns, read_ns, seq, values))
        if offsets_ns is not None:
            self._offsets += offsets_ns[read_ns > SLOW_SWEEP_NS].tolist()
        self._times, self._values = array("q"), array("d")

    def note(self, t_ns: int, reason: str) -> None:
        """Say with the next batch why something was not read."""
        self._notes.append({"t_ns": t_ns, "reason": reason})

    def flush(self) -> Tuple[Ints, Floats]:
        """Write what was added, and what is waiting; whether that went well is in `error`. Returns times and values added."""
        blocks = self._blocks + [self._rows()]
        time_ns, read_ns, seq, values = (np.concatenate(parts) for parts in zip(*blocks))
        offsets = np.array(self._offsets, dtype=np.float64)
        self._times, self._values, self._offsets, self._blocks = array("q"), array("d"), [], []
        if seq.size or self._notes:
            self._encode(time_ns, read_ns, seq, values, offsets)
        self._send()
        return time_ns, values

    def close(self) -> None:
        """Flush, mark the end of the stream, close the file; may be called twice."""
        if self.fd < 0:
            return
        self.flush()
        if self.summary is not None:
            self._encode(*self._rows(), offsets=np.zeros(0))
        self._stream.close()
        self._send()
        os.close(self.fd)
        self.fd = -1

    def _rows(self) -> Tuple[Ints, Ints, Ints, Floats]:
        times: Ints = np.frombuffer(self._times, dtype=np.int64).reshape(-1, 3)
        values: Floats = np.frombuffer(self._values, dtype=np.float64).reshape(len(times), len(self._schema) - 3)
        return times[:, 0], times[:, 1], times[:, 2], values

    def _encode(self, time_ns: Ints, read_ns: Ints, seq: Ints, values: Floats, offsets: Floats) -> None:
        if sum(map(len, self._waiting)) > MAX_WAITING_BYTES:
            self.lost += seq.size
            return
        if self.lost:
            self.note(self._clocks().monotonic_ns, f"{self.lost} readings were lost before this: the disk took nothing")
            self.lost = 0
        for at in range(0, max(seq.size, 1), SEALED_ROWS):
            rows = slice(at, at + SEALED_ROWS)
            batch, faults = batches.build(self._layout, time_ns[rows], read_ns[rows], seq[rows], values[rows])
            for fault in faults:
                self.note(int(time_ns[at]), fault)
            self._add(batch, _mean_offsets(self._schema, offsets), _triple(self._clocks()))

    def _add(self, batch: pa.RecordBatch, offsets_ns: Dict[str, int], clocks_ns: Tuple[int, int, int]) -> None:
        first_seq, last_seq = batches.ends_of(batch, self._after_seq)
        document = {
            "first_seq": first_seq,
            "after_seq": self._after_seq,
            "clocks_ns": clocks_ns,
            "notes": self._notes,
            "offsets_ns": offsets_ns,
            "missed": self.missed,
            "summary": self.summary,
        }
        self._stream.write_batch(batch, custom_metadata=batches.stamp(batch, document))
        self._after_seq = last_seq
        self._notes = []

    def _rewrite(self, group: Sequence[Tuple[pa.RecordBatch, Dict[str, Any]]]) -> None:
        """Write consecutive batches of another trace as one."""
        table = pa.Table.from_batches([batch for batch, _ in group], schema=self._schema).combine_chunks()
        self._notes = [note for _, document in group for note in document["notes"]]
        self.missed, self.summary = group[-1][1]["missed"], group[-1][1]["summary"]
        offsets_ns = _merge_offsets([(batch.num_rows, document["offsets_ns"]) for batch, document in group])
        batch = (table.to_batches() or [group[0][0]])[0]  # a table without rows has no batches
        self._add(batch, offsets_ns, group[-1][1]["clocks_ns"])
        self.summary = None
        self._send()

    def _send(self) -> None:
        """Hand everything serialised to the system; on an error cut what was half written and keep it for later."""
        if self._sink.tell():
            self._waiting.append(self._sink.getvalue())
            self._sink.seek(0)
            self._sink.truncate()
        while self._waiting:
            message = self._waiting[0]
            try:
                written = os.write(self.fd, message)
                if written != len(message):
                    raise OSError(28, "No space left on device")
            except OSError as error:
                self.error = f"cannot write {self.path}: {error.strerror}; make room"
                with contextlib.suppress(OSError):  # /dev/full and pipes cannot be cut, and have nothing to cut
                    os.ftruncate(self.fd, self._size)
                    os.lseek(self.fd, self._size, os.SEEK_SET)
                return
            self._size += len(message)
            self._waiting.pop(0)
        self.error = None


class TraceReader:
    """Reads a trace batch by batch, in constant memory, as far as it is whole.

    After the iteration `damage` says why it stopped early (None: it did not) and `bytes_lost` how much lies behind; `missed` is
    the number of slots without a reading (None: not known), `summary` what the sampler said at its end (None: it was killed).
    Raises InputError where not even the header can be read.
    """

    def __init__(self, path: Union[str, Path], columns: Optional[Sequence[str]] = None) -> None:
        self.path = Path(path)
        self.damage: Optional[str] = None
        self.bytes_lost = 0
        self.missed: Optional[int] = None
        self.summary: Optional[Dict[str, Any]] = None
        self._columns = columns
        try:
            with self._opened() as (_, stream):
                self.metadata = batches.header_of(stream.schema)
        except FileNotFoundError as error:
            raise InputError(f"{path} is not there") from error
        except _UNREADABLE as error:
            raise InputError(f"{path} cannot be read as a trace: {_one_line(error)}") from error
        self.info = MeterInfo.from_json(self.metadata["meter"])

    def __iter__(self) -> Iterator[Chunk]:
        for batch, document in self.batches():
            if batch.num_rows or document["notes"]:
                yield batches.chunk_of(batch, document, self._columns)

    def batches(self) -> Iterator[Tuple[pa.RecordBatch, Dict[str, Any]]]:
        """The batches as they are stored, each with its document, up to the first that is damaged."""
        self.damage, self.bytes_lost = None, 0
        with self._opened() as (source, stream):
            good, last_seq = source.tell(), -1
            while True:
                try:
                    batch, metadata = stream.read_next_batch_with_custom_metadata()
                    document = batches.verified(batch, metadata, last_seq)
                    good, last_seq = source.tell(), batches.ends_of(batch, last_seq)[1]
                except StopIteration:
                    self._check_end(good)
                    return
                except _UNREADABLE as error:
                    self._stop(good, _one_line(error))
                    return
                self.missed, self.summary = document["missed"], document["summary"]
                yield batch, document

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Tuple[pa.NativeFile, pa.RecordBatchReader]]:
        options = pa.ipc.IpcReadOptions(use_threads=False)
        with pa.OSFile(str(self.path)) as source:
            yield source, pa.ipc.open_stream(source, options=options)

    def _check_end(self, good: int) -> None:
        """A stream ends with its marker, or just after a batch (killed, or still growing); a tail of zeros is neither."""
        with open(self.path, "rb") as handle:
            handle.seek(good)
            rest = handle.read(len(_END) + 1)
        if rest not in (b"", _END):
            self._stop(good, "what follows the last whole batch is no batch")

    def _stop(self, good: int, reason: str) -> None:
        self.bytes_lost = self.path.stat().st_size - good
        self.damage = f"{self.path} is damaged {self.bytes_lost} bytes before its end: {reason}"


def read_whole(path: Union[str, Path]) -> Chunk:
    """All readings of a trace in one chunk (clocks of the last batch, offsets averaged); for traces that fit in memory."""
    reader = TraceReader(path)
    chunks = list(reader)
    names = [c.name for c in reader.info.columns]
    if not chunks:
        empty: Ints = np.zeros(0, np.int64)
        start = ClockReading(*reader.metadata["start_clocks_ns"])
        return Chunk(empty, empty, empty, {n: np.zeros(0) for n in names}, start, (), {})
    return Chunk(
        time_ns=np.concatenate([c.time_ns for c in chunks]),
        read_ns=np.concatenate([c.read_ns for c in chunks]),
        seq=np.concatenate([c.seq for c in chunks]),
        values={n: np.concatenate([c.values[n] for c in chunks]) for n in names},
        clocks=chunks[-1].clocks,
        notes=tuple(note for c in chunks for note in c.notes),
        offsets_ns=_merge_offsets([(c.seq.size, c.offsets_ns) for c in chunks]),
    )


def compact(path: Union[str, Path]) -> bool:
    """Replace a trace by one of the same readings in batches of 65,536 rows; False, and untouched, if it is damaged."""
    try:
        reader = TraceReader(path)
    except InputError:
        return False
    temporary = reader.path.with_name(f".{reader.path.name}.{os.getpid()}.tmp")
    header = {k: v for k, v in reader.metadata.items() if k not in ("format_version", "meter")}
    writer = TraceWriter(temporary, reader.info, header, compression=SEALED)
    try:
        for group in _groups(reader.batches()):
            writer._rewrite(group)
        writer.close()
        if writer.error:
            raise DiskError(writer.error)
        if reader.damage is None:
            _replace(temporary, reader.path)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)
    return reader.damage is None


def _groups(
    stored: Iterator[Tuple[pa.RecordBatch, Dict[str, Any]]],
) -> Iterator[List[Tuple[pa.RecordBatch, Dict[str, Any]]]]:
    """Consecutive batches of 65,536 rows at most; where the machine slept a new group begins, so that it stays visible."""
    group: List[Tuple[pa.RecordBatch, Dict[str, Any]]] = []
    for batch, document in stored:
        rows = sum(b.num_rows for b, _ in group)
        if group and (rows + batch.num_rows > SEALED_ROWS or _slept(group[-1][1], document)):
            yield group
            group = []
        group.append((batch, document))
    if group:
        yield group


def _slept(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether BOOTTIME - MONOTONIC of two documents differs by more than reading the clocks explains (1 ms)."""
    (one_ns, one_boot_ns, _), (other_ns, other_boot_ns, _) = one["clocks_ns"], other["clocks_ns"]
    return bool(abs((other_boot_ns - other_ns) - (one_boot_ns - one_ns)) > 1_000_000)


def _replace(temporary: Path, path: Path) -> None:
    with open(temporary, "rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def _mean_offsets(schema: pa.Schema, offsets: Floats) -> Dict[str, int]:
    """Mean of `offsets` [sweeps, columns] (ns) by column name; nothing where no slow sweep was seen."""
    if not offsets.size:
        return {}
    return {name: round(float(mean)) for name, mean in zip(schema.names[3:], offsets.mean(axis=0))}


def _merge_offsets(weighted: Sequence[Tuple[int, Mapping[str, int]]]) -> Dict[str, int]:
    """Mean offsets of several batches, given as (rows, offsets by column)."""
    known = [(rows, offsets) for rows, offsets in weighted if offsets]
    total = sum(rows for rows, _ in known)
    names = known[0][1] if known else {}
    return {name: round(sum(rows * offsets[name] for rows, offsets in known) / total) for name in names}


def _triple(clocks: ClockReading) -> Tuple[int, int, int]:
    return clocks.monotonic_ns, clocks.boottime_ns, clocks.realtime_ns


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
