"""Energies from anybody's tables: readings as CSV, Parquet or Arrow, phases as CSV.

The default form is a column ``time_s`` and one ``<rail>_w`` per rail; other names and units are said with options. A cell
that is empty or NaN is a reading that was not taken. Tables are streamed: only a few thousand rows are in memory at a time.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ebbench.clock import ClockReading
from ebbench.energy.columns import KIND, NOT_TAKEN, has_pairs, meaning, place
from ebbench.energy.integration.integrals import Integrals
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.batches import Chunk, Floats, Ints, header_of
from ebbench.energy.traces.pace import check_order, survey
from ebbench.energy.traces.series import series_of
from ebbench.energy.traces.trace import TraceReader
from ebbench.energy.uncertainty import Budget, budget
from ebbench.errors import InputError, nearest
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.records import MEASURED, MISSING, OK, PARTIAL, SIMULATED
from ebbench.units import NS_PER_S, TO_SI

ROWS = 65_536
CSV_BLOCK_BYTES = 4 << 20
_ARROW = (".arrow", ".arrows", ".feather", ".ipc")


def integrate_tables(
    trace: Path,
    phases: Path,
    *,
    max_gap_s: Optional[float] = None,
    time_column: str = "time_s",
    time_unit: str = "s",
    columns: Optional[Mapping[str, Tuple[str, str]]] = None,
    gain_ratio: Optional[float] = None,
    resolution_w: Optional[float] = None,
) -> Dict[str, Any]:
    """The energy of each rail in each phase: ``{"phases": [{"phase", "start_s", ..., "rails": {rail: {...}}}]}``, in their order;
    ``unknown``, by rail the components that nobody states and no interval holds; the ``kind`` of the trace, where the file
    says one; and ``damage``, where a trace of ours is cut off or damaged and was integrated as far as it is whole.

    `columns` {name: (rail, unit)} replaces the default ``<rail>_w``; `gain_ratio` is the standard uncertainty of the meter's
    gain and `resolution_w` one step of its readings. Raises InputError that names file, row and column.
    """
    _check_options(max_gap_s, gain_ratio, resolution_w, time_unit)
    names, starts_s, ends_s = read_phases(Path(phases))
    table = Table.open(Path(trace), time_column, time_unit, columns or {})
    info = _info(table, gain_ratio, resolution_w)
    series = [series_of(info, [rail.name]) for rail in info.rails]
    starts_ns, ends_ns = (np.rint(edges * NS_PER_S).astype(np.int64) for edges in (starts_s, ends_s))
    paces = survey(table, series)
    if table.rows == 0:
        raise InputError(f"{table.damage}; no reading comes before" if table.damage else f"{trace} has no readings")
    found = integrate(table, series, paces, starts_ns, ends_ns, max_gap_s)
    kind = _kind_of(Path(trace))
    budgets = [budget(integrals) for integrals in found]
    results = {one.name: _results(integrals, doubt) for one, integrals, doubt in zip(series, found, budgets)}
    return {
        "phases": [
            {
                "phase": name,
                "start_s": float(starts_s[i]),
                "end_s": float(ends_s[i]),
                "duration_s": float(ends_s[i] - starts_s[i]),
                "rails": {rail: result[i] for rail, result in results.items()},
            }
            for i, name in enumerate(names)
        ],
        "unknown": {one.name: each.unknown for one, each in zip(series, budgets)},
        **({} if kind is None else {"kind": kind}),
        **({} if table.damage is None else {"damage": table.damage}),
    }


def read_phases(path: Path) -> Tuple[List[str], Floats, Floats]:
    """Names, starts and ends (s) from a CSV with ``phase,start_s,end_s``."""
    with _readable(path), open(path, newline="", encoding="utf-8-sig") as handle:
        reader = csv.reader(handle)
        header = [name.strip() for name in next(reader, [])]
        places = [place(path, header, name) for name in ("phase", "start_s", "end_s")]
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if not rows:
        raise InputError(f"{path} has no phases")
    names, edges = [], []
    for line, row in rows:
        if len(row) <= max(places):
            raise InputError(f"{path} line {line} has {len(row)} cells instead of {len(header)}; is the file cut off?")
        names.append(row[places[0]])
        start_s, end_s = (_number(path, line, header[k], row[k]) for k in places[1:])
        if end_s < start_s:
            raise InputError(f"{path} line {line}: end_s = {end_s:g} is before start_s = {start_s:g}")
        edges.append((start_s, end_s))
    both = np.array(edges)
    return names, both[:, 0], both[:, 1]


@dataclass
class Table:
    """A table of readings that can be gone through again and again, as chunks of the columns ``<rail>_<w|j|v|a>`` in SI."""

    path: Path
    time_column: str
    ns_per_unit: float
    #: name in the file -> (name in the chunks, factor to SI)
    columns: Dict[str, Tuple[str, float]]
    header: List[str]
    rows: int = 0
    #: why a trace of ours was not read to its end, known after it was gone through
    damage: Optional[str] = None

    @classmethod
    def open(cls, path: Path, time_column: str, time_unit: str, columns: Mapping[str, Tuple[str, str]]) -> Table:
        """Look at the header and settle which columns mean what."""
        with _readable(path):
            header = _header(path)
        if time_column == "time_s" and time_unit == "s" and "time_s" not in header and "time_ns" in header:
            time_column, time_unit = "time_ns", "ns"  # a trace of our own
        place(path, header, time_column, "; say which one is the time with --time-column")
        meant = {name: meaning(path, name, *target) for name, target in columns.items()}
        if not columns:
            scales = _own_scales(path)
            meant = {n: (n, scales.get(n, 1.0)) for n in header if n[-2:] in ("_w", "_j", "_v", "_a") and len(n) > 2}
        for name in meant:
            place(path, header, name)
        if not any(name[-2:] in ("_w", "_j") for name, _ in meant.values()) and not has_pairs(meant):
            raise InputError(
                f"{path} has no column of power such as VDD_IN_w (its columns: {', '.join(header)}); "
                "say which one is with --column NAME=RAIL:UNIT"
            )
        return cls(path, time_column, TO_SI[time_unit] * NS_PER_S, meant, header)

    def __iter__(self) -> Iterator[Chunk]:
        self.rows, last_ns = 0, None
        where = f"{self.path} column {self.time_column}"
        with _readable(self.path):
            for batch in self._batches():
                time_ns = self._times_ns(batch)
                check_order(time_ns, last_ns, self.rows, where)
                values = {name: self._values(batch, column) for column, (name, _) in self.columns.items()}
                self.rows += time_ns.size
                last_ns = int(time_ns[-1]) if time_ns.size else last_ns
                zeros, clock_ns = np.zeros_like(time_ns), last_ns or 0
                yield Chunk(time_ns, zeros, zeros, values, ClockReading(clock_ns, clock_ns, clock_ns), (), {})

    def _batches(self) -> Iterator[pa.RecordBatch]:
        wanted = [self.time_column, *(c for c in self.columns if c != self.time_column)]
        if self.path.suffix == ".parquet":
            with pa.parquet.ParquetFile(self.path) as source:
                yield from source.iter_batches(ROWS, columns=wanted, use_threads=False)
        elif _own_scales(self.path):
            own = TraceReader(self.path)
            yield from (batch for batch, _ in own.batches())
            self.damage = own.damage
        elif self.path.suffix in _ARROW:
            yield from _arrow_batches(self.path)
        else:
            yield from self._csv_batches(wanted)

    def _csv_batches(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        time_type = pa.int64() if self.ns_per_unit == 1 else pa.float64()
        try:
            with pa.csv.open_csv(
                self.path,
                pa.csv.ReadOptions(
                    use_threads=False, block_size=CSV_BLOCK_BYTES, column_names=self.header, skip_rows=1
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=wanted,
                    column_types={c: time_type if c == self.time_column else pa.float64() for c in wanted},
                    null_values=NOT_TAKEN,
                ),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise _csv_fault(self.path, self.header, wanted, self.time_column) or error from error

    def _times_ns(self, batch: pa.RecordBatch) -> Ints:
        column = batch.column(batch.schema.get_field_index(self.time_column))
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ns")).cast(pa.int64())
            return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
        if pa.types.is_integer(column.type) and column.null_count == 0 and self.ns_per_unit >= 1:
            return np.asarray(column.to_numpy(zero_copy_only=False), np.int64) * int(self.ns_per_unit)
        times = _floats(self.path, self.time_column, column)
        if not np.isfinite(times).all():
            row = self.rows + 1 + int(np.argmin(np.isfinite(times)))
            raise InputError(f"{self.path} row {row}: column {self.time_column} has no time; take the row out")
        return np.rint(times * self.ns_per_unit).astype(np.int64)

    def _values(self, batch: pa.RecordBatch, name: str) -> Floats:
        values = _floats(self.path, name, batch.column(batch.schema.get_field_index(name))) * self.columns[name][1]
        if np.isinf(values).any():
            row = self.rows + 1 + int(np.argmax(np.isinf(values)))
            raise InputError(
                f"{self.path} row {row}: column {name} is infinite; leave the cell empty if it was not read"
            )
        return values


class _readable:
    """Turn what goes wrong while a file is read into one line that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{self._path} is not there") from error
        if isinstance(error, (OSError, pa.ArrowException, UnicodeError, csv.Error)):
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise InputError(f"{self._path} cannot be read ({reason}); is it whole, and what its name says?") from error


