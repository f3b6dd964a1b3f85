"""Anybody's tables: what comes out, and one clear line for each way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from ebbench.energy.tables import integrate_tables
from ebbench.energy.traces.trace import TraceWriter
from ebbench.errors import InputError
from ebbench.protocols import Column, MeterInfo, Rail

PHASES = "phase,start_s,end_s\nall,0,10\nshort,2.55,3.33\n"


def text(rows=101, power=lambda t: 5 + t, header="time_s,VDD_IN_w") -> str:
    return header + "\n" + "".join(f"{k / 10:.1f},{power(k / 10):.6f}\n" for k in range(rows))


@pytest.fixture
def files(tmp_path):
    def write(trace: str, phases: str = PHASES):
        (tmp_path / "T.csv").write_text(trace)
        (tmp_path / "P.csv").write_text(phases)
        return tmp_path / "T.csv", tmp_path / "P.csv"

    return write


def energies(document, rail="VDD_IN"):
    return [phase["rails"][rail]["energy_j"] for phase in document["phases"]]


def test_the_default_form_gives_the_document_of_the_contract(files):
    document = integrate_tables(*files(text()))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert [set(p) for p in document["phases"]] == [{"phase", "start_s", "end_s", "duration_s", "rails"}] * 2
    first = document["phases"][0]
    assert (first["phase"], first["start_s"], first["end_s"], first["duration_s"]) == ("all", 0, 10, 10)
    result = first["rails"]["VDD_IN"]
    assert set(result) == {"status", "energy_j", "mean_power_w", "uncertainty_j", "reason"}
    assert result["energy_j"] == pytest.approx(100) and result["mean_power_w"] == pytest.approx(10)
    assert (result["status"], result["reason"]) == ("ok", None) and 0 < result["uncertainty_j"] < 0.2


def test_what_nobody_states_of_the_meter_is_named_and_only_that(files):
    plain = integrate_tables(*files(text()))["unknown"]["VDD_IN"]
    stated = integrate_tables(*files(text()), gain_ratio=0.01, resolution_w=0.1)["unknown"]["VDD_IN"]
    assert {"gain", "offset", "resolution", "lag"} <= set(plain)
    assert set(plain) - set(stated) == {"gain", "resolution"} and set(stated) < set(plain)


def test_phases_keep_their_order_and_may_repeat(files):
    phases = "phase,start_s,end_s\nb,5,6\na,0,1\nb,5,6\n"
    document = integrate_tables(*files(text(), phases))
    assert [p["phase"] for p in document["phases"]] == ["b", "a", "b"]


def test_what_is_not_covered_is_partial_or_missing_and_never_zero(files):
    document = integrate_tables(*files(text(), "phase,start_s,end_s\nlate,9.5,10.5\ngone,20,30\npoint,3,3\n"))
    late, gone, point = (p["rails"]["VDD_IN"] for p in document["phases"])
    assert (
        late["status"] == "partial"
        and late["energy_j"] == pytest.approx(7.375)
        and "0.5 s before its end" in late["reason"]
    )
    assert late["mean_power_w"] == pytest.approx(14.75)
    assert gone == {**gone, "status": "missing", "energy_j": None, "mean_power_w": None, "uncertainty_j": None}
    assert gone["reason"]
    assert (point["status"], point["energy_j"], point["mean_power_w"]) == ("ok", 0, None)


def test_empty_and_nan_cells_are_readings_not_taken(files):
    rows = text().splitlines()
    rows[20], rows[30], rows[40] = "1.9,", "2.9,NaN", "3.9,nan"
    assert energies(integrate_tables(*files("\n".join(rows)))) == pytest.approx([100, 6.1932])


def test_several_rails_each_with_readings_of_its_own(files):
    trace = "time_s,A_w,B_w\n" + "".join(f"{k / 10:.1f},{4},{'' if k % 2 else 7}\n" for k in range(101))
    document = integrate_tables(*files(trace))
    assert energies(document, "A")[0] == pytest.approx(40) and energies(document, "B")[0] == pytest.approx(70)


def test_other_names_and_units_are_said_with_options(files):
    trace = "ms;mW".replace(";", ",") + "\n" + "".join(f"{k * 100},{(5 + k / 10) * 1000}\n" for k in range(101))
    document = integrate_tables(
        *files(trace),
        time_column="ms",
        time_unit="ms",
        columns={"mW": ("IN", "mW")},
        gain_ratio=0.01,
        resolution_w=0.01,
    )
    assert energies(document, "IN") == pytest.approx([100, 6.1932])
    assert document["phases"][0]["rails"]["IN"]["uncertainty_j"] > 2


def test_counters_and_volts_times_amperes_are_understood(files):
    trace = "time_s,E_j,X_v,X_a\n" + "".join(f"{k / 10:.1f},{k / 10 * 3},5,2\n" for k in range(101))
    document = integrate_tables(*files(trace))
    assert energies(document, "E")[0] == pytest.approx(30) and energies(document, "X")[0] == pytest.approx(100)
    wh = integrate_tables(*files(trace), columns={"E_j": ("E", "Wh")})
    assert energies(wh, "E")[0] == pytest.approx(30 * 3600)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows"])
def test_parquet_and_both_arrow_formats_say_the_same_as_csv(tmp_path, kind):
    (tmp_path / "P.csv").write_text(PHASES)
    table = pa.table({"time_s": np.arange(101) / 10, "VDD_IN_w": 5 + np.arange(101) / 10})
    path = tmp_path / f"T.{kind}"
    if kind == "parquet":
        pa.parquet.write_table(table, path, row_group_size=17)
    else:
        new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=23)
    assert energies(integrate_tables(path, tmp_path / "P.csv")) == pytest.approx([100, 6.1932])


@pytest.fixture
def own_trace(tmp_path):
    """A trace as the sampler leaves it, of 10 s in batches of 1 s, with the power 5 + t."""
    info = MeterInfo("m", "module", False, (Rail("X", "module"),), (Column("X_w", 1e-3, True),), ("X",), 10.0)
    writer = TraceWriter(tmp_path / "trace-m-000.arrows", info, {})
    for seq in np.array_split(np.arange(101), 10):
        time_ns = seq * 100_000_000
        writer.extend(time_ns, np.zeros_like(time_ns), seq, (5 + time_ns[:, None] * 1e-9) * 1000)
        writer.flush()
    writer.close()
    (tmp_path / "P.csv").write_text(PHASES)
    return writer.path


def test_a_trace_of_our_own_is_read_as_it_is(tmp_path, own_trace):
    document = integrate_tables(own_trace, tmp_path / "P.csv")
    assert energies(document, "X") == pytest.approx([100, 6.1932]) and "damage" not in document


@pytest.mark.parametrize("fault", ["cut off", "zeros", "a flipped bit"])
def test_a_damaged_trace_of_our_own_is_integrated_as_far_as_it_is_whole(tmp_path, own_trace, fault):
    whole = own_trace.read_bytes()
    half = whole[: len(whole) * 6 // 10]
    flipped = bytes([whole[len(half)] ^ 1]) + whole[len(half) + 1 :]
    own_trace.write_bytes(
        half + {"cut off": b"", "zeros": bytes(len(whole) - len(half)), "a flipped bit": flipped}[fault]
    )
    phases = tmp_path / "P.csv"
    phases.write_text("phase,start_s,end_s\nseen,1,3\npart,1,9.5\nlost,9,9.5\n")
    document = integrate_tables(own_trace, phases)
    seen, part, lost = (phase["rails"]["X"] for phase in document["phases"])
    assert (seen["status"], seen["energy_j"]) == ("ok", pytest.approx(14))
    assert part["status"] == "partial" and "the readings end" in part["reason"]
    assert (lost["status"], lost["energy_j"]) == ("missing", None) and "the readings end" in lost["reason"]
    assert "trace-m-000.arrows is damaged" in document["damage"] and "bytes before its end" in document["damage"]


def test_a_trace_of_our_own_without_a_whole_batch_is_refused(tmp_path, own_trace):
    with open(own_trace, "rb") as handle:
        header = pa.ipc.open_stream(handle).schema.serialize().size
    own_trace.write_bytes(own_trace.read_bytes()[: header + 400])
    with pytest.raises(InputError, match=r"damaged \d+ bytes before its end: .*; no reading comes before"):
        integrate_tables(own_trace, tmp_path / "P.csv")


def test_a_large_table_is_streamed_and_the_same(files):
    rows = 300_000
    trace = "time_s,X_w\n" + "".join(f"{k / 1000:.3f},{k % 7}\n" for k in range(rows))
    document = integrate_tables(*files(trace, "phase,start_s,end_s\nall,0,280\n"))
    time_s, power_w = np.arange(280_001) / 1000, np.arange(280_001) % 7
    truth_j = np.sum((power_w[1:] + power_w[:-1]) / 2 * np.diff(time_s))
    assert energies(document, "X")[0] == pytest.approx(truth_j, rel=1e-9)


BAD_TRACES = {
    "empty file": ("", "T.csv is empty"),
    "only a header": ("time_s,X_w\n", "T.csv has no readings"),
    "no time column": ("t,X_w\n0,1\n", "T.csv has no column 'time_s'"),
    "no power column": ("time_s,X\n0,1\n", "T.csv has no column of power .*--column"),
    "a word for a number": ("time_s,X_w\n0,1\n1,two\n2,3\n", "T.csv row 2: column X_w is 'two', not a number"),
    "no time": ("time_s,X_w\n0,1\nNaN,1\n2,3\n", "T.csv row 2: column time_s has no time"),
    "an empty time": ("time_s,X_w\n0,1\n,1\n2,3\n", "T.csv row 2: column time_s has no time"),
    "time goes back": ("time_s,X_w\n0,1\n2,1\n1,3\n", "T.csv column time_s: time goes back by 1 s at row 3"),
    "time stands still": ("time_s,X_w\n0,1\n1,1\n1,3\n", "T.csv column time_s: time is the same again at row 3"),
    "cut in the middle": (
        "time_s,X_w,Y_w\n0,1,1\n1,1,1\n2,",
        "T.csv row 3 has 2 cells instead of 3; is the file cut off",
    ),
    "an infinite power": ("time_s,X_w\n0,1\n1,inf\n", "T.csv row 2: column X_w is infinite"),
    "a column twice": ("time_s,X_w,X_w\n0,1,1\n", "has the column 'X_w' 2 times"),
    "not text": ("time_s,X_w\n0,1\n\x00\x01,\x02\n", "T.csv (row 2: column time_s|cannot be read)"),
}


@pytest.mark.parametrize("name", BAD_TRACES)
def test_a_bad_trace_is_one_clear_line(files, name):
    content, message = BAD_TRACES[name]
    with pytest.raises(InputError, match=message) as caught:
        integrate_tables(*files(content))
    assert "\n" not in str(caught.value)


BAD_PHASES = {
    "empty": ("", "P.csv has no column 'phase'"),
    "only a header": ("phase,start_s,end_s\n", "P.csv has no phases"),
    "a column missing": ("phase,start_s\na,0\n", "P.csv has no column 'end_s'"),
    "not a number": ("phase,start_s,end_s\na,0,1\nb,x,2\n", "P.csv line 3: column start_s is 'x', not a number"),
    "nan": ("phase,start_s,end_s\na,0,nan\n", "P.csv line 2: column end_s is 'nan', not a number"),
    "end before start": ("phase,start_s,end_s\na,3,2\n", "P.csv line 2: end_s = 2 is before start_s = 3"),
    "cut": ("phase,start_s,end_s\na,0,1\nb,1", "P.csv line 3 has 2 cells instead of 3; is the file cut off"),
}


@pytest.mark.parametrize("name", BAD_PHASES)
def test_bad_phases_are_one_clear_line(files, name):
    content, message = BAD_PHASES[name]
    with pytest.raises(InputError, match=message) as caught:
        integrate_tables(*files(text(), content))
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_or_not_what_they_are_called(tmp_path, files):
    trace, phases = files(text())
    with pytest.raises(InputError, match=r"no\.csv is not there"):
        integrate_tables(tmp_path / "no.csv", phases)
    with pytest.raises(InputError, match=r"no\.csv is not there"):
        integrate_tables(trace, tmp_path / "no.csv")
    for kind in ("parquet", "arrow", "arrows"):
        wrong = tmp_path / f"T.{kind}"
        wrong.write_text(text())
        with pytest.raises(InputError, match=f"T.{kind} cannot be read"):
            integrate_tables(wrong, phases)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows"])
def test_a_binary_table_cut_in_the_middle_is_refused(tmp_path, files, kind):
    _, phases = files(text())
    table = pa.table({"time_s": np.arange(10_000) / 1000, "X_w": np.random.default_rng(0).random(10_000)})
    path = Path(tmp_path / f"T.{kind}")
    if kind == "parquet":
        pa.parquet.write_table(table, path)
    else:
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(str(path), table.schema) as writer:
            writer.write_table(table)
    path.write_bytes(path.read_bytes()[:70_000])
    with pytest.raises(InputError, match="cannot be read"):
        integrate_tables(path, phases)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("which", ["trace", "phases"])
def test_a_table_with_other_separators_says_so(files, mark, which):
    trace, phases = files(text())
    table = trace if which == "trace" else phases
    table.write_text(table.read_text().replace(",", mark))
    with pytest.raises(InputError, match=r"separates its columns by .*; write it with commas"):
        integrate_tables(trace, phases)


def test_a_text_column_is_refused(tmp_path, files):
    _, phases = files(text())
    pa.parquet.write_table(pa.table({"time_s": [0.0, 1.0], "X_w": ["a", "b"]}), tmp_path / "T.parquet")
    with pytest.raises(InputError, match="column X_w holds string, not numbers"):
        integrate_tables(tmp_path / "T.parquet", phases)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"columns": {"VDD_IN_w": ("X", "parsec")}}, "unit 'parsec' is neither power"),
        ({"columns": {"VDD_IN_w": ("X", "MW")}}, "unit 'MW' is neither power"),
        ({"max_gap_s": 0.0}, "max-gap = 0.0"),
        ({"columns": {"time_s": ("X", "W"), "VDD_IN_w": ("X", "W")}}, "two columns are given as X_w"),
        ({"columns": {"VDD_w": ("X", "W")}}, "has no column 'VDD_w'; did you mean 'VDD_IN_w'"),
        ({"time_column": "time"}, "has no column 'time'; did you mean 'time_s'.* with --time-column"),
        ({"time_unit": "h"}, "time unit 'h'"),
        ({"max_gap_s": float("nan")}, "max-gap = nan"),
        ({"gain_ratio": -1.0}, "gain = -1.0"),
    ],
)
def test_wrong_options_are_one_clear_line(files, options, message):
    with pytest.raises(InputError, match=message):
        integrate_tables(*files(text()), **options)
