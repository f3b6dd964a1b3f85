from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
import pytest
from executable import write_executable

from ebbench import plugins
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.trace import read_whole
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, MeterRequest
from ebbench_devices.boards import builtin_boards
from ebbench_devices.tegrastats import TegrastatsMeter, rails_of

#: one line of each kind of board and release, as it is printed
TX2 = (
    "RAM 2344/7852MB (lfb 1154x4MB) SWAP 0/3926MB (cached 0MB) CPU [1%@345,off,off,1%@345,0%@345,2%@345] EMC_FREQ 4%@1600 "
    "GR3D_FREQ 0%@624 APE 150 PLL@37.5C MCPU@37.5C PMIC@100C Tboard@32C GPU@35C BCPU@37.5C thermal@36.5C Tdiode@34.25C "
    "VDD_SYS_GPU 152/153 VDD_SYS_SOC 687/690 VDD_4V0_WIFI 0/0 VDD_IN 3056/3405 VDD_SYS_CPU 152/152 VDD_SYS_DDR 883/883"
)
NANO = (
    "RAM 1923/3964MB (lfb 2x2MB) SWAP 191/1982MB (cached 6MB) IRAM 0/252kB(lfb 252kB) CPU [5%@1224,4%@1224,3%@1224,6%@1224] "
    "EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@37C CPU@40C PMIC@50C GPU@40C AO@45C thermal@40C "
    "POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406"
)
AGX_XAVIER = (
    "RAM 721/31927MB (lfb 7291x4MB) SWAP 0/15963MB (cached 0MB) CPU [2%@1190,0%@1190,off,off] EMC_FREQ 0%@665 GR3D_FREQ 0%@318 "
    "APE 150 MTS fg 0% bg 0% AO@37.5C GPU@37.5C thermal@36.9C Tboard@37C GPU 0/0 CPU 311/311 SOC 932/932 CV 0/0 "
    "VDDRQ 621/621 SYS5V 1482/1482"
)
AGX_ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,0%@729] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CPU@44.562C Tboard@32C tj@44.343C VDD_GPU_SOC 2340mW/2340mW "
    "VDD_CPU_CV 390mW/400mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
THREE = "RAM 1/2MB (lfb 1x4MB) VIN 20100mW/20000mW/31000mW VDD_CPU_SOC_MSS 4000mW/4000mW/5000mW"
BOARDS = {board.name: dict(board.facts) for board in builtin_boards()}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    (tmp_path / "usr/bin").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def install(root):
    def write(script):
        write_executable(root / "usr/bin/tegrastats", '#!/bin/sh\n[ "$1" = --interval ] || exit 64\n' + script)
        return root

    return write


def say(*lines):
    return "".join(f"cat <<'END'\n{line}\nEND\n" for line in lines)


STAY = "exec sleep 60\n"


@pytest.fixture
def meter():
    made = []

    def build(board="tx2", **request):
        made.append(TegrastatsMeter(MeterRequest(board=BOARDS.get(board), **request)))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("line", "board", "total_w"),
    [
        (TX2, "tx2", 3.056),
        (NANO, "nano", 1.75),
        (AGX_XAVIER, "agx-xavier", 3.346),
        (AGX_ORIN, "agx-orin", 6.755),
        (THREE, "thor", 20.1),
    ],
)
def test_the_total_of_every_kind_of_line_is_the_boards(install, meter, line, board, total_w):
    install(say(line) + STAY)
    one = meter(board)
    info = one.open()
    values = one.drain(2.0).values[0] * np.array([c.scale for c in info.columns])
    power_w = dict(zip((c.name for c in info.columns), values))
    assert sum(power_w[f"{name}_w"] for name in info.total) == pytest.approx(total_w)
    assert set(info.total) == set(BOARDS[board]["total"])


def test_memory_clocks_and_temperatures_are_no_rails():
    assert set(rails_of(TX2)) == {
        "VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR",
    }  # fmt: skip
    assert set(rails_of(AGX_ORIN)) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}


def test_of_two_or_three_numbers_the_first_is_the_power():
    assert rails_of(NANO)["POM_5V_IN"] == 1750
    assert rails_of(THREE) == {"VIN": 20100, "VDD_CPU_SOC_MSS": 4000}


@pytest.mark.parametrize(
    "line", ["", "VDD_IN", "VDD_IN -5/3", "VDD_IN 12", "VDD_IN 1/2MB", "VDD_IN 1e9/1", "VDD_IN 5mW/x"]
)
def test_garbage_is_never_a_power(line):
    assert rails_of(line) == {}


