"""The examples of CONTRIBUTING.md run, as they are printed there."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from ebbench.config import Recipe
from ebbench.errors import ConfigError, MeterError
from ebbench.plugins import BOARDS, METERS, PIPELINES, REPORTS
from ebbench.protocols import MeterRequest
from ebbench.rundir import write_json


@pytest.fixture(scope="module")
def text(checkout) -> str:
    return (checkout / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example(text):
    def run(title: str) -> dict:
        (code,) = re.findall(rf"```python {title}\n(.*?)```", text, re.DOTALL)
        names: dict = {}
        exec(compile(code, f"CONTRIBUTING.md, {title}", "exec"), names)
        return names

    return run


class FakeContext:
    device = "cpu"

    def __init__(self, restored=None) -> None:
        self.restored, self.open, self.seen, self.saved = restored, [], [], []

    @contextlib.contextmanager
    def phase(self, name):
        self.open.append(name)
        self.seen.append("/".join(self.open))
        yield
        self.open.pop()

    def load_checkpoint(self):
        return self.restored

    def checkpoint_due(self):
        return True

    def save_checkpoint(self, arrays, state):
        self.saved.append(state)

    def progress(self, done, total):
        assert 0 < done <= total


def test_the_meter_reads_what_the_file_says(example, tmp_path):
    path = tmp_path / "power_mw"
    path.write_text("12345\n")
    meter_class = example("meter")["Supply"]
    request = MeterRequest(address=str(path), options={"scope": "wall"})
    assert meter_class.probe(request).available
    meter = meter_class(request)
    info = meter.open()
    (column,), (value,) = info.columns, meter.read()
    assert info.scope == "wall"
    assert column.name == f"{info.total[0]}_w"
    assert value * column.scale == pytest.approx(12.345)
    path.write_text("20\n")
    assert meter.read() == (20,)
    meter.close()


def test_the_meter_goes_through_the_conformance_suite_as_it_is_printed(text, example, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python meter\n(.*?)```", text, re.DOTALL)
    (test,) = re.findall(r"```python\n(from ebbench.protocols import MeterRequest.*?)```", text, re.DOTALL)
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "supply.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict = {}
    exec(compile(test, "CONTRIBUTING.md, its test", "exec"), names)
    names["test_it_does_what_every_meter_must"](tmp_path)


def test_the_meter_says_how_to_name_it_and_what_is_not_there(example, tmp_path):
    meter_class = example("meter")["Supply"]
    assert "supply:/path" in meter_class.probe(MeterRequest()).reason
    with pytest.raises(MeterError, match="is the supply connected"):
        meter_class(MeterRequest(str(tmp_path / "absent"), {"scope": "wall"})).open()
    with pytest.raises(ConfigError, match="say what it measures"):
        meter_class(MeterRequest(str(tmp_path)))


def test_the_board_counts_nothing_twice(example):
    (board,) = example("board")["boards"]()
    inside = {rail["name"] for rail in board.facts["rails"] if "inside_of" in rail}
    assert not inside & set(board.facts["total"])


def test_the_method_trains_all_epochs_and_goes_on_where_it_was(example):
    method = example("method")["Halving"]
    whole, resumed = FakeContext(), FakeContext(restored=({}, {"epochs": 2}))
    method(Recipe(epochs=3)).run(whole)
    outcome = method(Recipe(epochs=3)).run(resumed)
    assert whole.seen == ["train", "train/epoch-1", "train/epoch-2", "train/epoch-3", "evaluate"]
    assert resumed.seen == ["train", "train/epoch-3", "evaluate"]
    assert resumed.saved == [{"epochs": 3}]
    assert outcome.accuracy["final"] is None


def test_the_report_has_a_line_for_each_run(example, tmp_path):
    runs = [tmp_path / name for name in ("a", "b")]
    for run in runs:
        run.mkdir()
        energy = {"total_j": 1.5, "kind": "simulated"}
        write_json(run / "record.json", {"run_id": run.name, "energy": energy, "verdict": "PASS"})
    (path,) = example("report")["Ledger"]().render(runs, tmp_path / "out", {})
    assert Path(path).read_text() == "a 1.5 J simulated PASS\nb 1.5 J simulated PASS\n"


def test_every_entry_point_group_that_is_printed_exists(text):
    printed = set(re.findall(r'project\.entry-points\."([a-z.]+)"', text))
    assert printed == {METERS, BOARDS, PIPELINES, REPORTS}


def test_every_file_that_is_named_is_there(text, checkout):
    for name in re.findall(r"`((?:docs|ebbench|tests)/[\w./-]+\.\w+)`", text):
        assert (checkout / name).exists(), name
