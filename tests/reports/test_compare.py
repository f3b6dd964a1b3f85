from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_runs import account, early_bird, record

from ebbench.quantity import Quantity, t_quantile
from ebbench_reports.collect import Run
from ebbench_reports.compare import Saving, find_reference, make_group, pool, saving


def run(run_record, number=1, **changes):
    return Run(number, Path(f"/runs/{run_record.run_id}"), run_record, **changes)


def budget(total_j, **components_j):
    """An account whose uncertainty is exactly that of the components named."""
    half_width_j = 2 * math.sqrt(sum(c**2 for c in components_j.values()))
    return account(total_j, components_j=components_j, uncertainty_j=half_width_j)


def pair(dense_account, ours_account):
    dense, ours = run(record(energy=dense_account)), run(early_bird(energy=ours_account), 2)
    return make_group([ours]), make_group([dense])


def test_the_ratio_and_its_interval_follow_the_closed_form():
    ours, dense = pair(budget(400.0, gain=4.0, edges=3.0), budget(100.0, gain=1.0, edges=2.0))
    ratio = saving(ours, dense).ratio
    assert ratio.value == pytest.approx(0.25)
    assert ratio.half_width == pytest.approx(2 * 0.25 * math.sqrt((2.0 / 100) ** 2 + (3.0 / 400) ** 2))


def test_a_gain_common_to_both_runs_cancels_in_the_ratio():
    ours, dense = pair(budget(400.0, gain=8.0, time_base=0.2), budget(100.0, gain=2.0, time_base=0.05))
    assert saving(ours, dense).ratio.half_width == pytest.approx(0, abs=1e-9)
    assert ours.energy_j.half_width == pytest.approx(2 * math.hypot(2.0, 0.05))


def test_an_offset_cancels_only_as_far_as_its_share_is_the_same():
    # the same 0.02 W for 1000 s and for 400 s
    ours, dense = pair(budget(8000.0, offset=20.0), budget(2000.0, offset=8.0))
    assert saving(ours, dense).ratio.half_width == pytest.approx(2 * 0.25 * abs(20 / 8000 - 8 / 2000))


def test_the_interval_of_the_ratio_is_what_simulated_errors_give():
    ours, dense = pair(budget(400.0, gain=8.0, offset=4.0, edges=1.0), budget(140.0, gain=2.8, offset=2.0, edges=0.8))
    draw = np.random.default_rng(3).normal(size=(4, 200_000))
    top = 140 + 2.8 * draw[0] + 2.0 * draw[1] + 0.8 * draw[2]
    bottom = 400 + 8.0 * draw[0] + 4.0 * draw[1] + 1.0 * draw[3]
    assert saving(ours, dense).ratio.half_width == pytest.approx(2 * np.std(top / bottom), rel=0.02)


SHARED, OWN, GAIN = (
    3.0,
    2.0,
    4.0,
)  # standard uncertainties (J) of a first training of 400 J, of what follows, and of its gain
CHARGE = {
    "from": "dense-run", "record_sha256": "ab", "epochs": 20,
    "components_j": {"gain": GAIN, "edges": SHARED, "sampling": 0.0},
}  # fmt: skip


def taker(run_id="lt-run", charge=CHARGE, number=2):
    """A run of 400 J of its own beside what it is charged: 800 J."""
    energy = budget(800.0, gain=2 * GAIN, edges=math.hypot(SHARED, OWN))
    return run(early_bird(run_id, energy=replace(energy, charged=charge)), number)


def test_what_a_run_is_charged_for_the_reference_cancels_in_their_ratio():
    dense = make_group([run(record("dense-run", energy=budget(400.0, gain=GAIN, edges=SHARED)))])
    ratio = saving(make_group([taker()]), dense).ratio
    assert ratio.value == 2.0
    assert ratio.half_width == pytest.approx(2 * 2.0 * math.hypot(SHARED * (1 / 400 - 1 / 800), OWN / 800))
    draw = np.random.default_rng(5).normal(size=(3, 200_000))
    shared, own = 400 * (1 + 0.01 * draw[0]) + SHARED * draw[1], 400 * (1 + 0.01 * draw[0]) + OWN * draw[2]
    assert ratio.half_width == pytest.approx(2 * np.std((shared + own) / shared), rel=0.02)


def test_what_two_runs_are_both_charged_cancels_in_their_ratio():
    one, other = make_group([taker()]), make_group([taker("thinet-run", number=3)])
    assert saving(one, other).ratio.half_width == pytest.approx(2 * math.sqrt(2) * OWN / 800)


@pytest.mark.parametrize(
    "charge",
    [{**CHARGE, "from": "another-run"}, {**CHARGE, "epochs": 12}],
    ids=["another training", "a part of it, whose end is its own"],
)
def test_what_is_not_known_to_be_shared_does_not_cancel(charge):
    dense = make_group([run(record("dense-run", energy=budget(400.0, gain=GAIN, edges=SHARED)))])
    ratio = saving(make_group([taker(charge=charge)]), dense).ratio
    assert ratio.half_width == pytest.approx(2 * 2.0 * math.hypot(SHARED / 400, math.hypot(SHARED, OWN) / 800))


def test_replicates_share_only_with_their_own_seed():
    lenders = [
        run(record(f"dense-{s}", recipe={"seed": s}, energy=budget(400.0, gain=GAIN, edges=SHARED)), s) for s in (1, 2)
    ]
    takers = [taker(f"lt-{s}", {**CHARGE, "from": f"dense-{s}"}, s + 2) for s in (1, 2)]
    ratio = saving(make_group(takers), make_group(lenders)).ratio
    each = 2 * 2.0 * math.hypot(SHARED * (1 / 400 - 1 / 800), OWN / 800)
    assert ratio.half_width == pytest.approx(each / math.sqrt(2), rel=0.01)


