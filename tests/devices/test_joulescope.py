from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("joulescope")
from fake_joulescope import SAMPLE_HZ, FakeDriver, block_of, install

from ebbench.clock import monotonic_ns
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, MeterRequest
from ebbench_devices.instruments.joulescope_link import JoulescopeLink
from ebbench_devices.joulescope import JoulescopeMeter


class Bench:
    """A driver whose instruments send a block whenever the meter waits for one."""

    def __init__(self, monkeypatch):
        self.undo, self.meters, self.clock = (lambda: None), [], monotonic_ns
        wait = JoulescopeLink.wait
        monkeypatch.setattr(JoulescopeLink, "wait", lambda link: (self.driver.send(), wait(link)))

    def plug_in(self, *paths):
        self.driver = FakeDriver(paths or ("u/js220/000123",))
        self.undo()
        self.undo = install(self.driver)
        return self.driver

    def meter(self, address=None, rate_hz=None, **options):
        request = MeterRequest(address, {"scope": "devkit", **options}, rate_hz=rate_hz)
        self.meters.append(JoulescopeMeter(request, lambda: self.clock()))
        return self.meters[-1]

    def open(self, *arguments, **options):
        meter = self.meter(*arguments, **options)
        return meter, meter.open()


@pytest.fixture
def bench(monkeypatch):
    made = Bench(monkeypatch)
    made.plug_in()
    yield made
    for meter in made.meters:
        meter.close()
    made.undo()


def readings(block):
    return [dict(zip(("w", "j", "v", "a"), row)) for row in block.values.tolist()]


