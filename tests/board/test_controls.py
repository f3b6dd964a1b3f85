"""The programs that change a board: what is asked of them, what their answers are taken for, and what is put back."""

from __future__ import annotations

import pytest
from fake_programs import FakePrograms

from ebbench import plugins
from ebbench.errors import ConfigError, DeviceError
from ebbench_devices.nvidia.nvidia_smi import NvidiaSmiControl
from ebbench_devices.nvidia.nvpmodel import NvpmodelControl
from ebbench_devices.nvidia.programs import run


@pytest.fixture
def control(jetson, no_root):
    return NvpmodelControl(None)


def test_mode_and_clocks_are_changed_and_put_back(jetson, control, tmp_path):
    before = control.store("MODE_15W", True, tmp_path)
    assert control.apply("MODE_15W", True) == {"power_mode": "1", "clocks_locked": True}
    assert (jetson.mode, jetson.clocks) == ("1", "locked")
    assert control.restore(before, True) == {"power_mode": "2", "clocks_locked": False}
    assert (jetson.mode, jetson.clocks) == ("2", "free")
    assert jetson.calls == [
        "jetson_clocks --store", "nvpmodel -m 1", "jetson_clocks ", "nvpmodel -m 2", "jetson_clocks --restore",
    ]  # fmt: skip


def test_what_is_as_asked_already_is_not_set_again(jetson, control, tmp_path):
    before = control.store("2", False, tmp_path)
    assert control.apply("2", False)["power_mode"] == "2"
    control.restore(before, True)
    assert jetson.calls == []


def test_a_mode_that_needs_a_reboot_is_refused_and_nothing_hangs(jetson, control):
    with pytest.raises(DeviceError, match=r"mode 3 cannot be entered without a reboot: `sudo nvpmodel -m 3`.*YES"):
        control.apply("MODE_50W", False)
    assert jetson.mode == "2"


def test_a_mode_that_does_not_take_although_all_went_well_is_an_error(jetson, control):
    jetson.break_("broken")
    with pytest.raises(DeviceError, match="left the board in mode 2: NVPM ERROR: failed to set"):
        control.apply("1", False)


def test_without_root_and_password_the_rule_for_sudo_is_given(jetson, control, tmp_path):
    jetson.break_("sudo_refuses")
    with pytest.raises(DeviceError, match=r"NOPASSWD: .*/nvpmodel") as caught:
        control.apply("1", False)
    assert "\n" not in str(caught.value) and jetson.mode == "2"
    with pytest.raises(DeviceError, match=r"NOPASSWD: .*/jetson_clocks"):
        control.store(None, True, tmp_path)


def test_without_sudo_it_says_that_root_is_needed(jetson, control, monkeypatch):
    (jetson.bin / "sudo").unlink()
    monkeypatch.setenv("PATH", str(jetson.bin))
    monkeypatch.setattr("ebbench_devices.nvidia.programs.SYSTEM_FOLDERS", str(jetson.bin))
    with pytest.raises(DeviceError, match="needs root, and there is no sudo"):
        run("nvpmodel", "-m", "1", as_root=True)


def test_after_a_reboot_only_the_mode_is_put_back(jetson, control, tmp_path):
    before = control.store("1", True, tmp_path)
    control.apply("1", True)
    jetson.clocks = "the kernel's own"
    control.restore(before, False)
    assert (jetson.mode, jetson.clocks) == ("2", "the kernel's own")
    assert not list(tmp_path.glob("clocks-*"))


@pytest.mark.parametrize(
    ("asked", "told"), [("MODE_15", r"MODE_15W"), ("9", r"no such mode.*3 MODE_50W"), ("-m 0; reboot", "no such mode")]
)
def test_an_unknown_mode_is_refused_before_anything_is_done(jetson, control, asked, told):
    with pytest.raises(ConfigError, match=told):
        control.check(asked, False)
    assert jetson.calls == []


def test_without_the_list_of_modes_a_number_is_taken_and_a_name_is_not(jetson, control, tmp_path):
    (tmp_path / "root/etc/nvpmodel.conf").unlink()
    control.check("1", False)
    with pytest.raises(ConfigError, match="give the mode's number"):
        control.check("MAXN", False)


def test_a_jetson_is_changed_by_nvpmodel_and_a_pc_by_nvidia_smi(jetson, tmp_path, monkeypatch):
    assert plugins.choose_control("MAXN", False, None).control == "nvpmodel"
    assert plugins.choose_control(None, False, None) is None
    pc = tmp_path / "pc"
    pc.mkdir()
    monkeypatch.setenv("PATH", FakePrograms(pc, ("nvidia-smi",)).path.partition(":")[0])
    monkeypatch.setattr("ebbench_devices.nvidia.programs.SYSTEM_FOLDERS", "")
    with pytest.raises(ConfigError, match="--lock-clocks: this machine has none of nvidia-smi, nvpmodel"):
        plugins.choose_control(None, True, None)
    driver = tmp_path / "root/proc/driver/nvidia/version"
    driver.parent.mkdir(parents=True)
    driver.write_text("NVRM version: 550\n")
    monkeypatch.setenv("PATH", f"{pc / 'bin'}:/usr/bin:/bin")
    assert plugins.choose_control(None, True, None).control == "nvidia-smi"
    with pytest.raises(ConfigError, match="no power modes"):
        plugins.choose_control("0", False, None)


@pytest.fixture
def pc(tmp_path, monkeypatch, no_root):
    programs = FakePrograms(tmp_path, ("nvidia-smi", "sudo"))
    monkeypatch.setenv("PATH", programs.path)
    return programs


@pytest.mark.parametrize("persistence", ["Enabled", "Disabled"])
def test_a_gpus_clocks_are_locked_and_freed_and_persistence_is_as_before(pc, tmp_path, persistence):
    pc.persistence = persistence
    control = NvidiaSmiControl("aaaa")
    before = control.store(None, True, tmp_path)
    assert control.apply(None, True) == {"gpu": "GPU-aaaa", "clocks_locked": True, "clock_hz": 1_980_000_000}
    assert (pc.clocks, pc.persistence) == ("1980,1980", "Enabled")
    control.restore(before, True)
    assert (pc.clocks, pc.persistence) == ("free", persistence)


def test_a_gpu_that_cannot_lock_and_says_so_with_exit_code_0_is_an_error(pc):
    pc.break_("no_lock")
    with pytest.raises(DeviceError, match="not supported for GPU"):
        NvidiaSmiControl(None).apply(None, True)


def test_a_gpu_that_is_not_there_is_refused(pc):
    with pytest.raises(ConfigError, match="which GPU is meant"):
        NvidiaSmiControl("bbbb").check(None, True)
