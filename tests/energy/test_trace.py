from __future__ import annotations

import os
import resource
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ebbench.clock import ClockReading
from ebbench.energy.traces import batches, trace
from ebbench.energy.traces.series import series_of
from ebbench.energy.traces.trace import TraceReader, TraceWriter, compact, read_whole
from ebbench.errors import DiskError, InputError
from ebbench.protocols import AVERAGE, Column, MeterInfo, Rail

INFO = MeterInfo(
    "bench", "module", True,
    (Rail("VDD_IN", "module"), Rail("GPU", "gpu", inside_of="VDD_IN")),
    (Column("VDD_IN_w", 1e-3, raw=True), Column("GPU_w"), Column("VDD_IN_j", 1e-6, raw=True)),
    ("VDD_IN",), 100.0, identity={"serial": "7"},
)  # fmt: skip


def readings(count, seed=0):
    rng = np.random.default_rng(seed)
    time_ns = 10_000_000 * np.arange(count, dtype=np.int64) + rng.integers(0, 1000, count)
    values = np.stack(
        [rng.integers(0, 20_000, count), rng.normal(5, 1, count), np.cumsum(rng.integers(0, 2**35, count))], 1
    ).astype(float)
    values[rng.random(values.shape) < 0.05] = np.nan
    return time_ns, rng.integers(1_000, 50_000, count), np.arange(count, dtype=np.int64), values


def write(path, count=500, rows=50, clocks=None):
    """A trace of `count` readings in batches of `rows`; returns the readings."""
    time_ns, read_ns, seq, values = block = readings(count)
    writer = TraceWriter(path, INFO, {"rate_hz": 100.0}, **({"clocks": clocks} if clocks else {}))
    for at in range(0, count, rows):
        for i in range(at, min(at + rows, count)):
            row = [None if np.isnan(v) else v for v in values[i]]
            writer.append(int(time_ns[i]), int(read_ns[i]), int(seq[i]), row)
        writer.flush()
    writer.close()
    assert writer.error is None
    return block


class Older(MeterInfo):
    """Writes the header as it was when a rail without a known delay said 0, and nothing of its counter."""

    def to_json(self):
        document = super().to_json()
        for rail in document["rails"]:
            rail["delay_s"] = rail["delay_s"] or 0.0
            for key in [key for key in rail if key.startswith("counter_")]:
                del rail[key]
        return document


@pytest.mark.parametrize(("delay_s", "shift_ns"), [(None, 200_000_000), (0.1, 100_000_000)])
def test_an_older_trace_is_read_as_late_as_it_was(tmp_path, delay_s, shift_ns):
    rail = Rail("A", "module", kind=AVERAGE, averaging_s=0.4, delay_s=delay_s)
    older = Older("m", "module", False, (rail,), (Column("A_w"),), ("A",), 1.0)
    TraceWriter(tmp_path / "old.arrows", older, {}).close()
    info = TraceReader(tmp_path / "old.arrows").info
    assert info.rails == (rail,) and series_of(info, ["A"]).shift_ns == shift_ns
    assert compact(tmp_path / "old.arrows")
    assert TraceReader(tmp_path / "old.arrows").info == info


def same(chunk, block, first=0):
    """Whether `chunk` holds the first readings of `block`, bit for bit in SI units."""
    time_ns, read_ns, seq, values = block
    rows = slice(first, first + chunk.seq.size)
    assert np.array_equal(chunk.time_ns, time_ns[rows])
    assert np.array_equal(chunk.read_ns, read_ns[rows])
    assert np.array_equal(chunk.seq, seq[rows])
    for i, column in enumerate(INFO.columns):
        assert np.array_equal(chunk.values[column.name], values[rows, i] * column.scale, equal_nan=True)
    return True


