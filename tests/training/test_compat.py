import subprocess
import sys

import pytest
import torch

from ebbench.errors import InputError
from ebbench.training import compat


def test_signs_are_those_of_torch_with_zero_at_zero():
    tensors = [torch.tensor([-2.0, 0.0, 3.0]), torch.tensor([0.5])]
    assert [s.tolist() for s in compat.foreach_sign(tensors)] == [[-1, 0, 1], [1]]


def test_signs_without_the_fast_call_are_the_same(monkeypatch):
    tensors = [torch.tensor([-2.0, 0.0, 3.0])]
    monkeypatch.delattr(torch, "_foreach_sign", raising=False)
    assert compat.foreach_sign(tensors)[0].tolist() == [-1, 0, 1]


def test_the_optimiser_takes_momentum_and_decay_on_every_torch():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = compat.sgd([parameter], lr=0.1, momentum=0.9, weight_decay=0.5)
    parameter.grad = torch.zeros(2)
    optimizer.step()
    assert parameter.tolist() == pytest.approx([0.95, 0.95])


def test_the_determinism_switch_goes_both_ways(monkeypatch):
    monkeypatch.delenv(compat.CUBLAS_WORKSPACE, raising=False)
    try:
        compat.set_arithmetic(True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert torch.empty(1 << 20, dtype=torch.uint8).min() < 255  # no time is spent on filling it
    finally:
        compat.set_arithmetic(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_torchvision_datasets_can_be_imported_beside_this_torch():
    script = "from ebbench.training.compat import import_torchvision_datasets as i; i().CIFAR10, i().CIFAR100"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_missing_torchvision_is_one_clear_line(monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match="torchvision cannot be imported"):
        compat.import_torchvision_datasets()
