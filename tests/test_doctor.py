from __future__ import annotations

import pytest

from ebbench import doctor, environment
from ebbench.energy.sampler_process.sweeps import LIBRARY


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


def test_sweeps_that_were_not_compiled_are_said_with_what_mends_it(tmp_path):
    (found,) = doctor.sampler_findings(tmp_path / "missing.so")
    assert (found["name"], found["verdict"]) == ("sampler", "warn")
    assert "apt install gcc" in found["advice"]
    assert list(doctor.sampler_findings()) == [] or not LIBRARY.exists()


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