def test_what_is_written_is_read(tmp_path):
    block = write(tmp_path / "t.arrows")
    reader = TraceReader(tmp_path / "t.arrows")
    assert reader.info == INFO
    assert reader.metadata["rate_hz"] == 100.0
    assert reader.metadata["boot_id"]
    chunks = list(reader)
    assert (reader.damage, reader.bytes_lost) == (None, 0)
    assert [c.seq.size for c in chunks] == [50] * 10
    assert all(same(c, block, 50 * i) for i, c in enumerate(chunks))
    assert same(read_whole(tmp_path / "t.arrows"), block)


def test_raw_columns_are_integers_with_their_scale_and_all_is_compressed(tmp_path):
    pa = pytest.importorskip("pyarrow")
    write(tmp_path / "t.arrows", 5_000, 5_000)
    with pa.OSFile(str(tmp_path / "t.arrows")) as source:
        schema = pa.ipc.open_stream(source).schema
    kinds = {f.name: (str(f.type), (f.metadata or {}).get(b"scale")) for f in schema}
    assert kinds == {
        "time_ns": ("int64", None), "read_ns": ("int32", None), "seq": ("int64", None),
        "VDD_IN_w": ("int32", b"0.001"), "GPU_w": ("double", b"1.0"), "VDD_IN_j": ("int64", b"1e-06"),
    }  # fmt: skip
    assert (tmp_path / "t.arrows").stat().st_size < 5_000 * (8 + 4 + 8 + 4 + 8 + 8)


def test_blocks_and_sweeps_keep_their_order(tmp_path):
    time_ns, read_ns, seq, values = block = readings(100)
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    writer.append(int(time_ns[0]), int(read_ns[0]), 0, list(values[0]))
    writer.extend(time_ns[1:60], read_ns[1:60], seq[1:60], values[1:60])
    for i in range(60, 100):
        writer.append(int(time_ns[i]), int(read_ns[i]), i, list(values[i]))
    writer.close()
    assert same(read_whole(tmp_path / "t.arrows"), block)


def test_a_long_block_is_split_and_a_long_sweep_saturates(tmp_path):
    time_ns, read_ns, seq, values = readings(70_000)
    read_ns[5] = 2**40
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    writer.extend(time_ns, read_ns, seq, values)
    writer.close()
    first, second = TraceReader(tmp_path / "t.arrows")
    assert (first.seq.size, second.seq.size) == (65_536, 70_000 - 65_536)
    assert first.read_ns[5] == 2**31 - 1


def test_a_value_that_does_not_fit_its_column_is_missing_and_says_why(tmp_path):
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    writer.append(0, 0, 0, [1.5, 1.5, 1.0])
    writer.append(1, 0, 1, [2.0**31, float("inf"), 2.0**53])
    writer.append(2, 0, 2, [7.0, -0.0, 2.0**54])
    writer.close()
    chunk = read_whole(tmp_path / "t.arrows")
    assert np.array_equal(chunk.values["VDD_IN_w"], [np.nan, np.nan, 0.007], equal_nan=True)
    assert np.array_equal(chunk.values["GPU_w"], [1.5, np.nan, 0.0], equal_nan=True)
    assert np.array_equal(chunk.values["VDD_IN_j"], [1e-6, 2.0**53 * 1e-6, np.nan], equal_nan=True)
    assert [n["reason"].split(":")[0] for n in chunk.notes] == ["VDD_IN_w", "GPU_w", "VDD_IN_j"]


def test_offsets_of_columns_are_kept_where_a_sweep_is_slow(tmp_path):
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    writer.append(0, 900_000, 0, [1, 1, 1], [0, 1, 2])
    writer.flush()
    writer.append(1, 3_000_000, 1, [1, 1, 1], [0, 1_000_000, 2_000_000])
    writer.append(2, 3_000_000, 2, [1, 1, 1], [0, 2_000_000, 2_000_000])
    writer.close()
    fast, slow = TraceReader(tmp_path / "t.arrows")
    assert fast.offsets_ns == {}
    assert slow.offsets_ns == {"VDD_IN_w": 0, "GPU_w": 1_500_000, "VDD_IN_j": 2_000_000}
    assert read_whole(tmp_path / "t.arrows").offsets_ns == slow.offsets_ns