def test_runs_that_differ_in_the_bench_are_not_compared():
    ours, dense = pair(account(), account(100e3))
    for field, value in (
        ("rail", "GPU"),
        ("scope", "wall"),
        ("board", "Orin"),
        ("kind", "simulated"),
        ("meter", "nvml"),
    ):
        other = replace(dense, bench=replace(dense.bench, **{field: value}))
        reason = saving(ours, other)
        assert isinstance(reason, str) and f"{field} differs" in reason and value in reason


def test_an_energy_that_is_not_whole_is_not_compared():
    partial = account(90e3, status="partial", covered_s=1.0)
    missing = account(None, status="missing")
    for other in (partial, missing):
        ours, dense = pair(account(), other)
        assert "does not cover its whole training" in saving(ours, dense)
        dense_group = make_group([run(record(energy=other))])
        assert "run 1" in saving(make_group([run(early_bird(), 2)]), dense_group)


def test_without_an_uncertainty_there_is_a_ratio_without_an_interval():
    ours, dense = pair(account(400.0, uncertainty_j=None), account(100.0))
    assert saving(ours, dense).ratio == Quantity(0.25)


def test_replicates_are_runs_that_differ_in_the_seed_alone():
    runs = [run(record(f"r{s}", recipe={"seed": s}), s) for s in (1, 2, 3)]
    runs.append(run(record("other", recipe={"epochs": 21}), 4))
    assert [[r.number for r in group.runs] for group in pool(runs)] == [[1, 2, 3], [4]]


def test_dense_runs_are_replicates_whatever_prune_ratio_the_matrix_gave_them():
    runs = [run(record(f"r{p}", recipe={"prune_ratio": p}), i) for i, p in enumerate((0.3, 0.5, 0.7), 1)]
    assert len(pool(runs)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "simulated"},
        {"board": {"name": "agx-orin"}},
        {"energy": account(reference={"meter": "ina3221", "rail": "GPU", "scope": "module"})},
        {"energy": account(reference={"meter": "ina3221", "rail": "VDD_IN", "scope": "devkit"})},
        {"energy": account(status="partial")},
        {"energy": account(None, status="missing")},
        {"environment": {"host": "tx2-lab", "power_mode": "3"}},
        {"environment": {"host": "another-tx2", "power_mode": "0"}},
    ],
)
def test_runs_of_different_benches_or_completeness_are_never_pooled(changed):
    runs = [run(record("one")), run(record("two", recipe={"seed": 2}, **changed), 2)]
    assert len(pool(runs)) == 2


def test_a_containers_host_name_is_no_board():
    runs = [
        run(record(h, environment={"host": h, "container": True}, recipe={"seed": i}), i)
        for i, h in enumerate(("a", "b"))
    ]
    assert len(pool(runs)) == 1


def test_failed_runs_are_in_no_group():
    assert pool([run(record(status="failed")), run(record(status="aborted"), 2)]) == []


def test_runs_without_a_recipe_are_never_replicates():
    monitored = [run(replace(record(f"m{i}"), recipe={}), i) for i in (1, 2)]
    assert len(pool(monitored)) == 2


def test_pooled_energy_has_the_mean_and_the_larger_of_scatter_and_measurement():
    scattered = make_group(
        [run(record(str(e), energy=budget(e, edges=0.1)), i) for i, e in enumerate((100.0, 104.0, 102.0))]
    )
    assert scattered.energy_j.value == pytest.approx(102.0)
    assert scattered.energy_j.half_width == pytest.approx(t_quantile(2) * 2.0 / math.sqrt(3))
    alike = make_group([run(record(str(i), energy=budget(100.0, edges=3.0)), i) for i in range(4)])
    assert alike.energy_j.half_width == pytest.approx(2 * 3.0 / math.sqrt(4))


def test_replicates_do_not_average_a_common_gain_down():
    group = make_group([run(record(str(i), energy=budget(100.0, gain=1.0)), i) for i in range(9)])
    assert group.energy_j.half_width == pytest.approx(2.0)


def test_work_done_twice_is_left_out_of_the_energy_and_of_its_gain():
    ours = make_group([run(early_bird(energy=replace(budget(100.0, gain=2.0), redone_j=20.0)))])
    assert ours.energy_j.value == 80.0
    assert ours.common_j["gain"] == pytest.approx(1.6)


def test_the_reference_is_the_dense_run_of_the_same_training():
    groups = pool([
        run(record("short", recipe={"epochs": 10}), 1), run(record("right"), 2),
        run(record("other-data", recipe={"dataset": "cifar100"}), 3), run(early_bird(), 4),
    ])  # fmt: skip
    assert find_reference(groups[3], groups) is groups[1]
    assert find_reference(groups[3], groups[2:]) == "no dense run of this model and data set"
    assert find_reference(groups[3], [groups[0], groups[3]]) == "not compared with run 1: epochs differs (20 / 10)"


def test_a_dense_run_of_another_bench_is_named_with_what_differs():
    groups = pool([run(record(kind="simulated")), run(early_bird(), 2)])
    assert find_reference(groups[1], groups) == "not compared with run 1: kind differs (measured / simulated)"


def test_a_run_saves_nothing_against_itself():
    group = make_group([run(record())])
    assert saving(group, group) == Saving(Quantity(1.0, 0.0), group)
