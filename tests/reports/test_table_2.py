from __future__ import annotations

from sample_runs import account, early_bird, everything, record, write_run

from ebbench.quantity import FIGURE_SPACE, PUNCTUATION_SPACE
from ebbench_reports.collect import collect
from ebbench_reports.table_2 import table_2
from ebbench_reports.tables import checks_table, overhead_table


def plain(text):
    return " ".join(text.replace(FIGURE_SPACE, " ").replace(PUNCTUATION_SPACE, " ").split())


def rows(table):
    return [{key: plain(cell.text) for key, cell in row.items()} for section in table.sections for row in section.rows]


def test_a_row_says_what_the_record_says(tmp_path):
    write_run(tmp_path / "dense", record())
    write_run(tmp_path / "eb", early_bird())
    table = table_2(collect([tmp_path]))
    dense, ours = rows(table)
    assert dense["method"] == "Dense" and dense["p"] == "–" and dense["saving"] == "–"
    assert dense["energy"] == "400.0 ± 9.1" and dense["final"] == "93.12"
    assert ours["method"] == "EB Train (FF)" and ours["p"] == "0.5"
    # 1 - 140/400; the gain and the offset cancel, .2 % of each and 1 J remain
    assert ours["saving"] == "65.00 ± 0.20" and ours["factor"] == "2.857 ± 0.016"
    assert [c.title for c in table.columns if c.key == "energy"] == ["Energy (kJ)"]
    assert "Replicates (kJ)" not in [c.title for c in table.columns]


def test_every_row_carries_its_kind_its_verdict_and_its_runs(tmp_path):
    everything(tmp_path)
    table = table_2(collect([tmp_path]))
    for section in table.sections:
        for row in section.rows:
            assert row["kind"].text in ("measured", "simulated")
            assert row["verdict"].text in ("PASS", "WARN", "FAIL")
            assert row["runs"].runs


def test_simulated_and_measured_rows_stand_in_sections_of_their_own(tmp_path):
    everything(tmp_path)
    titles = [section.title for section in table_2(collect([tmp_path])).sections]
    assert len(titles) == 2 and titles[0].endswith("measured") and titles[1].endswith("simulated")


def test_replicates_show_how_many_and_from_where_to_where(tmp_path):
    everything(tmp_path)
    assert rows(table_2(collect([tmp_path])))[0]["range"] == "2: 400.0 … 403.0"


def test_rows_that_would_read_alike_say_in_what_they_differ(tmp_path):
    write_run(tmp_path / "a", record("a"))
    write_run(tmp_path / "b", record("b", recipe={"epochs": 40}))
    names = [row["method"] for row in rows(table_2(collect([tmp_path])))]
    assert names == ["Dense, epochs=20", "Dense, epochs=40"]


def test_a_partial_and_a_missing_energy_are_marked_with_the_reason(tmp_path):
    write_run(
        tmp_path / "a", record("a", energy=account(9.0, status="partial", covered_s=18000.0, reason="meter gone"))
    )
    lost = account(None, status="missing", covered_s=0.0, reason="no readings at all", redone_j=None)
    write_run(tmp_path / "b", record("b", energy=lost))
    cells = [row["energy"] for section in table_2(collect([tmp_path])).sections for row in section.rows]
    assert "Energy partial: 50 % of the training time covered (meter gone)" in cells[0].notes
    assert plain(cells[1].text) == "–" and "no readings at all" in cells[1].notes[0]


def test_an_interval_that_leaves_out_an_unknown_gain_says_so(tmp_path):
    unknown = account(100.0, components_j={"gain": None, "edges": 1.0}, uncertainty_j=2.0)
    write_run(tmp_path / "a", record(energy=unknown))
    notes = table_2(collect([tmp_path])).sections[0].rows[0]["energy"].notes
    assert notes == ("The interval leaves out what is not known of the meter: gain",)


def test_a_saving_that_leaves_out_an_unknown_offset_says_so_and_one_that_an_unknown_gain_leaves_alone_does_not(
    tmp_path,
):
    for name, unknown in (("gain", ()), ("offset", ("offset",))):
        energy = account(100.0, components_j={name: None, "edges": 1.0}, uncertainty_j=2.0)
        write_run(tmp_path / name / "dense", record(energy=energy))
        write_run(tmp_path / name / "eb", early_bird())
        dense, ours = table_2(collect([tmp_path / name])).sections[0].rows
        said = tuple(
            f"The intervals of the comparison leave out what is not known of the meter: {each}" for each in unknown
        )
        assert (dense["saving"].notes, ours["saving"].notes) == ((), said)


def test_missing_accuracy_is_a_dash(tmp_path):
    write_run(tmp_path / "a", record(accuracy=None, flops=None))
    row = rows(table_2(collect([tmp_path])))[0]
    assert (row["final"], row["best"], row["flops"]) == ("–", "–", "–")