def test_every_flush_is_one_write_and_a_growing_trace_can_be_read(tmp_path, monkeypatch):
    sizes = []
    real = os.write
    monkeypatch.setattr(trace.os, "write", lambda fd, content: sizes.append(len(content)) or real(fd, content))
    time_ns, read_ns, seq, values = block = readings(90)
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    for at in (0, 30, 60):
        rows = slice(at, at + 30)
        writer.extend(time_ns[rows], read_ns[rows], seq[rows], values[rows])
        writer.flush()
        reader = TraceReader(tmp_path / "t.arrows")
        assert sum(c.seq.size for c in reader) == at + 30
        assert reader.damage is None
    assert len(sizes) == 4
    assert sum(sizes) == (tmp_path / "t.arrows").stat().st_size
    writer.close()
    assert same(read_whole(tmp_path / "t.arrows"), block)


class Pristine:
    """A trace of ten batches: the bytes of its file, and its readings."""

    def __init__(self, path):
        self.block = write(path)
        self.content = path.read_bytes()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return Pristine(tmp_path_factory.mktemp("pristine") / "t.arrows")


def read_torn(path, content, block):
    """Read what is left of a trace; whatever is read must be true. Returns (readings, reader)."""
    path.write_bytes(content)
    reader = TraceReader(path)
    count = 0
    for chunk in reader:
        same(chunk, block, count)
        count += chunk.seq.size
    return count, reader


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_trace_cut_at_any_byte_gives_its_whole_batches_and_says_what_is_lost(pristine, tmp_path_factory, data):
    content, block = pristine.content, pristine.block
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.mktemp("torn") / "t.arrows"
    try:
        count, reader = read_torn(path, content[:cut], block)
    except InputError as error:
        assert cut < len(content) // 5, "only a torn header leaves nothing"
        assert "\n" not in str(error)
    else:
        assert count % 50 == 0
        assert (reader.damage is None) == (reader.bytes_lost == 0)
        whole = len(content) - 8
        assert count == 500 or cut < whole
        assert cut - reader.bytes_lost <= cut


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_noticed_and_nothing_false_is_read(pristine, tmp_path_factory, data):
    content, block = pristine.content, pristine.block
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("flipped") / "t.arrows"
    try:
        count, reader = read_torn(path, bytes(flipped), block)
    except InputError:
        return
    assert count == 500 or (reader.damage and reader.bytes_lost > 0)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 9_000), zeros=st.sampled_from([1, 4, 8, 9, 4096]))
@example(cut=0, zeros=8)
@example(cut=8, zeros=8)
def test_a_zero_filled_tail_is_noticed_and_never_reads_as_zero_watts(pristine, tmp_path_factory, cut, zeros):
    content, block = pristine.content, pristine.block
    kept = len(content) - min(cut, len(content) - 4_000)
    path = tmp_path_factory.mktemp("zeros") / "t.arrows"
    torn = content[:kept] + bytes(zeros)
    count, reader = read_torn(path, torn, block)
    assert count % 50 == 0
    assert content.startswith(torn) or (reader.damage and reader.bytes_lost > 0)


def test_a_batch_that_is_missing_inside_is_noticed(tmp_path):
    offsets = []
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    for i in range(3):
        offsets.append((tmp_path / "t.arrows").stat().st_size)
        writer.append(i, 0, i, [1, 1, 1])
        writer.flush()
    writer.close()
    content = (tmp_path / "t.arrows").read_bytes()
    (tmp_path / "t.arrows").write_bytes(content[: offsets[1]] + content[offsets[2] :])
    reader = TraceReader(tmp_path / "t.arrows")
    assert [c.seq.tolist() for c in reader] == [[0]]
    assert "follows reading 1, not 0" in reader.damage


