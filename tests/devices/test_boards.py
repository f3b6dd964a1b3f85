from __future__ import annotations

import pytest
from fake_boards import KINDS, write

from ebbench import plugins
from ebbench.errors import ConfigError
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


def test_a_board_file_with_a_fault_is_refused_with_all_faults(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\ntitel = "Mine"\nscope = "module"\ntotal = ["VDD_IM"]\n[[rails]]\nname = "VDD_IN"\n')
    with pytest.raises(ConfigError, match=r"'titel'.*'title'.*no scope.*'VDD_IM' is not described.*'VDD_IN'"):
        load_board(file)
