"""What a run takes of another one is charged to it in full, names where it is from, and is not taken from a run in doubt."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import jsonschema
import pytest

import ebbench
from ebbench.config import Bench, Recipe, run_id
from ebbench.energy.uncertainty import COMMON
from ebbench.experiments.conduct import conduct_all
from ebbench.experiments.file import Experiment
from ebbench.records import TRAINING_PHASES
from ebbench.rundir import RunDir, sha256_of
from ebbench.sealing.record import load_record, record_of
from ebbench.sharing.lending import lending_of
from ebbench.sharing.taken import CHECK, checked_again

SMALL = {
    "model": "vgg16-small", "dataset": "synthetic", "train_images": 256, "test_images": 32, "epochs": 3, "batch_size": 16,
}  # fmt: skip
SEARCH = {"epsilon": 0.9, "fifo_length": 1}
BENCH = Bench(meters=("sim",), idle_s=0.1, amplify_s=0.0, device="cpu")


class Said(list):
    def update(self, path, fraction, live):
        pass

    def say(self, text):
        self.append(text)


def run(out, *recipes):
    """The records, and what was said."""
    said = Said()
    records, code = conduct_all(Experiment("x", "", tuple(recipes), BENCH), out, resume=False, display=said)
    assert code == 0
    return records, said


def recipe(method, **settings):
    return Recipe(method=method, **{**SMALL, **(SEARCH if method.startswith("eb-") else {}), **settings})


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    out = tmp_path_factory.mktemp("matrix")
    records, said = run(out, recipe("dense"), recipe("lt"), recipe("ns"), recipe("eb-ff"))
    return out, {record.recipe["method"]: record for record in records}, said


def of(matrix, method):
    out, records, _ = matrix
    return RunDir(out / records[method].run_id), records[method]


def own_energy(rundir, tmp_path):
    """The account of the same folder without what was taken."""
    alone = RunDir(tmp_path / "alone")
    shutil.copytree(rundir.path, alone.path)
    alone.taken.unlink()
    return record_of(alone).energy


@pytest.mark.parametrize(("takes", "lends"), [("lt", "dense"), ("eb-ff", "ns")])
def test_the_total_is_what_was_charged_and_what_the_run_did_itself(takes, lends, matrix, tmp_path):
    (rundir, record), (_, lender) = of(matrix, takes), of(matrix, lends)
    own, energy, charge = own_energy(rundir, tmp_path), record.energy, record.energy.charged
    assert charge["from"] == lender.run_id
    assert energy.total_j == pytest.approx(own.total_j + charge["energy_j"], rel=1e-12)
    assert energy.duration_s == pytest.approx(own.duration_s + charge["duration_s"])
    inside = [
        p for path, p in energy.by_phase.items() if path.count("/") == 1 and path.endswith(("evaluate", "checkpoint"))
    ]
    top = [energy.by_phase[name] for name in TRAINING_PHASES if name in energy.by_phase]
    assert energy.total_j == pytest.approx(sum(p.energy_j for p in top) - sum(p.energy_j for p in inside), rel=1e-9)
    mine = charge["stage"]
    assert mine == ("search" if takes == "eb-ff" else "train")
    assert energy.by_phase[mine].measured_by == energy.by_phase[f"{mine}/epoch"].measured_by == lender.run_id
    assert energy.by_phase["retrain"].measured_by is None
    for name, component in energy.components_j.items():
        one, other = own.components_j[name], charge["components_j"][name]
        assert component == pytest.approx(one + other if name in COMMON else math.hypot(one, other))
    rail = energy.rails["sim/VDD_IN"]
    assert rail["total_j"] == pytest.approx(energy.total_j)


def test_dense_training_is_charged_as_its_own_record_has_it(matrix):
    (_, lt), (_, dense) = of(matrix, "lt"), of(matrix, "dense")
    charge = lt.energy.charged
    assert charge["energy_j"] == pytest.approx(dense.energy.total_j, rel=1e-12)
    assert charge["uncertainty_j"] == pytest.approx(dense.energy.uncertainty_j, rel=1e-9)
    assert charge["net_j"] == pytest.approx(dense.energy.net_j, rel=1e-9)
    assert lt.flops["by_phase"]["train"]["measured_by"] == dense.run_id
    assert lt.flops["total"] == 2 * dense.flops["total"]


def test_a_search_that_is_taken_is_charged_to_its_ticket_and_draws_its_own_masks(matrix):
    (_, eb), (_, ns) = of(matrix, "eb-ff"), of(matrix, "ns")
    charge, epochs = eb.energy.charged, eb.ticket["epoch"]
    assert charge["epochs"] == epochs == 2 and eb.energy.by_phase["search/epoch/draw"].count == epochs
    by_path = {p["path"]: p["energy_j"] for p in ns.energy.phases}
    trained = sum(by_path[f"train/epoch-{n}"] for n in (1, 2))
    assert (
        trained
        <= charge["energy_j"]
        <= trained + (by_path["train"] - sum(by_path[f"train/epoch-{n}"] for n in (1, 2, 3)))
    )


def test_the_record_says_where_it_is_from(matrix):
    (rundir, lt), (lender, dense) = of(matrix, "lt"), of(matrix, "dense")
    _, _, said = matrix
    assert f"its first training (3 epochs) is taken from {dense.run_id}, and charged" in said
    assert lt.energy.charged["record_sha256"] == sha256_of(lender.record)
    assert lt.energy.charged["kept_sha256"] == dense.files[f"kept/{next(lender.kept.iterdir()).name}"]
    assert any(f"epochs 1 to 3 were trained and measured by {dense.run_id}" in note for note in lt.notes)
    assert lt.files["taken.json"] == sha256_of(rundir.taken)
    assert record_of(rundir).energy.total_j == lt.energy.total_j
    (check,) = [c for c in lt.checks if c.name == CHECK]
    assert check.verdict == dense.verdict  # a busy machine may have left it with doubts
    jsonschema.validate(
        lt.to_json(), json.loads((Path(ebbench.__file__).parent / "schema" / "record-1.json").read_text())
    )


def test_a_lender_that_is_gone_or_changed_is_a_doubt(matrix, tmp_path):
    out, records, _ = matrix
    shutil.copytree(out, tmp_path / "runs")
    rundir, lender = (RunDir(tmp_path / "runs" / records[m].run_id) for m in ("lt", "dense"))
    record = load_record(rundir)
    assert checked_again(rundir, record) == record
    lender.record.write_text(lender.record.read_text() + " ")
    changed = checked_again(rundir, record)
    assert changed.verdict == "FAIL" and "is not the one that was charged" in changed.checks[-1].advice
    shutil.rmtree(lender.path)
    gone = checked_again(rundir, record)
    assert gone.verdict == "WARN" and "is not beside this run any more" in gone.checks[-1].advice


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("_fail", "its verdict is FAIL (`ebbench check` says why)"),
        ("_tear", "is not the file that its record names"),
        ("_elsewhere", "host, power_mode differ"),
    ],
)
def test_nothing_is_taken_from_a_run_in_doubt(spoil, reason, matrix, tmp_path):
    out, records, _ = matrix
    name, said = records["dense"].run_id, []
    shutil.copytree(out / name, tmp_path / name)
    taker = begun(tmp_path, recipe("lt"), tmp_path / name)
    globals()[spoil](RunDir(tmp_path / name))
    lending = lending_of(recipe("lt"), BENCH, taker, [recipe("dense"), recipe("lt")], said.append)
    assert lending.taken is None and not taken_or_kept(taker)
    assert len(said) == 1 and said[0].startswith(f"{name} begins with the same training, which is not taken: ")
    assert said[0].endswith(reason)


def begun(out, recipe, like):
    """The folder of a run that is about to begin where the run `like` was."""
    rundir = RunDir(out / run_id(recipe, BENCH))
    rundir.create()
    shutil.copy(like / "manifest.json", rundir.manifest)
    return rundir


def taken_or_kept(rundir):
    return rundir.taken.exists() or rundir.kept.exists()


def _fail(rundir):
    document = json.loads(rundir.record.read_text())
    rundir.record.write_text(json.dumps({**document, "verdict": "FAIL"}))


def _tear(rundir):
    next(rundir.kept.iterdir()).write_bytes(b"PK torn")


def _elsewhere(rundir):
    document = json.loads(rundir.manifest.read_text())
    document["environment"].update(host="another", power_mode="maxn")
    rundir.manifest.write_text(json.dumps(document))


def test_without_sharing_nothing_is_taken_and_nothing_kept(matrix, tmp_path):
    out, records, _ = matrix
    name, said = records["dense"].run_id, []
    shutil.copytree(out / name, tmp_path / name)
    apart = dataclasses.replace(recipe("lt"), share_phases=False)
    taker = begun(tmp_path, apart, tmp_path / name)
    lending = lending_of(apart, BENCH, taker, [recipe("dense"), apart], said.append)
    assert (lending.wanted, lending.taken, said) == ((), None, []) and not taken_or_kept(taker)


def test_a_run_keeps_only_what_runs_that_are_not_sealed_want(matrix):
    out = matrix[0]
    others = [recipe(method) for method in ("dense", "lt", "ns", "eb-ff")] + [recipe("lt", prune_ratio=0.3)]
    lending = lending_of(recipe("thinet"), BENCH, RunDir(out / "new"), others[1:], [].append)
    assert lending.wanted == (recipe("lt", prune_ratio=0.3),)