def test_the_overhead_has_its_interval_and_the_papers_numbers_beside_it(tmp_path):
    write_run(tmp_path / "eb", early_bird())
    table = overhead_table(collect([tmp_path]).runs)
    row = rows(table)[0]
    assert row["energy"] == "0.00375 ± 0.00042" and row["draws"] == "11"
    assert row["paper_memory"] == "0.02870" and row["paper_flops"] == "0.02570"
    titles = {column.key: column.title for column in table.columns}
    assert titles["energy"] == "Energy (%)" and titles["flops"] == "FLOPs (ppb)"


def test_an_overhead_that_is_not_resolved_or_not_measured_says_so(tmp_path):
    overhead = dict(early_bird().mask_distance_overhead)
    write_run(tmp_path / "a", early_bird("a", mask_distance_overhead={**overhead, "energy_fraction_uncertainty": 1.0}))
    write_run(tmp_path / "b", early_bird("b", mask_distance_overhead={"draws": 3, "energy_fraction": None}))
    notes = [row["energy"].notes for row in overhead_table(collect([tmp_path]).runs).sections[0].rows]
    assert notes[0] == ("Not resolved: the interval includes zero",)
    assert notes[1][0].startswith("Not measured: no amplified blocks")


def test_a_run_without_a_meter_says_so_in_its_row_and_above_every_table(tmp_path):
    unmetered = account(None, kind="not measured", reference={"meter": "off", "rail": "none", "scope": "none"})
    overhead = {"draws": 3, "energy_fraction": None, "kind": "not measured"}
    write_run(tmp_path / "a", early_bird("a", kind="not measured", energy=unmetered, mask_distance_overhead=overhead))
    collection = collect([tmp_path])
    table = table_2(collection)
    assert table.banner.startswith("NOT MEASURED: ")
    assert table.sections[0].title.endswith("no meter, not measured")
    assert rows(table)[0]["kind"] == "not measured"
    (row,) = overhead_table(collection.runs).sections[0].rows
    assert row["energy"].notes == ("Not measured: no meter was read",)


def test_without_a_search_there_is_no_overhead(tmp_path):
    write_run(tmp_path / "a", record())
    assert overhead_table(collect([tmp_path]).runs) is None


def test_equal_findings_of_many_runs_are_one_line_worst_first(tmp_path):
    everything(tmp_path)
    found = rows(checks_table(collect([tmp_path]).runs))
    assert [row["verdict"] for row in found] == ["FAIL", "WARN", "NOT CHECKED"]


def test_what_a_run_is_charged_for_another_ones_training_is_said_once_below_the_table(tmp_path):
    write_run(tmp_path / "dense", record("dense-1"))
    for number, (method, lender, epochs) in enumerate(
        (("lt", "dense-1", 20), ("thinet", "dense-1", 1), ("ns", "gone", 20))
    ):
        charge = {"from": lender, "epochs": epochs, "stage": "train"}
        run = record(f"{method}-1", recipe={"method": method}, energy=account(700e3 + number, charged=charge))
        write_run(tmp_path / method, run)
    write_run(tmp_path / "ll", early_bird("ll-1", recipe={"method": "eb-ll"}))
    collection = collect([tmp_path])
    at = {run.record.run_id: run.number for run in collection.runs}
    (note,) = [note for note in table_2(collection).notes if "First trainings" in note]
    assert f"run {at['lt-1']} (20 epochs), run {at['thinet-1']} (1 epoch) by run {at['dense-1']}" in note
    assert f"run {at['ns-1']} (20 epochs) by gone, which is not in this report" in note
    assert str(at["ll-1"]) not in note.partition("by run")[0]
    assert note.endswith("and the intervals know it.")


def test_what_a_failed_run_was_charged_was_not_spent_by_it(tmp_path):
    charge = {"from": "dense-1", "epochs": 6, "stage": "train", "energy_j": 500e3}
    extrapolation = {"measured": {"total_j": 700e3}, "refused": "not extrapolated: they drift", "by_phase": {}}
    refused = account(None, charged=charge, extrapolation=extrapolation)
    write_run(tmp_path / "lt", record("lt-1", status="failed", recipe={"method": "lt"}, energy=refused))
    simulated = {**vars(refused), "kind": "measured"}
    estimated = account(9.0, kind="estimated", while_simulating=simulated)
    write_run(tmp_path / "lf", record("lf-1", status="failed", recipe={"method": "eb-lf"}, energy=estimated))
    notes = [note for note in table_2(collect([tmp_path])).notes if "is in no row" in note]
    assert len(notes) == 2 and all("200 kJ spent" in plain(note) for note in notes)


def test_of_extrapolated_runs_the_scatter_of_the_epochs_does_not_cancel(tmp_path):
    charge = {"from": "dense-1", "epochs": 6, "stage": "train", "energy_j": 500e3}
    extrapolation = {"measured": {"total_j": 700e3}, "refused": None, "by_phase": {}, "assumptions": []}
    few = account(charged=charge, extrapolation=extrapolation)
    write_run(tmp_path / "lt", record("lt-1", recipe={"method": "lt"}, energy=few))
    (note,) = [note for note in table_2(collect([tmp_path])).notes if "First trainings" in note]
    assert note.endswith("the intervals know it, but for the scatter of the epochs that stand for others.")
