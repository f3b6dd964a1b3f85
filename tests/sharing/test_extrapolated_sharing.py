"""Trainings cut short that begin alike share what they begin with, and each is extrapolated as if it had trained it itself.

Really trained; their time is counted in steps of the training (`counted`), so that two of them can be compared to the joule.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from counted import begin, train
from noise import write_noise

import ebbench
from ebbench.config import Recipe
from ebbench.energy.charge import charged, without_energy
from ebbench.energy.extrapolate import extrapolate
from ebbench.protocols import Lending
from ebbench.records import MISSING, EnergyAccount, RunRecord
from ebbench.rundir import RunDir, write_json
from ebbench.sealing.raw import RawRun
from ebbench.sharing.lending import charge_of
from ebbench.testing.context import Killed
from ebbench.training.draws import kept_name
from ebbench.training.loop import Trainer

EPOCHS, TICKET, MEASURED = 24, 8, 5
#: lends, takes, its phase that is the first training
PAIRS = [("ns", "eb-ff", "search"), ("ns", "eb-reinit", "search"), ("dense", "lt", "train"), ("lt", "dense", "train")]


@pytest.fixture(scope="module")
def recipe_of(tmp_path_factory):
    dataset = write_noise(tmp_path_factory.mktemp("data"), train=20, test=10)

    def make(method, is_short=True):
        eb = {"epsilon": 1e-9, **({"ticket_epoch": TICKET} if is_short else {"draw": (TICKET,)})}
        return Recipe(
            method=method, model="vgg16-small", dataset=dataset, batch_size=10, epochs=EPOCHS, evaluate_every=4,
            measure_epochs=MEASURED if is_short else None, **(eb if method.startswith("eb-") else {}),
        )  # fmt: skip

    return make


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: "-".join(pair[:2]))
def shared(request, recipe_of, tmp_path_factory):
    """What the lender cost, what the taker is extrapolated to, and the same trained on its own; the first trainings are equal."""
    (lends, takes, stage), folder = request.param, tmp_path_factory.mktemp("shared")
    lender, taker = begin(folder / "lender", recipe_of(lends)), begin(folder / "taker", recipe_of(takes))
    lent = train(lender, recipe_of(lends), 1, Lending(lender.kept, (recipe_of(takes),)))
    charge = charge_of(lender, taker, recipe_of(takes), pytest.fail)
    write_json(taker.taken, charge)
    lending = Lending(taker.kept, (), lender.kept / kept_name(recipe_of(takes)))
    record = train(taker, recipe_of(takes), 1, lending)
    alone = train(begin(folder / "alone", recipe_of(takes)), recipe_of(takes), 1)
    return {
        "stage": stage, "lent": lent, "charge": charge, "taker": taker, "record": record, "alone": alone, "lending": lending,
    }  # fmt: skip


def test_what_is_taken_is_extrapolated_as_if_it_had_been_trained_here(shared):
    own, other = (shared[name].energy for name in ("record", "alone"))
    assert shared["record"].kind == shared["alone"].kind == "extrapolated"
    assert own.total_j == pytest.approx(other.total_j, rel=1e-9)
    assert own.duration_s == pytest.approx(other.duration_s, rel=1e-9)
    assert own.uncertainty_j == pytest.approx(other.uncertainty_j, rel=0.01)
    one, two = (energy.extrapolation["by_phase"][shared["stage"]] for energy in (own, other))
    assert one.keys() == two.keys()
    for name, value in two.items():
        assert one[name] == (pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value), name
    assert own.by_phase[shared["stage"]].measured_by == "lender"
    assert shared["record"].flops["total"] == shared["alone"].flops["total"]


def test_a_taker_that_died_in_what_it_takes_is_extrapolated_from_all_of_it(shared, recipe_of, tmp_path, monkeypatch):
    recipe, expected = recipe_of(shared["record"].recipe["method"]), shared["record"].energy.extrapolation
    rundir = begin(tmp_path / "died", recipe)
    write_json(rundir.taken, shared["charge"])
    with monkeypatch.context() as patch, pytest.raises(Killed):
        enter = Trainer._enter_taken
        patch.setattr(Trainer, "_enter_taken", lambda self, n: dies() if n == MEASURED else enter(self, n))
        train(rundir, recipe, 1, shared["lending"])
    record = train(rundir, recipe, 1, shared["lending"])
    found = record.energy.extrapolation
    assert record.status == "success"
    for path, stage in expected["by_phase"].items():
        own = found["by_phase"][path]
        assert (own["measured_epochs"], own["energy_j"]) == (MEASURED, pytest.approx(stage["energy_j"], rel=1e-9)), path
    assert record.energy.total_j == pytest.approx(shared["record"].energy.total_j, rel=1e-9)


def dies():
    raise Killed()


def test_the_charge_is_of_what_the_lender_measured_epoch_by_epoch(shared):
    charge, lent = shared["charge"], shared["lent"].energy
    assert (charge["kind"], charge["epochs"], len(charge["by_epoch"])) == ("measured", MEASURED + 1, MEASURED + 1)
    epochs = [p for p in lent.phases if p["path"].startswith("train/epoch-") and p["path"].count("/") == 1]
    assert [e["energy_j"] for e in charge["by_epoch"]] == pytest.approx([p["energy_j"] for p in epochs], rel=1e-9)
    assert all(epoch["is_undisturbed"] for epoch in charge["by_epoch"])
    # between epochs there is nothing here that takes time
    assert charge["energy_j"] == pytest.approx(sum(e["energy_j"] for e in charge["by_epoch"]), rel=1e-9)
    assert charge["energy_j"] < 0.5 * lent.total_j
    schema = json.loads((Path(ebbench.__file__).parent / "schema" / "record-1.json").read_text())
    of_record = RunRecord.to_json(shared["record"])["energy"]["charged"]
    jsonschema.validate(of_record, {**schema["$defs"]["charge"], "$defs": schema["$defs"]})


def test_the_whole_run_lies_in_the_interval(shared, recipe_of, tmp_path):
    short = shared["record"]
    whole = train(
        begin(tmp_path / "whole", recipe_of(short.recipe["method"], False)), recipe_of(short.recipe["method"], False), 9
    )
    assert whole.kind == "measured"
    assert short.energy.total_j == pytest.approx(whole.energy.total_j, abs=short.energy.uncertainty_j)


def test_a_doubt_about_the_lenders_own_ticket_is_not_handed_on(shared):
    """That the masks of network slimming are those of few epochs says nothing of the training before them."""
    doubted = {check.name for check in shared["lent"].checks if check.verdict == "WARN"}
    assert ("ticket found" in doubted) == (shared["lent"].ticket is not None)
    handed_on = {doubt.split(":")[0] for doubt in shared["charge"]["doubts"]}
    assert handed_on == doubted - {"ticket found", "narrowest layer"}
    assert shared["charge"]["verdict"] == ("WARN" if handed_on else "PASS")


@pytest.mark.parametrize(
    "name",
    ["narrowest layer", "mask-distance overhead resolved", "mask-distance overhead both ways", "work done twice"],
)
def test_nor_is_one_about_what_else_is_not_charged(name, shared, recipe_of, tmp_path):
    shutil.copytree(shared["lending"].taken.parent.parent, tmp_path / "lender")
    lender = RunDir(tmp_path / "lender")
    doubt = {"name": name, "verdict": "WARN", "value": 2.0, "limit": 1.0, "advice": "?"}
    document = json.loads(lender.record.read_text())
    write_json(lender.record, {**document, "checks": [*document["checks"], doubt]})
    charge = charge_of(lender, shared["taker"], recipe_of(shared["record"].recipe["method"]), pytest.fail)
    assert (charge["doubts"], charge["verdict"]) == (shared["charge"]["doubts"], shared["charge"]["verdict"])


def own_account(shared) -> EnergyAccount:
    """What the taker itself measured, without what it was charged."""
    from ebbench.energy.account import account

    return account(shared["taker"])


def test_a_disturbed_epoch_of_the_lender_stands_for_no_other(shared):
    stages, charge = RawRun.read(shared["taker"]).stages, shared["charge"]
    epochs = [{**epoch, "is_undisturbed": number != 2} for number, epoch in enumerate(charge["by_epoch"])]
    found = extrapolate(charged(own_account(shared), {**charge, "by_epoch": epochs}), stages)
    (stage,) = [s for s in stages if s.path == shared["stage"]]
    assert found.extrapolation["by_phase"][stage.path]["measured_epochs"] == MEASURED - 1
    others = [e["energy_j"] for number, e in enumerate(charge["by_epoch"]) if number not in (0, 2)]
    drawn_j = found.extrapolation["by_phase"][stage.path]["epoch_j"] - sum(others) / len(others)
    assert drawn_j == pytest.approx(0.09 if stage.path == "search" else 0.0, abs=1e-6)  # its own draws: 10 ms of 9 W
    epochs = [{**epoch, "is_undisturbed": number < 2} for number, epoch in enumerate(charge["by_epoch"])]
    refused = extrapolate(charged(own_account(shared), {**charge, "by_epoch": epochs}), stages)
    assert refused.total_j is None and "1 undisturbed epochs of" in refused.reason


def test_where_the_energy_is_not_known_there_is_no_total(shared):
    found = extrapolate(
        charged(own_account(shared), without_energy(shared["charge"])), RawRun.read(shared["taker"]).stages
    )
    assert (found.total_j, found.status, found.extrapolation) == (None, MISSING, None)