def test_a_trace_without_readings_has_its_header(tmp_path):
    TraceWriter(tmp_path / "t.arrows", INFO, {"rate_hz": 5.0})  # killed before the first flush
    reader = TraceReader(tmp_path / "t.arrows")
    assert (list(reader), reader.damage, reader.metadata["rate_hz"]) == ([], None, 5.0)
    assert read_whole(tmp_path / "t.arrows").seq.size == 0
    assert compact(tmp_path / "t.arrows")


def test_a_note_without_readings_is_kept(tmp_path):
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    writer.note(7, "unplugged")
    writer.close()
    assert compact(tmp_path / "t.arrows")
    (chunk,) = TraceReader(tmp_path / "t.arrows")
    assert (chunk.seq.size, chunk.notes) == (0, ({"t_ns": 7, "reason": "unplugged"},))


def test_missed_slots_are_kept_with_every_batch_and_the_summary_with_the_last(tmp_path):
    path = tmp_path / "t.arrows"
    writer = TraceWriter(path, INFO, {})
    writer.append(0, 0, 0, [1, 1, 1])
    writer.missed = 3
    writer.flush()
    killed = TraceReader(path)
    assert len(list(killed)) == 1
    assert (killed.missed, killed.summary) == (3, None)
    writer.missed, writer.summary = 5, {"cpu_s": 0.5}
    writer.close()
    for _ in range(2):
        reader = TraceReader(path)
        assert len(list(reader)) == 1
        assert (reader.missed, reader.summary) == (5, {"cpu_s": 0.5})
        assert compact(path)


