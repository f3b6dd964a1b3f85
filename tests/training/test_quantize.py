"""Block floating point against an implementation number by number, QPyTorch's, and the laws of rounding."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import List

import numpy as np
import pytest
import torch

from ebbench.training.precision.noise import Noise
from ebbench.training.precision.quantize import BlockRounding, RoundedBothWays

SHAPES = [(7,), (1,), (5, 3), (4, 3, 2, 2), (2, 300, 30, 30), (3, 1, 1, 1)]


def nearest() -> BlockRounding:
    return BlockRounding(None)


def stochastic(seed: int = 1) -> BlockRounding:
    return BlockRounding(Noise(seed, "cpu"))


def wide(shape, seed: int = 0) -> torch.Tensor:
    """Numbers whose blocks lie many powers of two apart."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * np.exp2(rng.integers(-30, 30, (shape[0],) + (1,) * (len(shape) - 1)))
    return torch.from_numpy(x.astype(np.float32))


def number_by_number(x: torch.Tensor) -> torch.Tensor:
    """To the nearest, halves up, in exact fractions."""
    blocks = x.reshape(len(x), -1).tolist() if x.dim() > 1 else [[v] for v in x.tolist()]
    return torch.tensor([v for block in blocks for v in _block(block)], dtype=torch.float32).reshape(x.shape)


def _block(values: List[float]) -> List[float]:
    largest = max(abs(v) for v in values)
    if largest == 0:
        return values
    quantum = Fraction(2) ** (math.frexp(largest)[1] - 7)
    return [float(max(-127, min(127, math.floor(Fraction(v) / quantum + Fraction(1, 2)))) * quantum) for v in values]


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if math.prod(shape) < 1000])
def test_rounding_to_the_nearest_is_what_exact_fractions_give(shape):
    x = wide(shape)
    assert torch.equal(nearest().rounded(x), number_by_number(x))


def test_the_exponent_is_right_next_to_a_power_of_two():
    below_eight = torch.nextafter(torch.tensor([8.0]), torch.tensor([0.0]))
    # one number a block: seven bits from 4 on, so a step of 1/16 and at most 127 of them
    assert nearest().rounded(below_eight).item() == 127 / 16
    assert nearest().rounded(torch.tensor([8.0])).item() == 8.0


def test_halves_go_up():
    x = torch.tensor([[64.0, 0.5, -0.5, 1.5, -1.5, 2.49]])
    assert nearest().rounded(x).tolist() == [[64.0, 1.0, 0.0, 2.0, -1.0, 2.0]]


@pytest.mark.parametrize("rounding", [nearest, stochastic])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_rounded_once_stays(rounding, shape):
    once = rounding().rounded(wide(shape))
    assert torch.equal(stochastic(2).rounded(once), once) and torch.equal(nearest().rounded(once), once)


@pytest.mark.parametrize("rounding", [nearest, stochastic])
def test_every_representable_number_stays(rounding):
    for exponent in (-100, -7, 0, 90):
        block = torch.arange(-127, 128).float() * 2.0**exponent
        assert torch.equal(rounding().rounded(block[None].repeat(40, 1)), block[None].repeat(40, 1))