def test_a_line_without_a_part_of_the_total_has_no_total_and_says_why(install, meter):
    install(say(AGX_ORIN, AGX_ORIN.replace("VDD_CPU_CV 390mW/400mW ", ""), "Error: no such device", AGX_ORIN) + STAY)
    one = meter("agx-orin")
    info = one.open()
    rows, notes = [], []
    while len(rows) < 4:
        block = one.drain(2.0)
        rows += block.values.tolist()
        notes += [text for _, text in block.notes]
    at = [c.name for c in info.columns].index("VDD_CPU_CV_w")
    assert [row[at] for row in rows][::3] == [390.0, 390.0] and np.isnan([row[at] for row in rows][1:3]).all()
    assert "VDD_CPU_CV is not in a line" in notes[0] and "'Error: no such device', which holds no power" in notes[1]


def test_a_board_whose_total_it_does_not_print_is_refused(install, meter):
    install(say(AGX_ORIN.replace("VDD_CPU_CV 390mW/400mW ", "")))
    one = meter("agx-orin")
    with pytest.raises(MeterError, match="rail VDD_CPU_CV, part of the total of board 'agx-orin', is not there"):
        one.open()


def test_one_that_ends_at_once_says_what_it_said_last(install, meter):
    install("echo this needs root >&2\nexit 1\n")
    with pytest.raises(MeterError, match=r"tegrastats ended \(exit code 1\) after 'this needs root'"):
        meter().open()


def test_the_rate_becomes_its_interval_and_too_high_a_rate_is_refused_with_the_alternative(install, meter):
    install('echo "VDD_IN $2/1"\n' + STAY)
    one = meter("tx2", rate_hz=4.0)
    assert one.open().identity["interval_ms"] == 250 and one.drain(4.0).values[0][0] == 250
    with pytest.raises(ConfigError, match="--meter ina3221"):
        meter("tx2", rate_hz=10.5)
    with pytest.raises(ConfigError, match="takes none"):
        meter("tx2", address="/dev/x")


def test_over_how_long_the_chips_average_can_be_stated(install, meter):
    install(say(AGX_ORIN) + STAY)
    assert {rail.averaging_s for rail in meter("agx-orin").open().rails} == {None}
    stated = meter("agx-orin", options={"averaging_s": "0.4", "delay_s": "0"}).open().rails
    assert {(rail.kind, rail.averaging_s, rail.delay_s) for rail in stated} == {(AVERAGE, 0.4, 0.0)}
    with pytest.raises(ConfigError, match="tegrastats: unknown option 'averaging'; did you mean 'averaging_s'"):
        meter("tx2", options={"averaging": "1"})


def test_shunts_of_the_board_give_the_uncertainty_and_what_needs_the_voltage_is_unknown(install, meter):
    install(say(AGX_ORIN) + STAY)
    rails = {rail.name: rail for rail in meter("agx-orin").open().rails}
    assert rails["VDDQ_VDD2_1V8AO"].inside_of == "VIN_SYS_5V0" and rails["VDD_GPU_SOC"].gain_ratio is not None
    assert rails["VDD_GPU_SOC"].offset_w is None


def test_only_where_it_is_and_the_board_has_a_monitor_it_is_there(root, install):
    assert not TegrastatsMeter.probe(MeterRequest()).present
    install(STAY)
    assert TegrastatsMeter.probe(MeterRequest(board=BOARDS["tx2"])).available
    assert not TegrastatsMeter.probe(MeterRequest(board=BOARDS["nano-2gb"])).present
    (root / "usr/bin/tegrastats").chmod(0o644)
    there = TegrastatsMeter.probe(MeterRequest(board=BOARDS["tx2"]))
    assert (there.present, there.available) == (True, False) and "chmod +x" in there.reason


@pytest.mark.realtime
def test_in_the_sampler_a_hang_is_a_gap_with_its_reason_and_nothing_stays_behind(install, tmp_path):
    root = install(
        '[ -e "$0.again" ] && { echo $$ > "$0.pid"; while :; do echo VDD_IN 7000/1; sleep 0.1; done; }\n'
        ': > "$0.again"\necho VDD_IN 5000/1\nsleep 0.1\necho Segmentation fault\nexit 139\n'
    )
    request = MeterRequest(board=BOARDS["tx2"])
    factory = plugins.registered(plugins.METERS)["tegrastats"]
    sampler = Sampler.start(factory, dataclasses.replace(request), tmp_path / "t.arrows", 10.0)
    sampler.wait_ready()
    while (sampler.live() or {}).get("power_w") != 7.0:
        assert sampler.alive
        time.sleep(0.01)
    sampler.stop()
    chunk = read_whole(tmp_path / "t.arrows")
    power_w = chunk.values["VDD_IN_w"]
    assert set(power_w[np.isfinite(power_w)]) == {5.0, 7.0}
    at = int(np.argmax(power_w == 7.0))
    assert chunk.time_ns[at] - chunk.time_ns[0] > 900_000_000  # the hole
    reasons = [note["reason"] for note in chunk.notes]
    assert any("holds no power" in r for r in reasons) and any("exit code 139" in r for r in reasons)
    pid = int((root / "usr/bin/tegrastats.pid").read_text())
    assert not os.path.exists(f"/proc/{pid}")
