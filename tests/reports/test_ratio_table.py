"""Runs that found their prune ratio, in the report: the number with its mark, and how it was found."""

from __future__ import annotations

import csv
import json

from sample_runs import early_bird, phase, record, write_run

from ebbench_reports.collect import collect, frame
from ebbench_reports.page import HtmlReport
from ebbench_reports.ratio_table import ratio_csv, ratio_table
from ebbench_reports.table_2 import table_2


def candidate(ratio, trial=None, loss=None, accepted=None, stable=True):
    numbers = {"accuracy": None, "loss": None, "loss_half_width": None, "kept_channels": None}
    if trial is not None:
        numbers = {"accuracy": 0.8 - loss, "loss": loss, "loss_half_width": 0.012, "kept_channels": 1267}
    return {"prune_ratio": ratio, "stable": stable, "distance": 0.05, "trial": trial, "accepted": accepted, **numbers}


def write_found(folder, ratio, accepted=True, seed=1, how="prune ratio: <found> & taken"):
    """A run whose ratio was found to be `ratio`, or .3 for want of a better."""
    auto = {
        "prune_ratio": ratio, "accepted": accepted, "max_loss": 0.02, "epochs": 3, "images": 5000, "chance": 0.1,
        "dense_accuracy": 0.8, "how": how, "candidates": [
            candidate(0.9, stable=False),
            candidate(0.7, trial=1, loss=0.1, accepted=False),
            candidate(0.5, trial=2, loss=0.01, accepted=accepted),
            candidate(0.3),
        ],
    }  # fmt: skip
    run = early_bird(folder.name, recipe={"seed": seed})
    phases = {f"search/trial-{n}": phase(1e3 * (n + 1)) for n in range(3)}
    run.energy.by_phase.update(phases)
    run.ticket.update(prune_ratio=ratio, auto=auto)
    write_run(folder, run)
    document = json.loads((folder / "record.json").read_text())
    document["recipe"]["prune_ratio"] = "auto"
    (folder / "record.json").write_text(json.dumps(document))


def test_the_ratio_that_was_found_stands_in_the_table_with_a_mark(tmp_path):
    write_found(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", early_bird("b"))
    (section,) = table_2(collect([tmp_path])).sections
    assert [row["p"].text.strip() for row in section.rows] == ["0.5", "0.5 (auto)"]
    assert [row["method"].text for row in section.rows] == ["EB Train (FF)"] * 2


def test_replicates_that_found_different_ratios_show_from_where_to_where(tmp_path):
    write_found(tmp_path / "a", 0.5, seed=1)
    write_found(tmp_path / "b", 0.3, seed=2)
    (section,) = table_2(collect([tmp_path])).sections
    assert [row["p"].text.strip() for row in section.rows] == ["0.3 to 0.5 (auto)"]
    assert frame(collect([tmp_path]).runs)["ticket_prune_ratio"].tolist() == [0.5, 0.3]


def test_every_candidate_of_a_run_is_in_the_table_with_its_energy_and_what_became_of_it(tmp_path):
    write_found(tmp_path / "a", 0.5)
    (section,) = ratio_table(collect([tmp_path]).runs).sections
    seen = [(row["p"].text, row["verdict"].text, row["loss"].text, row["energy"].text) for row in section.rows]
    assert seen == [
        ("dense", "the measure", "–", "1.000 ± 0.022 kJ"),
        ("0.9", "not settled", "–", "–"),
        ("0.7", "refused", "10.00 ± 1.20 points", "2.000 ± 0.044 kJ"),
        ("0.5", "taken", "1.00 ± 1.20 points", "3.000 ± 0.066 kJ"),
        ("0.3", "not tried", "–", "–"),
    ]


def test_a_ratio_that_nothing_speaks_for_says_so(tmp_path):
    write_found(tmp_path / "a", 0.5, accepted=False)
    (section,) = ratio_table(collect([tmp_path]).runs).sections
    assert section.rows[3]["verdict"].text == "refused, taken for want of a better"


def test_the_csv_has_the_same_numbers_in_full(tmp_path):
    write_found(tmp_path / "a", 0.5)
    lines = list(csv.DictReader(ratio_csv(collect([tmp_path]).runs).splitlines()))
    assert [line["prune_ratio"] for line in lines] == ["0.0", "0.9", "0.7", "0.5", "0.3"]
    assert [line["energy_j"] for line in lines] == ["1000.0", "", "2000.0", "3000.0", ""]
    assert [line["accepted"] for line in lines] == ["", "", "False", "True", ""]


def test_the_page_shows_the_search_and_a_report_without_one_has_no_such_table(tmp_path):
    write_found(tmp_path / "with" / "a", 0.5)
    write_run(tmp_path / "with" / "dense", record())
    write_run(tmp_path / "without", early_bird("b"))
    HtmlReport().render([tmp_path / "with"], tmp_path / "out", {"formats": ("html", "md", "csv")})
    page = (tmp_path / "out" / "index.html").read_text()
    assert "How the prune ratios were found" in page and "&lt;found&gt; &amp; taken" in page
    assert (tmp_path / "out" / "prune-ratios.csv").exists() and "| taken" in (
        tmp_path / "out" / "prune-ratios.md"
    ).read_text()
    assert ratio_table(collect([tmp_path / "without"]).runs) is None


def test_a_trial_whose_energy_is_missing_is_missing_and_not_zero(tmp_path):
    write_found(tmp_path / "a", 0.5)
    document = json.loads((tmp_path / "a" / "record.json").read_text())
    document["energy"]["by_phase"]["search/trial-1"]["energy_j"] = None
    (tmp_path / "a" / "record.json").write_text(json.dumps(document))
    (section,) = ratio_table(collect([tmp_path]).runs).sections
    assert section.rows[2]["energy"].text == "–"
