"""A run on a board takes its first training from another job there, and is charged what the laptop measured of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from board_here import BoardHere, Died, ProcessHere
from laptop_and_board import RECIPE, WATTS, Place

import ebbench
from ebbench.config import run_id
from ebbench.context import Silent, read_checkpoint
from ebbench.energy.charge import part_of
from ebbench.errors import DeviceError, UserError
from ebbench.remote import job, session
from ebbench.remote.lending import offer
from ebbench.rundir import RunDir, read_json, sha256_of, write_json
from ebbench.sealing.record import integrate_again, record_of
from ebbench.session import conduct
from ebbench.sharing.offered import lending_from
from ebbench.sharing.taken import checked_again
from ebbench.training.draws import kept_name
from ebbench.training.loop import Trainer

DENSE = RECIPE
TICKETS = [dataclasses.replace(DENSE, method="lt", draw="final", prune_ratio=ratio) for ratio in (0.2, 0.3, 0.4, 0.5)]
FIRST, DIES, DECLINED, APART = TICKETS
APART = dataclasses.replace(APART, share_phases=False)
#: eight epochs of which four are trained
CUT_DENSE, CUT_TICKET = (dataclasses.replace(recipe, epochs=8, measure_epochs=3) for recipe in (DENSE, FIRST))
AMONG = (DENSE, FIRST, DIES, DECLINED, APART, CUT_DENSE, CUT_TICKET)


class Laptop(Place):
    """A laptop whose board is in this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.board, self.said = BoardHere(), []

    def say(self, text):
        self.said.append(text)

    def update(self, path, fraction, live):
        pass

    def conduct(self, recipe, resume=False):
        self.said.clear()
        out = self.folder / "laptop"
        return session.conduct_on_board(
            self.board, recipe, self.bench(idle_s=0.1), out, resume=resume, display=self, among=AMONG
        )

    def name(self, recipe):
        return run_id(recipe, self.bench(idle_s=0.1))

    def here(self, recipe):
        """The run's folder on the laptop."""
        return RunDir(self.folder / "laptop" / self.name(recipe))

    def there(self, recipe):
        """The run's folder on the board."""
        (found,) = (self.folder / "board").glob(f"{self.name(recipe)}-*/runs/*")
        return RunDir(found)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """A dense training that was lent to a ticket, with the records of both and what was said meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "subprocess", SimpleNamespace(Popen=ProcessHere, DEVNULL=None))
        found = Laptop(tmp_path_factory.mktemp("shared"))
        found.dense = found.conduct(DENSE)
        found.lt = found.conduct(FIRST)
        found.first_said = list(found.said)
        yield found


def test_a_run_on_a_board_takes_what_another_job_did_and_is_charged_what_the_laptop_measured(laptop):
    charge, dense = laptop.lt.energy.charged, laptop.dense
    said = f"board: its first training (3 epochs) is taken from {dense.run_id}, and charged"
    assert [line for line in laptop.first_said if "taken" in line] == [said]
    assert (charge["from"], charge["record_sha256"]) == (dense.run_id, sha256_of(laptop.here(DENSE).record))
    again, _ = integrate_again(laptop.here(DENSE))
    assert charge["energy_j"] == pytest.approx(again.energy.total_j, rel=1e-12)
    assert charge["uncertainty_j"] == pytest.approx(again.energy.uncertainty_j, rel=1e-9)
    assert charge["energy_j"] == pytest.approx(WATTS * charge["duration_s"], rel=1e-6)
    part = part_of(laptop.here(DENSE), "train", 3)
    assert {name: charge[name] for name in ("energy_j", "covered_s", "readings", "rails")} == {
        name: part[name] for name in ("energy_j", "covered_s", "readings", "rails")
    }
    assert laptop.lt.energy.reference["meter"] == "replay" and charge["rails"]["sim/VDD_IN"]["energy_j"] > 0


def test_the_total_is_what_was_charged_and_what_the_run_did_itself(laptop, tmp_path):
    shutil.copytree(laptop.here(FIRST).path, tmp_path / "alone")
    (tmp_path / "alone/taken.json").unlink()
    own, energy = record_of(RunDir(tmp_path / "alone")).energy, laptop.lt.energy
    assert own.total_j > 0 and energy.total_j == pytest.approx(own.total_j + energy.charged["energy_j"], rel=1e-12)
    assert energy.by_phase["train"].measured_by == laptop.dense.run_id and energy.status == "ok"
    (compared,) = [check for check in laptop.lt.checks if check.name == "other meters read throughout"]
    assert compared.verdict == "PASS" and compared.value < 0.05  # of what it did itself
    assert record_of(laptop.here(FIRST)).to_json() == laptop.lt.to_json()
    assert laptop.lt.files["taken.json"] == sha256_of(laptop.here(FIRST).taken)


def test_what_was_taken_ends_with_the_bits_of_a_run_that_trained_all_itself(laptop, tmp_path):
    assert_same_bits_alone(laptop, FIRST, tmp_path)


def assert_same_bits_alone(laptop, recipe, out):
    """As a run below `out` that shares nothing, nor runs on a board."""
    conduct(dataclasses.replace(recipe, share_phases=False), laptop.bench(idle_s=0.0).on_board(), out, display=Silent())
    one, other = laptop.here(recipe), RunDir(next(out.iterdir()))
    arrays, others = (read_checkpoint(each.checkpoint)[0] for each in (one, other))
    assert set(arrays) == set(others)
    assert all(arrays[name].tobytes() == others[name].tobytes() for name in arrays)
    with np.load(one.masks) as masks, np.load(other.masks) as expected:
        assert {name: masks[name].tobytes() for name in masks} == {name: expected[name].tobytes() for name in expected}


def test_epochs_that_are_to_be_extrapolated_are_shared_too(laptop):
    dense, lt = laptop.conduct(CUT_DENSE), laptop.conduct(CUT_TICKET)
    if dense.status == "failed":  # the machine did something else, and its epochs drifted
        assert lt.energy.charged is None and any("it failed" in line for line in laptop.said)
        return
    charge, there = lt.energy.charged, read_json(laptop.there(CUT_TICKET).record)["energy"]
    assert (charge["from"], charge["epochs"], len(charge["by_epoch"])) == (dense.run_id, 4, 4)
    assert (there["total_j"], there["charged"]["by_epoch"], there["extrapolation"]) == (None, [], None)
    if lt.status == "failed":
        assert "drift" in lt.reason
        return
    lent, taken = (record.energy.extrapolation["by_phase"]["train"] for record in (dense, lt))
    own_j = taken["measured_j"] - charge["energy_j"]  # going through them; of three epochs it stands for seven
    assert -1e-6 <= taken["energy_j"] - lent["energy_j"] <= 7 / 3 * own_j + 1e-6


def test_the_record_that_the_board_makes_has_no_total_since_it_does_not_know_that_energy(laptop):
    record = read_json(laptop.there(FIRST).record)
    energy = record["energy"]
    assert (energy["total_j"], energy["status"], energy["charged"]["from"]) == (None, "missing", laptop.dense.run_id)
    assert energy["reason"] == "its first training was measured by another run, whose energy is not known here"
    assert energy["by_phase"]["train"]["energy_j"] is None and energy["by_phase"]["retrain"]["energy_j"] > 0
    schema = json.loads((Path(ebbench.__file__).parent / "schema" / "record-1.json").read_text())
    for each in (record, laptop.lt.to_json()):
        jsonschema.validate(each, schema)


def test_a_lender_that_is_gone_from_the_laptop_is_a_doubt(laptop, tmp_path):
    shutil.copytree(laptop.here(FIRST).path, tmp_path / laptop.lt.run_id)
    gone = checked_again(RunDir(tmp_path / laptop.lt.run_id), laptop.lt)
    assert gone.verdict in ("WARN", "FAIL") and "is not beside this run any more" in gone.checks[-1].advice
    assert checked_again(laptop.here(FIRST), laptop.lt) == laptop.lt


def test_a_taker_that_is_killed_at_either_end_goes_on_with_what_it_took(laptop, tmp_path, monkeypatch):
    def die(*_):
        raise Died

    laptop.board.before = {"start": die}
    with pytest.raises(Died):  # the laptop, before the run is started
        laptop.conduct(DIES)
    laptop.board.before = {}
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_steps", die)
        with pytest.raises(DeviceError, match=r"died without a word.*--resume"):  # the board, in its second training
            laptop.conduct(DIES, resume=True)
    laptop.board.before = {"files": die}
    with pytest.raises(Died):  # the laptop, before the run is brought back
        laptop.conduct(DIES, resume=True)
    laptop.board.before = {}
    record = laptop.conduct(DIES, resume=True)
    assert record.energy.charged == laptop.lt.energy.charged
    assert (record.energy.status, record.status, record.recipe["prune_ratio"]) == ("ok", "success", 0.3)
    assert_same_bits_alone(laptop, DIES, tmp_path)


def test_where_the_lenders_file_on_the_board_has_changed_the_run_trains_anew_and_says_so(laptop):
    path = laptop.there(DENSE).kept / kept_name(DECLINED)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    try:
        record = laptop.conduct(DECLINED)
    finally:
        path.write_bytes(whole)
    (line,) = [line for line in laptop.said if "taken" in line]
    assert line == (
        f"board: {laptop.dense.run_id} begins with the same training, which is not taken: {path.name} is not the file that "
        "its record names"
    )
    assert record.energy.charged is None and record.status == "success"
    assert not laptop.here(DECLINED).taken.exists() and not laptop.here(DECLINED).board_taken.exists()
    assert record.energy.by_phase["train/epoch"].energy_j > 0


def test_without_sharing_nothing_is_offered(laptop, tmp_path):
    assert offered(laptop, tmp_path, APART)[0] == {"wanted": [], "offers": []}
    wanted, said = offered(laptop, tmp_path, DENSE)
    assert [each["prune_ratio"] for each in wanted["wanted"]] == [0.2, 0.3, 0.4] and not said


def offered(laptop, out, recipe, **manifest):
    """What is offered to a run below `out` that is about to begin, and what is said."""
    rundir, said = RunDir(out / laptop.name(recipe)), []
    rundir.create()
    like = read_json(laptop.here(FIRST).manifest)
    meters = [meter for meter in like["meters"] if meter.get("host") == "laptop"]
    write_json(
        rundir.manifest,
        {"bench": like["bench"], "ebbench": like["ebbench"], "laptop": like["laptop"], "meters": meters, **manifest},
    )
    return offer(recipe, laptop.bench(idle_s=0.1), rundir, AMONG, True, said.append), said


def _fails(lender):
    write_json(lender.record, {**read_json(lender.record), "status": "failed"})


def _is_in_doubt(lender):
    write_json(lender.record, {**read_json(lender.record), "verdict": "FAIL"})


def _has_a_hole(lender):
    """As where the laptop went away while the board trained."""
    (trace,) = lender.traces("replay")
    trace.write_bytes(trace.read_bytes()[: trace.stat().st_size // 2])


def _was_on_another_laptop(lender):
    document = read_json(lender.manifest)
    document["laptop"]["environment"]["host"] = "another"
    write_json(lender.manifest, document)


def _had_another_meter(lender):
    document = read_json(lender.manifest)
    document["meters"][0]["identity"] = {"serial": "another"}
    write_json(lender.manifest, document)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_fails, "it failed"),
        (_is_in_doubt, "its verdict is FAIL (`ebbench check` says why)"),
        (_has_a_hole, "its energy does not cover these epochs wholly"),
        (_was_on_another_laptop, "laptop differ"),
        (_had_another_meter, "meters differ"),
    ],
)
def test_nothing_is_offered_of_a_lender_whose_energy_cannot_be_charged(spoil, reason, laptop, tmp_path):
    name = laptop.name(DENSE)
    shutil.copytree(laptop.here(DENSE).path, tmp_path / name)
    found, said = offered(laptop, tmp_path, FIRST)
    (one,) = found["offers"]
    assert (one["from"], one["job"], one["energy_j"]) == (name, laptop.there(DENSE).path.parent.parent.name, None)
    assert not said
    spoil(RunDir(tmp_path / name))
    found, said = offered(laptop, tmp_path, FIRST)
    assert found["offers"] == []
    assert said == [f"{name} begins with the same training, which is not taken: {reason}"]


def test_a_second_meter_that_did_not_cover_what_was_taken_has_no_total(laptop, tmp_path):
    name = laptop.name(DENSE)
    shutil.copytree(laptop.here(DENSE).path, tmp_path / name)
    for trace in RunDir(tmp_path / name).traces("sim"):
        trace.write_bytes(trace.read_bytes()[: trace.stat().st_size // 2])
    offered(laptop, tmp_path, FIRST)
    (charge,) = read_json(RunDir(tmp_path / laptop.name(FIRST)).offered)["offers"]
    assert charge["rails"]["replay/AC"]["energy_j"] == charge["energy_j"] == laptop.lt.energy.charged["energy_j"]
    assert charge["rails"]["sim/VDD_IN"]["energy_j"] is None
    shutil.copytree(laptop.here(FIRST).path, tmp_path / "taker")
    write_json(tmp_path / "taker" / "taken.json", charge)
    rails = record_of(RunDir(tmp_path / "taker")).energy.rails
    assert (rails["sim/VDD_IN"]["total_j"], rails["sim/VDD_IN"]["status"]) == (None, "missing")
    assert rails["sim/VDD_IN"]["reason"] == "it does not wholly cover the first training, which another run did"
    assert rails["replay/AC"]["total_j"] == laptop.lt.energy.total_j


def _on_the_board(laptop, folder):
    """The lender's folder on the board, a taker that is about to begin, and what is offered to it."""
    lender, taker = RunDir(folder / "lender"), RunDir(folder / "taker")
    shutil.copytree(laptop.there(DENSE).path, lender.path)
    taker.create()
    shutil.copy(laptop.there(FIRST).manifest, taker.manifest)
    return lender, taker, {**read_json(laptop.there(FIRST).taken), "lender": str(lender.path)}


