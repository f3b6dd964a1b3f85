from __future__ import annotations

import pytest

from ebbench.errors import MeterError
from ebbench_devices.nvidia.board_rails import rail_of, total_of

AGX = {
    "name": "agx", "total": ["GPU_SOC", "SYS"],
    "rails": [{"name": "SYS", "scope": "rail", "shunt_ohm": 0.005}, {"name": "DDR", "scope": "rail", "inside_of": "SYS"}],
}  # fmt: skip


def test_without_a_known_board_only_a_modules_input_is_a_total():
    assert total_of("jtop", ["VDD_SOC", "VDD_IN"], {}) == ("VDD_IN",)
    assert total_of("jtop", ["VDD_IN", "VIN"], {}) == ("VIN",)
    with pytest.raises(MeterError, match=r"tegrastats: which .*GPU, CPU.* --board"):
        total_of("tegrastats", ["GPU", "CPU"], {})


def test_a_part_of_the_total_never_passes_for_the_whole():
    assert total_of("jtop", ["DDR", "SYS", "GPU_SOC"], AGX) == ("GPU_SOC", "SYS")
    with pytest.raises(
        MeterError, match=r"rail GPU_SOC, part of the total of board 'agx', is not there \(found: DDR, SYS\)"
    ):
        total_of("jtop", ["DDR", "SYS"], AGX)


def test_what_the_board_does_not_say_of_a_rail_stays_unknown():
    assert rail_of("DDR", AGX, ("SYS",)).inside_of == "SYS"
    known, unknown = rail_of("SYS", AGX, ("SYS",), bus_v=5.0), rail_of("SYS", AGX, ("SYS",))
    assert known.offset_w == pytest.approx(80e-6 / 0.005 * 5 / 3**0.5)
    assert (unknown.offset_w, unknown.resolution_w) == (None, None) and unknown.gain_ratio is not None
    assert rail_of("VIN", {}, ("VIN",)).gain_ratio is None and rail_of("VIN", {}, ("VIN",)).scope == "module"
