from __future__ import annotations

import csv
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sample_runs import account, early_bird, everything, record, write_run
from test_markup import Outline, assert_latex_is_balanced

from ebbench.errors import ConfigError, DiskError, UserError
from ebbench_reports import figures
from ebbench_reports.collect import collect
from ebbench_reports.compare import pool
from ebbench_reports.page import FORMATS, HtmlReport, inline_svg

EVIL = "<img src=x onerror=alert(1)>$\\frac{\"'&%_#|`\n\x1b[31m\x07\x9b"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of runs of every kind: (folder, files, collection)."""
    root = tmp_path_factory.mktemp("report")
    everything(root / "runs")
    files = HtmlReport().render([root / "runs"], root / "out", {"formats": FORMATS})
    return root / "out", {path.name: path for path in files}, collect([root / "runs"])


def test_all_files_are_written_and_named(report):
    out, files, _ = report
    assert {path.name for path in out.iterdir()} == set(files)
    for stem in ("table-2", "overhead"):
        assert {f"{stem}.md", f"{stem}.csv", f"{stem}.tex"} <= set(files)
    for stem in ("energy", "tradeoff", "distances", "accuracy", "power-run-1", "power-run-5"):
        assert {f"{stem}.svg", f"{stem}.png", f"{stem}.pdf"} <= set(files)


def test_the_csv_holds_the_records_values_to_full_precision(tmp_path):
    odd = account(123456.78901234567, uncertainty_j=0.1 + 0.2)
    write_run(tmp_path / "run", record(energy=odd, accuracy={"final": 1 / 3, "best": 2 / 3}))
    HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["csv"]})
    for name in ("table-2.csv", "runs.csv"):
        row = next(csv.DictReader((tmp_path / "out" / name).read_text().splitlines()))
        assert float(row["energy_j"]) == 123456.78901234567
        assert float(row["accuracy_final"]) == 1 / 3 and float(row["accuracy_best"]) == 2 / 3
    row = next(csv.DictReader((tmp_path / "out" / "runs.csv").read_text().splitlines()))
    assert float(row["uncertainty_j"]) == 0.1 + 0.2
    assert row["seed"] == "1" and row["ticket_epoch"] == ""


def test_no_file_shows_a_nan_or_a_none(report):
    _, files, _ = report
    for name, path in files.items():
        if path.suffix in (".md", ".csv", ".tex", ".html"):
            text = path.read_text()
            text = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL) if name == "index.html" else text
            text = text.replace("the loss became NaN", "")  # a run's own words
            assert not re.search(r"\b(nan|NaN|None|<NA>|NaT|inf)\b", text), name


def test_the_page_is_well_formed_and_its_ids_are_unique(report):
    _, files, _ = report
    outline = Outline(files["index.html"].read_text())
    assert len(outline.ids) == len(set(outline.ids))
    assert "script" not in outline.tags


def test_the_page_needs_nothing_else(report):
    _, files, _ = report
    text = files["index.html"].read_text()
    assert "@import" not in text and "url(http" not in text
    assert [u for u in re.findall(r'(?:src|href)="([^"]*)"', text) if not u.startswith(("#", "data:"))] == []


def test_every_link_has_a_target(report):
    _, files, _ = report
    text = files["index.html"].read_text()
    ids = set(Outline(text).ids)
    targets = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
    assert targets and set(targets) <= ids


def test_latex_is_balanced(report):
    _, files, _ = report
    for name in ("table-2.tex", "overhead.tex"):
        assert_latex_is_balanced(files[name].read_text())


def test_what_is_doubtful_is_said_in_every_table(report):
    _, files, _ = report
    for name in ("table-2.md", "table-2.tex", "index.html"):
        text = re.sub(r"<[^>]*>|\\textsuperscript\{.*?\}", "", files[name].read_text())
        assert "thermal throttling: 12, limit 0 (run 3)" in text
        assert "The board slowed itself down" in text
        assert "83.3 " in text and "the meter was gone" in text
        assert "failed and is in no row: the loss became NaN" in text
        assert "is damaged and was left out" in text and "did not end" in text
        assert "does not cover its whole training" in text


def test_numbers_lead_back_to_run_ids(report):
    _, files, collection = report
    text = files["table-2.md"].read_text()
    for run in collection.runs:
        assert f"{run.number}. `{run.record.run_id}`" in text
        assert f'id="run-{run.number}"' in files["index.html"].read_text()


@pytest.mark.parametrize(
    "components_j, shown",
    [
        ({"gain": 0.5, "edges": 3.2e-4, "offset": 0.0}, ["500 mJ · 0.4 %", "< 1 mJ", "0 J · 0 %"]),
        ({"gain": 0.0, "edges": 9.36e-17}, ["0 J · 0 %", "< 1 µJ"]),  # what is left of rounding
        ({"gain": None, "edges": 6e-4}, ["–", "600 µJ · 0.00048 %"]),
    ],
)
def test_a_component_that_does_not_matter_is_a_bound_and_no_string_of_noughts(tmp_path, components_j, shown):
    write_run(tmp_path / "run", record(energy=account(125.0, components_j=components_j)))
    HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["html"]})
    page = html.unescape((tmp_path / "out" / "index.html").read_text())
    for name, text in zip(components_j, shown):
        assert f"<td>{name}</td><td>{text}</td>" in page


def test_a_report_of_simulated_runs_says_so_in_every_file(tmp_path):
    simulated = {"meter": "sim", "rail": "total", "scope": "module"}
    for seed in (1, 2):
        ours = early_bird(
            f"eb-{seed}", kind="simulated", recipe={"seed": seed}, energy=account(40.0, reference=simulated)
        )
        write_run(tmp_path / f"eb-{seed}", ours)
    dense = record("dense", kind="simulated", energy=account(90.0, reference=simulated))
    write_run(tmp_path / "dense", dense)
    files = HtmlReport().render([tmp_path], tmp_path / "out", {})
    assert len(files) > 15
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".pdf":
            content = content.replace(b"\x00", b"")  # UTF-16 in the title
        found = b"simulated" in content if path.suffix == ".csv" else b"SIMULATED" in content
        # the overhead's kind is that of its own energy
        assert found or path.name == "overhead.csv", path.name


def test_a_simulated_power_stands_across_energies_and_powers_only_and_every_title_says_what_is_simulated(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / f"eb-{seed}", early_bird(f"eb-{seed}", kind="simulated", recipe={"seed": seed}))
    runs = collect([tmp_path]).runs
    shown = {"ENERGY": figures.energy(runs), "POWER": figures.distances(runs)}
    across = {name: [text.get_text() for text in figure.texts if text.get_rotation()] for name, figure in shown.items()}
    assert all(figure.get_label().startswith(f"{name} SIMULATED · ") for name, figure in shown.items())
    assert across == {"ENERGY": ["ENERGY SIMULATED"], "POWER": []}


def test_a_figure_that_is_asked_for_and_has_nothing_to_show_is_told(tmp_path, caplog):
    write_run(tmp_path / "dense", record(kind="extrapolated", energy=account(kind="extrapolated"), accuracy=None))
    for figures_named, told in ((["figure-1"], 1), ([], 0)):
        caplog.clear()
        HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["html"], "figures": figures_named})
        said = [line for line in caplog.messages if "none of these runs has what it shows" in line]
        assert len(said) == told
    HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["html"], "figures": ["figure-1"]})
    assert "no figure-1: none of these runs has what it shows; extrapolated ones have no accuracy" in caplog.messages


def test_a_measured_report_shouts_nothing(tmp_path):
    write_run(tmp_path / "dense", record())
    for path in HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["md", "tex", "html", "svg"]}):
        assert "SIMULATED" not in path.read_text()


def test_a_malicious_run_is_only_text(tmp_path):
    evil = early_bird(EVIL, recipe={"model": EVIL, "dataset": EVIL}, board={"name": EVIL, EVIL: EVIL}, notes=[EVIL])
    energy = account(reference={"meter": EVIL, "rail": EVIL, "scope": EVIL}, reason=EVIL, status="partial")
    write_run(tmp_path / "a", evil)
    write_run(tmp_path / "b", record(EVIL + "2", recipe={"method": EVIL}, energy=energy, status="failed", reason=EVIL))
    write_run(tmp_path / "c", record(EVIL + "3", recipe={"method": EVIL, "seed": 9}, energy=energy))
    for path in HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["md", "tex", "html", "svg", "csv"]}):
        text = path.read_text()
        assert path.suffix == ".csv" or not CONTROL.search(text), path.name  # a CSV is data
        if path.suffix == ".html":
            outline = Outline(text)
            assert "img" not in outline.tags and "onerror=alert" in outline.text
        if path.suffix == ".tex":
            assert_latex_is_balanced(text)
        if path.suffix == ".svg":
            assert "<img" not in text


def test_the_other_meters_and_how_they_are_wired_are_shown_as_text(tmp_path):
    other = {
        "meter": "socket", "rail": "P", "scope": "wall", "reference_scope": "module", "expected": ">= 1", "ratio": 1.312,
        "uncertainty": 0.021, "uncertainty_known": True, "wrong_by": 0.0, "ratio_sd": 0.034, "readings_sd": 0.01,
        "windows": {"n": 12, "mean": 1.31, "min": 1.29, "max": 1.34}, "compared_s": 3600.0, "lost": EVIL,
    }  # fmt: skip
    unread = {**other, "meter": "mute", "ratio": None, "uncertainty": None, "ratio_sd": None, "lost": None}
    vague = {**other, "meter": "vague", "uncertainty_known": False}
    meter = {
        "name": "socket",
        "type": "shelly",
        "scope": "wall",
        "address": EVIL,
        "options": {"range": EVIL},
        "wiring": EVIL,
    }
    meters = [*record().meters, {**meter, "simulated": False, "reference": False}]
    write_run(tmp_path / "a", record(meters=meters, energy=account(cross_checks=[other, unread, vague])))
    (page,) = HtmlReport().render([tmp_path], tmp_path / "out", {"formats": ["html"]})
    outline = Outline(page.read_text())
    assert "img" not in outline.tags and outline.text.count("onerror=alert") >= 4
    assert outline.text.count("1.312 ± 0.021") == 2 and outline.text.count("1.312 ± 0.021 or more") == 1
    assert "3.4 %" in outline.text and "shelly" in outline.text


def test_rendering_twice_gives_the_same_bytes(tmp_path):
    write_run(tmp_path / "runs", early_bird(), traced=True)
    formats = {"formats": ["md", "html", "svg", "png", "pdf"]}
    once = [path.read_bytes() for path in HtmlReport().render([tmp_path / "runs"], tmp_path / "one", formats)]
    again = [path.read_bytes() for path in HtmlReport().render([tmp_path / "runs"], tmp_path / "two", formats)]
    assert once == again


def test_the_papers_tables_are_written_when_they_are_asked_for(tmp_path):
    write_run(tmp_path / "run", early_bird(recipe={"epochs": 160}))
    options = {"formats": ["md", "csv", "tex", "html"], "tables": (1, 2, 3, 4)}
    names = {path.name for path in HtmlReport().render([tmp_path / "run"], tmp_path / "out", options)}
    tables = ("table-1", "table-2", "table-2-grid", "table-3", "table-4")
    assert {f"{table}.{form}" for table in tables for form in ("md", "csv", "tex")} <= names
    assert "The paper's tables" in (tmp_path / "out" / "index.html").read_text().replace("&#x27;", "'")


def test_a_comparison_with_the_paper_takes_the_name_of_its_table(tmp_path):
    write_run(tmp_path / "run", early_bird(recipe={"epochs": 160}))
    HtmlReport().render([tmp_path / "run"], tmp_path / "out", {"formats": ["md", "csv"], "compare_paper": True})
    compared = (tmp_path / "out" / "table-2.md").read_text()
    assert "140.0 ± 3.2 / 213.4 / −34.4 %" in compared and "below the dense training that it includes" in compared
    assert (
        "140.0 ± 3.1" in (tmp_path / "out" / "results.md").read_text()
        or "140.0 ± 3.2" in (tmp_path / "out" / "results.md").read_text()
    )
    header = (tmp_path / "out" / "table-2.csv").read_text().splitlines()[0]
    assert (
        header
        == "table,model,dataset,method,prune_ratio,measure,ours,ours_half_width,paper,difference,kind,verdict,runs"
    )


def test_failing_lists_runs_that_failed_or_have_the_verdict_fail(tmp_path):
    everything(tmp_path / "runs")
    renderer = HtmlReport()
    renderer.render([tmp_path / "runs"], tmp_path / "out", {"formats": ["csv"]})
    assert [name.split("-p")[0] for name in renderer.failing] == ["eb-reinit-vgg16-cifar10", "eb-ff-vgg16-cifar10"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"figures": ("powr",)}, "did you mean 'power'"),
        ({"formats": ["htm"]}, "did you mean 'html'"),
        ({"tables": (5,)}, "tables 1 to 4"),
        ({"figures": ("figure-4",)}, "did you mean 'figure-"),
    ],
)
def test_unknown_options_are_refused_before_anything_is_written(tmp_path, options, message):
    write_run(tmp_path / "run", record())
    with pytest.raises(ConfigError, match=message):
        HtmlReport().render([tmp_path], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_a_disk_error_and_a_file_for_a_folder_the_users(tmp_path, monkeypatch):
    write_run(tmp_path / "run", record())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out"):
        HtmlReport().render([tmp_path / "run"], tmp_path / "file", {"formats": ["md"]})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskError, match=r"No space left on device.*--out"):
        HtmlReport().render([tmp_path / "run"], tmp_path / "report", {"formats": ["md"]})


def test_runs_that_did_not_end_alone_still_make_a_page(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    HtmlReport().render([tmp_path], tmp_path / "out", {})
    text = (tmp_path / "out" / "index.html").read_text()
    assert "No run ended" in text and "did not end" in text
    Outline(text)


def test_a_measured_program_without_a_recipe_is_reported_too(tmp_path):
    bare = json.loads(json.dumps(record("mine").to_json()))
    bare.update(recipe={}, flops=None, accuracy=None)
    folder = write_run(tmp_path / "run", record("mine"))
    (folder / "record.json").write_text(json.dumps(bare))
    HtmlReport().render([folder], tmp_path / "out", {})
    assert "mine" in (tmp_path / "out" / "table-2.md").read_text()


def test_a_damaged_phase_log_costs_its_figures_only(tmp_path, caplog):
    folder = write_run(tmp_path / "run", early_bird(), traced=True)
    (folder / "phases.jsonl").write_text("{}\n{}\n")
    names = {path.name for path in HtmlReport().render([folder], tmp_path / "out", {"formats": ["svg"]})}
    assert "energy.svg" in names and "power-run-1.svg" not in names
    assert "no figure over time for run 1" in caplog.text


def test_a_figure_that_leaves_runs_out_says_so(tmp_path):
    for seed in range(1, 11):
        write_run(tmp_path / str(seed), early_bird(str(seed), recipe={"seed": seed}))
    HtmlReport().render([tmp_path], tmp_path / "out", {"figures": ("distances",), "formats": ["html"]})
    assert "At most 8 of the 10 runs are drawn." in (tmp_path / "out" / "index.html").read_text()


def test_only_wanted_figures_and_formats_are_written(tmp_path):
    write_run(tmp_path / "run", early_bird(), traced=True)
    options = {"figures": ("distances",), "formats": ["png"]}
    assert [path.name for path in HtmlReport().render([tmp_path], tmp_path / "out", options)] == ["distances.png"]


def test_an_inlined_svg_leaves_ids_to_itself_and_colours_to_the_page():
    svg = '<?xml?><svg width="9pt" height="3pt" viewBox="0 0 9 3"><g id="a" style="fill: #1c2126"/>'
    svg += '<use xlink:href="#a" clip-path="url(#a)"/></svg>'
    assert inline_svg(svg, "x") == (
        '<svg viewBox="0 0 9 3"><g id="x-a" style="fill: var(--ink)"/><use xlink:href="#x-a" clip-path="url(#x-a)"/></svg>'
    )


def test_matplotlib_is_loaded_only_when_something_is_drawn(tmp_path):
    write_run(tmp_path / "run", record())
    program = (
        "import sys; from pathlib import Path; from ebbench_reports.page import HtmlReport\n"
        f"HtmlReport().render([Path({str(tmp_path)!r})], Path({str(tmp_path / 'out')!r}), {{'formats': ['md', 'csv', 'tex']}})\n"
        "print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.split() == ["False", "False"]


def test_the_interval_of_two_accuracies_stretches_no_axis_beyond_what_an_accuracy_can_be(tmp_path):
    for seed, final in ((1, 0.6), (2, 0.98)):  # 79 ± 241 %
        accuracy = {"final": final, "best": final, "top5_final": None}
        write_run(tmp_path / f"dense-{seed}", record(f"dense-s{seed}", recipe={"seed": seed}, accuracy=accuracy))
    write_run(tmp_path / "eb", early_bird())
    (axes,) = figures.tradeoff(pool(collect([tmp_path]).runs)).axes
    lowest, highest = axes.get_ylim()
    assert lowest >= 0 and 98 < highest <= 102


def test_accuracy_against_energy_has_a_panel_per_task_and_kind_of_energy_and_says_where_some_are_left_out(tmp_path):
    for number in range(9):
        for method in ("dense", "eb-ff"):
            recipe = {"dataset": f"npz:{number}", "method": method}
            kind = "estimated" if number == 3 else "measured"
            write_run(tmp_path / f"{number}" / method, record(f"{method}-{number}", recipe=recipe, kind=kind))
    whole = figures.tradeoff(pool(collect([tmp_path / f"{number}" for number in range(4)]).runs))
    assert [axes.get_xlabel().split()[0] for axes in whole.axes] == ["Training"] * 3 + ["Estimated"]
    assert "panels" not in whole.get_label()
    cut = figures.tradeoff(pool(collect([tmp_path]).runs))
    assert len(cut.axes) == 8 and cut.get_label().endswith("the first 8 of 9 panels")


def test_points_that_differ_in_the_draw_alone_are_told_apart_by_it(tmp_path):
    for draw in (10, 20):
        write_run(
            tmp_path / f"eb-{draw}",
            record(f"eb-{draw}", recipe={"method": "eb-ff", "prune_ratio": 0.5, "draw": [draw]}),
        )
    (axes,) = figures.tradeoff(pool(collect([tmp_path]).runs)).axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [name.rsplit(", ", 1)[1] for name in names] == ["draw=10", "draw=20"]


def test_formats_are_given_with_commas_or_one_by_one(tmp_path):
    from click.testing import CliRunner

    from ebbench.cli.results import report as command

    write_run(tmp_path / "runs" / "run", record())
    suffixes = []
    for at, formats in enumerate((["--format", "md,csv"], ["--format", "md", "--format", "csv"])):
        out = tmp_path / f"out-{at}"
        result = CliRunner().invoke(
            command, [str(tmp_path / "runs"), "--out", str(out), *formats], standalone_mode=False
        )
        assert result.exception is None
        suffixes.append({path.suffix for path in out.iterdir()})
    assert suffixes == [{".md", ".csv"}] * 2
