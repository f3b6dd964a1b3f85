"""A calibration from end to end on simulated meters whose sensor is known; the load is only a phase, which the sensor follows."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "devices"))
from powercap_tree import PowercapTree

from ebbench import plugins
from ebbench.calibration import store as calibration_store
from ebbench.calibration.calibrate import calibrate, pattern
from ebbench.cli.calibrating import _print as show
from ebbench.clock import monotonic_ns
from ebbench.energy.account import account
from ebbench.energy.calibration import calibrated, constitution, misfit, summary
from ebbench.energy.step_response.plateaus import BUSY, HALF, IDLE
from ebbench.errors import ConfigError, MeterError, ResultError, UserError
from ebbench.measuring.monitor import EnergyMonitor
from ebbench.protocols import AVERAGE, HOLD, INSTANT, REMOTE, Column, MeterInfo, MeterRequest, Rail
from ebbench.rundir import RunDir, read_json
from ebbench.sealing.record import integrate_again
from ebbench_devices.rapl import RaplMeter

METER = "sim?averaging_s=0.04&noise_w=0.05&gain_error=0.05&offset_w=0.3&gain_u=0.01&offset_u_w=0.01&rate_hz=200"
REFERENCE = "sim?gain_u=0.0005&offset_u_w=0.002&noise_w=0.02"


def work(end_ns, share):
    """No work: the sensor follows the phase."""
    time.sleep(max(0.0, (end_ns - monotonic_ns()) / 1e9))


@pytest.fixture(autouse=True)
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "ebbench" / "calibration"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One calibration, made once: the document and what was kept on the disk."""
    home = tmp_path_factory.mktemp("calibration")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(home))
        return calibrate(METER, REFERENCE, work=work, seconds=5.0)


@pytest.fixture
def kept(found, shelf):
    """The same calibration as this test's user has it."""
    shelf.mkdir(parents=True)
    (shelf / found.path.name).write_bytes(found.path.read_bytes())
    return found


def measured(tmp_path, name, **options):
    with EnergyMonitor(METER, tmp_path / name, **options) as monitor:
        for _ in range(2):
            with monitor.phase("train"):
                time.sleep(0.25)
            with monitor.phase("prune"):
                time.sleep(0.15)
    return monitor.record


def truth_j(record):
    return sum(p["duration_s"] * {"train": 9.0, "prune": 5.0}[p["path"]] for p in record.energy.phases)


@pytest.mark.realtime
def test_a_known_sensor_is_found_again(found):
    """Within twice the k = 2 interval: how often that holds is what tests/energy/test_response.py counts."""
    fit = found.document["rails"]["VDD_IN"]
    response = fit["response"]
    assert response["model"] == "average"
    assert abs(response["delay_s"] - 0.02) <= 4 * response["delay_u_s"] < 0.006
    assert abs(response["width_s"] - 0.04) <= 4 * response["width_u_s"] < 0.02
    assert fit["idle_noise_w"] == pytest.approx(0.05, rel=0.2)
    comparison = found.document["comparison"]
    assert abs(1 / comparison["gain_correction"] - 1.05) <= 4 * 1.05 * comparison["gain_u"] < 0.04
    assert abs(comparison["offset_correction_w"] + 0.3 / 1.05) <= 4 * comparison["offset_u_w"] < 0.2


@pytest.mark.realtime
def test_what_is_kept_says_what_it_is_and_holds_its_evidence(found):
    document = json.loads(found.path.read_text())
    assert document == json.loads(json.dumps(found.document))
    assert document["format_version"] == 1 and document["simulated"] and document["meter"] == METER
    evidence = found.path.with_suffix(".raw")
    assert set(document["raw_sha256"]) == {"phases.jsonl", "trace-meter-000.arrows", "trace-reference-000.arrows"}
    assert calibration_store.hashes(evidence) == document["raw_sha256"]


@pytest.mark.realtime
def test_a_run_that_follows_is_right_where_it_was_wrong_before(kept, tmp_path):
    """Each phase by itself, and the total: with the calibration the truth is near, without it is far out.

    Near is twice the k = 2 interval: how often one holds the truth is what tests/energy/test_uncertainty.py counts.
    """
    with_it, without = measured(tmp_path, "with"), measured(tmp_path, "without", calibration=False)
    for record, is_right in ((with_it, True), (without, False)):
        off_j = abs(record.energy.total_j - truth_j(record))
        assert (off_j <= 2 * record.energy.uncertainty_j) is is_right
        assert record.meters[0]["calibration"]["applied"] is is_right
        for phase in record.energy.phases if is_right else ():
            true_w = {"train": 9.0, "prune": 5.0}[phase["path"]]
            assert abs(phase["energy_j"] - true_w * phase["duration_s"]) <= 2 * phase["uncertainty_j"]
    assert with_it.energy.uncertainty_j < without.energy.uncertainty_j
    assert without.meters[0]["calibration"]["reason"] == "left out on request"


