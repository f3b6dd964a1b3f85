from __future__ import annotations

import sys

import pytest

from ebbench import plugins, session
from ebbench.config import Bench
from ebbench.errors import ConfigError, MeterError
from ebbench.meter_ref import MeterRef
from ebbench.protocols import Availability, Board
from ebbench_devices.sim import SimMeter

HERE = Availability(True, True, "works", "module")
ABSENT = Availability(False, False, "not here", "module")
BLOCKED = Availability(False, True, "permission denied; run as root", "module")
SIMULATED = Availability(True, True, "simulated", "module", simulated=True)


@pytest.fixture
def bench(monkeypatch):
    """Meters by name, each with what its probe says; returns the requests that they were probed with."""
    requests = []

    def build(**found):
        class Probed:
            def __init__(self, there):
                self.there = there

            def __call__(self, request):
                return self

            def probe(self, request):
                requests.append(request)
                return self.there

        monkeypatch.setattr(plugins, "registered", lambda group: {name: f"fake:{name}" for name in found})
        monkeypatch.setattr(plugins, "resolve", lambda path: Probed(found[path.partition(":")[2]]))
        return requests

    return build


def names(chosen):
    return [name for name, _, _ in chosen]


def test_auto_takes_the_first_of_the_order_that_can_be_read(bench):
    bench(sim=SIMULATED, nvml=HERE, ina3221=HERE)
    assert names(plugins.choose_meters(["auto"], None)) == ["ina3221"]
    bench(sim=SIMULATED, nvml=HERE, ina3221=ABSENT, jtop=BLOCKED)
    assert names(plugins.choose_meters(["auto"], None, may_simulate=True)) == ["nvml"]


def test_auto_simulates_only_where_it_may_and_nothing_real_is_there(bench):
    bench(sim=SIMULATED, ina3221=ABSENT)
    assert names(plugins.choose_meters(["auto"], None, may_simulate=True)) == ["sim"]
    with pytest.raises(MeterError, match=r"no meter found.*--meter") as caught:
        plugins.choose_meters(["auto"], None)
    assert caught.value.exit_code == 3


def test_auto_never_simulates_where_a_real_meter_needs_mending(bench):
    bench(sim=SIMULATED, ina3221=BLOCKED)
    with pytest.raises(MeterError, match=r"ina3221: permission denied; run as root") as caught:
        plugins.choose_meters(["auto"], None, may_simulate=True)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


CLOSED = Availability(False, True, "rapl: only root may read it; sudo chown", "cpu")


def test_a_rapl_that_only_root_may_read_does_not_stop_the_quickstart_and_is_said_aloud(bench, monkeypatch):
    bench(sim=SIMULATED, ina3221=ABSENT, rapl=CLOSED)
    monkeypatch.setattr(plugins, "choose_board", lambda name="auto": None)
    said = []
    setup = session.find_setup(Bench(device="cpu"), may_simulate=True, say=said.append)
    assert names(setup.meters) == ["sim"]
    assert said == ["SIMULATED, although a real meter is here: rapl: only root may read it; sudo chown"]
    assert plugins.survey(Board("x", "X", {}))["auto"] == "sim"


def test_a_rapl_that_only_root_may_read_stops_everything_else_with_the_fix(bench):
    bench(sim=SIMULATED, rapl=CLOSED)
    with pytest.raises(MeterError, match=r"cannot be read: rapl: only root may read it; sudo chown") as caught:
        plugins.choose_meters(["auto"], None)
    assert caught.value.exit_code == 3
    bench(sim=SIMULATED, nvml=BLOCKED, rapl=CLOSED)
    with pytest.raises(MeterError, match=r"nvml: permission denied; run as root; rapl: only root"):
        plugins.choose_meters(["auto"], None, may_simulate=True)


def test_nothing_is_said_where_a_meter_is_read_or_none_is_there(bench):
    for found, taken in (({"nvml": HERE, "rapl": CLOSED}, "nvml"), ({"rapl": ABSENT}, "sim")):
        bench(sim=SIMULATED, **found)
        said = []
        assert names(plugins.choose_meters(["auto"], None, may_simulate=True, say=said.append)) == [taken]
        assert said == []


def test_named_meters_keep_their_order_and_are_told_what_they_need(bench):
    bench(sim=SIMULATED, ina3221=HERE, nvml=HERE)
    board = Board("tx2", "TX2", {"name": "tx2", "total": ["VDD_IN"]})
    chosen = plugins.choose_meters(["sim?train_w=12", "nvml:GPU-1", "auto"], board, "uuid-1")
    assert names(chosen) == ["sim", "nvml", "ina3221"]
    assert chosen[0][1] == "fake:sim" and chosen[0][2].options == {"train_w": "12"}
    assert chosen[1][2].address == "GPU-1" and chosen[1][2].device_uuid == "uuid-1"
    assert chosen[2][2].board == board.facts


