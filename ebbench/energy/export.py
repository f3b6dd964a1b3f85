"""A run's traces and phases in forms that any program reads, and ``ebbench integrate --trace --phases`` too."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ebbench.energy.alignment.clocks import clock_of_trace
from ebbench.energy.columns import KIND
from ebbench.energy.phases import intervals, read_events
from ebbench.energy.traces.trace import Chunk, TraceReader
from ebbench.errors import UserError, not_written
from ebbench.records import MEASURED, SIMULATED
from ebbench.rundir import RunDir


def export_run(rundir: RunDir, out: Path, kind: str, say: Callable[[str], None] = lambda line: None) -> List[Path]:
    """Write ``<trace>.<kind>`` for every trace and ``phases.csv``; times in seconds since the run's first event.

    Readings of a meter with a clock of its own get the times at which the record takes them, on the phases' clock. What else the
    record knows of a meter (its averaging, its delay, a calibration's correction) is not applied: values are as they were read.
    Traces of different boots do not share a clock; each is written relative to the run's first event of its own boot.
    A trace that is cut off or damaged is written as far as it is whole, and `say` gets how much of it is lost.
    Returns the files written. Raises UserError where there is nothing to export, or `out` cannot be a folder.
    """
    events = read_events(rundir.phases)
    if not events or not rundir.traces():
        raise UserError(f"{rundir.path} has no phases or no trace to export; is it a run folder?")
    zero_ns = {e["boot_id"]: e["t_ns"] for e in reversed(events) if e["event"] == "start"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = [_export_trace(path, out / f"{path.stem}.{kind}", zero_ns, events, say) for path in rundir.traces()]
        return [*written, _export_phases(events, out / "phases.csv", zero_ns)]
    except OSError as error:
        raise not_written(
            error, f"cannot write to {out}: {error.strerror or error}; choose another folder with --out"
        ) from error


def _export_trace(path: Path, target: Path, zero_ns: Any, events: List[Any], say: Callable[[str], None]) -> Path:
    reader = TraceReader(path)
    clock = clock_of_trace(path, events)
    start_ns = zero_ns.get(clock.boot_id or reader.metadata["boot_id"], 0)
    names = [column.name for column in reader.info.columns]
    fields = [("time_s", pa.float64()), ("seq", pa.int64())] + [(name, pa.float64()) for name in names]
    schema = pa.schema(fields, {KIND: (SIMULATED if reader.info.simulated else MEASURED).encode()})
    writer: Any = pa.csv.CSVWriter if target.suffix == ".csv" else pa.parquet.ParquetWriter
    with writer(str(target), schema) as sink:
        for chunk in clock.applied(reader):
            sink.write_table(pa.Table.from_arrays(_columns(chunk, names, start_ns), schema=schema))
    if reader.damage:
        say(f"{reader.damage}; only what comes before is exported")
    return target


def _columns(chunk: Chunk, names: List[str], start_ns: int) -> List[Any]:
    """Seconds, sequence numbers and SI values; a reading that was not taken is null."""
    time_s = (chunk.time_ns - start_ns) * 1e-9
    values = [chunk.values[name] for name in names]
    return [_array(time_s), _array(chunk.seq), *(_array(v, np.isnan(v)) for v in values)]


def _array(values: Any, missing: Any = None) -> Any:
    """A pyarrow array straight from the buffer: `pa.array` would import pandas."""
    values = np.ascontiguousarray(values)
    valid = None
    if missing is not None and missing.any():
        valid = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    kind = pa.int64() if values.dtype.kind == "i" else pa.float64()
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])


def _export_phases(events: List[Any], target: Path, zero_ns: Any) -> Path:
    with open(target, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["phase", "start_s", "end_s"])
        for each in intervals(events):
            start_ns = zero_ns[each.boot_id]
            writer.writerow([each.path, repr((each.start_ns - start_ns) * 1e-9), repr((each.end_ns - start_ns) * 1e-9)])
    return target