@pytest.mark.realtime
def test_the_raw_trace_and_what_the_meter_said_stay_as_they_were(kept, tmp_path):
    record = measured(tmp_path, "run")
    folder = RunDir(tmp_path / "run")
    stated = read_json(folder.manifest)["meters"][0]
    assert stated["rails"][0]["gain_correction"] == 1.0 and stated["rails"][0]["gain_ratio"] == 0.01
    assert stated["calibration"]["comparison"] == kept.document["comparison"]
    kept_file = next(calibration_store.folder().glob("*.json"))
    kept_file.unlink()  # the record is a function of the run folder alone
    again, _ = integrate_again(folder)
    assert again.energy.total_j == record.energy.total_j and again.energy.uncertainty_j == record.energy.uncertainty_j


@pytest.mark.realtime
def test_a_meter_that_shows_no_load_is_refused_and_nothing_is_kept(shelf):
    with pytest.raises(ResultError, match="no distinct step"):
        calibrate("sim?train_w=2.5&noise_w=0.05", work=work, seconds=2.0)
    assert not shelf.exists()


class Package:
    """A processor whose register shows the energy that the load took `late_s` before."""

    late_s = 0.04

    def __init__(self, root):
        self._tree = PowercapTree(root)
        self._edges = [(monotonic_ns(), 5.0)]

    def work(self, end_ns, share):
        self._edges.append((monotonic_ns(), 5.0 + 20.0 * share))
        while monotonic_ns() < end_ns:
            self._tree.show("intel-rapl:0", round(1e6 * self._energy_j(monotonic_ns() - round(self.late_s * 1e9))))
            time.sleep(0.002)

    def _energy_j(self, until_ns):
        ends_ns = [t for t, _ in self._edges[1:]] + [until_ns]
        return 10 + sum(p * max(min(e, until_ns) - t, 0) for (t, p), e in zip(self._edges, ends_ns)) * 1e-9


@pytest.mark.realtime
def test_the_delay_of_an_energy_counter_is_found_and_used(shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path / "root"))
    package = Package(tmp_path / "root")
    found = calibrate("rapl", work=package.work, seconds=6.0, rate_hz=50.0)
    fit = found.document["rails"]["package_0"]
    response = fit["counter"]
    assert fit["response"] is None and abs(response["delay_s"] - 0.04) <= 4 * response["delay_u_s"] < 0.1
    stored = calibration_store.load(found.path.stem)
    known = calibrated(RaplMeter(MeterRequest()).open(), stored)
    assert known.rails[0].counter_delay_s == response["delay_s"] and known.rails[0].counter_averaging_s > 0
    assert f"package_0 its counter {response['delay_s'] * 1e3:.3g} ± " in summary(stored)
    show(found.document)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("package_0 (counter)")]
    assert f"{response['delay_s'] * 1e3:.3g} ± " in row and row.rstrip().endswith("–")


def test_a_calibration_knows_power_and_counter_each_by_its_own_response():
    of = info(columns=("A_w", "A_j"))
    both = document(of)
    both["rails"]["A"]["counter"] = {**RESPONSE, "delay_s": 0.1, "delay_u_s": 0.003, "width_s": 0.0, "width_u_s": 0.06,
                                     "model": INSTANT}  # fmt: skip
    rail = calibrated(of, both).rails[0]
    assert (rail.delay_s, rail.averaging_s) == (0.02, 0.04)
    assert (rail.counter_delay_s, rail.counter_delay_u_s, rail.counter_averaging_s) == (0.1, 0.003, 0.06)
    alone = document(of)
    alone["rails"]["A"].update(counter=both["rails"]["A"]["counter"], response=None)
    rail = calibrated(of, alone).rails[0]
    assert (rail.delay_s, rail.averaging_s, rail.counter_delay_s) == (None, 0.0, 0.1)
    of = dataclasses.replace(of, clock=REMOTE)
    assert calibrated(of, document(of, rails=both["rails"])).rails[0].counter_delay_s is None


