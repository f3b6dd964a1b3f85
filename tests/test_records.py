from __future__ import annotations

import copy
import dataclasses
import json
import math
import pkgutil
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench import EnergyMonitor
from ebbench.config import Recipe
from ebbench.protocols import AVERAGE, Column, MeterInfo, Rail
from ebbench.records import (
    PHASE_NAMES,
    SCHEMA_VERSION,
    Check,
    EnergyAccount,
    PhaseEnergy,
    RunRecord,
    account_from_json,
    worst,
)

VALIDATOR = jsonschema.Draft202012Validator(json.loads(pkgutil.get_data("ebbench", "schema/record-1.json")))
INTEGRATE = jsonschema.Draft202012Validator(json.loads(pkgutil.get_data("ebbench", "schema/integrate-1.json")))


def phase(**changes) -> PhaseEnergy:
    return dataclasses.replace(
        PhaseEnergy(12.0, 0.5, 10.0, 3.0, 3.0, 2, "simulated", "ok", readings=300),
        **changes,
    )


def record(**changes) -> RunRecord:
    energy = EnergyAccount(
        reference={"meter": "sim", "rail": "VDD_IN", "scope": "module"},
        kind="simulated",
        total_j=24.0,
        uncertainty_j=0.7,
        redone_j=0.0,
        other_j=3.0,
        net_j=20.0,
        idle_power_w=2.0,
        duration_s=6.0,
        covered_s=5.5,
        down_s=0.0,
        by_phase={
            "search": phase(),
            "search/epoch/draw": phase(unresolved=True),
            "retrain": phase(status="partial", covered_s=2.5, reason="0.5 s without readings"),
            "evaluate": phase(energy_j=None, uncertainty_j=None, self_j=None, status="missing", reason="not covered"),
        },
        phases=[{"path": "search", "status": "ok", "energy_j": 12.0, "uncertainty_j": 0.5, "duration_s": 3.0}],
        rails={"VDD_IN": {"energy_j": 24.0}},
        components_j={"gain": 0.3, "offset": None},
    )
    return dataclasses.replace(
        RunRecord(
            schema_version=SCHEMA_VERSION,
            run_id="eb-ff-vgg16-synthetic-p0.5-s1-01234567",
            status="success",
            kind="simulated",
            recipe=Recipe().settings(),
            board={"name": "tx2"},
            meters=[{"name": "sim", "scope": "module", "simulated": True}],
            energy=energy,
            duration_s=9.0,
            flops={"total": 1e12, "forward_dense": 6e8, "forward_pruned": None},
            accuracy={"final": 0.9, "best": 0.91, "top5_final": None},
            ticket={"found": True, "epoch": 7, "distances": [0.3, None, 0.05], "kept_channels": 10, "channels": 20},
            mask_distance_overhead={
                "energy_fraction": 1e-4,
                "flops_fraction": 1e-6,
                "memory_fraction": None,
                "time_fraction": 1e-4,
                "paper_convention": {"memory_fraction": 2.87e-4},
            },
            verdict="WARN",
            checks=[Check("coverage", "WARN", 0.08, 0.001, "see the gaps"), Check("x", "NOT CHECKED", None, None, "y")],
            files={"manifest.json": "0" * 64},
        ),
        **changes,
    )


def document(**changes):
    return json.loads(json.dumps(record(**changes).to_json(), allow_nan=False))


def test_a_record_meets_its_schema():
    VALIDATOR.validate(document())


def test_a_record_without_the_parts_that_a_run_may_lack_meets_its_schema():
    VALIDATOR.validate(document(recipe={}, flops=None, accuracy=None, ticket=None, mask_distance_overhead=None))


def test_the_schemas_are_themselves_sound():
    VALIDATOR.check_schema(VALIDATOR.schema)
    INTEGRATE.check_schema(INTEGRATE.schema)


def test_the_schema_describes_every_field_of_a_record():
    definitions = VALIDATOR.schema["$defs"]
    for cls, schema in (
        (RunRecord, VALIDATOR.schema),
        (EnergyAccount, definitions["account"]),
        (PhaseEnergy, definitions["phase_energy"]),
        (Check, VALIDATOR.schema["properties"]["checks"]["items"]),
    ):
        assert {f.name for f in dataclasses.fields(cls)} == set(schema["properties"])


