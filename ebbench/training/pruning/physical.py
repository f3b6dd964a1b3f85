"""From a mask to a small network that computes exactly what the masked one does, and the masked one itself.

*Masked* means gamma = beta = 0 in the pruned channels, held there at every step together with their momentum. What cannot
be removed exactly stays: in a residual network some masked channels lie in a stream that others still use.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ebbench.errors import InputError
from ebbench.training.models import KEEP, Network, SlicingPlan, build_model, empty_model, slicing_plan
from ebbench.training.pruning.held import Held
from ebbench.training.pruning.masks import layer_sizes_of, split


def prune(model: Network, mask: np.ndarray, residual: str = KEEP) -> Network:
    """A physically small copy that inherits weights, gamma, beta and running statistics; `model` stays as it is.

    `mask`: bool [N], True = kept. The copy has the device, dtype and mode of `model`. It may still have channels that are
    masked (`plan_of(...).live` says which): train it with those held. Raises InputError for a mask of the wrong length or
    one that empties a layer.
    """
    plan = plan_of(model, mask, residual)
    small = empty_model(model.name, model.num_classes, plan.widths)
    small = _like(small, model)
    state = _masked_state(model, mask)
    with torch.no_grad():
        for name, tensor in small.state_dict(keep_vars=True).items():
            if name not in plan.selects:
                tensor.data.copy_(_cut(state[name], plan.kept.get(name, ())))
    _select(small, plan)
    return small


def reinit(model: Network, mask: np.ndarray, seed: int, residual: str = KEEP) -> Network:
    """A network of the ticket's widths with fresh weights, on the device and with the dtype of `model`.

    A masked channel that stays in place begins with gamma = beta = 0.
    """
    plan = plan_of(model, mask, residual)
    small = build_model(model.name, model.num_classes, plan.widths, seed)
    _select(small, plan)
    apply_mask(small, plan.live)
    return _like(small, model)


def plan_of(model: Network, mask: np.ndarray, residual: str = KEEP) -> SlicingPlan:
    """What `model` keeps of its tensors under `mask`; where every mask is checked."""
    return slicing_plan(model, dict(zip(model.norm_names(), layer_masks_of(model, mask))), residual)


def layer_masks_of(model: Network, mask: np.ndarray) -> List[np.ndarray]:
    """The mask of each prunable BatchNorm, checked. Raises InputError with the layer's number, counted from 1."""
    sizes = layer_sizes_of(model)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (sum(sizes),):
        raise InputError(
            f"a mask of {sum(sizes)} booleans fits {model.name} with widths {list(model.widths)}, "
            f"not {mask.dtype} {list(mask.shape)}"
        )
    layers = split(mask, sizes)
    for number, layer in enumerate(layers, start=1):
        if not layer.any():
            raise InputError(
                f"the mask empties layer {number} of {len(layers)} ({len(layer)} channels); keep at least one"
            )
    return layers


def apply_mask(model: Network, mask: np.ndarray) -> None:
    """Set gamma = beta = 0 in the pruned channels, in place."""
    HeldMask(model, mask).hold()


class HeldMask(Held):
    """Holds gamma and beta of the pruned channels, and their momentum, at zero.

    Left alone, L1, weight decay and (in a residual network) the gradient itself would move them.
    """

    def __init__(self, model: Network, mask: np.ndarray) -> None:
        parameters: List[Tensor] = []
        masks: List[Tensor] = []
        for norm, layer in zip(model.prunable_norms(), layer_masks_of(model, mask)):
            if not layer.all():
                kept = torch.from_numpy(layer.copy()).to(norm.weight.device, norm.weight.dtype)
                parameters += [norm.weight, norm.bias]
                masks += [kept, kept]
        super().__init__(parameters, masks)


def _masked_state(model: Network, mask: np.ndarray) -> Dict[str, Tensor]:
    """The state dict with gamma = beta = 0 in the pruned channels; the network's own tensors are not written."""
    state = dict(model.state_dict())
    for name, layer in zip(model.norm_names(), layer_masks_of(model, mask)):
        for key in (f"{name}.weight", f"{name}.bias"):
            state[key] = state[key] * torch.from_numpy(layer.copy()).to(state[key].device)
    return state


def _select(small: Network, plan: SlicingPlan) -> None:
    """Say which channels of its residual streams `small` reads."""
    buffers = dict(small.named_buffers())
    for name, indices in plan.selects.items():
        buffers[name].copy_(torch.from_numpy(indices))


def _cut(tensor: Tensor, kept: Tuple[Optional[np.ndarray], ...]) -> Tensor:
    """The kept indices along each leading axis; None keeps the axis."""
    for axis, indices in enumerate(kept):
        if indices is not None:
            tensor = tensor.index_select(axis, torch.from_numpy(indices).to(tensor.device))
    return tensor


def _like(model: Network, other: Network) -> Network:
    """Put `model` on the device, in the dtype and in the mode of `other`."""
    weight = next(other.parameters())
    return model.to(device=weight.device, dtype=weight.dtype).train(other.training)