def test_energy_is_the_instruments_counter_and_power_its_mean_over_the_block(bench):
    bench.clock = lambda: 10**12 + bench.driver.sample * (10**9 // SAMPLE_HZ)
    meter, info = bench.open()
    for power_w in (2.0, 9.0, 4.0):
        bench.driver.send(power_w)
    block = meter.drain(20.0)
    got = readings(block)
    assert [r["w"] for r in got] == [6.0, 2.0, 9.0, 4.0] and got[1]["v"] == 12.0 and got[2]["a"] == 0.75
    assert np.diff([r["j"] for r in got]).tolist() == pytest.approx([0.1, 0.45, 0.2])
    assert np.diff(block.time_ns).tolist() == [50_000_000] * 3
    assert (info.total, info.scope, info.simulated) == (("DUT",), "devkit", False)
    assert (info.rails[0].kind, info.rails[0].averaging_s, info.time_bound_s) == (AVERAGE, 0.05, 0.02)
    assert (info.rails[0].counter_averaging_s, info.rails[0].counter_delay_s) == (0.0, 0.0)  # its clock's bound is all


def test_a_block_that_is_lost_costs_no_energy_and_is_told(bench):
    meter, _ = bench.open()
    bench.driver.send(8.0, lose=True)
    bench.driver.send(4.0)
    block = meter.drain(20.0)
    assert np.diff([r["j"] for r in readings(block)]).tolist() == pytest.approx([0.6])
    assert [text for _, text in block.notes] == ["joulescope: 0.05 s of blocks were lost"]


def test_what_is_out_of_range_is_missing(bench):
    meter, _ = bench.open()
    meter.drain(20.0)
    topic = "u/js220/000123/s/stats/value"
    bench.driver.tell(topic, block_of(bench.driver.sample, bench.driver.sample + 1000, float("nan"), 50.0))
    block = meter.drain(20.0)
    assert np.isnan(block.values[0][0]) and block.values[0][1] == pytest.approx(10.0 - 0.3, abs=1)
    assert "out of range" in block.notes[0][1]


def test_a_block_in_another_form_is_told_and_never_a_reading(bench):
    meter, _ = bench.open()
    meter.drain(20.0)
    sample = bench.driver.sample
    bench.driver.tell("u/js220/000123/s/stats/value", block_of(sample, sample + 1000, 6.0, 50.0, units="mW"))
    block = meter.drain(20.0)
    assert len(block.time_ns) == 0 and "not what it should be" in block.notes[0][1]


def test_the_js220_sends_at_the_rate_asked_for_in_the_ranges_asked_for(bench):
    _, info = bench.open(rate_hz=100.0, i_range="180mA", v_range="2 V")
    sent = bench.driver.last_published
    assert sent("s/stats/scnt") == 10_000 and sent("s/stats/ctrl") == 1
    assert (sent("s/i/range/select"), sent("s/i/range/mode")) == ("180 mA", "manual")
    assert (sent("s/v/range/select"), sent("s/v/range/mode")) == ("2 V", "manual")
    assert info.default_rate_hz == 100.0 and info.identity["i_range"] == "180 mA"


def test_without_a_word_current_ranges_by_itself_and_volts_up_to_15(bench):
    _, info = bench.open()
    sent = bench.driver.last_published
    assert sent("s/i/range/mode") == "auto" and sent("s/v/range/select") == "15 V" and sent("s/stats/scnt") == 50_000
    assert (info.identity["model"], info.identity["serial_number"]) == ("JS220", "000123")
    assert not any(topic.endswith("/ctrl") and value for topic, value in bench.driver.published if "stats" not in topic)


def test_the_js110_sends_twice_a_second_and_no_other_rate(bench):
    bench.plug_in("u/js110/004455")
    meter, info = bench.open(v_range="5V", i_range="10A")
    assert (info.default_rate_hz, info.max_rate_hz) == (2.0, 2.0)
    assert (bench.driver.last_published("s/i/range/select"), bench.driver.last_published("s/v/range/select")) == (1, 1)
    assert len(meter.drain(2.0).time_ns) == 1
    with pytest.raises(ConfigError, match="JS110 has no rate of 20 Hz; --rate 2"):
        bench.meter(rate_hz=20.0).open()


@pytest.mark.parametrize(("given", "says"), [
    ({"i_range": "3A"}, "i_range = '3A'.*10A"), ({"i_range": "off"}, "i_range = 'off'"), ({"v_range": "5V"}, "2V"),
    ({"rate_hz": 3.0}, "no rate of 3 Hz; --rate 1, 2, 5"), ({"range": "1"}, "did you mean"), ({"scope": "wal"}, "'wall'"),
])  # fmt: skip
def test_every_wrong_option_is_one_line_and_leaves_the_instrument_closed(bench, given, says):
    with pytest.raises(ConfigError, match=says):
        bench.open(**given)
    assert not bench.driver.opened


def test_without_a_scope_it_is_refused():
    with pytest.raises(ConfigError, match="say what it measures"):
        JoulescopeMeter(MeterRequest())


def test_of_several_one_is_named_by_its_serial_number(bench):
    bench.plug_in("u/js220/000123", "u/js110/004455")
    with pytest.raises(MeterError, match=r"several on USB.*JS110-004455, JS220-000123"):
        bench.meter().open()
    assert bench.open("004455")[1].identity["model"] == "JS110"
    with pytest.raises(MeterError, match="no 9 on USB; these are here"):
        bench.meter("9").open()


def test_none_and_one_that_another_program_uses_are_one_line(bench, tmp_path, monkeypatch):
    bench.driver.busy = True
    with pytest.raises(MeterError, match=r"JS220-000123 cannot be used .*close other programs"):
        bench.meter().open()
    bench.driver.unplug()
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    with pytest.raises(MeterError, match="none is found; plug it in"):
        bench.meter().open()
    usb(tmp_path)
    with pytest.raises(MeterError, match=r"although one is on USB.*72-joulescope.rules"):
        bench.meter().open()


def usb(root, product="10ba"):
    folder = root / "sys/bus/usb/devices/1-1"
    folder.mkdir(parents=True)
    (folder / "idVendor").write_text("16d0\n")
    (folder / "idProduct").write_text(f"{product}\n")


def test_it_is_looked_for_in_the_kernels_files_without_loading_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    assert not JoulescopeMeter.probe(MeterRequest()).present
    usb(tmp_path)
    assert "JS220 on USB: --meter joulescope?scope=devkit" in JoulescopeMeter.probe(MeterRequest()).reason
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    there = JoulescopeMeter.probe(MeterRequest())
    assert (there.present, there.available) == (True, False) and "pip install 'ebbench[joulescope]'" in there.reason


@pytest.mark.parametrize("error", ["ImportError('no libusb')", "RuntimeError('joulescope requires Python 3.9+')"])
def test_a_package_that_cannot_be_loaded_is_one_line(monkeypatch, error):
    def refuse(name):
        raise eval(error)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MeterError, match=r"cannot be loaded .*; pip install 'ebbench"):
        JoulescopeMeter(MeterRequest(options={"scope": "wall"})).open()


def test_the_makers_real_driver_is_asked_and_finds_none(tmp_path):
    """In a process of its own: the driver starts threads that stay."""
    code = (
        "from ebbench.protocols import MeterRequest; from ebbench_devices.joulescope import JoulescopeMeter\n"
        "try: JoulescopeMeter(MeterRequest('no-such-serial', {'scope': 'devkit'})).open()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MeterError joulescope: no") and done.stdout.count("\n") == 1


def test_unplugged_it_is_lost_once_and_found_again_when_it_is_back(bench):
    now_ns = [10**12]
    bench.clock = lambda: now_ns[0]
    meter, _ = bench.open()
    meter.drain(20.0)
    paths = bench.driver.unplug()
    now_ns[0] += 2_100_000_000
    with pytest.raises(MeterError, match="nothing for 2 s; is it plugged in"):
        meter.drain(20.0)
    assert len(meter.drain(20.0).time_ns) == 0
    now_ns[0] += 1_000_000_000
    with pytest.raises(MeterError, match="none is found"):
        meter.drain(20.0)
    bench.driver.plug_in(paths)
    now_ns[0] += 1_000_000_000
    assert len(meter.drain(20.0).time_ns) == 0
    bench.driver.send()
    assert [r["w"] for r in readings(meter.drain(20.0))] == [6.0]
