from __future__ import annotations

import numpy as np
import pytest

from ebbench import doctor, environment
from ebbench.clock import read_clocks
from ebbench.energy.trace import Chunk
from ebbench.errors import ConfigError
from ebbench.protocols import Column, MeterInfo, Rail

S = 1_000_000_000


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def jetson(root):
    write(root / "etc/nv_tegra_release", "# R32 (release), REVISION: 7.6, GCID: 1\n")


def row(name, available, present, simulated=False):
    return {
        "name": name, "available": available, "present": present, "scope": "module", "simulated": simulated, "reason": "why",
    }  # fmt: skip


def test_a_jetson_whose_torch_sees_no_gpu_is_told_how_to_get_one(root):
    assert doctor.torch_finding(lambda: False)["verdict"] == "ok"
    jetson(root)
    found = doctor.torch_finding(lambda: False)
    assert found["verdict"] == "fail" and "--system-site-packages" in found["advice"]
    assert doctor.torch_finding(lambda: True)["verdict"] == "ok"


def test_a_torch_that_is_missing_or_broken_fails(root, monkeypatch):
    assert doctor.torch_finding(lambda: None)["verdict"] == "fail"
    monkeypatch.setattr(environment, "package_version", lambda name: None)
    assert doctor.torch_finding(lambda: True)["found"] == "not installed"


def test_a_pc_with_a_gpu_needs_a_torch_and_a_library_for_it(root, monkeypatch):
    write(root / "proc/driver/nvidia/version", "NVRM version: 550\n")
    assert doctor.torch_finding(lambda: False)["advice"].startswith("pip install")
    monkeypatch.setattr(environment, "package_version", lambda name: None)
    assert [(f["name"], f["verdict"]) for f in doctor.library_findings()] == [("nvidia-ml-py", "fail")]


def test_a_jetson_that_hides_its_device_tree_is_asked_for_its_name(root):
    assert doctor.board_finding(None)["verdict"] == "ok"
    jetson(root)
    found = doctor.board_finding(None)
    assert found["verdict"] == "warn" and "--board" in found["advice"]


def test_a_meter_that_is_here_but_blocked_fails_with_the_fix(monkeypatch):
    monkeypatch.delenv("EBBENCH_SYSFS_ROOT", raising=False)
    blocked = list(doctor.meter_findings([row("ina3221", False, True), row("sim", True, True, True)]))
    assert (blocked[0]["verdict"], blocked[0]["advice"]) == ("fail", "why")
    works = list(doctor.meter_findings([row("nvml", True, True), row("sim", True, True, True)]))
    assert [f["verdict"] for f in works] == ["ok"]
    none = list(doctor.meter_findings([row("nvml", False, False), row("sim", True, True, True)]))
    assert [f["verdict"] for f in none] == ["warn"] and "--meter sim" in none[0]["advice"]


def test_below_a_replaced_root_it_says_that_all_is_simulated(root):
    found = list(doctor.meter_findings([row("ina3221", True, True, True)]))
    assert [f["verdict"] for f in found] == ["ok", "warn"] and "unset EBBENCH_SYSFS_ROOT" in found[1]["advice"]


def test_a_battery_and_moving_clocks_are_warned_of(root):
    write(root / "sys/class/power_supply/BAT0/type", "Battery\n")
    write(root / "sys/class/power_supply/BAT0/status", "Discharging\n")
    write(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n")
    found = {f["name"]: f for f in doctor.power_findings()}
    assert found["battery"]["verdict"] == found["cpu clocks"]["verdict"] == "warn"
    assert found["cpu clocks"]["advice"].startswith("sudo ")


@pytest.mark.parametrize(("free", "verdict"), [(1 << 20, "fail"), (1 << 30, "warn"), (1 << 40, "ok")])
def test_a_full_disk_is_seen_before_a_run(tmp_path, monkeypatch, free, verdict):
    monkeypatch.setattr("ebbench.doctor.shutil.disk_usage", lambda folder: type("Usage", (), {"free": free}))
    assert doctor.disk_finding(tmp_path)["verdict"] == verdict


def test_every_finding_has_its_four_parts(monkeypatch):
    monkeypatch.setattr(doctor, "_ask_torch", lambda: False)
    for found in doctor.diagnose():
        assert set(found) == {"name", "verdict", "found", "advice"} and found["verdict"] in ("ok", "warn", "fail")
        assert found["verdict"] == "ok" or found["advice"]


def info_of(columns, total):
    rails = dict.fromkeys(name[:-2] for name in columns)
    return MeterInfo(
        "m", "module", True, tuple(Rail(r, "rail") for r in rails), tuple(Column(c) for c in columns), total, 10.0
    )


def chunk_of(**values):
    count = len(next(iter(values.values())))
    time_ns = np.arange(count) * (S // 10)
    arrays = {name: np.array(v, dtype=float) for name, v in values.items()}
    return Chunk(time_ns, np.zeros(count, np.int64), np.arange(count), arrays, read_clocks(), (), {})


def test_a_sample_sums_up_the_rails_of_the_total():
    chunk = chunk_of(A_w=[1, 2, 3, 4, 99], B_w=[5, 5, np.nan, 5, 99])
    found = doctor.summarise(info_of(["A_w", "B_w"], ("A", "B")), chunk, 0, 0.4, {"missed": 2, "asked_hz": 10.0})
    assert found["rails"]["A"] == {"mean_w": 2.5, "min_w": 1.0, "max_w": 4.0, "readings": 4}
    assert found["rails"]["B"]["readings"] == 3 and found["total_w"] == pytest.approx(7.5)
    assert (found["missed"], found["rate_hz"]) == (2, pytest.approx(10.0))


def test_a_sample_without_a_total_or_with_a_dead_one_has_none():
    chunk = chunk_of(A_w=[1, 2], B_w=[np.nan, np.nan])
    for total in ((), ("A", "B")):
        found = doctor.summarise(info_of(["A_w", "B_w"], total), chunk, 0, 1.0, {"missed": None, "asked_hz": 10.0})
        assert found["total_w"] is None and found["missed"] == 8
    assert found["rails"]["B"] == {"mean_w": None, "min_w": None, "max_w": None, "readings": 0}


def test_the_mean_power_of_a_counter_is_its_rise_over_the_time():
    found = doctor.summarise(
        info_of(["A_j"], ("A",)), chunk_of(A_j=[0, 1, 2, 3]), 0, 1.0, {"missed": 0, "asked_hz": 10.0}
    )
    assert found["total_w"] == pytest.approx(10.0)


@pytest.mark.realtime
def test_a_simulated_meter_can_be_sampled():
    found = doctor.sample("sim?idle_w=3", seconds=0.5)
    assert found["simulated"] and found["total_w"] == pytest.approx(3.0) and found["missed"] <= 1
    assert found["rate_hz"] == pytest.approx(100, rel=0.05)


def test_a_wrong_time_or_meter_is_said_before_anything_starts():
    for arguments in (("sim", 0.0), ("sim", 1.0, -5.0), ("smi", 1.0)):
        with pytest.raises(ConfigError):
            doctor.sample(*arguments)
