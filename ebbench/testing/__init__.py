"""For the tests of what is plugged in, built in or from outside: a context for pipelines, and what every meter must do."""

from ebbench.testing.context import FakeContext, Killed
from ebbench.testing.meter import MeterCase, check_meter

__all__ = ["FakeContext", "Killed", "MeterCase", "check_meter"]
