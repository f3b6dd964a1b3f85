from __future__ import annotations

import json
import shutil

import pytest
from sample_runs import account, early_bird, everything, record, write_run

from ebbench.errors import InputError, UserError
from ebbench_reports.collect import Collection, collect, frame, read_record


def test_every_run_below_a_folder_is_found_once_and_in_the_order_of_the_tables(tmp_path):
    folders = everything(tmp_path)
    collection = collect([tmp_path, tmp_path / "dense-1", folders[0]])
    assert [run.number for run in collection.runs] == list(range(1, 9))
    assert [run.record.recipe["method"] for run in collection.runs] == ["dense"] * 2 + ["eb-reinit"] + ["eb-ff"] * 5
    assert collection.runs[0].started == "2026-09-21 14:13 UTC"
    assert collection.runs[0].device == "NVIDIA Tegra X2 (256 CUDA cores)"


def test_a_record_reads_back_as_it_was_written(tmp_path):
    written = early_bird()
    read = read_record(write_run(tmp_path / "run", written) / "record.json")
    assert read.to_json() == json.loads(json.dumps(written.to_json()))
    assert read.energy.by_phase == written.energy.by_phase
    assert read.energy.total_j == written.energy.total_j


def test_a_folder_without_a_record_did_not_end(tmp_path):
    everything(tmp_path)
    reasons = {unread.folder.name: unread.reason for unread in collect([tmp_path]).unread}
    assert sorted(reasons) == ["damaged", "not-ended"]
    assert "did not end" in reasons["not-ended"] and "--resume" in reasons["not-ended"]


def _damage(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.pop("energy"), "'energy' is missing"),
        (lambda d: d.update(schema_version=7), "schema version 7"),
        (lambda d: d["energy"].update(total_j="lots"), "total_j is 'lots'"),
        (lambda d: d["energy"].update(uncertainty_j=float("nan")), "NaN"),
        (lambda d: d.update(checks=[{"name": "x"}]), "missing"),
        (lambda d: d.update(unheard_of=1), "unheard_of"),
        (lambda d: d.update(energy=[]), "list"),
    ],
)
def test_a_damaged_record_is_one_clear_line_and_is_left_out(tmp_path, caplog, change, reason):
    folder = write_run(tmp_path / "bad", record())
    write_run(tmp_path / "good", record("good"))
    _damage(folder / "record.json", change)
    collection = collect([tmp_path])
    assert [run.record.run_id for run in collection.runs] == ["good"]
    assert reason in collection.unread[0].reason
    assert "\n" not in collection.unread[0].reason and "bad/record.json" in collection.unread[0].reason
    assert len(caplog.records) == 1


def test_a_record_that_is_no_json_at_all_is_a_users_error(tmp_path):
    path = tmp_path / "record.json"
    for content in (b"", b"\xff\xfe\x00", b"[1, 2]", b"null", b"{" * 50):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            read_record(path)


def test_a_path_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        collect([tmp_path])
    with pytest.raises(InputError, match="not a run folder"):
        collect([tmp_path / "nowhere"])


def test_a_copied_run_does_not_count_as_a_replicate(tmp_path):
    write_run(tmp_path / "a", record())
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    collection = collect([tmp_path])
    assert len(collection.runs) == 1
    assert "is a copy of" in collection.unread[0].reason


def test_the_same_recipe_measured_twice_counts_twice(tmp_path):
    write_run(tmp_path / "a", record())
    write_run(tmp_path / "b", record(energy=account(401e3)))
    assert len(collect([tmp_path]).runs) == 2


def test_a_later_record_is_used_when_it_is_named_and_mentioned_when_it_is_not(tmp_path):
    folder = write_run(tmp_path / "run", record())
    later = record(energy=account(399e3)).to_json()
    (folder / "record-2.json").write_text(json.dumps(later))
    assert "record-2.json" in collect([folder]).runs[0].notes[0]
    named = collect([folder / "record-2.json"]).runs
    assert [run.energy_j for run in named] == [399e3]


def test_the_frame_holds_the_records_numbers_exactly_and_missing_is_na(tmp_path):
    everything(tmp_path)
    runs = collect([tmp_path]).runs
    table = frame(runs).set_index("run")
    for run in runs:
        line = table.loc[run.number]
        assert line["total_j"] == run.record.energy.total_j
        assert line["uncertainty_j"] == run.record.energy.uncertainty_j
    assert table["accuracy_final"].isna().sum() == 1
    assert table.loc[3, "energy_j"] == 118e3 and table.loc[3, "redone_j"] == 2e3


def test_the_frame_of_no_runs_has_all_its_columns():
    table = frame(Collection((), ()).runs)
    assert len(table) == 0 and "energy_j" in table.columns


def test_phase_instances_are_not_kept(tmp_path):
    long = account(phases=[{"path": "train", "energy_j": 1.0}] * 1000)
    write_run(tmp_path / "run", record(energy=long))
    assert collect([tmp_path]).runs[0].record.energy.phases == []
