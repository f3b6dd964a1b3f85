"""Mixed precision is torch's own, and is refused where it would be emulated."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ebbench.errors import ConfigError
from ebbench.training import compat
from ebbench.training.models import build_model
from ebbench.training.precision.mixed import MixedPrecision, dtype_of

needs_bfloat16 = pytest.mark.skipif(not compat.has_bfloat16("cpu"), reason="this CPU or torch has no bfloat16")


@needs_bfloat16
def test_convolutions_are_computed_in_bfloat16_and_everything_kept_is_float32():
    model, precision = build_model("vgg16-small", 10, seed=1), MixedPrecision("cpu", "auto")
    optimizer = compat.sgd(model.parameters(), lr=0.1, momentum=0.9)
    seen = []
    model.features[0].register_forward_hook(lambda layer, inputs, out: seen.append(out.dtype))
    precision.attach(model)
    with precision.arithmetic():
        loss = F.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.arange(4))
    precision.backward(loss, optimizer)
    precision.step(optimizer)
    assert seen == [torch.bfloat16] and loss.dtype == torch.float32
    for p in model.parameters():
        assert {p.dtype, p.grad.dtype, optimizer.state[p]["momentum_buffer"].dtype} == {torch.float32}
    assert precision.name == "mixed precision, bfloat16" and not precision.is_simulated and precision.state() == {}


def test_float16_on_a_cpu_is_refused_with_what_to_take():
    with pytest.raises(ConfigError, match="'float16' needs a GPU; on a CPU take 'bfloat16'"):
        dtype_of("cpu", "float16")


def test_a_cpu_without_bfloat16_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(compat, "has_bfloat16", lambda device: False)
    with pytest.raises(ConfigError, match=r"this CPU or torch \S+ does not do it; take another method, such as eb-ff$"):
        MixedPrecision("cpu", "auto")
    with pytest.raises(ConfigError, match=r"this GPU .* take amp_dtype = 'float16'"):
        dtype_of("cuda:0", "bfloat16")


@pytest.mark.parametrize(("capability", "is_taken"), [((7, 5), False), ((7, 2), False), ((8, 0), True), ((8, 7), True)])
def test_bfloat16_is_taken_where_the_gpu_that_is_meant_computes_in_it(monkeypatch, capability, is_taken):
    of_each = {0: (9, 0) if not is_taken else (7, 0), 1: capability}  # the first GPU is another one
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: of_each[torch.device(device).index])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *emulated: True)  # as torch says of a Xavier
    assert compat.has_bfloat16("cuda:1") is is_taken


@pytest.mark.parametrize(
    ("device", "asked", "meant"), [("cuda:0", "auto", "float16"), ("cuda:1", "float16", "float16")]
)
def test_auto_is_float16_on_a_gpu(device, asked, meant):
    assert dtype_of(device, asked) == meant
