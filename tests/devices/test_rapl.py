from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from powercap_tree import AMD, RANGE_UJ, SERVER, PowercapTree

from ebbench import doctor, plugins
from ebbench.clock import read_clocks
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.batches import Chunk
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import series_of
from ebbench.energy.traces.trace import read_whole
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import MeterRequest
from ebbench_devices.rapl import OPEN, RaplMeter

S = 1_000_000_000


class Hand:
    """A clock that a test turns."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture
def tree(tmp_path, monkeypatch):
    def build(*zones, **facts):
        monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
        return PowercapTree(tmp_path, *zones, **facts)

    return build


def opened(clock=None, **options):
    meter = RaplMeter(MeterRequest(options=options), *([clock] if clock else []))
    return meter, meter.open()


def test_the_total_is_the_packages_and_never_the_machine(tree):
    tree()
    _, info = opened()
    assert (info.total, info.scope) == (("package_0",), "cpu")
    assert {r.name: r.scope for r in info.rails if r.scope != "rail"} == {"package_0": "cpu"}
    assert (info.default_rate_hz, info.simulated) == (10.0, True)


def test_cores_and_graphics_are_inside_of_the_package_and_memory_is_beside_it(tree):
    tree()
    inside = {rail.name: rail.inside_of for rail in opened()[1].rails}
    assert inside == {
        "package_0": "psys", "package_0_core": "package_0", "package_0_uncore": "package_0", "package_0_dram": "psys",
        "psys": None,
    }  # fmt: skip


def test_a_server_is_the_sum_of_its_packages_without_their_memory(tree):
    tree(SERVER)
    _, info = opened()
    assert info.total == ("package_0", "package_1")
    assert {r.name: r.inside_of for r in info.rails if r.name.endswith("dram")} == {
        "package_0_dram": None,
        "package_1_dram": None,
    }


def test_on_amd_the_core_is_known_to_be_one_of_them(tree, tmp_path):
    tree(AMD)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("vendor_id\t: AuthenticAMD\n")
    _, info = opened()
    assert info.identity["core"] == "one core of the package" and info.total == ("package_0",)


@pytest.mark.parametrize(
    ("vendor", "late_s"),
    [("GenuineIntel", (0.0, 5e-4, 1e-3 / 12**0.5)), ("AuthenticAMD", (None, None, 0.0)), ("", (None, None, 0.0))],
)
def test_how_old_a_count_is_at_most_is_known_of_intels_alone(tree, tmp_path, vendor, late_s):
    tree()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t: fpu\n")
    rails = opened()[1].rails
    assert {(r.counter_averaging_s, r.counter_delay_s, r.counter_delay_u_s) for r in rails} == {late_s}
    stated = opened(averaging_s="0.01", delay_s="0.002")[1].rails
    assert {(r.counter_averaging_s, r.counter_delay_s) for r in stated} == {(0.01, 0.002)}


def test_the_same_package_through_another_register_is_not_counted_twice(tree):
    tree()
    assert all("mmio" not in str(zone["folder"]) for zone in opened()[1].identity["zones"].values())


def test_zones_that_are_only_mounted_one_in_the_other_are_found(tree, tmp_path):
    fake = tree(AMD)
    shutil.rmtree(tmp_path / "sys/class")
    (tmp_path / "sys/class").mkdir()
    (tmp_path / "sys/devices/virtual/powercap/intel-rapl").rename(tmp_path / "sys/class/powercap")
    assert [r.name for r in opened()[1].rails] == ["package_0", "package_0_core"] and fake.range_uj == RANGE_UJ


def test_counters_are_joules_since_the_start_across_a_wrap(tree):
    fake, clock = tree(limit_w=100), Hand()
    fake.show("intel-rapl:0", RANGE_UJ - 3_000_000)
    meter, info = opened(clock)
    clock.now_ns += S // 10
    fake.show("intel-rapl:0", RANGE_UJ + 4_000_000)
    values = dict(zip((c.name for c in info.columns), meter.read()))
    assert values["package_0_j"] == 7_000_000 and info.columns[0].scale == 1e-6


def integrated(rows, info, starts_s, ends_s, max_gap_s=None):
    time_ns = np.array([t for t, _ in rows], np.int64)
    values = {info.columns[0].name: np.array([v * 1e-6 for _, v in rows])}
    zeros = np.zeros_like(time_ns)
    chunk = Chunk(time_ns, zeros, zeros, values, read_clocks(), (), {})
    series = [series_of(info, ["package_0"])]
    edges = [np.rint(np.array(e) * S).astype(np.int64) for e in (starts_s, ends_s)]
    return integrate([chunk], series, survey([chunk], series), *edges, max_gap_s)[0]


def test_a_gap_longer_than_half_the_wrap_time_is_missing_even_where_long_gaps_are_allowed(tree):
    """100 J at 50 W wrap in 2 s: after 1.5 s nobody knows, whatever the counter shows."""
    fake, clock = tree(range_uj=100_000_000, limit_w=50), Hand()
    meter, info = opened(clock)
    rows = []
    for second in (0.0, 0.1, 0.2, 1.7, 1.8, 1.9):
        clock.now_ns = round(second * S)
        fake.show("intel-rapl:0", 1_000_000 + round(second * 40e6))
        rows.append((clock.now_ns, meter.read()[0]))
    found = integrated(rows, info, [0.0, 0.0, 1.7], [0.2, 1.9, 1.9], max_gap_s=10.0)
    assert found.energy_j == pytest.approx([8.0, 16.0, 8.0]) and found.covered_s == pytest.approx([0.2, 0.4, 0.2])
    assert "wrapped" in found.reason(1)


def test_a_zone_without_a_limit_of_its_own_has_that_of_its_package(tree):
    tree(limit_w=65)
    zones = opened()[1].identity["zones"]
    assert zones["package_0_core"]["limit_w"] == zones["package_0"]["limit_w"] == 65.0


def test_one_counter_that_fails_is_missing_and_all_that_fail_are_an_error(tree):
    fake = tree(AMD)
    meter, _ = opened()
    (fake.folder("intel-rapl:0:0") / "energy_uj").write_text("")
    assert meter.read() == [0, None]
    (fake.folder("intel-rapl:0") / "energy_uj").write_text("what\n")
    with pytest.raises(MeterError, match="energy_uj"):
        meter.read()


def test_wrong_options_and_senseless_ranges_are_refused(tree):
    fake = tree()
    with pytest.raises(ConfigError, match="did you mean 'gain_u'"):
        RaplMeter(MeterRequest(options={"gain": "1"}))
    with pytest.raises(ConfigError, match="takes none"):
        RaplMeter(MeterRequest(address="intel-rapl:0"))
    (fake.folder("intel-rapl:0") / "max_energy_range_uj").write_text("0\n")
    with pytest.raises(MeterError, match="no range of a counter"):
        opened()


def test_what_the_user_states_of_its_accuracy_is_kept_and_the_rest_is_unknown(tree):
    tree()
    assert opened()[1].rails[0].gain_ratio is None
    assert opened(gain_u="0.02")[1].rails[0].gain_ratio == 0.02


def test_a_machine_without_zones_has_no_rapl(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    there = RaplMeter.probe(MeterRequest())
    assert not there.present and "intel_rapl" in there.reason


def test_zones_that_a_container_hides_are_present_with_the_way_out(tree, tmp_path):
    tree(AMD)
    shutil.rmtree(tmp_path / "sys/devices/virtual/powercap/intel-rapl")
    there = RaplMeter.probe(MeterRequest())
    assert (there.present, there.available) == (True, False) and "systempaths=unconfined" in there.reason


@pytest.fixture
def closed(monkeypatch):
    """A tree whose counters are root's, looked at by somebody else."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else for a moment")
    root = Path(tempfile.mkdtemp(prefix="ebbench-powercap-"))
    root.chmod(0o755)
    fake = PowercapTree(root, AMD)
    for file in root.rglob("energy_uj"):
        file.chmod(0o400)
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(root))
    os.seteuid(65534)
    yield fake
    os.seteuid(0)
    shutil.rmtree(root)


