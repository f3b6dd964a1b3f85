from __future__ import annotations

import pytest

from ebbench.energy.sampler_process.source import RETRY_NS
from ebbench.errors import MeterError
from ebbench_devices.meter.feed import Feed, patience_s


class Connection:
    """Gives each of `script` in turn; an error is raised."""

    is_pending = False

    def __init__(self, *script):
        self.script, self.closed = list(script), 0

    def take(self):
        given = self.script.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    def close(self):
        self.closed += 1


class Bench:
    """A feed whose connections are those given, an error being an attempt that fails, and a clock that is set."""

    def __init__(self, *connections):
        self.connections, self.now_ns = list(connections), 0
        self.feed = Feed(self.connect, lambda: self.now_ns)

    def connect(self):
        made = self.connections.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    def take(self, after_ns=0):
        self.now_ns += after_ns
        return self.feed.take()


def test_what_was_looked_at_comes_first_and_once():
    bench = Bench(Connection(["c"]))
    bench.feed.open()
    bench.feed.keep(["a", "b"])
    assert [bench.take(), bench.take()] == [["a", "b"], ["c"]]


def test_a_loss_is_told_once_and_mended_a_second_later():
    lost, back = Connection(MeterError("lost")), Connection(["a"])
    bench = Bench(lost, back)
    bench.feed.open()
    with pytest.raises(MeterError, match="lost"):
        bench.take()
    assert lost.closed == 1
    assert bench.take(RETRY_NS - 1) == [] and bench.connections == [back]
    assert bench.take(1) == [] and bench.take() == ["a"]


def test_every_attempt_that_fails_is_told_and_there_is_one_a_second():
    bench = Bench(Connection(MeterError("lost")), MeterError("absent"), MeterError("absent"), Connection(["a"]))
    bench.feed.open()
    for reason in ("lost", "absent", "absent"):
        with pytest.raises(MeterError, match=reason):
            bench.take(RETRY_NS)
        assert bench.take() == []
    assert bench.take(RETRY_NS) == [] and bench.take() == ["a"]


def test_one_that_still_connects_is_waited_for_and_never_made_anew():
    slow = Connection(MeterError("does not answer"), [], ["a"])
    slow.is_pending = True
    bench = Bench(slow)
    bench.feed.open()
    with pytest.raises(MeterError, match="does not answer"):
        bench.take()
    assert [bench.take(), bench.take()] == [[], ["a"]] and not slow.closed


def test_closed_twice_the_connection_is_let_go_once():
    only = Connection()
    bench = Bench(only)
    bench.feed.open()
    bench.feed.close()
    bench.feed.close()
    assert only.closed == 1


def test_a_slow_one_may_be_silent_for_longer():
    assert [patience_s(s) for s in (0.1, 1.0, 4.0)] == [5.0, 5.0, 20.0]
