"""Where the sensors' root is replaced, the machine is a made-up one: no meter beside it calls its energies measured."""

from __future__ import annotations

import pytest
from http_devices import Device, shelly_gen2
from line_devices import Feeder, TcpDevice
from ptdaemon_server import PtdaemonServer

from ebbench import plugins
from ebbench.protocols import MeterRequest

METERS = plugins.registered(plugins.METERS)


def scpi(request):
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed: the scpi meter is NOT tested")
    from scpi_instrument import Supply, TcpInstrument

    wire = TcpInstrument(Supply()).__enter__()
    request.addfinalizer(lambda: wire.__exit__(None, None, None))
    return wire.resource, {"timeout_s": 0.5}


def ptdaemon(request):
    server = PtdaemonServer().__enter__()
    request.addfinalizer(lambda: server.__exit__(None, None, None))
    return f"127.0.0.1:{server.port}", {"voltage_range_v": 15, "current_range_a": 5, "timeout_s": 0.5}


def shelly(request):
    device = Device(shelly_gen2())
    request.addfinalizer(device.stop)
    return device.address, {}


def tcp(request):
    device = TcpDevice()
    feeder = Feeder(device.send, lambda _: b"P=5W\n", 0.01)
    request.addfinalizer(device.stop)
    request.addfinalizer(feeder.stop)
    return device.address, {"pattern": "P=([0-9]+)W", "unit": "W"}


@pytest.mark.parametrize("other_end", [scpi, ptdaemon, shelly, tcp])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_meter_beside_a_made_up_machine_is_simulated(other_end, is_replaced, request, tmp_path, monkeypatch):
    monkeypatch.delenv("EBBENCH_SYSFS_ROOT", raising=False)
    if is_replaced:
        monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    address, options = other_end(request)
    meter = plugins.resolve(METERS[other_end.__name__])(MeterRequest(address, {"scope": "wall", **options}))
    try:
        assert meter.open().simulated is is_replaced
    finally:
        meter.close()