BROKEN = {
    "another version": lambda d: d.update(schema_version=2),
    "no energy": lambda d: d.pop("energy"),
    "no total": lambda d: d["energy"].pop("total_j"),
    "a total that is text": lambda d: d["energy"].update(total_j="24 J"),
    "an unknown kind": lambda d: d.update(kind="guessed"),
    "an unknown status": lambda d: d.update(status="done"),
    "a negative uncertainty": lambda d: d["energy"].update(uncertainty_j=-1.0),
    "a negative duration": lambda d: d.update(duration_s=-1.0),
    "zero for a missing energy": lambda d: d["energy"]["by_phase"]["evaluate"].update(energy_j=0.0),
    "missing without a reason": lambda d: d["energy"]["by_phase"]["evaluate"].update(reason=None),
    "partial without a reason": lambda d: d["energy"]["by_phase"]["retrain"].update(reason=None),
    "ok without an energy": lambda d: d["energy"]["by_phase"]["search"].update(energy_j=None),
    "a phase without its kind": lambda d: d["energy"]["by_phase"]["search"].pop("kind"),
    "an accuracy in percent": lambda d: d["accuracy"].update(final=93.0),
    "a check without a verdict": lambda d: d["checks"][0].pop("verdict"),
    "a verdict in other words": lambda d: d["checks"][0].update(verdict="fine"),
    "an overall verdict that checks nothing": lambda d: d.update(verdict="NOT CHECKED"),
    "a hash that is none": lambda d: d["files"].update({"log.txt": "abc"}),
    "a method without its seed": lambda d: d["recipe"].pop("seed"),
    "a meter that does not say whether it is simulated": lambda d: d["meters"][0].pop("simulated"),
    "a reference without a scope": lambda d: d["energy"]["reference"].pop("scope"),
    "a ticket with a negative epoch": lambda d: d["ticket"].update(epoch=-1),
    "a distance above one": lambda d: d["ticket"].update(distances=[1.5]),
    "an overhead without its energy": lambda d: d["mask_distance_overhead"].pop("energy_fraction"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_schema_refuses(fault):
    broken = document()
    BROKEN[fault](broken)
    assert not VALIDATOR.is_valid(broken)


def test_every_key_that_is_promised_is_required():
    for key in VALIDATOR.schema["required"]:
        broken = document()
        del broken[key]
        assert not VALIDATOR.is_valid(broken), key


def test_keys_of_later_versions_are_allowed():
    later = document()
    later["added_later"] = 1
    later["energy"]["added_later"] = 1
    VALIDATOR.validate(later)


def test_a_record_reads_back_equal():
    assert RunRecord.from_json(document()) == record()
    assert account_from_json(document()["energy"]) == record().energy


@given(st.sampled_from([math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf")]))
def test_what_is_not_finite_becomes_null_at_any_depth(value):
    holder = {"a": [value, (value, 1.0)], "b": {"c": value}}
    written = document(environment=holder)
    assert written["environment"] == {"a": [None, [None, 1.0]], "b": {"c": None}}


def test_numpy_numbers_and_paths_become_json():
    written = document(environment={"n": np.int64(3), "x": np.float32(0.5), "b": np.bool_(True), "p": Path("a/b")})
    assert written["environment"] == {"n": 3, "x": 0.5, "b": True, "p": "a/b"}


def test_to_json_leaves_the_record_as_it_was():
    original = record()
    before = copy.deepcopy(original)
    original.to_json()["energy"]["by_phase"].clear()
    assert original == before


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([], "PASS"),
        (["PASS", "NOT CHECKED"], "PASS"),
        (["PASS", "WARN", "NOT CHECKED"], "WARN"),
        (["WARN", "FAIL", "PASS"], "FAIL"),
    ],
)
def test_the_whole_is_as_bad_as_its_worst_part(verdicts, whole):
    assert worst(verdicts) == whole


def test_phase_names_are_the_closed_list_of_the_documentation():
    assert set(PHASE_NAMES) == set(
        [
            "idle",
            "warmup",
            "search",
            "draw",
            "prune",
            "rewind",
            "train",
            "retrain",
            "finetune",
            "evaluate",
            "checkpoint",
            "amplify",
        ]
    )
    assert len(set(PHASE_NAMES)) == len(PHASE_NAMES)


RAILS = st.builds(
    Rail,
    name=st.from_regex(r"[A-Za-z0-9_]+", fullmatch=True),
    scope=st.sampled_from(["module", "devkit", "wall", "gpu", "cpu", "rail"]),
    inside_of=st.none() | st.just("VDD_IN"),
    gain_ratio=st.none() | st.floats(0, 1),
    offset_w=st.none() | st.floats(0, 1),
    resolution_w=st.none() | st.floats(0, 1),
    kind=st.sampled_from(["instant", AVERAGE, "hold"]),
    averaging_s=st.none() | st.floats(0, 1),
    delay_s=st.none() | st.just(0.0) | st.floats(0, 1),
    counter_averaging_s=st.none() | st.floats(0, 1),
    counter_delay_s=st.none() | st.just(0.0) | st.floats(0, 1),
    counter_delay_u_s=st.floats(0, 1),
)
INFOS = st.builds(
    MeterInfo,
    name=st.just("ina3221"),
    scope=st.just("module"),
    simulated=st.booleans(),
    rails=st.lists(RAILS, max_size=3).map(tuple),
    columns=st.lists(st.builds(Column, st.just("VDD_IN_w"), st.floats(1e-9, 1), st.booleans()), max_size=3).map(tuple),
    total=st.lists(st.just("VDD_IN"), max_size=2).map(tuple),
    default_rate_hz=st.floats(0.1, 1000),
    max_rate_hz=st.none() | st.floats(0.1, 1000),
    identity=st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2),
)


@given(INFOS)
def test_what_a_meter_says_of_itself_survives_the_manifest(info):
    assert MeterInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


@pytest.mark.parametrize(("was", "meant"), [(0.0, None), (0.1, 0.1)])
def test_a_delay_of_0_written_before_none_could_be_stated_means_that_nobody_stated_one(was, meant):
    """Such documents, the headers of traces among them, know nothing of counters either."""
    new = MeterInfo("m", "module", False, (Rail("A", "module", delay_s=was),), (Column("A_w"),), ("A",), 1.0).to_json()
    assert MeterInfo.from_json(new).rails[0].delay_s == was
    old = {**new, "rails": [{k: v for k, v in new["rails"][0].items() if not k.startswith("counter_")}]}
    assert MeterInfo.from_json(old).rails[0].delay_s == meant


def integrated(**changes):
    rail = {"status": "ok", "energy_j": 5.0, "mean_power_w": 10.0, "uncertainty_j": 0.1, "reason": None, **changes}
    return {"phases": [{"phase": "train", "start_s": 0.0, "end_s": 0.5, "duration_s": 0.5, "rails": {"VDD_IN": rail}}]}


def test_the_json_of_integrate_is_checked_by_its_schema():
    missing = {
        "status": "missing",
        "energy_j": None,
        "mean_power_w": None,
        "uncertainty_j": None,
        "reason": "no readings",
    }
    INTEGRATE.validate(integrated())
    INTEGRATE.validate(integrated(**missing))
    INTEGRATE.validate(integrated(status="partial", reason="0.2 s without readings"))
    for broken in ({**missing, "energy_j": 0.0}, {**missing, "reason": None}, {"status": "fine"}, {"energy_j": None}):
        assert not INTEGRATE.is_valid(integrated(**broken))


@pytest.mark.realtime
def test_the_record_of_a_real_loop_meets_its_schema(tmp_path):
    with EnergyMonitor(meter="sim?gap_start_s=0.4&gap_s=0.2", out=tmp_path / "run") as monitor:
        for epoch in range(2):
            with monitor.phase("train"), monitor.phase(f"epoch-{epoch}"):
                time.sleep(0.15)
        with monitor.phase("evaluate"):
            time.sleep(0.05)
        with monitor.phase("empty"):
            pass
    written = json.loads((tmp_path / "run" / "record.json").read_text())
    VALIDATOR.validate(written)
    assert RunRecord.from_json(written) == monitor.record
    assert written["kind"] == "simulated"
