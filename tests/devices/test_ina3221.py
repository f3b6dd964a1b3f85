from __future__ import annotations

import math
import os
import shutil

import numpy as np
import pytest
from fake_boards import KINDS, OF_INA3221, write

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.sampler_process.schedule import Schedule
from ebbench.energy.sampler_process.sweeps import LIBRARY, Sweeps
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, INSTANT, MeterRequest
from ebbench_devices import ina3221
from ebbench_devices.nvidia.ina3221_chips import channels, uncertainty


def opened(board="auto"):
    found = plugins.choose_board(board)
    meter = ina3221.Ina3221Meter(MeterRequest(board=dict(found.facts) if found else None))
    return meter, meter.open()


def read_si(meter, info):
    """One sweep in SI units, by column."""
    values = meter.read()
    return {c.name: None if v is None else v * c.scale for c, v in zip(info.columns, values)}


@pytest.mark.parametrize("kind", OF_INA3221)
def test_every_wired_rail_is_read_and_the_total_is_the_boards(fake_board, kind):
    fake = fake_board(kind)
    meter, info = opened()
    sweep = read_si(meter, info)
    meter.close()
    assert {rail.name for rail in info.rails} == {x for labels in fake.kind.chips.values() for x in labels} - {"NC"}
    assert info.total == fake.kind.total
    assert [c.name for c in info.columns[: 3 * len(info.total) : 3]] == [f"{name}_w" for name in info.total]
    for name, truth_w in fake.truth_w.items():
        assert sweep[f"{name}_w"] == pytest.approx(truth_w, abs=1e-9)
    assert all(c.raw for c in info.columns)
    assert info.simulated and info.scope == "module"


@pytest.mark.parametrize("kind", OF_INA3221)
def test_a_rail_that_is_inside_another_is_never_part_of_the_total(fake_board, kind):
    fake_board(kind)
    _, info = opened()
    assert not [rail.name for rail in info.rails if rail.inside_of and rail.name in info.total]


def test_on_agx_orin_the_memory_rail_is_inside_the_5_volt_rail(fake_board):
    fake_board("agx-orin")
    _, info = opened()
    assert {r.name: r.inside_of for r in info.rails}["VDDQ_VDD2_1V8AO"] == "VIN_SYS_5V0"


def test_on_thor_whose_total_is_on_another_chip_it_does_not_offer_the_sum_of_its_own(fake_board):
    fake_board("thor")
    there = ina3221.Ina3221Meter.probe(MeterRequest(board=dict(plugins.choose_board().facts)))
    assert (there.present, there.available) == (True, False)
    assert "rail VIN, the total of board 'thor', is on its ina238" in there.reason
    with pytest.raises(MeterError, match="which this meter does not read"):
        opened()


@pytest.mark.parametrize(("kind", "rate_hz"), [("tx2", 100.0), ("orin-nano", 20.0)])
def test_volts_are_read_every_tenth_sweep_and_power_every_time(fake_board, kind, rate_hz):
    fake_board(kind)
    meter, info = opened()
    sweeps = [read_si(meter, info) for _ in range(21)]
    assert [i for i, sweep in enumerate(sweeps) if sweep["VDD_IN_v"] is not None] == [0, 10, 20]
    assert all(sweep["VDD_IN_w"] is not None for sweep in sweeps)
    assert info.default_rate_hz == rate_hz


def test_hwmon_power_is_the_current_of_now_times_the_last_voltage(fake_board):
    fake = fake_board("orin-nano")
    meter, info = opened()
    fake.set("VDD_IN", 4968, 1001)
    assert read_si(meter, info)["VDD_IN_w"] == pytest.approx(4.968 * 1.001, abs=1e-12)
    fake.set("VDD_IN", 5100, 2000)
    second = read_si(meter, info)
    assert second["VDD_IN_w"] == pytest.approx(4.968 * 2.0, abs=1e-12)
    assert second["VDD_IN_v"] is None and second["VDD_IN_a"] == 2.0