@pytest.mark.parametrize(("rounding", "bound"), [(nearest, 0.5), (stochastic, 1.0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_is_below_the_bound(rounding, bound, shape):
    """Half a quantum or one; at most as much at the top of a block, where 128 becomes 127."""
    x = wide(shape)
    rows = x.reshape(len(x), -1).double()
    quantum = torch.exp2(torch.floor(torch.log2(rows.abs().amax(1, keepdim=True))) - 6)
    error = (rounding().rounded(x).reshape(len(x), -1).double() - rows).abs() / quantum
    at_top = rows.abs() / quantum > 127
    assert error[~at_top].numel() == 0 or error[~at_top].max() <= bound
    assert error[at_top].numel() == 0 or error[at_top].max() <= 1.0


@pytest.mark.parametrize("rounding", [nearest, stochastic])
@pytest.mark.parametrize("power", [-40, -1, 1, 50])
def test_a_power_of_two_passes_through(rounding, power):
    x = wide((6, 50))
    assert torch.equal(rounding().rounded(x * 2.0**power), rounding().rounded(x) * 2.0**power)


def test_rounding_to_the_nearest_is_odd_but_for_halves():
    x = wide((8, 64))
    assert torch.equal(nearest().rounded(-x), -nearest().rounded(x))


def test_stochastic_rounding_is_right_on_average():
    """Each number's mean over n draws within five standard errors of it: a bias of .001 quanta would show."""
    n = 20_000
    fractions = torch.tensor([0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999])
    numbers = torch.cat([fractions, -fractions, 50 + fractions, -50 - fractions, 126 + fractions])
    block = torch.cat([torch.tensor([64.0]), numbers])  # the first fixes the quantum at one
    drawn = stochastic().rounded(block[None].repeat(n, 1))
    assert torch.equal(drawn[:, 0], torch.full((n,), 64.0))
    part = numbers - numbers.floor()
    error = (drawn[:, 1:].double().mean(0) - numbers).abs()
    standard = (part * (1 - part) / n).sqrt().double()
    assert (error <= 5 * standard + 2**-16).all()
    assert ((drawn[:, 1:] - numbers).abs() < 1).all()


def test_stochastic_rounding_moves_a_number_by_less_than_a_thousandth_of_a_quantum_that_often():
    """A small update is neither lost nor doubled: 2^-12 of a quantum up in one of 4,096 draws."""
    n = 1 << 20
    x = torch.cat([torch.tensor([64.0]), torch.full((n,), 3 + 2.0**-12)])
    up = int((stochastic().rounded(x[None]) == 4).sum())
    assert abs(up - n * 2**-12) < 5 * math.sqrt(n * 2**-12)


def test_neighbours_are_rounded_independently():
    drawn = stochastic().rounded(torch.cat([torch.tensor([64.0]), torch.full((100_000,), 0.5)])[None])[0, 1:] - 0.5
    for distance in (1, 2, 3, 4, 8, 64):
        assert abs(float((drawn[distance:] * drawn[:-distance]).mean()) * 4) < 5 / math.sqrt(100_000)


def test_a_block_of_zeros_stays_and_nothing_is_made_from_the_smallest_numbers():
    x = torch.tensor([[0.0, 0.0], [1e-40, -1e-42], [2.0**-126, 2.0**-127]])
    for rounding in (nearest(), stochastic()):
        assert torch.equal(rounding.rounded(torch.zeros(3, 4)), torch.zeros(3, 4))
        assert torch.isfinite(rounding.rounded(x)).all() and (rounding.rounded(x).abs() <= 2.0**-100).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_does_not_become_a_number(bad):
    x = torch.ones(2, 3)
    x[1, 2] = bad
    rounded = stochastic().rounded(x)
    assert not torch.isfinite(rounded[1, 2]) and torch.equal(rounded[0], torch.ones(3))


def test_blocks_are_images_in_every_memory_layout():
    x = wide((4, 6, 5, 3))
    last = x.contiguous(memory_format=torch.channels_last)
    strided = x.transpose(2, 3).contiguous().transpose(2, 3)
    expected = nearest().rounded(x)
    for same in (last, strided):
        assert torch.equal(nearest().rounded(same), expected)
        assert torch.equal(nearest().round_(same.clone(memory_format=torch.preserve_format)), expected)
    assert nearest().rounded(last).is_contiguous(memory_format=torch.channels_last)


def test_the_bits_depend_on_seed_phase_epoch_and_step_and_on_nothing_else():
    x = wide((64, 900))

    def drawn(seed=1, phase="search", epoch=3, step=7, before=0):
        noise = Noise(seed, "cpu")
        noise.integers(before)
        noise.begin(phase, epoch, step)
        return BlockRounding(noise).rounded(x)

    first = drawn()
    assert torch.equal(drawn(before=11), first)
    for other in ({"seed": 2}, {"phase": "retrain"}, {"epoch": 4}, {"step": 8}):
        assert not torch.equal(drawn(**other), first)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(drawn(), first)
    finally:
        torch.set_num_threads(threads)


def test_what_passes_forward_and_the_error_that_passes_backward_are_rounded():
    leaf = wide((3, 40)).requires_grad_()
    out = RoundedBothWays.apply(leaf * 1, nearest())
    error = wide((3, 40), seed=5)
    out.backward(error)
    assert torch.equal(out.detach(), nearest().rounded(leaf.detach()))
    assert torch.equal(leaf.grad, nearest().rounded(error)) and torch.equal(error, wide((3, 40), seed=5))


QPYTORCH = """
import sys, torch
from qtorch.quant import block_quantize
x = torch.load(sys.argv[1])
torch.manual_seed(1)
torch.save([block_quantize(x, 8, 0, "nearest"), block_quantize(x.repeat(1, 1), 8, 0, "stochastic")], sys.argv[2])
"""


def test_rounding_is_qpytorchs(tmp_path):
    """QPyTorch compiles its kernels whenever it is imported: in a process of its own, and where it is installed only."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    lacking = [f"the module {name}" for name in ("qtorch", "setuptools") if find_spec(name) is None]
    lacking += [f"the program {name}" for name in ("ninja", "g++") if shutil.which(name, path=path) is None]
    if lacking:
        pytest.skip(f"QPyTorch NOT COMPARED: not here: {', '.join(lacking)} (CONTRIBUTING.md, Run the checks)")
    x = wide((300, 70), seed=9)
    x[3] = 0.0
    x[4, :2] = torch.tensor([64.0, 3.5])  # a half
    torch.save(x, tmp_path / "x")
    command = [sys.executable, "-W", "ignore", "-c", QPYTORCH, str(tmp_path / "x"), str(tmp_path / "theirs")]
    env = {**os.environ, "PATH": path, "TORCH_EXTENSIONS_DIR": str(tmp_path / "kernels")}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=False)
    assert done.returncode == 0, done.stdout.decode()
    theirs, theirs_stochastic = torch.load(tmp_path / "theirs")
    # theirs adds six times 2^floor(log2 m) first, in float32: what is nearer to a half than that is known may go either way
    quantum = torch.exp2(torch.floor(torch.log2(x.abs().amax(1, keepdim=True).clamp(min=1e-30))) - 6)
    is_half = ((x / quantum - torch.floor(x / quantum) - 0.5).abs() < 2.0**-14) & (x / quantum % 1 != 0.5)
    assert is_half.float().mean() < 1e-3 and torch.equal(nearest().rounded(x)[~is_half], theirs[~is_half])
    # other random numbers, the same grid and the same two neighbours
    assert torch.equal(nearest().rounded(theirs_stochastic), theirs_stochastic)
    ours = stochastic().rounded(x)
    assert ((ours - theirs_stochastic).abs() <= quantum).all()
