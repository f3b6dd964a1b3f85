"""Mixed precision: convolutions and linear layers in 16 bits, really done by the hardware and really measured."""

from __future__ import annotations

from typing import Any, ContextManager, Dict, Mapping

import torch
from torch import Tensor

from ebbench.errors import ConfigError
from ebbench.training import compat
from ebbench.training.precision.full import FullPrecision

#: what `amp_dtype` may be: "auto" is float16 on a GPU and bfloat16 on a CPU
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class MixedPrecision(FullPrecision):
    """torch's own autocast; with float16 the loss is scaled, so that small errors do not become zero (Micikevicius et al. 2018).

    Weights, gradients and momentum stay float32, and so does the arithmetic of an evaluation. A scaled step looks once whether
    its gradients are finite, which waits for the accelerator. Raises ConfigError where the device cannot do it.
    """

    def __init__(self, device: str, dtype: str) -> None:
        self._device_type = torch.device(device).type
        dtype = dtype_of(device, dtype)
        self.name = f"mixed precision, {dtype}"
        self._dtype = DTYPES[dtype]
        self._scaler = compat.grad_scaler() if self._dtype == torch.float16 else None

    def arithmetic(self) -> ContextManager[Any]:
        """Autocast."""
        return torch.autocast(self._device_type, dtype=self._dtype)

    def backward(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Gradients in float32, at their own scale."""
        if self._scaler is None:
            loss.backward()
        else:
            self._scaler.scale(loss).backward()
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step whose scaled gradients overflowed is left out, and the scale is halved."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def state(self) -> Dict[str, Any]:
        """The scale of the loss, and since when it was not changed."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))


def dtype_of(device: str, dtype: str) -> str:
    """The 16-bit type that is meant by `dtype` on this device. Raises ConfigError where it cannot be trained in."""
    is_cuda = torch.device(device).type == "cuda"
    if dtype == "auto":
        dtype = "float16" if is_cuda else "bfloat16"
    if dtype == "float16" and not is_cuda:
        raise ConfigError("amp_dtype = 'float16' needs a GPU; on a CPU take 'bfloat16' or 'auto'")
    if dtype == "bfloat16" and not compat.has_bfloat16(device):
        what, instead = ("GPU", "amp_dtype = 'float16'") if is_cuda else ("CPU", "another method, such as eb-ff")
        raise ConfigError(
            f"method 'eb-amp' in bfloat16: this {what} or torch {torch.__version__} does not do it; take {instead}"
        )
    return dtype
