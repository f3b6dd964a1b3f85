"""Block floating point as SWALP trains with it (Yang et al. 2019, "SWALP: Stochastic Weight Averaging in Low-Precision Training").

The numbers of a block share one exponent and have a sign and seven bits each. With m the largest magnitude of the block:

    quantum = 2^(floor(log2 m) - 6),    x -> quantum * clamp(floor(x / quantum + r), -127, 127)

where r = 1/2 rounds to the nearest (halves up) and r uniform in (0, 1) is right on average. A block is one index of dimension 0:
an output channel of a weight, an image of an activation or an error, one element of a vector.

Everything is float32 that holds such numbers: the arithmetic is simulated.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from ebbench.training.precision.noise import Noise

WORD_BITS = 8
LARGEST = 2 ** (WORD_BITS - 1) - 1

_EXPONENT = 0x7F800000  # of a float32's bits
_FINEST = 2.0**-100
#: elements that are rounded in one go on a CPU: what is done to them six times over stays in its cache
_IN_CACHE = 1 << 17


class BlockRounding:
    """Rounds float32 tensors to 8-bit block floating point: by the `noise` it is given, or without any to the nearest.

    The noise has 16 bits: the mean of a rounded number is right to 2^-17 of a quantum, to which float32 itself knows the
    largest numbers of a block. A number that block floating point can represent is never changed.
    """

    def __init__(self, noise: Optional[Noise]) -> None:
        self._noise = noise

    def round_(self, x: Tensor) -> Tensor:
        """Round `x` in place."""
        rows = _blocks_of(x)
        if rows is None:
            return x.copy_(self.rounded(x.contiguous()))
        self._round(rows, rows)
        return x

    def rounded(self, x: Tensor) -> Tensor:
        """A rounded copy, in the memory layout of `x`."""
        if _blocks_of(x) is None:
            x = x.contiguous()
        out = torch.empty_like(x)
        rows, out_rows = _blocks_of(x), _blocks_of(out)
        assert rows is not None and out_rows is not None, "both have the layout of x"
        self._round(rows, out_rows)
        return out

    def _round(self, x: Tensor, out: Tensor) -> None:
        """From `x` to `out`, float32 [blocks, elements]; they may be the same."""
        blocks, elements = x.shape
        if not x.numel():
            return
        at_once = blocks if x.is_cuda else max(1, _IN_CACHE // elements)
        buffer = torch.empty((min(at_once, blocks), elements), device=x.device)
        for first in range(0, blocks, at_once):
            part = slice(first, first + at_once)
            self._round_part(x[part], out[part], buffer[: len(x[part])])

    def _round_part(self, x: Tensor, out: Tensor, buffer: Tensor) -> None:
        quantum = quantum_of(x)
        if self._noise is None:
            torch.mul(x, 1.0 / quantum, out=buffer).add_(0.5).floor_()
        else:
            # in units of 2^-16 quantum: x plus a half-integer between -2^15 and 2^15, then to the nearest quantum
            buffer.copy_(self._noise.integers(x.numel()).view_as(x)).add_(0.5)
            torch.addcmul(buffer, x, 65536.0 / quantum, out=buffer).mul_(1 / 65536.0).round_()
        torch.mul(buffer.clamp_(-LARGEST, LARGEST), quantum, out=out)


def quantum_of(x: Tensor) -> Tensor:
    """The step between the numbers of each block, float32 [blocks, 1]; `x` is float32 [blocks, elements].

    No step is below
    2^-100, so that 2^16 of them can be divided by: a block of zeros stays zeros, and numbers below 1e-30 round to zero or one step.
    """
    largest = x.abs().amax(1, keepdim=True)
    return (power_of(largest) * 2.0 ** -(WORD_BITS - 2)).clamp_(min=_FINEST)


def power_of(x: Tensor) -> Tensor:
    """2^floor(log2 x) of float32 numbers that are not negative, 0 below 2^-126; by their bits: floor(log2(8 - ulp)) is 3."""
    return (x.view(torch.int32) & _EXPONENT).view(torch.float32)


class RoundedBothWays(torch.autograd.Function):
    """Rounds what passes forward, in place, and the error that passes backward, each image with an exponent of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounding: BlockRounding) -> Tensor:
        """`x` itself, rounded: the layer that made it has no more use for it."""
        ctx.rounding = rounding
        ctx.mark_dirty(x)
        return rounding.round_(x)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tuple[Tensor, None]:  # type: ignore[override]
        """A rounded copy: where branches meet, others read the same error."""
        return ctx.rounding.rounded(error), None


def _blocks_of(x: Tensor) -> Optional[Tensor]:
    """A view [blocks, elements] of a tensor whose elements lie in one piece, image by image; None where there is none."""
    if x.dim() <= 1:
        return x.view(-1, 1) if x.is_contiguous() else None
    if x.is_contiguous():
        return x.view(len(x), -1) if x.numel() else x.view(len(x), 0)
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).view(len(x), -1)
    return None