def test_a_reference_that_cannot_be_opened_or_does_not_know_itself_is_said_before_any_load(shelf, tmp_path):
    (tmp_path / "log.csv").write_text("time_s,P_w\n0,1\n1,1\n")

    def never(end_ns, share):
        raise AssertionError("no load is wanted")

    (tmp_path / "counter.csv").write_text("time_s,P_j\n0,1\n1,2\n")
    for reference, fault in (
        ("replay:none.csv", "none.csv"),
        (f"replay:{tmp_path}/log.csv?scope=module", "does not say how well"),
        (f"replay:{tmp_path}/counter.csv?scope=module", "reference .replay. gives no power to compare, only an energy"),
    ):
        with pytest.raises((UserError, MeterError), match=fault):
            calibrate("sim", reference, work=never, seconds=2.0)
    assert not shelf.exists()


def test_times_out_of_reason_are_refused():
    for seconds in (0.0, 1e6):
        with pytest.raises(ConfigError, match="outside"):
            calibrate("sim", work=work, seconds=seconds)


def test_the_pattern_is_of_the_length_asked_for_and_in_step_with_nothing():
    for with_half in (False, True):
        loads = pattern(60.0, with_half)
        assert sum(length_s for _, length_s in loads) == pytest.approx(60.0)
        assert all(one != other for (one, _), (other, _) in zip(loads, loads[1:]))
        assert len({round(length_s, 6) for _, length_s in loads}) == len(loads)
        assert {name for name, _ in loads} == ({IDLE, HALF, BUSY} if with_half else {IDLE, BUSY})


RESPONSE = {
    "model": "average", "delay_s": 0.02, "delay_u_s": 0.001, "width_s": 0.04, "width_u_s": 0.001, "step_w": 6.0, "step_u_w": 0.1,
    "edges": 16, "rising_delay_s": 0.02, "falling_delay_s": 0.02,
}  # fmt: skip
COMPARISON = {"gain_correction": 0.9, "offset_correction_w": -0.1, "gain_u": 0.001, "offset_u_w": 0.002}


def info(columns=("A_w",), total=("A",), **changes):
    rails = (Rail("A", "module", gain_ratio=0.02, resolution_w=0.1, range_w=10.0), Rail("B", "rail", inside_of="A"))
    made = MeterInfo("m", "module", False, rails, tuple(Column(c) for c in columns), total, 10.0)
    return dataclasses.replace(made, **changes)


def document(of, response=None, **changes):
    fit = {"response": {**RESPONSE, **(response or {})}, "update_period_s": None, "resolution_w": None}
    made = {"format_version": 1, "simulated": of.simulated, "constitution": constitution(of), "rails": {"A": fit}}
    return {**made, "comparison": COMPARISON, **changes}


def test_a_calibration_changes_the_rails_it_is_of_and_no_other():
    rail, other = calibrated(info(), document(info())).rails
    assert (rail.kind, rail.delay_s, rail.delay_u_s, rail.averaging_s) == (AVERAGE, 0.02, 0.001, 0.04)
    assert (rail.gain_correction, rail.offset_correction_w, rail.gain_ratio, rail.offset_w) == (0.9, -0.1, 0.001, 0.002)
    assert rail.range_w == pytest.approx(8.9) and rail.resolution_w == pytest.approx(0.09)
    assert other == info().rails[1]


def test_readings_are_corrected_only_where_they_are_the_whole_total_and_no_counter():
    for of in (info(total=("A", "B")), info(columns=("A_w", "A_j"))):
        rail = calibrated(of, document(of)).rails[0]
        assert (rail.gain_correction, rail.gain_ratio, rail.delay_s) == (1.0, 0.02, 0.02)


def test_the_delay_of_a_meter_with_its_own_clock_is_left_to_the_alignment_of_each_run():
    of = info(clock=REMOTE)
    rail = calibrated(of, document(of)).rails[0]
    assert (rail.delay_s, rail.delay_u_s, rail.averaging_s) == (None, 0.0, 0.04)


def test_a_sharp_register_holds_and_a_sharp_meter_does_not_average():
    sharp = {"model": INSTANT, "width_s": 0.0}
    renewed = document(info(), sharp)
    renewed["rails"]["A"]["update_period_s"] = 0.1
    rail = calibrated(info(), renewed).rails[0]
    assert (rail.kind, rail.update_period_s, rail.averaging_s) == (HOLD, 0.1, 0.0)
    assert calibrated(info(), document(info(), sharp)).rails[0].kind == INSTANT


@pytest.mark.parametrize(
    "now, then, reason",
    [
        (info(), document(info(), format_version=2), "format 2"),
        (info(simulated=True), document(info()), "simulated"),
        (info(columns=("A_v", "A_a")), document(info()), "columns changed"),
        (info(total=("B",)), document(info()), "total changed"),
        (info(identity={"uuid": "GPU-1"}), document(info(identity={"uuid": "GPU-2"})), "identity changed"),
        (info(rails=(Rail("A", "module", averaging_s=0.1, kind=AVERAGE),)), document(info()), "rails changed"),
    ],
)
def test_a_calibration_of_another_meter_is_not_used_and_the_reason_is_said(now, then, reason):
    assert reason in misfit(now, then) and calibrated(now, then) == now


