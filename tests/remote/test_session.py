"""What the laptop sends to the board and makes of what comes back, without a connection."""

from __future__ import annotations

import fcntl
import io
import json
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.config import Bench, Recipe
from ebbench.errors import ConfigError, DeviceError, EbbenchError, UserError
from ebbench.experiments.file import load_experiment
from ebbench.meter_ref import MeterRef
from ebbench.remote import agent, fetch
from ebbench.remote.job import Job
from ebbench.remote.line import plain
from ebbench.remote.progress import Followed
from ebbench.remote.session import _experiment, _merge_manifests, _Run
from ebbench.rundir import RunDir, read_json, write_json

texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)
values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


@given(
    texts,
    st.dictionaries(texts.filter(lambda key: key and key not in ("uri", "address", "wiring")), values, max_size=3),
)
def test_the_board_reads_the_recipe_and_the_bench_that_the_laptop_has(tmp_path_factory, text, options):
    options = {key: value for key, value in options.items() if key not in ("type", "name", "reference")}
    table = MeterRef("serial", "/dev/ttyUSB0", options, alias="supply", wiring="in front" + text)
    recipe = Recipe(data_dir=f"data {text}", draw=(3, 5), train_images=10)
    bench = Bench(meters=(table, "sim?idle_w=2"), rate_hz=12.5, idle_s=0.1, board="tx2")
    path = tmp_path_factory.mktemp("sent") / "job.toml"
    path.write_text(_experiment(recipe, bench, may_simulate=True), encoding="utf-8")
    read = load_experiment(path, {}, {})
    assert (read.recipes, read.bench, read.may_simulate) == ((recipe,), bench, True)


@pytest.mark.parametrize(
    "laptop, board, counts",
    [
        (("wall?reference=1", "plug"), ("ina3221",), "wall"),
        (("plug",), ("ina3221", "rapl"), "plug"),
        ((), ("ina3221", "rapl"), "ina3221"),
        (("plug",), ("ina3221?reference=1", "rapl"), "ina3221"),
    ],
)
def test_the_laptops_meter_counts_unless_one_of_the_boards_is_called_the_reference(tmp_path, laptop, board, counts):
    def meters(uris, **more):
        return [{"name": u.partition("?")[0], "reference": n == 0, **more} for n, u in enumerate(uris)]

    run = RunDir(tmp_path)
    ours = {"run_id": "x", "bench": {"on": "b"}, "laptop": {"job": "j"}, "meters": meters(laptop, host="laptop")}
    write_json(run.manifest, ours)
    write_json(
        run.board_manifest, {"run_id": "y", "bench": {"meters": list(board)}, "recipe": {}, "meters": meters(board)}
    )
    for _ in range(2):  # a laptop that died in between does it again
        _merge_manifests(run)
        found = read_json(run.manifest)
        assert [m["name"] for m in found["meters"] if m["reference"]] == [counts]
        assert len(found["meters"]) == len(laptop) + len(board)
        assert (found["run_id"], found["bench"], found["recipe"]) == ("x", {"on": "b"}, {})


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"on": "-oProxyCommand=x"}, "no name of a machine"),
        ({"on": "a b"}, "no name of a machine"),
        ({"on": "b", "board_meters": ("off",)}, "nothing would be measured; name one with --meter"),
        ({"on": "b", "meters": ("sim",), "board_meters": ("off", "jtop")}, "'off' means no meter, and stands alone"),
        ({"on": "b", "meters": ("off",)}, "off is for the board"),
        ({"on": "b", "on_command": "'open"}, "No closing quotation"),
        ({"on": "b", "on_out": " "}, "is empty"),
        ({"on": "b", "meters": ("auto", "plug")}, "auto is for the board"),
        ({"on": "b", "meters": ("sim",), "board_meters": ("sim",)}, "named twice"),
        ({"on": "b", "meters": ("p?reference=1",), "board_meters": ("q?reference=1",)}, "one meter counts"),
    ],
)
def test_a_bench_that_cannot_be_is_refused_in_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        Bench(**settings)


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", ".ssh/authorized_keys", "a/.hidden", "", "."])
def test_neither_side_takes_a_file_outside_of_the_run(tmp_path, name):
    with pytest.raises(DeviceError, match="none of a run folder"):
        fetch._place(RunDir(tmp_path), name)
    if ".." in name or name.startswith("/"):
        (tmp_path / "job/runs/one").mkdir(parents=True)
        (tmp_path / "job/runs/one/manifest.json").write_text("{}")
        with pytest.raises(UserError, match="has no file"):
            agent.read({"out": str(tmp_path), "job": "job", "path": name, "at": 0})