def lending(taker, *offers):
    """What the board makes of these offers, and what it says."""
    said, wanted = [], [{name: value for name, value in DIES.settings().items() if value is not None}]
    write_json(taker.path / "lending.json", {"wanted": wanted, "offers": list(offers)})
    return lending_from(taker.path / "lending.json", FIRST, taker, said.append), said


def test_the_board_takes_the_first_offer_of_a_lender_that_it_has_and_that_ran_on_it_as_it_is(laptop, tmp_path):
    lender, taker, good = _on_the_board(laptop, tmp_path)
    shutil.copytree(lender.path, tmp_path / "elsewhere")
    manifest = read_json(lender.manifest)
    manifest["environment"]["host"] = "another"
    write_json(tmp_path / "elsewhere/manifest.json", manifest)
    bad = [{**good, "lender": None}, {**good, "lender": str(tmp_path / "elsewhere")}]
    found, said = lending(taker, *bad)
    assert (found.taken, found.wanted) == (None, (DIES,)) and not taker.taken.exists()
    assert [line.rpartition("not taken: ")[2] for line in said] == [
        f"its job {laptop.there(DENSE).path.parent.parent.name} is not on this machine", "host differ",
    ]  # fmt: skip
    found, said = lending(taker, *bad, good)
    assert (found.taken, found.wanted, len(said)) == (lender.kept / kept_name(FIRST), (), 3)
    assert read_json(taker.taken) == good


def test_a_run_that_goes_on_refuses_another_file_than_the_one_that_it_took(laptop, tmp_path):
    lender, taker, good = _on_the_board(laptop, tmp_path)
    kept = lender.kept / kept_name(FIRST)
    assert lending(taker, good)[0].taken == kept
    shutil.copy(laptop.there(FIRST).phases, taker.phases)
    assert lending(taker)[0].taken == kept
    kept.write_bytes(b"another")
    with pytest.raises(UserError, match=r"is not the first training that was taken from .*; give --no-share"):
        lending(taker, good)


def test_what_was_taken_is_never_sealed_without_its_charge(laptop, tmp_path):
    shutil.copytree(laptop.here(FIRST).path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    run.offered.unlink()
    with pytest.raises(UserError, match=r"does not hold what the first training .* cost"):
        session.settle(run)
