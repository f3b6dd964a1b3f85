"""A record made again: never over a sealed one, never in place of the one that a run's own end writes."""

from __future__ import annotations

import json
import re
import shutil
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import ebbench
from ebbench.cli import main
from ebbench.cli.results import check
from ebbench.energy.export import export_run
from ebbench.energy.tables import integrate_tables
from ebbench.errors import ConfigError, UserError
from ebbench.rundir import RunDir, read_json, write_json
from ebbench.sealing.checks.training import training_checks
from ebbench.sealing.record import _assumptions, integrate_again, load_record

pytestmark = pytest.mark.realtime


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A sealed measurement of a moment."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    with ebbench.EnergyMonitor(meter="sim", out=folder) as monitor, monitor.phase("train"):
        time.sleep(0.1)
    return folder


@pytest.fixture
def rundir(measured, tmp_path):
    return RunDir(shutil.copytree(measured, tmp_path / "run"))


def unsealed(rundir, recipe=None):
    """As if the process had been killed before its end; with a `recipe` the run can be resumed."""
    rundir.record.unlink()
    write_json(rundir.manifest, {**read_json(rundir.manifest), "recipe": recipe})
    return rundir


def test_a_sealed_record_stays_as_it_is(rundir):
    before = rundir.record.read_bytes()
    record, path = integrate_again(rundir)
    assert path.name == "record-2.json" and rundir.record.read_bytes() == before
    assert record.energy == load_record(rundir).energy
    assert json.loads(path.read_text()) == record.to_json()


def as_sealed(rundir):
    """(exit code, the line) of what `ebbench check` says of the raw files."""
    done = CliRunner().invoke(check, [str(rundir.path), "--json"], standalone_mode=False)
    (run,) = json.loads(done.output)["runs"]
    (line,) = [each for each in run["checks"] if each["name"] == "raw files as sealed"]
    assert (run["verdict"] == "FAIL") == (line["verdict"] == "FAIL")
    return done.return_value, line["verdict"], line["value"], line["advice"]


@pytest.mark.parametrize("name", ["trace-sim-000.arrows", "phases.jsonl", "manifest.json"])
def test_a_raw_file_that_was_changed_after_the_seal_fails_the_check_of_the_run(rundir, name):
    integrate_again(rundir)  # a further record, and what is exported, are no raw files
    export_run(rundir, rundir.path / "export", "csv")
    assert as_sealed(rundir) == (0, "PASS", 0, "")
    path = rundir.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, verdict, value, advice = as_sealed(rundir)
    assert (code, verdict, value) == (1, "FAIL", 1) and f"changed since the record was made: {name};" in advice
    path.unlink()
    assert as_sealed(rundir) == (0, "NOT CHECKED", None, f"not here: {name}")
    with open(rundir.path / ("manifest.json" if name == "phases.jsonl" else "phases.jsonl"), "a") as handle:
        handle.write("\n")
    assert as_sealed(rundir)[3].endswith(f"restore them from a copy; not here: {name}")


@pytest.mark.parametrize(
    "change, why",
    [
        ({"schema_version": 99}, "has schema version 99 and this ebbench reads 1"),
        ({"energy": {}}, "is damaged ('by_phase' is missing)"),
        ({"energy": None}, "is damaged ("),
        ({"checks": [1]}, "is damaged ("),
        ({"more": 1}, "is damaged ("),
    ],
)
def test_a_record_that_is_none_is_refused_in_a_line(rundir, change, why):
    write_json(rundir.record, {**read_json(rundir.record), **change})
    with pytest.raises(UserError) as caught:
        load_record(rundir)
    assert f"{rundir.record} {why}" in str(caught.value) and "; move it away, then" in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", '{"a":'])
def test_a_record_that_is_no_json_is_made_anew_as_its_refusal_says(rundir, content):
    sealed = load_record(rundir)
    rundir.record.write_text(content)
    with pytest.raises(UserError, match=r"record\.json .*; move it away, then .*`ebbench integrate`"):
        load_record(rundir)
    rundir.record.rename(rundir.path / "record-moved.json")
    integrate_again(rundir)
    assert load_record(rundir).energy == sealed.energy


def test_a_measurement_without_its_record_is_sealed(rundir):
    sealed = load_record(rundir)
    record, path = integrate_again(unsealed(rundir))
    assert path == rundir.record and rundir.is_sealed
    assert record.energy.total_j == sealed.energy.total_j


