"""A meter is named alike by a URI and by a table, and every fault of a bench file is said at once."""

from __future__ import annotations

import json

import pytest

from ebbench.config import Bench, Recipe, load_bench, read_bench, run_id
from ebbench.errors import ConfigError
from ebbench.experiments.file import load_experiment
from ebbench.meter_ref import MeterRef, refs_of

DESK = """
board = "tx2"
idle_s = 3
[[meters]]
type = "shelly"
address = "http://10.0.0.7"
name = "socket-1"
scope = "wall"
password_env = "SHELLY_PASSWORD"
wiring = "L1 of the bench, behind the strip"
[[meters]]
uri = "shelly:http://10.0.0.8?scope=wall&name=socket-2"
[[meters]]
uri = "ina3221"
reference = true
[[meters]]
type = "line"
address = "/dev/ttyUSB0"
baud = 9600
rails = [{ name = "A", unit = "mW", group = 1 }, { name = "B", unit = "W", gain_u = 0.01 }]
"""


@pytest.fixture
def desk(tmp_path):
    path = tmp_path / "desk.toml"
    path.write_text(DESK)
    return path


def test_a_bench_file_holds_every_option_with_its_type(desk):
    bench = load_bench(read_bench(desk), {}, str(desk))
    assert (bench.board, bench.idle_s) == ("tx2", 3.0)
    by_name = {ref.called: ref for ref in refs_of(bench.meters)}
    assert by_name["line"].options == {
        "baud": 9600,
        "rails": [{"name": "A", "unit": "mW", "group": 1}, {"name": "B", "unit": "W", "gain_u": 0.01}],
    }
    first = by_name["socket-1"]
    assert (first.name, first.address, first.wiring) == (
        "shelly",
        "http://10.0.0.7",
        "L1 of the bench, behind the strip",
    )
    assert first.options == {"scope": "wall", "password_env": "SHELLY_PASSWORD"}


def test_the_one_that_says_so_is_the_reference_else_the_first(desk):
    bench = load_bench(read_bench(desk), {}, str(desk))
    assert [r.called for r in refs_of(bench.meters)] == ["ina3221", "socket-1", "socket-2", "line"]
    assert [r.called for r in refs_of(["nvml", "sim?reference=1"])] == ["sim", "nvml"]
    assert [r.called for r in refs_of(["nvml", "sim"])] == ["nvml", "sim"]


def test_a_bench_survives_json_and_says_the_same_again(desk):
    bench = load_bench(read_bench(desk), {}, str(desk))
    stored = json.loads(json.dumps(bench.settings()))
    assert load_bench(stored, {}, "again") == bench
    assert stored["meters"][2] == {"type": "ina3221", "reference": True}


def test_a_bench_file_and_the_bench_of_an_experiment_are_the_same(desk, tmp_path):
    experiment = tmp_path / "mine.toml"
    text = DESK.replace("[[meters]]", "[[bench.meters]]")
    experiment.write_text("[recipe]\nepochs = 3\n[bench]" + text)
    assert load_experiment(experiment, {}, {}).bench == load_bench(read_bench(desk), {}, "")
    experiment.write_text("[recipe]\nepochs = 3\n")
    assert load_experiment(experiment, {}, read_bench(desk)).bench == load_bench(read_bench(desk), {}, "")


@pytest.mark.parametrize(
    "uri", ["sim?name=a", "sim?noise_w=1&reference=1", "scpi:TCPIP::10.0.0.5::INSTR?scope=wall&wiring=L1,+N&name=w"]
)
def test_what_a_uri_says_of_the_bench_is_written_as_it_is_read(uri):
    ref = MeterRef.parse(uri)
    assert MeterRef.parse(str(ref)) == ref == MeterRef.from_table(ref.settings())
    assert not {"name", "reference", "wiring"} & set(ref.options)


def test_all_faults_of_a_file_are_said_at_once_in_one_line(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        'idle = 3\nboard = 4\nrate_hz = -1\n[[meters]]\ntyp = "sim"\n[[meters]]\nuri = "sim?x"\n'
        '[[meters]]\ntype = "sim"\nname = "../a"\nreference = "yes"\nnoise_w = nan\nday = 2024-01-01\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_bench(path)
    message = str(caught.value)
    for words in (
        "bad.toml: ", "did you mean 'idle_s'", "board = 4", "rate_hz = -1", "meter 1: ", "did you mean 'type'",
        "meter 2: ", "?key=value", "meter 3: ", "name = '../a'", "reference = 'yes'", "noise_w = nan", "day = ",
    ):  # fmt: skip
        assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("meters", "words"),
    [
        (["sim", "sim"], "named twice"),
        (["sim?name=a", "replay:x.csv?name=a"], "named twice"),
        (["sim?reference=1", "nvml?reference=1"], "sim, nvml are all called the reference"),
        (["sim?reference=maybe"], "neither 1 nor 0"),
        (["sim?name=a/b"], "letters, digits"),
        ([{"type": "sim", "uri": "sim"}], "the one or the others"),
        ([{"uri": 3}], "uri = 3"),
        ([{"type": ""}], "type = ''"),
        ([7], "a value of type str"),
    ],
)
def test_meters_that_cannot_be_together_are_refused(meters, words):
    with pytest.raises(ConfigError, match=words):
        load_bench({"meters": meters}, {}, "bench")


@pytest.mark.parametrize("meter", ["shelly:http://me:secret@10.0.0.7?scope=wall",
                                   {"type": "shelly", "address": "http://me:secret@10.0.0.7"}])  # fmt: skip
def test_a_password_in_an_address_is_refused_and_not_repeated(meter):
    with pytest.raises(ConfigError, match="password_env") as caught:
        load_bench({"meters": [meter]}, {}, "bench")
    assert "secret" not in str(caught.value)


def test_runs_of_benches_named_by_uris_keep_their_names():
    """Names that were given before benches had tables."""
    names = [
        run_id(Recipe(), bench)[-8:]
        for bench in (
            Bench(),
            Bench(meters=("sim",)),
            Bench(meters=("sim?noise_w=0.1", "nvml"), board="tx2", idle_s=3.0),
        )
    ]
    assert names == ["dc32f827", "cbd15a83", "b3744ea4"]
    assert run_id(Recipe(), load_bench({"meters": [{"uri": "sim"}]}, {}, ""))[-8:] == names[1]


def test_each_option_of_a_meter_names_another_run():
    benches = [load_bench({"meters": [{"type": "sim", "train_w": watts}]}, {}, "") for watts in (1, 2)]
    assert run_id(Recipe(), benches[0]) != run_id(Recipe(), benches[1])
