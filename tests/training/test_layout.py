"""The memory layout: by a rule that repeats itself, or by a stopwatch that leaves no trace."""

from __future__ import annotations

import pytest
import torch

from ebbench.training.layout import CHANNELS_LAST, CONTIGUOUS, layout_by_rule, layout_by_timing, step_times
from ebbench.training.models import build_model


@pytest.mark.parametrize(
    ("capability", "version", "expected"),
    [
        (None, "2.13.0+cpu", CHANNELS_LAST),
        (None, "1.11.0+cu102", CONTIGUOUS),
        ((6, 2), "1.11.0a0+gitbc2c6ed", CONTIGUOUS),
        ((8, 7), "2.1.0a0+41361538.nv23.06", CHANNELS_LAST),
    ],
)
def test_the_rule_knows_where_channels_last_is_slower(capability, version: str, expected: str):
    assert layout_by_rule(capability, version) == expected


def test_timing_leaves_the_network_as_it_was():
    model = build_model("vgg16-small", 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chosen = layout_by_timing(model, torch.randn(4, 3, 32, 32), torch.arange(4))
    assert chosen in (CONTIGUOUS, CHANNELS_LAST)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.benchmark
def test_the_rule_is_not_far_from_the_stopwatch(capsys: pytest.CaptureFixture):
    torch.set_num_threads(1)
    for name in ("vgg16-small", "vgg16", "preresnet101"):
        model = build_model(name, 10)
        seconds = step_times(model, torch.randn(32, 3, 32, 32), torch.arange(32) % 10)
        ruled = layout_by_rule(None, torch.__version__)
        ratio = seconds[ruled] / min(seconds.values())
        with capsys.disabled():
            print(f"\n{name}: a step takes {seconds} s; by rule {ruled}, {ratio:.2f}x the faster one (limit 1.2)")
        assert ratio < 1.2
