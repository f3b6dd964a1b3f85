"""A GPU in pretence: its tensors lie in the CPU's memory, but torch and we see them on ``cuda:0``, and nothing mixes unasked.

The CPU computes what is asked of it, so its numbers are those of a CPU. What mixes tensors of both devices raises as CUDA does.
Written down is what would make the CPU wait for a real GPU: a value that is asked for, and every copy but one that need not wait,
from pinned memory. All operations pass here, those of the backward pass too.

It does not show what a GPU's own kernels do (the order of their sums, memory, speed), nor autocast.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, List
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from ebbench.training.precision import noise

GPU = torch.device("cuda:0")
#: they give a number to the CPU, or need one to know how large their result is
ASKING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2")


class OnGpu(torch.Tensor):
    """A tensor that lies on the GPU; `inner` has its values. For torch's own code it lies on ``meta``, which has no kernels."""

    inner: torch.Tensor
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnGpu:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device="meta",
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{operation} while no GPU is pretended")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *args: Any, **settings: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy


class PretendedGpu(TorchDispatchMode):
    """Computes on the CPU what is asked of the GPU; `waits` are the operations for which the CPU would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: List[str] = []
        self._pinned: List[torch.Tensor] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), operation._schema.name
        found: List[torch.Tensor] = []
        _each((*args, *kwargs.values()), found.append)
        on_gpu, elsewhere = [t for t in found if isinstance(t, OnGpu)], [t for t in found if not isinstance(t, OnGpu)]
        if name != "aten::copy_" and on_gpu and any(t.dim() for t in elsewhere):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got cuda:0 and cpu")
        to_gpu = self._goes_to_gpu(name, args, kwargs, on_gpu)
        if self._must_wait(name, args, kwargs, bool(on_gpu), bool(elsewhere), to_gpu):
            self.waits.append(name)
        if to_gpu and kwargs.get("device") is not None:
            kwargs["device"] = "cpu"
        result = operation(*_each(args, _inner), **{key: _each(value, _inner) for key, value in kwargs.items()})
        if name == "aten::copy_":
            return args[0]
        if not to_gpu:
            return result
        result = _each(result, _on_gpu)
        return return_and_correct_aliasing(operation, args, kwargs, result) if on_gpu else result

    def pin(self, tensor: torch.Tensor, *_: Any) -> torch.Tensor:
        """A copy in memory from which a GPU copies by itself."""
        self._pinned.append(tensor.clone())
        return self._pinned[-1]

    def _goes_to_gpu(self, name: str, args: Any, kwargs: Dict[str, Any], on_gpu: List[torch.Tensor]) -> bool:
        if name == "aten::copy_":
            return isinstance(args[0], OnGpu)
        if kwargs.get("device") is None:
            return bool(on_gpu)
        # where a tensor keeps its device, torch fills in the one that it knows
        kind = torch.device(kwargs["device"]).type
        return kind == "cuda" or (kind == "meta" and bool(on_gpu))

    def _must_wait(
        self, name: str, args: Any, kwargs: Dict[str, Any], on_gpu: bool, elsewhere: bool, to_gpu: bool
    ) -> bool:
        if name == "aten::_to_copy":
            is_pinned = kwargs.get("non_blocking") and any(args[0] is tensor for tensor in self._pinned)
            return to_gpu != on_gpu and not is_pinned
        if name == "aten::copy_":
            return on_gpu and elsewhere
        if name == "aten::index":
            return on_gpu and any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        return on_gpu and name in ASKING


def _each(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """`value` with every tensor changed, in it or in its lists (torch's own way to do so takes most of the time of a run)."""
    if isinstance(value, torch.Tensor):
        return change(value)
    return type(value)(_each(one, change) for one in value) if isinstance(value, (tuple, list)) else value


def _inner(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.inner if isinstance(tensor, OnGpu) else tensor


def _on_gpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if isinstance(tensor, OnGpu) else OnGpu(tensor)


class _TorchOfTheNoise:
    """torch, with generators of the CPU instead of the GPU's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def Generator(device: Any = None) -> torch.Generator:  # torch's name
        return torch.Generator()


@contextlib.contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """Within the block there is a GPU of compute capability 8.7 (an Orin)."""
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    # a module would keep its parameters and exchange what they hold, which only torch's own kinds of tensors can
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    gpu = PretendedGpu()
    try:
        with contextlib.ExitStack() as patches:
            if not torch.cuda.is_available():  # else torch would begin to use CUDA once only
                patches.enter_context(mock.patch("torch.cuda._lazy_init", lambda: None))
            patches.enter_context(mock.patch("torch.cuda.is_available", lambda: True))
            patches.enter_context(mock.patch("torch.cuda.get_device_capability", lambda device=None: (8, 7)))
            patches.enter_context(mock.patch.object(torch.Tensor, "pin_memory", lambda t, *more: gpu.pin(t, *more)))
            patches.enter_context(mock.patch.object(noise, "torch", _TorchOfTheNoise()))
            patches.enter_context(gpu)
            yield gpu
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
