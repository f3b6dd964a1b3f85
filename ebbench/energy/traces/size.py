"""How fast a trace grows on the disk, known before there is any."""

from __future__ import annotations

from ebbench.energy.traces import batches
from ebbench.protocols import MeterInfo

#: what a batch takes beside its rows: so much, and so much for each of its columns (measured; Arrow's headers, clocks, checksum)
BATCH_BYTES, COLUMN_BYTES = 600, 70
#: batches in a second (`sampler_process` writes one every half second)
BATCHES_HZ = 2.0


def bytes_per_s(info: MeterInfo, rate_hz: float) -> float:
    """Bytes that the trace of a meter gains in a second at `rate_hz` readings per second, as if nothing could be compressed."""
    schema = batches.schema_of(info, {})
    row_bytes: float = sum(field.type.bit_width / 8 + 1 / 8 for field in schema)
    return rate_hz * row_bytes + BATCHES_HZ * (BATCH_BYTES + COLUMN_BYTES * len(info.columns))
