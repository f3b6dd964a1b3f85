"""What all external meters say alike: how one is named, and that nothing is contacted before it is opened."""

from __future__ import annotations

import importlib.util
import json

import pytest
from rigs import NEEDS, RIGS
from waves import constant

from ebbench import plugins
from ebbench.errors import ConfigError
from ebbench.protocols import STATED, MeterRequest
from ebbench.testing.quiet import watched

METERS = plugins.registered(plugins.METERS)
#: the others are looked for
NAMED = sorted(set(RIGS) - {"tegrastats", "joulescope"})


@pytest.mark.parametrize("name", NAMED)
def test_unnamed_it_is_not_here_and_says_in_a_few_words_how_to_name_it(name):
    meter = plugins.resolve(METERS[name])
    there = meter.probe(MeterRequest())
    assert (there.available, there.present, there.scope) == (False, False, STATED)
    assert there.reason.startswith(f"external; name it: {name}:") and len(there.reason) < 80
    with pytest.raises(ConfigError, match=f"^{name}: name it, as in {name}:"):
        meter(MeterRequest())


@pytest.mark.parametrize("name", NAMED)
def test_named_it_is_taken_for_here_and_nobody_is_contacted(name, tmp_path):
    if not importlib.util.find_spec(NEEDS.get(name, "numpy")):
        pytest.skip(f"{NEEDS[name]} is not installed: {name} is NOT tested")
    rig = RIGS[name](tmp_path, constant(12.5))
    try:
        with watched() as deeds:
            there = plugins.resolve(METERS[name]).probe(rig.request)
    finally:
        rig.close()
    assert (there.available, there.present, there.scope) == (True, True, "wall")
    assert not [deed for deed in deeds if str(tmp_path) in deed or "127.0.0.1" in deed], deeds


@pytest.mark.parametrize("name", RIGS)
def test_below_another_root_everything_is_simulated(name, tmp_path, monkeypatch):
    """A rig is no instrument, and what is measured on one must never pass for measured."""
    if not importlib.util.find_spec(NEEDS.get(name, "numpy")):
        pytest.skip(f"{NEEDS[name]} is not installed: {name} is NOT tested")
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    rig = RIGS[name](tmp_path, constant(12.5))
    meter = plugins.resolve(rig.factory)(rig.request)
    try:
        info = meter.open()
        assert info.simulated and meter.probe(rig.request).simulated
        json.dumps(info.to_json(), allow_nan=False)
    finally:
        meter.close()
        rig.close()
