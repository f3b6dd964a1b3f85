"""The batches of a trace: what the columns are, and how flipped, torn or zero-filled ones are told from good ones.

A batch's metadata hold one JSON document (clocks, notes, the sequence number before it) and a CRC32 over that document
and the uncompressed columns. The schema's metadata hold the meter's description and a CRC32 of their own.
Arrays are built from buffers: `pyarrow.array` imports pandas, which would stall the sampler for 300 ms.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ebbench.clock import ClockReading
from ebbench.errors import InputError
from ebbench.protocols import Column, MeterInfo

FORMAT_VERSION = 1
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_DOCUMENT, _CHECKSUM = b"ebbench", b"crc32"
_INT32_MAX = 2**31 - 1
#: the largest value that a column takes, and what it takes; from 2**53 on a float64, in which readings travel, skips integers
_LIMITS: Dict[Any, Tuple[float, str]] = {
    pa.int32(): (_INT32_MAX, "integer of 32 bits"),
    pa.int64(): (2**53, "integer up to 2**53"),
    pa.float64(): (np.finfo(np.float64).max, "number"),
}
#: each byte with its bits in the other order
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_DTYPES: Dict[Any, np.dtype[Any]] = {
    pa.int32(): np.dtype(np.int32),
    pa.int64(): np.dtype(np.int64),
    pa.float64(): np.dtype(np.float64),
}


@dataclass(frozen=True)
class Chunk:
    """Consecutive readings of one trace; none where a chunk only brings notes.

    `time_ns` int64 [n], CLOCK_MONOTONIC before the first read of each sweep; `read_ns` int64 [n], how long the sweep took;
    `seq` int64 [n], which jumps over slots without a reading; `values`: float64 [n] per column in SI units, NaN = not read.
    `clocks` were read when the chunk was written. `notes` say {"t_ns", "reason"} for what was not read. `offsets_ns`: mean time
    of a column after `time_ns`, given where a sweep takes over 1 ms.
    """

    time_ns: Ints
    read_ns: Ints
    seq: Ints
    values: Dict[str, Floats]
    clocks: ClockReading
    notes: Tuple[Dict[str, Any], ...]
    offsets_ns: Dict[str, int]


class Damaged(Exception):
    """A batch is not what was written; says why."""


def schema_of(info: MeterInfo, header: Mapping[str, Any]) -> pa.Schema:
    """The schema of a trace of this meter; `header` is any JSON document and gets the format's version and the meter."""
    fields = [pa.field("time_ns", pa.int64()), pa.field("read_ns", pa.int32()), pa.field("seq", pa.int64())]
    fields += [pa.field(c.name, _type_of(c), metadata={"scale": repr(c.scale)}) for c in info.columns]
    document = json.dumps({**header, "format_version": FORMAT_VERSION, "meter": info.to_json()}).encode()
    checksum = _checksum_of_fields(pa.schema(fields), document)
    return pa.schema(fields, metadata={_DOCUMENT: document, _CHECKSUM: b"%08x" % checksum})


def header_of(schema: pa.Schema) -> Dict[str, Any]:
    """The header that `schema_of` was given, with ``format_version`` and ``meter``. Raises Damaged."""
    metadata = schema.metadata or {}
    document, checksum = metadata.get(_DOCUMENT), metadata.get(_CHECKSUM)
    if document is None or checksum is None:
        raise Damaged("it has no header of this program")
    if checksum != b"%08x" % _checksum_of_fields(schema, document):
        raise Damaged("its header does not match its checksum")
    header: Dict[str, Any] = json.loads(document)
    if header["format_version"] != FORMAT_VERSION:
        raise InputError(f"format version {header['format_version']} is not {FORMAT_VERSION}; use a newer ebbench")
    return header


@dataclass(frozen=True)
class Layout:
    """What the value columns of a schema take: the largest value, and whether only integers. [columns] each."""

    schema: pa.Schema
    types: Tuple[pa.DataType, ...]
    limits: Floats
    is_integer: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, schema: pa.Schema) -> Layout:
        """The layout of a schema that `schema_of` made."""
        types = [field.type for field in list(schema)[3:]]
        return cls(
            schema=schema,
            types=tuple(types),
            limits=np.array([_LIMITS[t][0] for t in types]),
            is_integer=np.array([t != pa.float64() for t in types], dtype=bool),
        )


def build(layout: Layout, time_ns: Ints, read_ns: Ints, seq: Ints, values: Floats) -> Tuple[pa.RecordBatch, List[str]]:
    """A batch of these readings (`values` float64 [n, columns]), and a line for each column with values that do not fit.

    What does not fit (infinity; in a raw column no integer, or too large) becomes null: stored is what was read, or nothing.
    """
    fits = (np.abs(values) <= layout.limits) & ((np.rint(values) == values) | ~layout.is_integer)  # [n, columns]
    all_fit = bool(fits.all())
    stored = values if all_fit else np.where(fits, values, 0.0)
    arrays = [
        _array(time_ns, pa.int64()),
        _array(np.minimum(read_ns, _INT32_MAX), pa.int32()),
        _array(seq, pa.int64()),
    ]
    arrays += _columns(layout, stored, fits)
    faults = [] if all_fit else _faults(layout.schema, values, fits)
    return pa.RecordBatch.from_arrays(arrays, schema=layout.schema), faults


def stamp(batch: pa.RecordBatch, document: Mapping[str, Any]) -> Dict[bytes, bytes]:
    """The custom metadata of `batch`: the document, and the checksum over it and the columns."""
    text = json.dumps(document, separators=(",", ":")).encode()
    return {_DOCUMENT: text, _CHECKSUM: b"%08x" % _checksum(batch, text)}


