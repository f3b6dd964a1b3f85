"""What would fail or be slow on a GPU only, found without one: tensors of two devices in one operation, and steps that wait.

A step that waits for the GPU lets it stand idle until the next one is asked for, and a benchmark would measure that.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
try:
    from torch.utils._python_dispatch import return_and_correct_aliasing  # noqa: F401 - what the pretence needs
except ImportError:
    pytest.skip("this torch (before 2.1) cannot be watched", allow_module_level=True)

from picture_tree import write_tree
from pretended_gpu import PretendedGpu, pretended_gpu

from ebbench import plugins
from ebbench.config import Recipe
from ebbench.testing import FakeContext
from ebbench.training import compat
from ebbench.training.loop import Trainer

BATCH, STEPS = 8, 2
#: to the GPU before the first step of an epoch: its plan (of pictures: their labels), mean and standard deviation
PER_EPOCH = 3
SMALL: Dict[str, Any] = {"epochs": 2, "batch_size": BATCH, "train_images": BATCH * STEPS, "test_images": BATCH}
METHODS: Dict[str, Dict[str, Any]] = {
    "dense": {},
    "lt": {"draw": (1,)},
    "snip": {},
    "ns": {"draw": (1,)},
    "thinet": {"draw": (1,), "thinet_positions": 60},
    "sfp": {},
    "eb-ff": {"draw": (1,)},
    "eb-reinit": {"draw": (1,), "residual": "select", "model": "preresnet-small"},
    "eb-lf": {"draw": (1,)},
    "eb-ll": {"draw": (1,), "average_from": 0.5},
    "eb-wage": {"draw": (1,), "model": "resnet18-small"},
    "eb-amp": {"draw": (1,)},
}
#: waits of a step that are meant: a scaled step looks whether its gradients are finite
MEANT = {"eb-amp": 1}


class GpuContext(FakeContext):
    device = "cuda:0"


@dataclass
class Found:
    """What a run gave, and how often the CPU waited for the GPU: in each epoch of training steps, in each evaluation."""

    outcome: Any
    context: FakeContext
    epochs: List[int]
    evaluations: List[int]


def run_of(method: str, **settings: Any) -> Found:
    """A run on a GPU in pretence, with the draws that would be repeated to be measured."""
    described = {"model": "vgg16-small", "dataset": "synthetic", **SMALL, **METHODS[method], **settings}
    pipeline, context = (
        plugins.load(plugins.PIPELINES, method)(Recipe(method=method, **described)),
        GpuContext(due=False),
    )
    with pretended_gpu() as gpu, counted(gpu, "_train_steps") as epochs, counted(gpu, "evaluate") as evaluations:
        pipeline.check()
        outcome = pipeline.run(context)
        if outcome.repeat_draw is not None:
            outcome.repeat_draw()
    return Found(outcome, context, epochs, evaluations)


@contextlib.contextmanager
def counted(gpu: PretendedGpu, name: str) -> Iterator[List[int]]:
    """How often the CPU waited for the GPU in each call of this method of a trainer."""
    method, found = getattr(Trainer, name), []

    def watched(trainer: Trainer, *args: Any) -> Any:
        before = len(gpu.waits)
        result = method(trainer, *args)
        found.append(len(gpu.waits) - before)
        return result

    with mock.patch.object(Trainer, name, watched):
        yield found


def test_every_method_is_looked_at():
    assert set(METHODS) == set(plugins.registered(plugins.PIPELINES))


@pytest.mark.parametrize("method", METHODS)
def test_no_method_mixes_devices_and_no_step_waits_for_the_gpu(method: str):
    found = run_of(method)
    assert len(found.epochs) >= 2
    assert max(found.epochs) <= PER_EPOCH + MEANT.get(method, 0) * STEPS
    assert max(found.evaluations) <= PER_EPOCH + 1  # its counts, once


def test_a_search_for_the_ratio_neither_mixes_devices_nor_waits():
    found = run_of("eb-ff", draw="early-bird", prune_ratio="auto", auto_images=20, auto_epochs=1, train_images=40)
    assert max(found.epochs) <= PER_EPOCH


def test_steps_on_a_folder_of_pictures_do_not_wait_for_the_gpu(tmp_path: Path):
    tree = write_tree(tmp_path / "tree", train=2 * BATCH // 3 + 1, val=BATCH)
    found = run_of("dense", dataset=f"imagefolder:{tree}", image_size=32, workers=1, test_images=None)
    assert max(found.epochs) <= PER_EPOCH
    assert max(found.evaluations) <= PER_EPOCH + 1


def test_a_training_with_a_scaled_loss_goes_on_from_a_checkpoint_with_its_scale(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compat, "grad_scaler", lambda: torch.amp.GradScaler("cuda", init_scale=4.0, growth_interval=2))
    recipe = Recipe(method="eb-amp", model="vgg16-small", dataset="synthetic", **{**SMALL, "draw": (1,)})
    pipeline, whole = plugins.load(plugins.PIPELINES, "eb-amp")(recipe), GpuContext()
    with pretended_gpu():
        pipeline.run(whole)
        assert [json.loads(c[1])["precision"]["scale"] for c in whole.checkpoints[:2]] == [4.0, 8.0]
        for checkpoint in whole.checkpoints[:-1:2]:
            again = GpuContext(checkpoint=checkpoint)
            pipeline.run(again)
            assert again.checkpoint[1] == whole.checkpoint[1]
            assert all(v.tobytes() == whole.checkpoint[0][name].tobytes() for name, v in again.checkpoint[0].items())


@pytest.mark.parametrize("method", ["eb-ff", "sfp", "lt"])
def test_a_gpu_in_pretence_computes_what_the_cpu_computes(method: str, monkeypatch: pytest.MonkeyPatch):
    on_gpu = run_of(method)
    monkeypatch.setattr(GpuContext, "device", "cpu")
    on_cpu = run_of(method)
    assert on_gpu.context.checkpoint is not None and on_cpu.context.checkpoint is not None
    assert on_gpu.outcome.accuracy == on_cpu.outcome.accuracy
    for name, value in on_cpu.context.checkpoint[0].items():
        assert on_gpu.context.checkpoint[0][name].tobytes() == value.tobytes(), name
    assert not on_cpu.epochs[0] and on_gpu.epochs[0]


@pytest.mark.parametrize(
    "fault",
    [
        lambda x, y: x[torch.ones(len(x), dtype=torch.bool)],
        lambda x, y: x * torch.ones(x.shape[-1]),
        lambda x, y: F.cross_entropy(x.flatten(1), torch.zeros(len(x), dtype=torch.int64)),
        lambda x, y: np.asarray(x),
    ],
)
def test_a_gpu_in_pretence_refuses_what_cuda_refuses(fault: Callable[[torch.Tensor, torch.Tensor], Any]):
    with pretended_gpu():
        x, y = torch.ones(4, 3, 2, 2).to("cuda:0"), torch.zeros(4, dtype=torch.int64).to("cuda:0")
        with pytest.raises((RuntimeError, TypeError), match=r"same device|can't convert"):
            fault(x, y)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.mean()),
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.add_(torch.ones(4).to(x.device)),
        lambda x: x.copy_(torch.ones(4)),
        lambda x: torch.ones(4).to(x.device, non_blocking=True),  # from memory that is not pinned
    ],
)
def test_a_gpu_in_pretence_sees_what_waits(wait: Callable[[torch.Tensor], Any]):
    with pretended_gpu() as gpu:
        x = torch.zeros(4, device="cuda:0")
        x.add_(1).mul_(2)
        torch.ones(4).pin_memory().to("cuda:0", non_blocking=True)
        assert not gpu.waits
        wait(x)
        assert gpu.waits
