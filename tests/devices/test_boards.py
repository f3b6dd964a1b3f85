from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner
from fake_boards import KINDS, R32, write

from ebbench import plugins
from ebbench.cli import cli
from ebbench.errors import ConfigError, MeterError
from ebbench_devices.boards import FOLDER, builtin_boards, load_board

BOARDS = {board.name: board for board in builtin_boards()}


def test_the_boards_of_the_documentation_are_there():
    assert set(BOARDS) >= {
        "tx1", "tx2", "tx2-nx", "nano", "xavier-nx", "agx-xavier", "orin-nano", "orin-nx", "agx-orin", "thor", "pc-nvidia",
    }  # fmt: skip
    assert all(
        board.name.replace("-", "_") + ".toml" in {f.name for f in FOLDER.iterdir()} for board in BOARDS.values()
    )


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_no_rail_of_a_total_lies_inside_another_of_it(board):
    inside_of = {rail["name"]: rail.get("inside_of") for rail in board.facts.get("rails", [])}
    for name in [*board.facts["total"], *board.facts.get("devkit_total", [])]:
        around = inside_of[name]
        while around is not None:
            assert around not in board.facts["total"]
            around = inside_of[around]


@pytest.mark.parametrize("kind", KINDS)
def test_a_board_knows_itself_by_its_device_tree(fake_board, kind):
    fake_board(kind)
    assert plugins.choose_board().name == kind


@pytest.mark.parametrize(
    ("model", "compatible", "name"),
    [
        ("NVIDIA Jetson Xavier NX Developer Kit", (), "xavier-nx"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", (), "orin-nx"),
        (None, ("nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"), "tx2-nx"),
        (None, ("nvidia,p2771-0888+p3489-0888", "nvidia,tegra186"), "tx2"),
        (None, ("nvidia,p2822-0000+p2888-0001", "nvidia,tegra194"), "agx-xavier"),
        (None, ("nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"), "agx-orin"),
        (None, ("nvidia,p3768-0000+p3767-0004", "nvidia,tegra234"), "orin-nano"),
        (None, ("nvidia,p4071-0000+p3834-0008", "nvidia,tegra264"), "thor"),
        (None, ("nvidia,p3509-0000+p3767-0001", "nvidia,tegra234"), "orin-nx"),
        ("NVIDIA Jetson Nano 2GB Developer Kit", ("nvidia,p3542-0000+p3448-0003",), "nano-2gb"),
        ("NVIDIA Jetson AGX Thor Developer Kit", (), "thor"),
    ],
)
def test_similar_boards_are_told_apart(model, compatible, name):
    assert plugins.identify(BOARDS.values(), model, compatible).name == name


def test_a_chip_that_two_boards_share_names_none_of_them():
    assert plugins.identify(BOARDS.values(), None, ["nvidia,tegra186"]) is None


def test_a_pc_is_known_by_the_gpus_driver_and_a_jetson_with_it_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    assert plugins.choose_board() is None
    write(tmp_path / "proc/driver/nvidia/version", "NVRM version: 550\n")
    assert plugins.choose_board().name == "pc-nvidia"
    write(tmp_path / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\n")
    assert plugins.choose_board() is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_driver_says_of_a_shunt_is_what_the_boards_file_says_where_it_says_something(kind):
    """A factor of a thousand between two units would hide in a file that no driver contradicts."""
    shunts = {rail["name"]: rail.get("shunt_ohm") for rail in BOARDS[kind].facts["rails"]}
    assert all(ohm is None or 0.001 <= ohm <= 0.05 for ohm in shunts.values())
    assert {"agx-orin": 0.002, "tx1": 0.02, "nano": None, "tx2-nx": None, "thor": None}.get(kind, 0.005) == shunts[
        KINDS[kind].total[0]
    ]


@pytest.mark.parametrize("folder", ["sys/firmware/devicetree/base", "sys/devices/soc0"])
def test_a_container_that_masks_the_device_tree_still_knows_its_board(fake_board, folder):
    fake = fake_board("agx-orin")
    shutil.rmtree(fake.root / "proc")
    write(fake.root / folder / ("model" if "base" in folder else "machine"), fake.kind.model + "\n")
    assert plugins.choose_board().name == "agx-orin"


def test_a_jetson_of_which_only_l4t_is_seen_is_asked_for_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    write(tmp_path / "etc/nv_tegra_release", R32)
    assert plugins.choose_board() is None
    with pytest.raises(MeterError, match=r"L4T 32\.7\.6.*--board"):
        plugins.choose_meters(["auto"], None)
    assert "this machine: none of them (a Jetson (L4T 32.7.6) of no known kind" in shown()
    assert "; name it: ebbench run --board NAME (agx-orin," in shown()


def shown(*arguments):
    done = CliRunner().invoke(cli, ["boards", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_one_board_is_shown_with_its_rails_and_modes():
    text = shown("agx-xavier")
    assert "GPU + CPU + SOC + CV + VDDRQ + SYS5V" in text and "0.005" in text and "7 MODE_15W_DESKTOP" in text
    assert "this machine" not in text
    assert "no power monitor" in shown("nano-2gb")


@pytest.mark.parametrize("name", BOARDS)
def test_beside_its_notes_what_is_shown_of_a_board_fits_a_terminal_of_80_columns(name):
    text = shown(name)
    for note in [rail["note"] for rail in BOARDS[name].facts.get("rails", []) if "note" in rail]:
        text = text.replace(note, "")
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_the_modes_of_this_board_are_its_own_ones(fake_board):
    fake = fake_board("orin-nano")
    write(fake.root / "etc/nvpmodel.conf", "< POWER_MODEL ID=1 NAME=25W >\nX Y 1\n# < POWER_MODEL ID=9 NAME=NO >\n")
    write(fake.root / "var/lib/nvpmodel/status", "pmode:0001 fmode:quiet\n")
    text = shown("auto")
    assert "this machine" in text and text.endswith("power modes (its nvpmodel.conf), now 1:\n  1 25W\n")


def test_an_unknown_board_is_refused_with_the_nearest_name():
    error = CliRunner().invoke(cli, ["boards", "agx-orim"]).exception
    assert isinstance(error, ConfigError) and "agx-orin" in str(error)


def test_a_board_file_with_a_fault_is_refused_with_all_faults(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\ntitel = "Mine"\nscope = "module"\ntotal = ["VDD_IM"]\n[[rails]]\nname = "VDD_IN"\n')
    with pytest.raises(ConfigError, match=r"'titel'.*'title'.*no scope.*'VDD_IM' is not described.*'VDD_IN'"):
        load_board(file)
