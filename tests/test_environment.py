from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ebbench import environment


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    return tmp_path


def test_a_replaced_root_counts_as_simulated_and_the_real_one_does_not(monkeypatch, tmp_path):
    for value, simulated in (("", False), ("/", False), ("//", False), (str(tmp_path), True)):
        monkeypatch.setenv("EBBENCH_SYSFS_ROOT", value)
        assert environment.is_simulated_root() is simulated
    monkeypatch.delenv("EBBENCH_SYSFS_ROOT")
    assert not environment.is_simulated_root() and str(environment.sysfs_root()) == "/"


def test_an_absolute_path_stays_below_the_root(root):
    assert environment.below_root("/sys/x") == root / "sys/x"


def test_a_jetson_is_described_from_its_files(root):
    write(root / "etc/nv_tegra_release", "# R32 (release), REVISION: 7.6, GCID: 1, BOARD: t186ref, EABI: aarch64\n")
    write(root / "proc/device-tree/model", "quill\0")
    write(root / "proc/device-tree/compatible", "nvidia,p2597-0000+p3310-1000\0nvidia,tegra186\0")
    write(root / "proc/cpuinfo", "processor : 0\nmodel name : ARMv8\nFeatures : fp asimd aes\n")
    write(root / "var/lib/nvpmodel/status", "pmode:0003 fmode:fanNull\n")
    write(root / "sys/class/thermal/thermal_zone0/type", "GPU-therm\n")
    write(root / "sys/class/thermal/thermal_zone0/temp", "41500\n")
    write(root / "sys/class/thermal/thermal_zone1/type", "PMIC-Die\n")
    write(root / "sys/class/thermal/thermal_zone1/temp", "100000\n")
    found = environment.describe()
    assert found["l4t"] == "32.7.6" and found["power_mode"] == "3" and found["simulated_root"]
    assert found["device_tree"] == {"model": "quill", "compatible": ["nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"]}
    assert found["cpu"]["model"] == "ARMv8" and found["cpu"]["flags"] == ["asimd"]
    assert environment.hottest_c() == pytest.approx(41.5) and environment.is_jetson()


def test_what_cannot_be_read_is_none(root):
    found = environment.describe()
    assert found["l4t"] is None and found["power_mode"] is None and found["device_tree"]["model"] is None
    assert environment.hottest_c() is None and not environment.is_jetson() and not found["container"]


def test_the_device_tree_is_found_where_proc_does_not_show_it(root):
    write(root / "sys/firmware/devicetree/base/model", "NVIDIA Jetson Orin Nano\n")
    assert environment.device_tree() == ("NVIDIA Jetson Orin Nano", [])


def test_a_release_of_a_form_unknown_to_us_is_still_a_jetson(root):
    write(root / "etc/nv_tegra_release", "something new\n")
    assert environment.l4t_release() == "something new" and environment.is_jetson()


def test_the_description_is_json_and_names_this_machine():
    found = json.loads(json.dumps(environment.describe(), allow_nan=False))
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert found["packages"]["numpy"] and found["cpu"]["count"] >= 1 and len(found["boot_id"]) > 10


def test_the_git_state_is_the_commit_and_whether_files_differ(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert environment.git_state(tmp_path) is None
    git("init", "-q")
    write(tmp_path / "file", "one")
    git("add", "file")
    git("commit", "-qm", "one")
    assert environment.git_state(tmp_path)["dirty"] is False
    write(tmp_path / "file", "two")
    state = environment.git_state(tmp_path)
    assert state["dirty"] is True and len(state["commit"]) == 12


def test_describing_the_machine_does_not_import_torch():
    code = "import sys; from ebbench.environment import describe; describe(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
