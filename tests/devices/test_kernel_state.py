from __future__ import annotations

import os
import stat

import pytest
from fake_boards import write

from ebbench_devices.kernel.state import KernelState, mode_number


@pytest.fixture
def orin(fake_board):
    """An AGX Orin with the files that L4T 36 shows."""
    root = fake_board("agx-orin").root
    write(root / "var/lib/nvpmodel/status", "pmode:0002 fmode:quiet\n")
    zones = {"cpu-thermal": "45125", "gpu-thermal": "43000", "PMIC-Die": "100000", "cv0-thermal": "Input/output error"}
    for number, (kind, millidegrees) in enumerate(zones.items()):
        write(root / f"sys/class/thermal/thermal_zone{number}/type", kind + "\n")
        write(root / f"sys/class/thermal/thermal_zone{number}/temp", millidegrees + "\n")
    cooling = {
        "pwm-fan": 2,
        "cpufreq-cpu0": 0,
        "17000000.ga10b": 0,
        "gpu-throttle-alert": 0,
        "hot-surface-alert": 1,
        "devfreq-17000000.gpu": 0,
    }
    for number, (kind, state) in enumerate(cooling.items()):
        write(root / f"sys/class/thermal/cooling_device{number}/type", kind + "\n")
        write(root / f"sys/class/thermal/cooling_device{number}/cur_state", f"{state}\n")
    for policy in ("policy0", "policy4"):
        for name, text in (
            ("scaling_cur_freq", "729600"),
            ("scaling_min_freq", "115200"),
            ("scaling_max_freq", "2201600"),
            ("scaling_governor", "schedutil"),
        ):
            write(root / f"sys/devices/system/cpu/cpufreq/{policy}/{name}", text + "\n")
    for name, text in (
        ("cur_freq", "306000000"),
        ("min_freq", "306000000"),
        ("max_freq", "1300500000"),
        ("governor", "nvhost_podgov"),
    ):
        write(root / f"sys/class/devfreq/17000000.gpu/{name}", text + "\n")
    write(root / "sys/devices/system/cpu/online", "0-11\n")
    write(root / "sys/class/hwmon/hwmon3/oc3_event_cnt", "37\n")
    write(root / "sys/class/hwmon/hwmon2/pwm1", "66\n")
    return root


def test_everything_that_the_kernel_shows_is_read(orin):
    found = KernelState(None, os.getpid()).read()
    assert found["power_mode"] == "2"
    assert found["temperature_c"] == {"cpu-thermal": 45.125, "gpu-thermal": 43.0}
    assert found["clock_hz"] == {"cpu policy0": 729_600_000, "cpu policy4": 729_600_000, "17000000.gpu": 306_000_000}
    assert found["settings"]["policy4/scaling_governor"] == "schedutil" and found["settings"]["cpu online"] == "0-11"
    assert found["throttled"] == [] and found["throttle_counts"] == {"sys/class/hwmon/hwmon3/oc3_event_cnt": 37}
    assert found["fan"] == {"hwmon2/pwm1": 66}


@pytest.mark.parametrize(("number", "slows"), [(0, False), (1, True), (2, True), (3, True), (4, False), (5, True)])
def test_what_slows_the_board_is_told_from_what_cools_it(orin, number, slows):
    write(orin / f"sys/class/thermal/cooling_device{number}/cur_state", "3\n")
    throttled = KernelState(None, os.getpid()).read()["throttled"]
    assert [name.rpartition(" ")[2] for name in throttled] == ([f"cooling_device{number}"] if slows else [])


def test_a_file_that_fails_or_goes_away_is_left_out_until_it_is_back(orin):
    state = KernelState(None, os.getpid())
    zone = orin / "sys/class/thermal/thermal_zone0/temp"
    zone.unlink()
    assert state.read()["temperature_c"] == {"gpu-thermal": 43.0}
    write(zone, "46000\n")
    assert state.read()["temperature_c"]["cpu-thermal"] == 46.0


def test_a_machine_that_shows_nothing_has_no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert KernelState(None, os.getpid()).read() == {}


def test_where_the_status_file_is_hidden_nvpmodel_is_asked_once_a_minute(orin, tmp_path, monkeypatch):
    (orin / "var/lib/nvpmodel/status").unlink()
    program = tmp_path / "bin/nvpmodel"
    warning = "NVPM WARN: fan mode is not set!"
    write(program, f'#!/bin/sh\necho asked >> {tmp_path}/asked\nprintf "{warning}\\nNV Power Mode: MODE_30W\\n2\\n"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    state = KernelState(None, os.getpid())
    assert {state.read()["power_mode"] for _ in range(61)} == {"2"}
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "0"),
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n", "2"),
        ("NVPM ERROR: failed\n", None),
        ("", None),
    ],
)
def test_the_mode_is_the_number_below_its_name(said, mode):
    assert mode_number(said) == mode
