"""Counted work against a count by hand, and against what the paper's own estimates imply."""

from __future__ import annotations

import pytest

from ebbench.energy.estimate import unit_energies
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.work import work_of
from ebbench.training.models import build_model
from ebbench.training.precision.block import BlockPrecision
from ebbench.training.precision.full import FullPrecision
from ebbench.training.precision.wage import WagePrecision

#: VGG16's convolutions by hand: (input channels, output channels, pixels), and the pixels that pooling reads
CONVOLUTIONS = [
    (3, 64, 1024), (64, 64, 1024), (64, 128, 256), (128, 128, 256), (128, 256, 64), (256, 256, 64), (256, 256, 64),
    (256, 512, 16), (512, 512, 16), (512, 512, 16), (512, 512, 4), (512, 512, 4), (512, 512, 4),
]  # fmt: skip
POOLS = [(64, 1024), (128, 256), (256, 64), (512, 16)]
PARAMETERS = 14_724_042


def by_hand(low: int, wide: int, weight: int, gradient: int, momentum: int, images: int, steps: int) -> int:
    """Bytes: `low` for what convolutions give, `wide` for what they read, the rest for the parameters (bytes per number)."""
    moved = 0
    for number, (inputs, outputs, pixels) in enumerate(CONVOLUTIONS):
        read, given = inputs * pixels, outputs * pixels
        moved += read * wide + given * low  # forward
        moved += read * wide + given * low  # gradient of the weights
        moved += (
            (read * wide + given * low) if number else given * low
        )  # of the input; the image has none, its error is written
        moved += given * low + given * wide  # BatchNorm forward
        moved += given * low + given * wide + given * low  # and backward: input, error, error
    for channels, pixels in POOLS:
        moved += 2 * (channels * pixels + channels * pixels // 4) * wide
    moved += 3 * 512 * wide + 3 * 10 * low  # the linear layer
    return images * moved + steps * PARAMETERS * (4 * weight + 2 * gradient + 2 * momentum)


@pytest.fixture(scope="module")
def vgg16():
    return forward_cost(build_model("vgg16", 10))


def work(cost, kind, images=256, steps=2):
    return work_of(cost, kind.__new__(kind), images, steps)


def test_the_work_of_vgg16_is_the_count_by_hand(vgg16):
    macs = sum(i * o * 9 * p for i, o, p in CONVOLUTIONS) + 5120
    full, block, wage = (work(vgg16, kind) for kind in (FullPrecision, BlockPrecision, WagePrecision))
    for found in (full, block, wage):
        assert found["multiply_adds"] == 256 * (3 * macs - 3 * 64 * 9 * 1024)
        assert found["float32_bytes"] == full["bytes"] == by_hand(4, 4, 4, 4, 4, 256, 2)
    assert block["bytes"] == by_hand(1, 4, 1, 1, 1, 256, 2)
    assert wage["bytes"] == by_hand(4, 1, 1, 4, 4, 256, 2)
    assert (full["factor_bits"], block["factor_bits"], wage["factor_bits"]) == (32, 8, 8)


def test_twice_the_images_in_twice_the_steps_are_twice_the_work(vgg16):
    once, twice = work(vgg16, BlockPrecision), work(vgg16, BlockPrecision, 512, 4)
    assert all(twice[name] == 2 * value for name, value in once.items() if name not in ("precision", "factor_bits"))


def test_the_default_table_makes_dense_vgg16_in_block_floating_point_4_times_cheaper(vgg16):
    """Of the size that the paper's Table 2 implies for whole runs (LF / LL between 4.06 and 4.95), without being fitted to it."""
    found = work(vgg16, BlockPrecision, 50_000, 196)
    units = unit_energies("horowitz-45nm")
    assert units.float32_j(found) / units.energy_j(found) == pytest.approx(4.26, abs=0.01)
