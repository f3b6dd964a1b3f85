"""Every registered meter goes through the conformance suite, each with a case that brings up its other end.

To add a meter, write a function that returns its `MeterCase` and register it with ``@case("name")``; an external one rather has
a rig (`rigs.RIGS`), which also puts it through the faults of `test_faults`.
"""

from __future__ import annotations

import sys

import pytest
from powercap_tree import PowercapTree
from rigs import NAN, NEEDS, RIGS
from waves import constant

from ebbench import plugins
from ebbench.protocols import MeterRequest
from ebbench.testing import MeterCase, check_meter

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.filterwarnings("ignore:distro.linux_distribution:DeprecationWarning"),  # of jetson-stats
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
METERS = plugins.registered(plugins.METERS)
CASES = {}


def case(name):
    def register(build):
        CASES[name] = build
        return build

    return register


@pytest.mark.parametrize("name", sorted(METERS))
def test_it_does_what_every_meter_must(name, request, tmp_path):
    assert name in CASES or name in RIGS, f"add a case for the meter {name!r} to {__file__}"
    check_meter(CASES.get(name, rigged)(request, tmp_path))


def rigged(request, tmp_path):
    """The case of a meter that has a rig."""
    name = request.node.callspec.params["name"]
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed: the meter {name} is NOT tested")
    request.getfixturevalue("monkeypatch").setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    rig = RIGS[name](tmp_path, constant(12.5))
    request.addfinalizer(rig.close)
    return MeterCase(
        rig.factory,
        rig.request,
        name,
        broken=rig.broken,
        disturb=lambda: rig.spoil(NAN),
        rate_hz=rig.rate_hz,
    )


@case("sim")
def sim(request, tmp_path):
    return MeterCase(METERS["sim"], MeterRequest(options={"noise_w": 0.1}), "sim", options=("train_w", "gain_error"))


@case("replay")
def replay(request, tmp_path):
    recording = tmp_path / "power.csv"
    recording.write_text("time_s,A_w,A_v\n0,1,5\n0.02,2,\n0.04,3,5\n")
    asked = MeterRequest(address=str(recording), options={"loop": True, "scope": "wall"})
    return MeterCase(METERS["replay"], asked, "replay", broken=MeterRequest(address=str(tmp_path / "absent.csv")))


@case("ina3221")
def ina3221(request, tmp_path):
    board = request.getfixturevalue("fake_board")("tx2")

    def disturb():
        for rail in board.truth_w:
            board.file(rail, "power").write_text("")

    facts = dict(plugins.choose_board().facts)
    return MeterCase(METERS["ina3221"], MeterRequest(board=facts), "ina3221", disturb=disturb)


PYNVML = """
import os
class NVMLError(Exception): ...
def works(value):
    if os.path.exists({broken!r}):
        raise NVMLError("GPU is lost")
    return value
nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda i: i
nvmlDeviceGetUUID = lambda gpu: "GPU-aaaa"
nvmlDeviceGetName = lambda gpu: b"NVIDIA Test"
nvmlSystemGetDriverVersion = lambda: "550.1"
nvmlDeviceGetCudaComputeCapability = lambda gpu: (9, 0)
nvmlDeviceGetPowerUsage = lambda gpu: works(99_000)
nvmlDeviceGetTotalEnergyConsumption = lambda gpu: works(5_000)
"""


@case("nvml")
def nvml(request, tmp_path):
    """The library as a module of its name, so that the sampler's process finds it too."""
    (tmp_path / "pynvml.py").write_text(PYNVML.format(broken=str(tmp_path / "broken")))
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    request.addfinalizer(lambda: sys.modules.pop("pynvml", None))
    return MeterCase(
        METERS["nvml"],
        MeterRequest(options={"index": 0}),
        "nvml",
        options=("index", "uuid"),
        broken=MeterRequest(address="GPU-bbbb"),
        disturb=(tmp_path / "broken").touch,
    )


@case("jtop")
def jtop(request, tmp_path):
    board = request.getfixturevalue("jtop_board")("tx2")
    facts = dict(plugins.choose_board().facts)
    return MeterCase(METERS["jtop"], MeterRequest(board=facts), "jtop", disturb=board.kill, rate_hz=4.0)


@case("rapl")
def rapl(request, tmp_path):
    request.getfixturevalue("monkeypatch").setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    tree = PowercapTree(tmp_path)

    def disturb():
        for counter in tmp_path.rglob("energy_uj"):
            counter.write_text("")

    tree.show("intel-rapl:0", 5_000_000)
    return MeterCase(METERS["rapl"], MeterRequest(), "rapl", options=("gain_u",), disturb=disturb)