@pytest.mark.parametrize("name", ["..", "a/b", "", "-x", "a b", "a;b", "x" * 300])
def test_a_job_has_the_name_of_one_folder(tmp_path, name):
    with pytest.raises(UserError, match="letters, digits"):
        Job(tmp_path, name)


def test_a_job_that_has_ended_and_lets_go_of_its_lock_is_not_another_one(tmp_path):
    job = Job(tmp_path, "mine")
    job.path.mkdir()
    write_json(job.exit, {"exit_code": 2})
    with open(tmp_path / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert job.state() == {"state": "ended", "exit_code": 2, "pid": None}
        with pytest.raises(UserError, match="another run is going there"):
            Job(tmp_path, "other").state()


def test_a_question_that_cannot_be_answered_is_an_error_and_the_agent_goes_on():
    asked = io.StringIO('{"ask": "nothing"}\nno json\n{"ask": "clock"}\n')
    answers = io.StringIO()
    agent.serve(asked, answers)
    greeting, *rest = answers.getvalue().splitlines()
    assert greeting.startswith(agent.GREETING) and json.loads(greeting[len(agent.GREETING) :])["ebbench"]
    assert [json.loads(line).get("exit_code") for line in rest] == [70, 70, None]


def test_what_has_been_told_is_not_told_again_and_a_torn_line_waits(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\nthr")
    assert agent._gained(log, 0) == ("one\ntwo\n", 8)
    assert agent._gained(log, 8) == ("", 8)
    with open(log, "ab") as handle:
        handle.write(b"ee\n")
    assert agent._gained(log, 8) == ("three\n", 14)
    assert agent._gained(tmp_path / "none", 5) == ("", 5)


def test_progress_is_the_part_of_the_epochs_that_is_done_and_the_innermost_phase():
    followed = Followed(epochs=4)
    events = [
        {"event": "start"}, {"event": "begin", "id": 1, "path": "search"},
        {"event": "begin", "id": 2, "path": "search/epoch-1"}, {"event": "end", "id": 2, "path": "search/epoch-1", "failed": False},
        {"event": "begin", "id": 3, "path": "search/epoch-2"},
    ]  # fmt: skip
    followed.read("".join(json.dumps(e) + "\n" for e in events) + "torn{\n")
    assert (followed.path, followed.fraction) == ("search/epoch-2", 0.25)
    followed.read('{"event": "start"}\n')
    assert (followed.path, followed.fraction) == ("", 0.25)


def test_what_a_board_says_cannot_steer_the_terminal():
    assert plain("\x1b[2Jcleared\a\r") == "[2Jcleared"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="--on-out"):
        Job(tmp_path / "file", "job").start("", again=False, lending={})
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "seen, code, says",
    [
        ({"state": "died", "exit_code": None}, 3, "died without a word"),
        ({"state": "ended", "exit_code": 130}, 3, "interrupted there; go on with --resume"),
        ({"state": "ended", "exit_code": -9}, 3, "killed by signal 9"),
        ({"state": "ended", "exit_code": 2}, 2, "board: data is not there"),
        ({"state": "ended", "exit_code": 3}, 3, "board: data is not there"),
        ({"state": "ended", "exit_code": 70}, 70, "board: data is not there"),
    ],
)
def test_how_a_run_ended_there_is_how_it_ends_here(seen, code, says):
    run = SimpleNamespace(board=SimpleNamespace(on="board"))
    with pytest.raises(EbbenchError, match=says) as caught:
        _Run._raise_its_error(run, seen, "ebbench: data is not there")
    assert caught.value.exit_code == code
    for good in (0, 1):  # a failed run has a record, which says so
        _Run._raise_its_error(run, {"state": "ended", "exit_code": good}, "")