def test_each_address_and_each_option_is_a_meter_of_its_own(monkeypatch):
    names = {
        calibration_store.key("tx2", "scpi", "10.0.0.1", {}),
        calibration_store.key("tx2", "scpi", "10.0.0.2", {}),
        calibration_store.key("tx2", "scpi", "10.0.0.1", {"gain_u": "0.1"}),
        calibration_store.key("tx2", "scpi", None, {}),
        calibration_store.key("nano", "scpi", None, {}),
    }
    assert len(names) == 5
    assert calibration_store.key("../up", "a/b", "../../c", {}).count("/") == 0


def test_the_serial_number_of_the_board_is_in_no_name(tmp_path, monkeypatch):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/serial-number").write_bytes(b"1421619012345\0")
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    name = calibration_store.machine()
    assert len(name) == 12 and "14216" not in name
    (tmp_path / "proc/device-tree/serial-number").write_bytes(b"1421619012346\0")
    assert calibration_store.machine() != name
    (tmp_path / "proc/device-tree/serial-number").unlink()
    assert calibration_store.machine() == "unknown"


def test_a_damaged_calibration_is_said_and_never_skipped(shelf):
    shelf.mkdir(parents=True)
    name = calibration_store.key("tx2", "sim", None, {})
    (shelf / f"{name}.json").write_text("{")
    with pytest.raises(UserError, match="--no-calibration"):
        calibration_store.load(name)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d.update(rails={}), "has no rails"),
        (lambda d: d.update(rails=3), "has no rails"),
        (lambda d: d["rails"]["A"].pop("response"), "lacks a part"),
        (lambda d: d["rails"]["A"]["response"].pop("delay_s"), "lacks a part"),
        (lambda d: d["rails"]["A"]["response"].update(delay_s="late"), "no number"),
        (lambda d: d["rails"]["A"].update(response=None), "shows nothing"),
        (lambda d: d["rails"]["A"].update(counter={"delay_s": 0.1}), "lacks a part"),
        (lambda d: d["rails"]["A"].update(counter={**RESPONSE, "delay_u_s": -0.1}), "no number"),
        (lambda d: d["rails"]["A"].update(update_period_s=float("nan")), "no number"),
        (lambda d: d["comparison"].update(gain_correction=-5.0), "cannot be"),
        (lambda d: d["comparison"].update(gain_correction=None), "cannot be"),
        (lambda d: d["comparison"].pop("offset_u_w"), "cannot be"),
        (lambda d: d.update(comparison=[]), "cannot be"),
    ],
)
def test_a_calibration_that_somebody_changed_is_said_and_never_believed(shelf, change, fault):
    shelf.mkdir(parents=True)
    name = calibration_store.key("tx2", "sim", None, {})
    changed = json.loads(json.dumps(document(info())))
    change(changed)
    (shelf / f"{name}.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match=f"damaged: .*{fault}.*--no-calibration"):
        calibration_store.load(name)


def test_a_damaged_calibration_ends_a_measurement_before_anything_is_written(shelf, tmp_path):
    shelf.mkdir(parents=True)
    board = plugins.choose_board()
    name = calibration_store.key(board.name if board else None, "sim", None, {})
    (shelf / f"{name}.json").write_text("{")
    with pytest.raises(UserError, match="--no-calibration"), EnergyMonitor("sim", tmp_path / "run"):
        raise AssertionError("nothing is measured")
    assert not (tmp_path / "run").exists()


def test_a_newer_calibration_takes_the_place_of_the_older_with_its_evidence(tmp_path, shelf):
    for content in ("one", "two"):
        raw = tmp_path / content
        raw.mkdir()
        (raw / f"{content}.txt").write_text(content)
        path = calibration_store.save("name", {"is": content}, raw)
    assert read_json(path) == {"is": "two"} and [p.name for p in (shelf / "name.raw").iterdir()] == ["two.txt"]
    assert sorted(p.name for p in shelf.iterdir()) == ["name.json", "name.raw"]


def test_a_run_folder_from_before_there_were_calibrations_is_still_read(tmp_path):
    with EnergyMonitor("sim", tmp_path / "run") as monitor, monitor.phase("train"):
        time.sleep(0.05)
    folder = RunDir(tmp_path / "run")
    manifest = read_json(folder.manifest)
    del manifest["meters"][0]["calibration"]
    folder.manifest.write_text(json.dumps(manifest))
    assert account(folder).total_j == monitor.record.energy.total_j
