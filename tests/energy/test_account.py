"""The account of run folders made by hand, whose energies are known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import pytest

from ebbench.energy.account import account
from ebbench.energy.charge import part_of
from ebbench.energy.phases import PhaseLog
from ebbench.energy.traces.trace import TraceWriter, compact
from ebbench.errors import InputError
from ebbench.protocols import AVERAGE, Column, MeterInfo, Rail
from ebbench.records import EnergyAccount, account_from_json
from ebbench.rundir import RunDir, write_json
from ebbench.sealing.checks import check_run

S = 1_000_000_000
RAILS = (Rail("VDD_IN", "module", None, 0.01, 0.0, 0.0, 100.0), Rail("GPU", "gpu", "VDD_IN"))
METER = MeterInfo("sim", "module", True, RAILS, (Column("VDD_IN_w"), Column("GPU_w")), ("VDD_IN",), 100.0)
#: power (W) by the last name of the deepest open phase
POWER_W = {
    "idle": 2.0,
    "search": 8.0,
    "train": 8.0,
    "epoch": 9.0,
    "step": 9.0,
    "draw": 6.0,
    "evaluate": 5.0,
    "retrain": 10.0,
    "amplify": 4.0,
    "block": 4.0,
}


class Bench:
    """A run folder, a clock that only we move, and the power at every moment."""

    def __init__(self, path: Path, infos: Sequence[MeterInfo] = (METER,), max_gap_s: Optional[float] = None) -> None:
        self.rundir = RunDir(path)
        meters = [{**i.to_json(), "reference": n == 0} for n, i in enumerate(infos)]
        write_json(self.rundir.manifest, {"meters": meters, "bench": {"max_gap_s": max_gap_s}})
        self.now_ns = 5 * S
        self.log = PhaseLog(self.rundir.phases, clock=lambda: self.now_ns)
        self.steps: List[Tuple[int, float]] = [(0, 2.0)]
        self._open: List[str] = []

    def phase(self, path: str, seconds: float, inner: Callable[[], Any] = lambda: None) -> None:
        """A phase that lasts `seconds` and what happens inside."""
        number = self.log.begin(path)
        self._open.append(path)
        self._power()
        inner()
        self._power()
        self.now_ns += round(seconds * S)
        self.log.end(number)
        self._open.pop()
        self._power()

    def _power(self) -> None:
        name = self._open[-1].rsplit("/", 1)[-1].split("-")[0] if self._open else "idle"
        self.steps.append((self.now_ns, POWER_W[name]))

    def trace(self, info: MeterInfo = METER, number: int = 0, start_s: float = 4.0, end_s: Optional[float] = None,
              rate_hz: float = 1000.0, scale: Sequence[float] = (1.0, 0.4), **more: Any) -> None:  # fmt: skip
        """Write what a meter would have read from `start_s` to `end_s` (default: a second after now)."""
        end_ns = self.now_ns + S if end_s is None else round(end_s * S)
        time_ns = np.arange(round(start_s * S), end_ns, round(S / rate_hz))
        starts = np.array([t for t, _ in self.steps])
        power_w = np.array([p for _, p in self.steps])[np.searchsorted(starts, time_ns, "right") - 1]
        writer = TraceWriter(self.rundir.trace(info.name, number), info, more)
        writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), np.outer(power_w, scale))
        writer.close()


def searched(bench: Bench, epochs: int = 3) -> None:
    """idle 5 s, search of `epochs` epochs (1 s, a draw of 1 ms, an evaluation of 0.5 s), retrain 4 s, idle 1 s."""

    def epoch(number: int) -> None:
        path = f"search/epoch-{number}"
        inner = [lambda: bench.phase(f"{path}/draw", 0.001), lambda: bench.phase(f"{path}/evaluate", 0.5)]
        bench.phase(path, 1.0, lambda: [step() for step in inner])

    bench.phase("idle", 5.0)
    bench.phase("search", 0.1, lambda: [epoch(n) for n in range(epochs)])
    bench.phase("retrain", 4.0)
    bench.phase("idle", 1.0)


@pytest.fixture
def run(tmp_path) -> EnergyAccount:
    bench = Bench(tmp_path)
    bench.log.start()
    searched(bench)
    bench.log.stop("success")
    bench.trace()
    return account(bench.rundir)


def test_the_total_is_the_training_without_evaluation_and_idle(run):
    truth_j = 3 * (9.0 * 1.0 + 6.0 * 0.001) + 8.0 * 0.1 + 10.0 * 4
    assert abs(run.total_j - truth_j) <= run.uncertainty_j
    assert run.total_j == pytest.approx(truth_j, rel=1e-3)
    assert run.duration_s == pytest.approx(3 * 1.001 + 0.1 + 4) and run.covered_s == pytest.approx(run.duration_s)
    assert run.other_j == pytest.approx(6 * 2.0 + 3 * 0.5 * 5, rel=2e-3)
    assert run.idle_power_w == pytest.approx(2.0, rel=1e-3)
    assert run.net_j == pytest.approx(truth_j - 2 * run.duration_s, rel=2e-3)
    assert (run.status, run.reason, run.kind) == ("ok", None, "simulated")
    assert run.reference == {"meter": "sim", "rail": "VDD_IN", "scope": "module"}
    assert run.redone_j == 0 and run.down_s == 0


@pytest.mark.parametrize("averaging_s", [0.0, 1.0])
def test_what_two_traces_show_is_counted_once(tmp_path, averaging_s):
    """A run was ended in haste: its sampler still reads, to show the end of it, when the next start has begun."""
    rails = tuple(dataclasses.replace(rail, kind=AVERAGE, averaging_s=averaging_s) for rail in RAILS)
    bench, power_w = Bench(tmp_path, [dataclasses.replace(METER, rails=rails)]), POWER_W["retrain"]
    for status in ("aborted", "success"):
        bench.log.start()
        bench.phase("retrain", 4.0)
        bench.log.stop(status)
    bench.steps = [(0, power_w)]
    bench.trace(end_s=10.5)
    bench.trace(number=1, start_s=8.9)
    found = account(bench.rundir)
    assert (found.status, found.covered_s, found.duration_s) == ("ok", 8.0, 8.0)
    assert found.total_j == pytest.approx(8 * power_w, rel=1e-9)


def test_an_idle_phase_inside_a_command_is_a_rest_and_one_between_amplified_blocks_is_not(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 4.0, lambda: bench.phase("retrain/idle", 3.0))
    bench.phase("amplify", 1.0, lambda: [bench.phase("amplify/block-0", 2.0), bench.phase("amplify/block-0/idle", 2.0)])
    bench.log.stop("success")
    bench.trace()
    found = account(bench.rundir)
    assert found.idle_power_w == pytest.approx(2.0, rel=5e-3)
    assert found.net_j == pytest.approx(4 * (10 - 2), rel=5e-3)


def test_the_budget_of_the_total_makes_its_half_width(run):
    known = [c for c in run.components_j.values() if c is not None]
    assert run.uncertainty_j == pytest.approx(2 * np.sqrt(np.sum(np.square(known))))
    assert run.components_j["gain"] == pytest.approx(0.01 * run.total_j)


def test_epochs_are_folded_and_a_parent_includes_its_children(run):
    assert list(run.by_phase) == [
        "idle",
        "search",
        "search/epoch",
        "search/epoch/draw",
        "search/epoch/evaluate",
        "retrain",
    ]
    epoch, draw = run.by_phase["search/epoch"], run.by_phase["search/epoch/draw"]
    assert (epoch.count, draw.count, draw.unresolved, epoch.unresolved) == (3, 3, True, False)
    assert epoch.energy_j == pytest.approx(3 * (9 + 0.006 + 2.5), rel=2e-3)
    assert epoch.self_j == pytest.approx(27, rel=2e-3)
    assert run.by_phase["search"].self_j == pytest.approx(0.8, rel=2e-2)
    assert abs(draw.energy_j - 0.018) <= draw.uncertainty_j
    assert epoch.readings == pytest.approx(3 * 1501, abs=3)


def test_every_instance_is_listed(run):
    assert len(run.phases) == 1 + 1 + 3 * 3 + 1 + 1
    first = run.phases[2]
    assert first["path"] == "search/epoch-0" and first["duration_s"] == pytest.approx(1.501)
    assert set(first) == {
        "path", "segment", "start_ns", "end_ns", "duration_s", "energy_j", "uncertainty_j", "common_j", "status",
        "reason", "interrupted", "failed",
    }  # fmt: skip


def test_every_rail_has_its_sums(run):
    assert set(run.rails) == {"sim/VDD_IN", "sim/GPU"}
    gpu = run.rails["sim/GPU"]
    assert gpu["total_j"] == pytest.approx(0.4 * run.total_j) and gpu["scope"] == "gpu"
    assert gpu["by_phase"]["retrain"] == pytest.approx(16, rel=2e-3)
    assert all(r["kind"] == "simulated" and r["status"] == "ok" and r["reason"] is None for r in run.rails.values())


def test_a_rail_that_was_read_for_a_part_of_the_training_says_so(tmp_path):
    other = dataclasses.replace(METER, name="socket", simulated=False)
    bench = Bench(tmp_path, [METER, other])
    bench.log.start()
    bench.phase("retrain", 20.0)
    bench.log.stop("success")
    bench.trace()
    bench.trace(other, end_s=11.0)
    rail = account(bench.rundir).rails["socket/VDD_IN"]
    assert rail["status"] == "partial" and rail["reason"] and rail["kind"] == "measured"
    assert rail["covered_s"] == pytest.approx(6.0, abs=0.01)


@pytest.mark.parametrize(("rate_hz", "is_resolved"), [(1000.0, True), (1.0, False)])
def test_idle_powers_are_compared_no_finer_than_they_were_read(tmp_path, rate_hz, is_resolved):
    bench = Bench(tmp_path)
    bench.log.start()
    for path in ("idle", "search", "idle"):
        bench.phase(path, 4.0)
        bench.steps.append((bench.now_ns, POWER_W["search"] if path == "search" else 2.2))
    bench.log.stop("success")
    bench.trace(rate_hz=rate_hz)
    found = account(bench.rundir).trace
    assert (found["idle_drift_uncertainty"] < 0.05) is is_resolved


def test_the_account_is_json(run):
    document = json.loads(json.dumps(dataclasses.asdict(run), allow_nan=False))
    assert account_from_json(document) == run


def test_the_checks_get_their_facts(run):
    facts = run.trace
    assert facts["rate_hz"] == pytest.approx(1000) and facts["missed"] == 0 and facts["damage"] is None
    assert facts["saturated"] == 0 and facts["longest_gap_s"] == pytest.approx(0.001)
    assert facts["readings"] > 14_000 and facts["cross_meter_ratio"] is None


def resumed(tmp_path: Path, second_s: float = 20.0) -> Bench:
    """Killed 2.5 s into retraining, resumed at `second_s` from a checkpoint taken 1 s into it; down in between."""
    bench = Bench(tmp_path)
    bench.log.start()
    begin_ns = bench.now_ns
    bench.log.begin("retrain")
    bench._open.append("retrain")
    bench._power()
    bench.now_ns += 2 * S
    bench.log.mark("alive")
    bench.trace(start_s=4.0, end_s=7.5)
    bench.log.close()
    bench._open.clear()
    bench.now_ns = round(second_s * S)
    bench.log = PhaseLog(bench.rundir.phases, clock=lambda: bench.now_ns)
    bench.log.start(restored={"segment": 0, "t_ns": begin_ns + S})
    bench.phase("retrain", 3.0)
    bench.log.stop("success")
    bench.trace(number=1, start_s=second_s - 1)
    return bench


def test_what_was_spent_before_a_crash_is_kept_and_what_was_done_twice_is_its_own_figure(tmp_path):
    found = account(resumed(tmp_path).rundir)
    assert found.total_j == pytest.approx(10 * 5.499, rel=2e-3)  # to the last reading, 2.499 s after the begin
    assert found.redone_j == pytest.approx(10 * 1.499, rel=2e-3)
    assert found.down_s == pytest.approx(20 - 7.499)
    assert [p["interrupted"] for p in found.phases] == [True, False]
    assert found.status == "ok" and found.by_phase["retrain"].count == 2


def test_nothing_is_interpolated_across_two_starts_of_the_sampler(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 10.0)
    bench.log.stop("success")
    bench.trace(end_s=8.0)
    bench.trace(number=1, start_s=8.5)
    found = account(bench.rundir, max_gap_s=5.0)
    assert found.covered_s == pytest.approx(9.499) and found.total_j == pytest.approx(94.99, rel=2e-3)
    assert found.status == "partial" and found.reason == "no reading for 0.501 s: the sampler was started again"
    (gap,) = found.gaps
    assert gap == {
        "meter": "sim",
        "start_ns": gap["start_ns"],
        "duration_s": 0.501,
        "reason": found.reason,
        "down": False,
    }


def test_many_steps_shorter_than_the_time_between_readings_have_a_useful_total(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("idle", 2.0)
    for number in range(200):
        bench.phase(f"step-{number}", 0.05)
        bench.now_ns += S // 1000
    bench.log.stop("success")
    bench.trace(rate_hz=5.0)
    found = account(bench.rundir)
    steps = found.by_phase["step"]
    assert (
        found.uncertainty_j < 0.1 * found.total_j and found.rails["sim/VDD_IN"]["uncertainty_j"] == found.uncertainty_j
    )
    assert steps.count == 200 and not steps.unresolved and steps.uncertainty_j < 0.1 * steps.energy_j
    assert steps.energy_j == pytest.approx(
        sum(p["energy_j"] for p in found.phases if p["path"].startswith("step")), rel=1e-12
    )


def test_a_training_of_short_stretches_is_charged_with_the_interval_of_its_own_account(tmp_path):
    """Each epoch ends with an evaluation that is not charged, and none of them holds a reading of its own."""
    bench = Bench(tmp_path)
    bench.log.start()

    def epochs():
        for number in range(1, 61):
            bench.phase(f"train/epoch-{number}", 0.05)
            bench.phase("train/evaluate", 0.005)

    bench.phase("train", 0.0, epochs)
    bench.log.stop("success")
    bench.trace(rate_hz=5.0)
    found, charge = account(bench.rundir), part_of(bench.rundir, "train", 60)
    assert charge["energy_j"] == pytest.approx(found.total_j, rel=1e-12) and charge["is_whole"]
    assert charge["uncertainty_j"] == pytest.approx(found.uncertainty_j, rel=1e-9)
    assert charge["duration_s"] == pytest.approx(found.duration_s) == pytest.approx(3.0)
    assert charge["components_j"] == pytest.approx(found.components_j, abs=1e-9)


def test_a_run_without_readings_has_no_energy_rather_than_none_spent(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 1.0)
    bench.log.stop("failed")
    found = account(bench.rundir)
    assert (found.total_j, found.uncertainty_j, found.net_j, found.status) == (None, None, None, "missing")
    assert found.by_phase["retrain"].energy_j is None and found.by_phase["retrain"].status == "missing"
    assert found.phases[0]["uncertainty_j"] is None and found.covered_s == 0
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_a_run_without_phases_is_missing(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.trace()
    found = account(bench.rundir)
    assert found.total_j == 0 or found.total_j is None
    assert found.status == "missing" and found.by_phase == {}


def test_a_hole_is_listed_with_its_reason(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 10.0)
    bench.log.stop("success")
    info = METER
    writer = TraceWriter(bench.rundir.trace("sim", 0), info, {})
    time_ns = np.concatenate((np.arange(4 * S, 8 * S, S // 100), np.arange(11 * S, 17 * S, S // 100)))
    writer.note(9 * S, "VDD_IN: Remote I/O error")
    writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), np.full((time_ns.size, 2), 10.0))
    writer.close()
    found = account(bench.rundir)
    assert len(found.gaps) == 1 and found.gaps[0]["meter"] == "sim"
    assert found.gaps[0]["duration_s"] == pytest.approx(3.01) and "Remote I/O error" in found.gaps[0]["reason"]
    assert found.status == "partial" and found.covered_s == pytest.approx(10 - 3.01)
    assert account(bench.rundir, max_gap_s=4).status == "ok"


def test_missed_slots_and_saturated_readings_are_counted(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 1.0)
    bench.log.stop("success")
    info = dataclasses.replace(METER, rails=(dataclasses.replace(RAILS[0], range_w=10.0), RAILS[1]))
    time_ns = np.arange(4 * S, 8 * S, S // 100)
    seq = np.arange(time_ns.size) + 3 * (np.arange(time_ns.size) >= 50)
    writer = TraceWriter(bench.rundir.trace("sim", 0), info, {})
    power_w = np.where(np.arange(time_ns.size) < 7, 10.0, 9.0)
    writer.extend(time_ns, np.zeros_like(time_ns), seq, np.stack((power_w, power_w), 1))
    writer.close()
    facts = account(bench.rundir, infos=[info]).trace
    assert (facts["missed"], facts["saturated"]) == (3, 7)


def test_two_meters_of_one_scope_are_compared(tmp_path):
    other = dataclasses.replace(METER, name="other")
    bench = Bench(tmp_path, (METER, other))
    bench.log.start()
    bench.phase("retrain", 5.0)
    bench.log.stop("success")
    bench.trace()
    bench.trace(other, scale=(1.1, 0.4), rate_hz=50)
    found = account(bench.rundir)
    assert found.trace["cross_meter_ratio"] == pytest.approx(1.1, rel=1e-2)
    assert found.rails["other/VDD_IN"]["total_j"] == pytest.approx(55, rel=1e-2)


def counter_and_power(tmp_path, counted_w, power_w, missing=slice(0)):
    """The account of ten seconds under a meter with a counter and a power that is not read for a while."""
    rail = Rail("GPU", "gpu")
    info = MeterInfo("nvml", "gpu", False, (rail,), (Column("GPU_w"), Column("GPU_j", 1e-3, True)), ("GPU",), 20.0)
    bench = Bench(tmp_path, (info,))
    bench.log.start()
    bench.phase("retrain", 10.0)
    bench.log.stop("success")
    time_ns = np.arange(4 * S, 17 * S, S // 20)
    counter = np.floor(time_ns / S * counted_w / 1e-3)  # in millijoules
    power = np.full(time_ns.size, power_w)
    power[missing] = np.nan
    writer = TraceWriter(bench.rundir.trace("nvml", 0), info, {})
    writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), np.stack((power, counter), 1))
    writer.close()
    return account(bench.rundir)


def test_a_counter_is_checked_against_the_power_beside_it(tmp_path):
    found = counter_and_power(tmp_path, 10.0, 9.5)
    assert found.total_j == pytest.approx(100, rel=1e-4) and found.kind == "measured"
    assert found.trace["counter_ratio"] == pytest.approx(0.95, rel=1e-3)
    assert found.trace["counter_ratio_uncertainty"] < 1e-3
    assert found.components_j["gain"] is None and found.components_j["counter"] > 0


def test_a_counter_is_checked_only_over_what_the_power_covers_too(tmp_path):
    found = counter_and_power(tmp_path, 10.0, 10.0, missing=slice(60, 160))
    assert found.total_j == pytest.approx(100, rel=1e-4)
    assert found.trace["counter_ratio"] == pytest.approx(1.0, rel=1e-3)


def test_another_boot_of_the_machine_has_another_clock(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 1.0)
    bench.log.stop("success")
    bench.trace(boot_id="another-boot")
    found = account(bench.rundir)
    assert found.total_j is None and "boot" in found.reason


def test_a_damaged_trace_is_used_as_far_as_it_is_whole(tmp_path):
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 70.0)
    bench.log.stop("success")
    bench.trace()
    path = bench.rundir.trace("sim", 0)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 200])
    found = account(bench.rundir)
    assert found.trace["damage"] and found.status in ("partial", "missing")


def test_a_trace_that_holds_nothing_is_reported_and_the_others_count(tmp_path):
    """A power cut just after the start of a sampler leaves an empty file."""
    bench = Bench(tmp_path)
    bench.log.start()
    bench.phase("retrain", 5.0)
    bench.log.stop("success")
    bench.trace()
    for number, content in enumerate((b"", b"\0" * 500), 1):
        bench.rundir.trace("sim", number).write_bytes(content)
    found = account(bench.rundir)
    assert found.total_j == pytest.approx(50, rel=1e-3) and found.status == "ok"
    assert "trace-sim-001" in found.trace["damage"] and "trace-sim-002" in found.trace["damage"]
    assert found.trace["bytes_lost"] == 500
    assert not compact(bench.rundir.trace("sim", 1)) and bench.rundir.trace("sim", 1).read_bytes() == b""


def test_the_time_between_two_starts_of_a_run_is_a_hole_and_no_fault_of_the_meter(tmp_path):
    found = account(resumed(tmp_path).rundir)
    (hole,) = [gap for gap in found.gaps if gap["down"]]
    assert "the run was down" in hole["reason"]
    assert hole["duration_s"] == pytest.approx(found.down_s, abs=1.0)
    longest = next(check for check in check_run(found) if check.name == "longest gap")
    assert longest.value == 0 and longest.verdict == "PASS"


def test_a_start_that_was_killed_before_it_began_does_not_prolong_the_run_before_it(tmp_path):
    bench = resumed(tmp_path)
    alone = account(bench.rundir)
    bench.rundir.trace("sim", 1).rename(bench.rundir.trace("sim", 2))
    bench.trace(number=1, start_s=12.0, end_s=12.02, segment=1)  # its sampler had read, its segment was not begun
    found = account(bench.rundir)
    assert found.down_s == alone.down_s and found.total_j == alone.total_j and found.redone_j == alone.redone_j
    assert found.status == "ok" and found.covered_s == found.duration_s == alone.duration_s
    assert all(gap["down"] and "the run was down" in gap["reason"] for gap in found.gaps)


def test_every_interval_speaks_of_its_own_time_only(tmp_path):
    bench = resumed(tmp_path)
    for number, (start_s, end_s) in enumerate(((4.0, 6.0), (21.0, 22.0))):
        bench.rundir.trace("sim", number).unlink()
        bench.trace(number=number, start_s=start_s, end_s=end_s)
    found = account(bench.rundir)
    first, second = [phase["reason"] for phase in found.phases]
    assert first == "the readings end 1 s before its end"
    assert "begin 1 s after its start" in second and "end 1 s before its end" in second
    assert found.reason == f"{first}; {second}"


def test_a_manifest_without_a_meter_is_one_clear_line(tmp_path):
    write_json(tmp_path / "manifest.json", {"meters": []})
    with pytest.raises(InputError, match="the manifest names no meter"):
        account(RunDir(tmp_path))


def test_the_same_files_give_the_same_account(tmp_path):
    bench = resumed(tmp_path)
    one: Dict[str, Any] = dataclasses.asdict(account(bench.rundir))
    assert dataclasses.asdict(account(bench.rundir)) == one