def test_what_is_no_trace_is_an_input_error_of_one_line(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        TraceReader(tmp_path / "none.arrows")
    for content in (b"", b"time,power\n1,2\n", bytes(500), os.urandom(500)):
        (tmp_path / "t.arrows").write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as a trace") as caught:
            TraceReader(tmp_path / "t.arrows")
        assert "\n" not in str(caught.value)


def test_a_trace_is_never_overwritten(tmp_path):
    write(tmp_path / "t.arrows", 10)
    with pytest.raises(DiskError):
        TraceWriter(tmp_path / "t.arrows", INFO, {})


def test_sealing_keeps_every_reading_note_and_clock_in_large_batches(tmp_path):
    path = tmp_path / "t.arrows"
    awake = ClockReading(
        10**9, 10**9, 10**9
    )  # read at leisure: on a busy machine there may be a while between two clocks
    block = write(path, 140_000, 1_000, clocks=lambda: awake)
    before, clocks = read_whole(path), TraceReader(path).metadata["start_clocks_ns"]
    assert compact(path)
    reader = TraceReader(path)
    chunks = list(reader)
    assert [c.seq.size for c in chunks] == [65_000, 65_000, 10_000]
    assert reader.metadata["start_clocks_ns"] == clocks
    after = read_whole(path)
    assert same(after, block)
    assert (after.clocks, after.notes) == (before.clocks, before.notes)
    assert [p.name for p in tmp_path.iterdir()] == ["t.arrows"]


def test_sealing_keeps_it_visible_where_the_machine_slept(tmp_path):
    times = iter(range(100))

    def clocks():
        now = next(times)
        return ClockReading(now * 10**9, now * 10**9 + (60 * 10**9 if now > 5 else 0), now * 10**9)

    write(tmp_path / "t.arrows", clocks=clocks)
    assert compact(tmp_path / "t.arrows")
    ahead = [c.clocks.boottime_ns - c.clocks.monotonic_ns for c in TraceReader(tmp_path / "t.arrows")]
    assert ahead == [0, 60 * 10**9]


def test_a_damaged_trace_is_not_sealed_but_left_as_it_is(tmp_path):
    path = tmp_path / "t.arrows"
    write(path)
    path.write_bytes(path.read_bytes()[:-100])
    content = path.read_bytes()
    assert not compact(path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["t.arrows"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from test_trace import INFO, readings
from ebbench.energy.traces import trace
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
trace.MAX_WAITING_BYTES = int(sys.argv[2])
writer = trace.TraceWriter(Path(sys.argv[1]), INFO, {})
time_ns, read_ns, seq, values = readings(1000)
errors = []
for at in range(0, 1000, 50):
    if at == 300:
        resource.setrlimit(resource.RLIMIT_FSIZE, (Path(sys.argv[1]).stat().st_size + 300, resource.RLIM_INFINITY))
    if at == 600:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    rows = slice(at, at + 50)
    writer.extend(time_ns[rows], read_ns[rows], seq[rows], values[rows])
    writer.flush()
    errors.append(writer.error)
    reader = trace.TraceReader(Path(sys.argv[1]))
    list(reader)
    assert reader.damage is None, reader.damage
writer.close()
assert all(e and "make room" in e and chr(10) not in e for e in errors[6:12]), errors
assert not any(errors[:6] + errors[12:]), errors
"""


@pytest.mark.parametrize("waiting", [8_000_000, 5_000])
def test_a_full_disk_tears_nothing_and_what_waited_is_written_when_there_is_room(tmp_path, waiting):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "t.arrows"), str(waiting)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    chunk = read_whole(tmp_path / "t.arrows")
    if waiting == 8_000_000:
        assert same(chunk, readings(1000))
    else:  # memory is bounded: the newest readings were dropped, and that is said
        lost = 1000 - chunk.seq.size
        assert 0 < lost < 300
        assert [n["reason"].split()[0] for n in chunk.notes] == [str(lost)]
        assert TraceReader(tmp_path / "t.arrows").damage is None


def test_dev_full_is_an_error_and_no_exception(monkeypatch, tmp_path):
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    os.dup2(os.open("/dev/full", os.O_WRONLY), writer.fd)
    writer.append(0, 0, 0, [1, 1, 1])
    writer.flush()
    assert "No space left" in writer.error
    writer.close()
    assert "No space left" in writer.error


def test_pandas_is_not_loaded_by_writing_reading_and_sealing(tmp_path):
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom ebbench.energy.traces.trace import *\n"
        "from ebbench.protocols import Column, MeterInfo\n"
        "i = MeterInfo('m', 'module', True, (), (Column('A_w', 1e-3, True), Column('B_w')), (), 1.0)\n"
        f"p = Path({str(tmp_path / 't.arrows')!r})\n"
        "w = TraceWriter(p, i, {})\nw.append(0, 0, 0, [None, 1.0])\nw.flush()\nw.append(1, 0, 1, [1, None])\nw.close()\n"
        "compact(p)\nread_whole(p)\n"
        "print(sorted(m for m in ('pandas', 'torch', 'matplotlib') if m in sys.modules))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_reading_takes_constant_memory(tmp_path):
    writer = TraceWriter(tmp_path / "t.arrows", INFO, {})
    time_ns, read_ns, seq, values = readings(65_536)
    for i in range(30):
        writer.extend(time_ns, read_ns, seq + i * 65_536, values)
        writer.flush()
    writer.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(c.seq.size for c in TraceReader(tmp_path / "t.arrows")) == 30 * 65_536
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 40_000  # all of it would be 94 MB


def test_the_checksum_takes_each_null_as_one_bit_wherever_a_slice_begins():
    """As numpy packs it: traces of every version have it so."""
    rng = np.random.default_rng(0)
    whole = pa.array([None if null else 1 for null in rng.integers(0, 2, 60)], pa.int32())
    for start in range(18):
        for count in range(1, 40):
            part = whole.slice(start, count)
            is_read = [value is not None for value in part.to_pylist()]
            if all(is_read):
                continue
            assert batches._validity(part) == np.packbits(is_read).tobytes()
