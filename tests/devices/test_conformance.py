"""Every registered meter goes through the conformance suite, each with a case that brings up its other end.

To add a meter, write a function that returns its `MeterCase` and register it with ``@case("name")``.
"""

from __future__ import annotations

import functools
import socket
import sys

import pytest

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
#: meters without a case yet: this list only gets shorter
NOT_YET = frozenset(
    ("rapl", "shelly", "tasmota", "wattsup", "joulescope", "tegrastats", "csv", "serial", "tcp", "line")
)


def case(name):
    def register(build):
        CASES[name] = build
        return build

    return register


@pytest.mark.parametrize("name", sorted(METERS))
def test_it_does_what_every_meter_must(name, request, tmp_path):
    if name not in CASES and name in NOT_YET:
        pytest.skip(f"the meter {name} has NO conformance case yet: add one to {__name__}")
    assert name in CASES, f"add a case for the meter {name!r} to {__file__}"
    check_meter(CASES[name](request, tmp_path))


def test_no_meter_with_a_case_is_listed_as_one_without():
    assert not NOT_YET & set(CASES)


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
    return MeterCase(METERS["jtop"], MeterRequest(board=facts), "jtop", disturb=board.kill, rate_hz=10.0)


def entered(request, context):
    """The context, open until the test ends."""
    found = context.__enter__()
    request.addfinalizer(functools.partial(context.__exit__, None, None, None))
    return found


def free_port():
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@case("scpi")
def scpi(request, tmp_path):
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed: the scpi meter is NOT tested")
    from scpi_instrument import Supply, TcpInstrument

    wire = entered(request, TcpInstrument(Supply()))
    options = {"scope": "devkit", "timeout_s": 0.5}
    return MeterCase(
        METERS["scpi"],
        MeterRequest(wire.resource, options),
        "scpi",
        broken=MeterRequest(f"TCPIP::127.0.0.1::{free_port()}::SOCKET", options),
        disturb=functools.partial(setattr, wire.instrument, "fault", "nan"),
    )


@case("ptdaemon")
def ptdaemon(request, tmp_path):
    from ptdaemon_server import PtdaemonServer

    server = entered(request, PtdaemonServer())
    options = {"scope": "wall", "voltage_range_v": 15, "current_range_a": 5, "timeout_s": 0.5}
    return MeterCase(
        METERS["ptdaemon"],
        MeterRequest(f"127.0.0.1:{server.port}", options),
        "ptdaemon",
        broken=MeterRequest(f"127.0.0.1:{free_port()}", options),
        disturb=functools.partial(setattr, server, "fault", "nan"),
        rate_hz=20.0,
    )