@pytest.mark.parametrize(
    ("refs", "message"),
    [
        (["ina3212"], "did you mean 'ina3221'"), (["sim", "sim?train_w=1"], "named twice"), (["auto?x=1"], "no options"),
        (["auto", "ina3221"], "named twice"), (["?x=1"], "has no name"),
    ],
)  # fmt: skip
def test_wrong_meters_are_the_users_to_mend(bench, refs, message):
    bench(sim=SIMULATED, ina3221=HERE)
    with pytest.raises(ConfigError, match=message):
        plugins.choose_meters(refs, None)


def test_the_faults_of_all_meters_are_said_at_once():
    refs = ["sim?nois_w=1", "ina3212", "replay:x.csv?scpe=wall", MeterRef("nvml", None, {"refrence": True})]
    with pytest.raises(ConfigError) as caught:
        plugins.choose_meters(refs, None)
    for words in ("'noise_w'", "'ina3221'", "'scope'", "the bench itself knows 'reference'"):
        assert words in str(caught.value)


def test_two_meters_of_one_kind_need_two_names():
    with pytest.raises(ConfigError, match=r"'sim' is named twice; .*\?name=OTHER"):
        plugins.choose_meters(["sim", "sim?train_w=1"], None)
    assert names(plugins.choose_meters(["sim?name=a", "sim?name=b&reference=1"], None)) == ["b", "a"]


def test_the_manifest_knows_a_meter_by_its_name_in_the_bench_and_keeps_how_it_was_named():
    refs = [MeterRef("sim", None, {"train_w": 3}, "socket"), "sim?noise_w=1&name=in&reference=1&wiring=at the input"]
    chosen = plugins.choose_meters(refs, None)
    infos = [SimMeter(request).open() for _, _, request in chosen]
    first, second = plugins.described(infos, chosen, refs)
    assert (first["name"], first["type"], first["reference"], first["wiring"]) == ("in", "sim", True, "at the input")
    assert (second["name"], second["reference"], second["options"]) == ("socket", False, {"train_w": 3})


def test_the_survey_lists_all_and_says_what_auto_takes(bench):
    bench(sim=SIMULATED, nvml=ABSENT)
    found = plugins.survey(Board("x", "X", {}))
    assert [row["name"] for row in found["meters"]] == ["nvml", "sim"] and found["auto"] == "sim"
    assert set(found["meters"][0]) >= {"name", "available", "scope", "simulated", "reason"}
    bench(sim=SIMULATED, nvml=BLOCKED)
    assert plugins.survey(Board("x", "X", {}))["auto"] is None


def test_a_meter_that_cannot_be_imported_is_listed_with_the_reason(monkeypatch):
    monkeypatch.setattr(plugins, "registered", lambda group: {"broken": "no_such_module:Meter"})
    row = plugins.survey(Board("x", "X", {}))["meters"][0]
    assert not row["available"] and "no_such_module" in row["reason"]


def test_every_registered_meter_can_be_probed_and_says_why():
    for row in plugins.survey()["meters"]:
        assert row["reason"] and row["scope"]


def test_the_longest_matching_string_decides_which_board_it_is():
    short = Board("nano", "", {"model": ["Jetson Nano"], "compatible": ["p3448"]})
    long = Board("nano-2gb", "", {"model": ["Jetson Nano 2GB"], "compatible": ["p3448-0003"]})
    for boards in ([short, long], [long, short]):
        assert plugins.identify(boards, "NVIDIA Jetson Nano 2GB Developer Kit", []).name == "nano-2gb"
        assert plugins.identify(boards, "NVIDIA Jetson Nano Developer Kit", []).name == "nano"
        assert plugins.identify(boards, None, ["nvidia,p3449-0000+p3448-0003"]).name == "nano-2gb"
        assert plugins.identify(boards, "PC", ["x86"]) is None
        assert plugins.identify(boards, None, []) is None


def test_an_unknown_board_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'tx2'"):
        plugins.choose_board("tx3")


def test_choosing_a_meter_imports_neither_torch_nor_a_vendors_library(monkeypatch):
    import subprocess

    code = (
        "import sys; from ebbench import plugins; plugins.choose_meters(['sim'], plugins.choose_board());"
        "print([m for m in ('torch', 'pandas', 'pynvml', 'jtop') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
