"""On an NVIDIA GPU: real runs, really measured through NVML. Skipped where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "training"))
from conductor import Nursery, call, only_run, record, weights, write_experiment
from picture_tree import write_tree

import ebbench
from ebbench import plugins
from ebbench.config import Recipe
from ebbench.errors import DeviceError
from ebbench.records import PASS
from ebbench.testing import FakeContext
from ebbench.training.device import gpu_faults
from ebbench.training.loop import Trainer
from ebbench.training.models import build_model
from ebbench.training.pruning.masks import draw_mask
from ebbench.training.pruning.physical import HeldMask, plan_of, prune

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.realtime,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU"),
]
ON_GPU = ("--device", "cuda", "--meter", "nvml")


def small(method, **settings):
    """A recipe of a few steps; made where the tests are collected, so that one that is wrong shows without a GPU."""
    few = {"epochs": 3, "batch_size": 16, "train_images": 64, "test_images": 32}
    drawn = {"draw": (1,)} if method.startswith("eb-") else {}
    return Recipe(method=method, **{"model": "vgg16-small", "dataset": "synthetic", **few, **drawn, **settings})


def method_of(recipe):
    return recipe.method


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small EB run on the GPU that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    experiment = write_experiment(folder, images=480, idle_s=1.0, amplify_s=4.0)
    code, out, err = call("run", experiment, *ON_GPU, "--out", "runs", cwd=folder)
    assert code == 0, out + err
    return only_run(folder / "runs")


def test_a_run_on_the_gpu_is_measured_on_the_gpu_that_torch_uses(whole):
    found = record(whole)
    uuid = str(getattr(torch.cuda.get_device_properties(0), "uuid", ""))
    (meter,) = found["meters"]
    assert found["kind"] == "measured" and found["status"] == "success"
    assert meter["scope"] == "gpu" and uuid in meter["identity"]["uuid"]
    energy = found["energy"]
    assert energy["status"] == "ok" and energy["total_j"] > energy["uncertainty_j"] > 0
    assert next(c for c in found["checks"] if c["name"] == "coverage")["verdict"] == PASS


def test_the_draws_on_the_gpu_have_an_energy_from_amplified_blocks(whole):
    overhead = record(whole)["mask_distance_overhead"]
    assert 0 < overhead["energy_fraction"] < 1 and overhead["memory_fraction"] > 0
    assert overhead["amplified"]["power_w"] > 1


@pytest.mark.parametrize("recipe", [small("eb-ll", average_from=0.5), small("eb-wage"), small("eb-amp")], ids=method_of)
def test_a_training_in_fewer_bits_ends_with_the_same_bits_on_the_gpu(recipe):
    """Float16 with a scaled loss, and rounding by the GPU's own generator, from a checkpoint in the middle of each stage."""
    pipeline = plugins.load(plugins.PIPELINES, recipe.method)(recipe)
    whole = FakeContext()
    whole.device = "cuda:0"
    outcome = pipeline.run(whole)
    for checkpoint in whole.checkpoints[2::4]:
        again = FakeContext(checkpoint=checkpoint)
        again.device = "cuda:0"
        assert pipeline.run(again).accuracy == outcome.accuracy
        assert again.checkpoint[1] == whole.checkpoint[1]
        assert all(
            value.tobytes() == whole.checkpoint[0][name].tobytes() for name, value in again.checkpoint[0].items()
        )


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # it says that it may overlook some
@pytest.mark.parametrize(
    "recipe",
    [
        small("eb-ff", model="preresnet-small", residual="select"),
        small("eb-ll", average_from=0.5),
        small("eb-wage", model="resnet18-small"),
        small("snip"),
        small("dense", dataset="imagefolder:tree", image_size=32, workers=2, train_images=48, test_images=12),
    ],
    ids=method_of,
)
def test_no_step_waits_for_the_gpu(recipe, tmp_path, monkeypatch):
    """Neither the step nor what fetches its batch: torch refuses from the first step of an epoch to its last."""
    write_tree(tmp_path / "tree", train=16, val=4)
    monkeypatch.chdir(tmp_path)
    step, steps = Trainer._train_step, Trainer._train_steps

    def strict_from_the_first(*args):
        loss = step(*args)
        torch.cuda.set_sync_debug_mode("error")
        return loss

    def watched(*args):
        try:
            steps(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "_train_step", strict_from_the_first)
    monkeypatch.setattr(Trainer, "_train_steps", watched)
    context = FakeContext(due=False)
    context.device = "cuda:0"
    outcome = plugins.load(plugins.PIPELINES, recipe.method)(recipe).run(context)
    assert 0 <= outcome.accuracy["final"] <= 1


