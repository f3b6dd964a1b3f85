from __future__ import annotations

import pytest

from ebbench.energy.sampler_process.source import RETRY_NS, Source
from ebbench.errors import MeterError
from ebbench.protocols import Column, MeterInfo

INFO = MeterInfo("m", "module", True, (), (Column("A_w"),), (), 1.0)


class Meter:
    """A meter whose every call the test can make fail; keeps what was done to it."""

    calls = []
    faults = {}
    info = INFO

    def __init__(self, request):
        self.calls.append("new")

    def _do(self, name):
        self.calls.append(name)
        if name in self.faults:
            raise self.faults[name]

    def open(self):
        self._do("open")
        return self.info

    def read(self):
        self._do("read")
        return (1.0,)

    def close(self):
        self._do("close")


@pytest.fixture
def meter():
    class Fresh(Meter):
        calls, faults = [], {}

    return Fresh


def read(source, now_ns):
    return source.attempt(now_ns, lambda m: m.read())


def test_a_meter_that_fails_is_asked_each_time_and_opened_again_every_second(meter):
    source = Source(meter, None)
    meter.faults["read"] = OSError(5, "Input/output error")
    meter.calls.clear()
    for now_ns in range(0, 3 * RETRY_NS, RETRY_NS // 4):
        assert read(source, now_ns) is None
        assert source.reason == "OSError: [Errno 5] Input/output error"
    assert meter.calls.count("open") == 2
    assert meter.calls.count("read") == 12
    assert [c for c in meter.calls if c != "read"] == ["close", "new", "open"] * 2
    assert source.failures == 12


def test_a_meter_that_comes_back_is_used_again_and_stays_open(meter):
    source = Source(meter, None)
    meter.faults["read"] = OSError(5, "Input/output error")
    assert read(source, 0) is None
    meter.faults.clear()
    assert read(source, 10) == (1.0,)
    assert source.reason is None
    meter.calls.clear()
    assert read(source, 5 * RETRY_NS) == (1.0,)
    assert meter.calls == ["read"]


def test_a_meter_that_cannot_be_opened_again_is_not_read_and_tried_again_later(meter):
    source = Source(meter, None)
    meter.faults.update(read=OSError(19, "No such device"), open=MeterError("plug it in"), close=OSError("gone"))
    read(source, 0)
    assert read(source, RETRY_NS) is None
    assert source.reason == "plug it in"
    meter.calls.clear()
    assert read(source, RETRY_NS + 1) is None
    assert source.reason == "plug it in"
    assert meter.calls == []
    meter.faults.clear()
    assert read(source, 2 * RETRY_NS) == (1.0,)


def test_another_meter_at_the_same_place_is_refused(meter):
    source = Source(meter, None)
    meter.faults["read"] = OSError(19, "No such device")
    read(source, 0)
    meter.faults.clear()
    meter.info = MeterInfo("m", "module", True, (), (Column("B_w"),), (), 1.0)
    assert read(source, RETRY_NS) is None
    assert "other columns" in source.reason