def verified(batch: pa.RecordBatch, metadata: Optional[Mapping[bytes, bytes]], last_seq: int) -> Dict[str, Any]:
    """The document of a batch that is whole and follows the sequence number `last_seq` (-1 at first). Raises Damaged."""
    text, checksum = (metadata or {}).get(_DOCUMENT), (metadata or {}).get(_CHECKSUM)
    if text is None or checksum is None:
        raise Damaged("a batch has no checksum")
    batch.validate()
    if checksum != b"%08x" % _checksum(batch, text):
        raise Damaged("a batch does not match its checksum")
    document: Dict[str, Any] = json.loads(text)
    if document["after_seq"] != last_seq:
        raise Damaged(f"a batch follows reading {document['after_seq']}, not {last_seq}")
    return document


def chunk_of(batch: pa.RecordBatch, document: Mapping[str, Any], columns: Optional[Sequence[str]] = None) -> Chunk:
    """The readings of a verified batch in SI units, of all `columns` or of those named."""
    values = {}
    for index, field in enumerate(list(batch.schema)[3:], 3):
        if columns is None or field.name in columns:
            values[field.name] = _to_si(batch.column(index), float((field.metadata or {}).get(b"scale", b"1.0")))
    return Chunk(
        time_ns=_stored(batch.column(0)),
        read_ns=_stored(batch.column(1)).astype(np.int64),
        seq=_stored(batch.column(2)),
        values=values,
        clocks=ClockReading(*document["clocks_ns"]),
        notes=tuple(document["notes"]),
        offsets_ns=document["offsets_ns"],
    )


def ends_of(batch: pa.RecordBatch, last_seq: int) -> Tuple[int, int]:
    """The first and the last sequence number of `batch`; of an empty one what follows and what is `last_seq`."""
    seq = _stored(batch.column(2))
    return (int(seq[0]), int(seq[-1])) if seq.size else (last_seq + 1, last_seq)


def _type_of(column: Column) -> pa.DataType:
    if not column.raw:
        return pa.float64()
    return pa.int64() if column.name.endswith("_j") else pa.int32()


def _faults(schema: pa.Schema, values: Floats, fits: npt.NDArray[np.bool_]) -> List[str]:
    wrong = ~fits & ~np.isnan(values)
    if not wrong.any():
        return []
    return [
        f"{field.name}: {values[wrong[:, index], index][0]} is no {_LIMITS[field.type][1]} and is not stored"
        for index, field in enumerate(list(schema)[3:])
        if wrong[:, index].any()
    ]


def _columns(layout: Layout, values: Floats, is_read: npt.NDArray[np.bool_]) -> List[pa.Array]:
    """The value columns [n, columns]; made together, for a sampler with many rails does it twice a second."""
    validity = np.packbits(np.ascontiguousarray(is_read.T), axis=1, bitorder="little")
    nulls = (len(values) - np.count_nonzero(is_read, axis=0)).tolist()
    stored = np.ascontiguousarray(values.T)
    made = []
    for index, kind in enumerate(layout.types):
        bits = pa.py_buffer(validity[index]) if nulls[index] else None
        buffer = pa.py_buffer(stored[index].astype(_DTYPES[kind], copy=False))
        made.append(pa.Array.from_buffers(kind, len(values), [bits, buffer], null_count=nulls[index]))
    return made


def _array(values: Ints, kind: pa.DataType) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(values, dtype=_DTYPES[kind]))
    return pa.Array.from_buffers(kind, values.size, [None, buffer], null_count=0)


def _stored(array: pa.Array) -> npt.NDArray[Any]:
    dtype = _DTYPES[array.type]
    whole: npt.NDArray[Any] = np.frombuffer(array.buffers()[1], dtype=dtype, count=array.offset + len(array))
    return whole[array.offset :]


def _is_read(array: pa.Array) -> Optional[npt.NDArray[np.bool_]]:
    """bool [n], or None where every value was read."""
    if not array.null_count:
        return None
    bits = np.unpackbits(np.frombuffer(array.buffers()[0], dtype=np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(bool)


def _to_si(array: pa.Array, scale: float) -> Floats:
    values: Floats = _stored(array).astype(np.float64)
    if scale != 1.0:
        values *= scale
    is_read = _is_read(array)
    if is_read is not None:
        values[~is_read] = np.nan
    return values


def _checksum(batch: pa.RecordBatch, text: bytes) -> int:
    checksum = zlib.crc32(text)
    for array in batch.columns:
        start, width = array.offset, _DTYPES[array.type].itemsize
        stored = memoryview(array.buffers()[1])[start * width : (start + len(array)) * width]
        checksum = zlib.crc32(stored, checksum)
        if array.null_count:
            checksum = zlib.crc32(_validity(array), checksum)
    return checksum


def _validity(array: pa.Array) -> bytes:
    """A bit for each value, the first one the highest of its byte (Arrow's own is the lowest), 0 where it is null."""
    if array.offset % 8:
        return bytes(np.packbits(np.asarray(_is_read(array), dtype=bool)))
    start, whole, rest = array.offset // 8, len(array) // 8, len(array) % 8
    bits = bytes(array.buffers()[0])[start : start + whole + bool(rest)].translate(_REVERSED)
    return bits[:whole] + bytes([bits[-1] & (0xFF00 >> rest & 0xFF)]) if rest else bits


def _checksum_of_fields(schema: pa.Schema, document: bytes) -> int:
    fields = [(f.name, str(f.type), (f.metadata or {}).get(b"scale", b"").decode()) for f in schema]
    return zlib.crc32(repr(fields).encode(), zlib.crc32(document))