def test_a_total_that_stops_answering_is_missing_and_not_the_rest_of_the_rails(fake_board):
    fake = fake_board("tx2")
    meter, info = opened()
    write(fake.file("VDD_IN", "power"), "")
    sweep = read_si(meter, info)
    assert sweep["VDD_IN_w"] is None
    assert sweep["VDD_SYS_GPU_w"] == pytest.approx(fake.truth_w["VDD_SYS_GPU"])
    assert info.total == ("VDD_IN",)


@pytest.mark.parametrize("content", ["", "\n", "n/a\n", "12x4\n"])
def test_a_half_written_file_is_no_reading(fake_board, content):
    fake = fake_board("tx2")
    meter, info = opened()
    write(fake.file("VDD_SYS_GPU", "power"), content)
    sweep = read_si(meter, info)
    assert sweep["VDD_SYS_GPU_w"] is None and sweep["VDD_IN_w"] is not None


def test_a_file_that_fails_and_comes_back_is_read_again(fake_board):
    fake = fake_board("orin-nano")
    meter, info = opened()
    read_si(meter, info)
    write(fake.file("VDD_IN", "current"), "")
    assert read_si(meter, info)["VDD_IN_w"] is None
    fake.set("VDD_IN", 5000, 1500)
    assert read_si(meter, info)["VDD_IN_w"] == pytest.approx(7.5)


def test_after_a_failed_voltage_hwmon_has_no_power_until_it_is_read_anew(fake_board):
    fake = fake_board("orin-nano")
    meter, info = opened()
    write(fake.file("VDD_IN", "voltage"), "")
    assert read_si(meter, info)["VDD_IN_w"] is None
    fake.set("VDD_IN", 5000, 1000)
    assert read_si(meter, info)["VDD_IN_w"] == pytest.approx(5.0)


def test_no_rail_at_all_is_an_error_that_names_a_file(fake_board):
    fake = fake_board("nano")
    meter, _ = opened()
    for rail in fake.truth_w:
        write(fake.file(rail, "power"), "")
    with pytest.raises(MeterError, match=r"in_power0_input: empty"):
        meter.read()


def test_a_missing_file_of_the_total_is_an_error_and_of_another_rail_a_note(fake_board):
    fake = fake_board("tx2")
    fake.file("VDD_MUX", "power").unlink()
    _, info = opened()
    assert "VDD_MUX" in info.identity["left_out"] and "VDD_MUX_w" not in {c.name for c in info.columns}
    fake.file("VDD_IN", "power").unlink()
    with pytest.raises(MeterError, match=r"in_power0_input.*driver"):
        opened()