def _header(path: Path) -> List[str]:
    """The names of a table's columns."""
    if path.suffix == ".parquet":
        return list(pa.parquet.read_schema(path).names)
    if path.suffix in _ARROW:
        return list(_arrow_schema(path).names)
    with open(path, newline="", encoding="utf-8-sig") as handle:
        header = [name.strip() for name in next(csv.reader(handle), [])]
    if not header:
        raise InputError(f"{path} is empty")
    return header


def _arrow_schema(path: Path) -> pa.Schema:
    with pa.OSFile(str(path)) as source:
        return _arrow_reader(source).schema


def _arrow_reader(source: pa.NativeFile) -> Any:
    """The reader for either of Arrow's two formats, told apart by how the file begins."""
    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as source:
        reader = _arrow_reader(source)
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            yield from reader


def _kind_of(path: Path) -> Optional[str]:
    """Whether a trace or an export of ours was measured or simulated; None where the file does not say."""
    if path.suffix == ".parquet":
        said = (pa.parquet.read_schema(path).metadata or {}).get(KIND)
        return None if said is None else str(said.decode())
    if not _own_scales(path):
        return None
    return SIMULATED if header_of(_arrow_schema(path))["meter"]["simulated"] else MEASURED


def _own_scales(path: Path) -> Dict[str, float]:
    """Factors to SI of the columns of a trace of our own; empty for any other table."""
    if path.suffix not in _ARROW:
        return {}
    with _readable(path):
        schema = _arrow_schema(path)
    if b"ebbench" not in (schema.metadata or {}):
        return {}
    return {f.name: float((f.metadata or {}).get(b"scale", b"1")) for f in schema if f.name not in ("time_ns", "seq")}