def test_counters_that_only_root_may_read_are_present_with_the_line_that_opens_them(closed):
    there = RaplMeter.probe(MeterRequest())
    assert (there.present, there.available) == (True, False)
    assert "only root may read" in there.reason and there.reason.endswith(OPEN) and "\n" not in there.reason
    rows = [{"name": "rapl", "available": False, "present": True, "simulated": True, "reason": there.reason}]
    assert next(iter(doctor.meter_findings(rows)))["advice"].endswith(OPEN)


def test_that_line_opens_them_for_this_user_and_for_nobody_else(closed):
    os.seteuid(0)
    for file in closed.root.glob("sys/class/powercap/intel-rapl:*/energy_uj"):  # what the shell makes of it
        os.chown(file, 65534, -1)
        assert file.stat().st_mode & 0o077 == 0
    os.seteuid(65534)
    assert RaplMeter.probe(MeterRequest()).available


def test_a_subzone_that_is_closed_is_left_out_and_named(closed):
    os.seteuid(0)
    os.chown(closed.folder("intel-rapl:0") / "energy_uj", 65534, -1)
    os.seteuid(65534)
    _, info = opened()
    assert [r.name for r in info.rails] == ["package_0"] and "package_0_core" in info.identity["left_out"]


@pytest.mark.realtime
def test_in_the_sampler_a_wrap_neither_loses_nor_invents_energy(tree, tmp_path):
    fake = tree(AMD, limit_w=100)
    start_uj = RANGE_UJ - 200_000
    fake.show("intel-rapl:0", start_uj)
    sampler = Sampler.start(plugins.registered(plugins.METERS)["rapl"], MeterRequest(), tmp_path / "t.arrows", 100.0)
    sampler.wait_ready()
    written = [0]
    while written[-1] < 1_000_000:
        written.append(written[-1] + 1_000)
        fake.show("intel-rapl:0", start_uj + written[-1])
    sampler.stop()
    readings_uj = np.rint(read_whole(tmp_path / "t.arrows").values["package_0_j"] * 1e6).astype(int).tolist()
    assert readings_uj == sorted(readings_uj) and set(readings_uj) <= set(written)
    assert readings_uj[0] == 0 and readings_uj[-1] == written[-1]
