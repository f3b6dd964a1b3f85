"""The one module for what differs between torch 1.10 and today's, and for torchvision builds that do not fit."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any, List, Optional, Sequence

import torch
from torch import Tensor

from ebbench.errors import InputError

#: needed by cuBLAS for repeatable sums; read once, when CUDA starts
CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
#: of the first GPUs that compute in bfloat16 (CUDA C++ Programming Guide, arithmetic instructions)
BFLOAT16_CAPABILITY = (8, 0)


def set_arithmetic(deterministic: bool, tf32: bool = False) -> None:
    """Make torch repeat itself bit by bit on one machine (or let it choose freely). Call before CUDA is used.

    Without `tf32` float32 means float32, on every GPU. With it, those with tensor cores (compute capability 8.0 and newer)
    round the factors of convolutions and matrix products to TF32's 10 bits, and others change nothing.
    """
    if deterministic:
        os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    if hasattr(torch.utils, "deterministic"):  # torch 2.2 and later fill all new memory, which is read by nobody here
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def foreach_sign(tensors: Sequence[Tensor]) -> List[Tensor]:
    """The sign of each tensor (0 at 0); one launch where torch has `_foreach_sign` (2.0 and later)."""
    if hasattr(torch, "_foreach_sign"):
        return list(torch._foreach_sign(list(tensors)))
    return [tensor.sign() for tensor in tensors]


def sgd(parameters: Any, **settings: Any) -> torch.optim.SGD:
    """SGD with the multi-tensor step where torch has it; without, the plain loop gives the same numbers."""
    try:
        return torch.optim.SGD(parameters, foreach=True, **settings)
    except TypeError:  # before torch 1.12
        return torch.optim.SGD(parameters, **settings)


def grad_scaler() -> Any:
    """The scaler of the loss for float16 on CUDA; torch 2.3 moved it."""
    if hasattr(getattr(torch, "amp", None), "GradScaler"):
        return torch.amp.GradScaler("cuda")
    return torch.cuda.amp.GradScaler()


def has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is an arithmetic of this GPU, or of this CPU with oneDNN; elsewhere it is emulated, slower than float32.

    `torch.cuda.is_bf16_supported` says yes to emulation too (torch 2.4), and asks about the first GPU alone.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_capability(torch.device(device)) >= BFLOAT16_CAPABILITY
    try:
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # an old torch without the question
        return False


def import_torchvision_datasets() -> ModuleType:
    """`torchvision.datasets`, also where a torchvision built for CUDA stands beside a CPU torch. Raises InputError when absent.

    Such a torchvision cannot load its compiled operators and fails on import while registering their shapes. Declaring
    those operators first lets it go on; nothing of ours uses them.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise InputError(
            f"torchvision cannot be imported ({error}); install the one for torch {torch.__version__}"
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise InputError(f"torchvision does not fit torch {torch.__version__}: {error}") from error
    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    return importlib.import_module("torchvision.datasets")


_library: Optional[Any] = None  # declarations vanish with the object that made them


def _declare_operators() -> None:
    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):  # those whose shape functions are registered unconditionally
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