def test_what_was_killed_does_not_pass_however_well_it_was_measured_until_then(rundir):
    lines = rundir.phases.read_text().splitlines(keepends=True)
    assert '"stop"' in lines[-1]
    rundir.phases.write_text("".join(lines[:-1]))
    record, _ = integrate_again(rundir)
    assert (record.status, record.verdict, record.checks[0].name) == ("aborted", "FAIL", "run ended")
    assert "never said how" in record.checks[0].advice and "--resume" in record.checks[0].advice


def test_a_run_that_can_be_resumed_is_not_sealed_by_looking_at_it(rundir):
    """Sealed by a look, it could never be resumed: its last epochs would be lost."""
    record, path = integrate_again(unsealed(rundir, recipe={"method": "dense"}))
    assert path.name == "record-2.json" and record.energy.total_j > 0
    assert not rundir.is_sealed


def test_another_max_gap_does_not_seal(rundir):
    _, path = integrate_again(unsealed(rundir), max_gap_s=5.0)
    assert path.name == "record-2.json" and not rundir.is_sealed


def test_a_folder_that_is_being_written_is_left_alone(rundir):
    unsealed(rundir)
    lock = rundir.lock()
    with pytest.raises(UserError, match="another process is writing"):
        integrate_again(rundir)
    lock.close()
    assert not list(rundir.path.glob("record*"))


def test_a_run_without_a_record_says_what_to_do(rundir):
    unsealed(rundir, recipe={"method": "dense"})
    with pytest.raises(UserError, match=r"did not end: go on with `ebbench run \.\.\. --resume`"):
        load_record(rundir)


@pytest.mark.parametrize("max_gap_s", [0.0, -1.0, float("nan")])
def test_a_gap_that_makes_no_sense_is_refused(rundir, max_gap_s):
    with pytest.raises(ConfigError, match=r"max_gap_s = .* is not above 0"):
        integrate_again(rundir, max_gap_s)


def test_no_run_folder_is_the_users_to_fix(tmp_path):
    with pytest.raises(UserError, match=r"is .* a run folder"):
        integrate_again(RunDir(tmp_path / "nowhere"))


def test_what_was_exported_is_no_raw_file_of_the_run(rundir):
    before = set(integrate_again(rundir)[0].files)
    export_run(rundir, rundir.path / "export", "csv")
    assert (rundir.path / "export" / "phases.csv").exists()
    assert set(integrate_again(rundir)[0].files) == before


@pytest.mark.parametrize("command", ["export", "integrate"])
def test_what_is_lost_of_a_trace_stands_on_stderr_beside_what_is_made_of_the_rest(rundir, tmp_path, capsys, command):
    (trace,) = rundir.traces()
    with open(trace, "ab") as handle:
        handle.write(bytes(1000))
    (tmp_path / "P.csv").write_text("phase,start_s,end_s\nall,0,1\n")
    of_trace = ["--trace", str(trace), "--phases", str(tmp_path / "P.csv")]
    with pytest.raises(SystemExit) as leaving:
        main([command, *(of_trace if command == "integrate" else [str(rundir.path)])])
    out, err = capsys.readouterr()
    assert leaving.value.code == 0 and len(out.splitlines()) >= 2
    assert re.fullmatch(r"ebbench: .* is damaged \d+ bytes before its end: .*; only what comes before is \w+ed\n", err)


def test_what_was_simulated_stays_so_as_a_trace_and_as_parquet_and_a_csv_says_nothing(rundir, tmp_path):
    (trace,) = rundir.traces()
    for kind in ("csv", "parquet"):
        export_run(rundir, tmp_path, kind)
    said = [
        integrate_tables(path, tmp_path / "phases.csv").get("kind")
        for path in (trace, tmp_path / f"{trace.stem}.parquet", tmp_path / f"{trace.stem}.csv")
    ]
    assert said == ["simulated", "simulated", None]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({}, "the pruned network has the widths of the mask"),
        ({"kept_weights": 5}, "the mask of its weights is the one"),
    ],
)
def test_what_is_assumed_of_a_mask_is_what_the_method_makes_of_it(kept, words):
    ticket = {"assumed": True, "epoch": 160, "searched_epochs": 4, "distances": [], **kept}
    raw = SimpleNamespace(outcome={"ticket": ticket}, recipe={"method": "lt", "ticket_epoch": None})
    assert _assumptions(raw)[1] == f"{words} after 4 epochs of the first training"
    (found,) = [check for check in training_checks(None, ticket, None) if check.name == "ticket found"]
    assert found.advice == "the ticket's epoch 160 is assumed, its mask is the one after 4 epochs"