def test_a_chip_without_its_total_never_passes_for_the_board(fake_board):
    fake = fake_board("tx2")
    shutil.rmtree(fake.folder("0-0041"))
    with pytest.raises(MeterError, match=r"VDD_IN, part of the total of board 'tx2', is not there"):
        opened()
    there = ina3221.Ina3221Meter.probe(MeterRequest(board=dict(plugins.choose_board().facts)))
    assert (there.available, there.present) == (False, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_we_may_not_read_says_so(fake_board):
    fake = fake_board("tx2")
    fake.file("VDD_IN", "power").chmod(0)
    with pytest.raises(MeterError, match="permission denied; run as root"):
        opened()


def test_permission_denied_is_said_with_the_file(fake_board, monkeypatch):
    fake = fake_board("tx2")
    denied = str(fake.file("VDD_IN", "power"))
    real_open = os.open

    def guarded(path, *rest, **named):
        if str(path) == denied:
            raise PermissionError(13, "Permission denied", denied)
        return real_open(path, *rest, **named)

    monkeypatch.setattr("ebbench_devices.kernel.sysfs.os.open", guarded)
    with pytest.raises(MeterError, match=r"in_power0_input: permission denied; run as root") as caught:
        opened()
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


def test_without_a_device_tree_the_modules_input_is_still_the_total(fake_board):
    fake = fake_board("tx2")
    shutil.rmtree(fake.root / "proc")
    assert plugins.choose_board() is None
    _, info = opened()
    assert info.total == ("VDD_IN",) and info.identity["total_from"] == "name"


def test_without_a_device_tree_an_agx_asks_for_its_name(fake_board):
    fake = fake_board("agx-xavier")
    shutil.rmtree(fake.root / "proc")
    there = ina3221.Ina3221Meter.probe(MeterRequest())
    assert there.present and not there.available and "--board" in there.reason
    assert opened()[1].total == ()
    assert opened("agx-xavier")[1].total == KINDS["agx-xavier"].total


def test_the_older_iio_folder_is_found_too(fake_board):
    fake = fake_board("tx1")
    for chip in fake.kind.chips:
        fake.folder(chip).rename(fake.folder(chip).parent / "iio_device")
    _, info = opened()
    assert info.total == ("VDD_IN",) and len(info.rails) == 9


def test_chips_are_found_through_the_device_folder_by_their_name(fake_board):
    fake = fake_board("orin-nano")
    drivers, devices = fake.root / "sys/bus/i2c/drivers/ina3221", fake.root / "sys/bus/i2c/devices"
    devices.parent.mkdir(parents=True, exist_ok=True)
    drivers.rename(devices)
    write(devices / "1-0040/name", "ina3221\n")
    assert opened()[1].total == ("VDD_IN",)


def test_names_are_made_safe_and_the_second_of_a_name_gets_its_chip(fake_board):
    fake = fake_board("agx-orin")
    write(fake.folder("1-0041") / "in1_label", "VDD CPU/CV\n")
    write(fake.folder("1-0041") / "in3_label", "VDD_CPU_CV\n")
    names = [channel.name for channel in channels(None)]
    assert names == [
        "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDD_CPU_CV_1_0041", "VDDQ_VDD2_1V8AO", "VDD_CPU_CV_1_0041_3",
    ]  # fmt: skip


def test_the_uncertainty_is_that_of_the_data_sheet():
    # 10 W on a 19 V and on a 5 V rail, 5 mOhm: about 1.9 % and 0.8 % (k = 1), worked out by hand from the limits
    for bus_v, percent in ((19.0, 1.9), (5.0, 0.8)):
        u = uncertainty(0.005, bus_v)
        assert 100 * (u["gain_ratio"] ** 2 + (u["offset_w"] / 10) ** 2) ** 0.5 == pytest.approx(percent, abs=0.06)
    assert uncertainty(0.005, 19.0)["resolution_w"] == pytest.approx(0.152)
    assert uncertainty(0.005, 19.0)["offset_w"] == pytest.approx(0.304 / 3**0.5)


def test_what_needs_a_shunt_that_is_not_known_is_missing():
    u = uncertainty(None, 5.0)
    assert u["offset_w"] is None and u["resolution_w"] is None and u["range_w"] is None and u["gain_ratio"] > 0


@pytest.mark.parametrize("kind", ["tx2", "orin-nano"])
def test_the_shunt_is_read_from_the_driver(fake_board, kind):
    fake_board(kind)
    _, info = opened()
    assert info.rails[0].resolution_w == pytest.approx(40e-6 / 0.005 * 5.0)


def test_hwmon_says_how_long_it_averages(fake_board):
    fake = fake_board("orin-nano")
    assert (opened()[1].rails[0].kind, opened()[1].rails[0].averaging_s) == (INSTANT, 0.0)
    write(fake.folder("1-0040") / "samples", "64\n")
    write(fake.folder("1-0040") / "update_interval", "422\n")
    rail = opened()[1].rails[0]
    assert (rail.kind, rail.averaging_s, rail.update_period_s) == (AVERAGE, pytest.approx(0.422), pytest.approx(0.422))
    (fake.folder("1-0040") / "samples").unlink()
    assert opened()[1].rails[0].averaging_s is None


def test_over_how_long_the_chip_averages_is_unknown_on_iio_and_not_zero(fake_board):
    fake_board("tx2")
    assert {rail.averaging_s for rail in opened()[1].rails} == {None}


def test_a_file_that_was_put_in_the_old_ones_place_is_followed(fake_board):
    fake = fake_board("tx2")
    meter, info = opened()
    new = fake.root / "new"
    write(new, "4321\n")
    new.replace(fake.file("VDD_IN", "power"))
    assert read_si(meter, info)["VDD_IN_w"] == pytest.approx(4.321)


def test_a_file_that_was_taken_away_is_read_again_when_it_is_back(fake_board):
    fake = fake_board("tx2")
    meter, info = opened()
    fake.file("VDD_IN", "power").unlink()
    assert read_si(meter, info)["VDD_IN_w"] is None
    assert read_si(meter, info)["VDD_IN_w"] is None
    fake.set("VDD_IN", 5000, 800)
    assert read_si(meter, info)["VDD_IN_w"] == pytest.approx(4.0)


def test_each_rail_says_when_in_the_sweep_it_was_read(fake_board):
    fake_board("orin-nano")
    meter, info = opened()
    meter.read()
    assert len(meter.offsets_ns) == len(info.columns) and meter.offsets_ns == sorted(meter.offsets_ns)
    assert meter.offsets_ns[0] > 0


def test_closing_gives_back_every_file(fake_board):
    fake_board("tx2")
    before = set(os.listdir("/proc/self/fd"))
    meter, _ = opened()
    assert len(os.listdir("/proc/self/fd")) - len(before) == 12 * 3
    meter.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_no_file_tells_of_the_chips_can_be_stated_and_nothing_else(fake_board):
    fake_board("tx2")
    meter = ina3221.Ina3221Meter(MeterRequest(options={"averaging_s": "0.42", "gain_u": "0.002"}))
    known, rails = opened()[1].rails, meter.open().rails
    meter.close()
    assert {(r.kind, r.averaging_s, r.delay_s, r.gain_ratio) for r in rails} == {(AVERAGE, 0.42, None, 0.002)}
    assert [rail.offset_w for rail in rails] == [rail.offset_w for rail in known]
    with pytest.raises(ConfigError, match="unknown option 'rate'"):
        ina3221.Ina3221Meter(MeterRequest(options={"rate": "1"}))
    with pytest.raises(ConfigError, match="takes none"):
        ina3221.Ina3221Meter(MeterRequest(address="0x40"))


def test_without_a_chip_it_is_absent_and_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    there = ina3221.Ina3221Meter.probe(MeterRequest())
    assert (there.available, there.present) == (False, False) and "/sys/bus/i2c/drivers/ina3221x" in there.reason
    board = dict(plugins.choose_board("tx2").facts)
    there = ina3221.Ina3221Meter.probe(MeterRequest(board=board))
    assert there.present and "mount /sys" in there.reason


def sweeps_of(meter):
    """Values of sweeps that compiled code made, float64 [n, columns]: 400 slots of 0.2 ms, of which a busy machine takes some."""
    heard, said = os.pipe()
    made = Sweeps.load(heard).make(meter, Schedule(monotonic_ns(), 5000.0, jitter=False, seed=0), range(400))
    os.close(heard)
    os.close(said)
    assert len(made.slots) > 10
    return made.values


@pytest.mark.skipif(not LIBRARY.exists(), reason="no C compiler was there when ebbench was installed")
@pytest.mark.parametrize("kind", ["tx2", "orin-nano"])
@pytest.mark.parametrize("before", [0, 3])
def test_sweeps_of_compiled_code_are_those_of_read(fake_board, kind, before):
    """Also where volts change, and after sweeps of the one and of the other."""
    fake = fake_board(kind)
    (compiled, _), (plain, _) = opened(), opened()
    rail = fake.kind.total[0]
    for volts_mv, amps_ma in [(5000, 1500), (5100, 1000), (4900, 2000)]:
        fake.set(rail, volts_mv, amps_ma)
        for meter in (compiled, plain):
            for _ in range(before):
                meter.read()
        values = sweeps_of(compiled)
        truth = [[math.nan if v is None else v for v in plain.read()] for _ in values]
        np.testing.assert_array_equal(values, truth)
    np.testing.assert_array_equal(compiled.read(), plain.read())