def _floats(path: Path, name: str, column: pa.Array) -> Floats:
    """A column as float64, NaN where it is null."""
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowException as error:
        raise InputError(f"{path} column {name} holds {column.type}, not numbers") from error


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path} line {line}: column {name} is {text.strip()!r}, not a number")
    return number


def _csv_fault(path: Path, header: Sequence[str], wanted: Sequence[str], time_column: str) -> Optional[InputError]:
    """Find the cell that could not be read; slow, and only ever done once."""
    with open(path, newline="", encoding="utf-8-sig") as handle:
        reader = csv.reader(handle)
        next(reader)
        for row, cells in enumerate((cells for cells in reader if cells), 1):
            if len(cells) != len(header):
                return InputError(
                    f"{path} row {row} has {len(cells)} cells instead of {len(header)}; is the file cut off?"
                )
            for name in wanted:
                text = cells[header.index(name)].strip()
                if name == time_column and text in NOT_TAKEN:
                    return InputError(f"{path} row {row}: column {name} has no time; take the row out")
                if text not in NOT_TAKEN:
                    try:
                        float(text)
                    except ValueError:
                        return InputError(f"{path} row {row}: column {name} is {text!r}, not a number")
    return None


def _info(table: Table, gain_ratio: Optional[float], resolution_w: Optional[float]) -> MeterInfo:
    names = [name for name, _ in table.columns.values()]
    doubled = [n for n in names if names.count(n) > 1]
    if doubled:
        raise InputError(f"{table.path}: two columns are given as {doubled[0]}; give each rail one")
    complete = [n for n in names if n[-2:] in ("_w", "_j") or {f"{n[:-2]}_v", f"{n[:-2]}_a"} <= set(names)]
    rails = tuple(
        Rail(name, "rail", gain_ratio=gain_ratio, resolution_w=resolution_w, averaging_s=None)
        for name in dict.fromkeys(n[:-2] for n in complete)
    )
    return MeterInfo(str(table.path), "rail", False, rails, tuple(Column(n) for n in names), (), 1.0)


def _results(integrals: Integrals, doubt: Budget) -> List[Dict[str, Any]]:
    """Per interval what the document says of one rail."""
    half_width_j = doubt.half_width_j
    missing, partial = integrals.is_missing, integrals.is_partial
    results = []
    for i in range(missing.size):
        covered_s = float(integrals.covered_s[i])
        energy_j = None if missing[i] else float(integrals.energy_j[i])
        results.append(
            {
                "status": MISSING if missing[i] else PARTIAL if partial[i] else OK,
                "energy_j": energy_j,
                "mean_power_w": energy_j / covered_s if energy_j is not None and covered_s > 0 else None,
                "uncertainty_j": None if missing[i] else float(half_width_j[i]),
                "reason": integrals.reason(i),
            }
        )
    return results


def _check_options(
    max_gap_s: Optional[float], gain_ratio: Optional[float], resolution_w: Optional[float], time_unit: str
) -> None:
    if max_gap_s is not None and not max_gap_s > 0:
        raise InputError(f"max-gap = {max_gap_s} is not above 0: no reading could be joined to the next")
    for name, value in (("max-gap", max_gap_s), ("gain", gain_ratio), ("resolution", resolution_w)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} = {value} is not a number of 0 or more")
    if time_unit not in ("s", "ms", "us", "ns"):
        raise InputError(f"time unit {time_unit!r}; {nearest(time_unit, ('s', 'ms', 'us', 'ns'))}")