def test_a_memory_that_is_full_is_one_line():
    with pytest.raises(DeviceError, match=r"^the memory of the GPU is full \(.*smaller batch_size$"), gpu_faults():
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")


def test_a_run_killed_on_the_gpu_ends_with_the_same_masks_and_weights(whole, tmp_path):
    experiment = write_experiment(tmp_path, images=480, checkpoint_s=0.001, idle_s=1.0, amplify_s=4.0)
    arguments = ("run", experiment, *ON_GPU, "--out", "runs", "--resume")
    with Nursery() as nursery:
        for moment in (
            {"after": "begin search/epoch-2/checkpoint", "times": 3},
            {"after": "begin prune", "power_cut": True},
            {"after": "begin retrain/epoch-4/checkpoint", "times": 2},
        ):
            code, _, err = nursery.call(*arguments, cwd=tmp_path, moment=moment)
            assert code == -9, (moment, err)
        code, _, err = nursery.call(*arguments, cwd=tmp_path)
    assert code == 0, err
    assert weights(only_run(tmp_path / "runs")) == weights(whole)


@pytest.mark.parametrize(
    ("name", "residual"),
    [("vgg16-small", "keep"), ("preresnet-small", "keep"), ("preresnet-small", "select"), ("resnet18-small", "keep")],
)
@pytest.mark.parametrize("skewed", [False, True])
def test_a_pruned_network_computes_on_the_gpu_what_the_masked_one_does(name, residual, skewed):
    masked = build_model(name, 4, seed=3).double()
    rng = np.random.default_rng(5)
    sizes = [norm.num_features for norm in masked.prunable_norms()]
    scale = np.repeat(rng.random(len(sizes)) ** 3, sizes) if skewed else 1.0
    mask = draw_mask((scale * rng.random(sum(sizes))).astype(np.float32), 0.5, sizes)
    live = plan_of(masked, mask, residual).live
    small, masked = prune(masked, mask, residual).cuda(), masked.cuda()
    held, held_small = HeldMask(masked, mask), HeldMask(small, live)
    held.hold()
    x = torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).cuda()
    y = torch.arange(8).cuda() % 4
    for network, hold in ((masked, held.hold), (small, held_small.hold)):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9, weight_decay=5e-3)
        for _ in range(10):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
            hold(optimizer)
    for mode in (True, False):
        want, got = masked.train(mode)(x), small.train(mode)(x)
        assert ((got - want).abs().max() / want.abs().max()).item() < 1e-10


@pytest.mark.parametrize(
    ("name", "residual", "layout"),
    [
        ("preresnet-small", "select", torch.contiguous_format),
        ("preresnet-small", "select", torch.channels_last),
        ("resnet50-small", "keep", torch.contiguous_format),
        ("resnet50-small", "keep", torch.channels_last),
    ],
)
def test_steps_of_residual_networks_repeat_themselves_bit_by_bit_on_the_gpu(name, residual, layout, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    x = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(1)).cuda().contiguous(memory_format=layout)
    y = torch.arange(32).cuda() % 4
    ends = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            model = build_model(name, 4, seed=3)
            sizes = [norm.num_features for norm in model.prunable_norms()]
            mask = draw_mask(np.random.default_rng(5).random(sum(sizes), dtype=np.float32), 0.5, sizes)
            small = prune(model, mask, residual).cuda().to(memory_format=layout)
            optimizer = torch.optim.SGD(small.parameters(), lr=0.05, momentum=0.9)
            for _ in range(5):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(small(x), y).backward()
                optimizer.step()
            ends.append([value.cpu() for value in small.state_dict().values()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(*ends))


def test_the_edges_of_a_phase_wait_for_the_gpu(tmp_path):
    a = torch.randn(4096, 4096, device="cuda")
    (a @ a).sum().item()  # cuBLAS loads before anything is timed
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with ebbench.EnergyMonitor(meter="nvml", out=tmp_path / "mine") as monitor:
        with monitor.phase("train"):
            start.record()
            for _ in range(100):
                a = a @ a / 64  # queued: the loop itself takes a few milliseconds
            end.record()
        with monitor.phase("evaluate"):
            pass
    kernels_s = start.elapsed_time(end) / 1e3
    phases = monitor.record.energy.by_phase
    assert phases["train"].duration_s >= kernels_s > 0.01
    assert phases["evaluate"].duration_s < kernels_s / 2
