"""What a network keeps of its tensors when channels are removed, worked out from the channels that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.training.models.channels import Channels
from ebbench.training.models.network import Network

#: what a BatchNorm does that keeps less of a residual stream than the stream has: it leaves the rest at zero, in place, or
#: reads only what it keeps
KEEP, SELECT = "keep", "select"

Indices = Dict[Channels, np.ndarray]


@dataclass(frozen=True)
class SlicingPlan:
    """The widths after pruning and, by name in the state dict, the indices kept along the leading axes.

    `kept["features.3.weight"] = (rows, columns)`: int64 indices along axes 0 and 1, None = all of that axis. A tensor
    without an entry stays whole. The BatchNorm channels of the mask are set to gamma = beta = 0 before anything is
    cut, so that one which stays in place still computes the same. `selects`: new indices into residual streams, by the
    buffer's name. `live`: bool, the mask of the pruned network's own BatchNorms; False where a masked channel stays in place.
    """

    widths: Tuple[int, ...]
    kept: Mapping[str, Tuple[Optional[np.ndarray], ...]]
    selects: Mapping[str, np.ndarray]
    live: np.ndarray


def slicing_plan(model: Network, masks: Mapping[str, np.ndarray], residual: str = KEEP) -> SlicingPlan:
    """What stays of `model` under `masks`, bool [channels] by the name of the BatchNorm, in module order.

    Exact, because BatchNorm, ReLU and pooling turn gamma = beta = 0 into a zero plane, which adds nothing to the layer
    that reads it, nor to that layer's gradient. So channels go when every BatchNorm over them masks them, and those of a
    residual stream when every BatchNorm that reads it masks them and no layer reads it without one.
    """
    entries = model.channels()
    places = stream_places(model, entries)
    live = {entry: _live(entry, masks) for entry in entries}
    needed = _needed(entries, places, live)
    kept: Indices = {}
    for entry in entries:
        is_chosen = residual == SELECT and entry.stream is not None
        kept[entry] = np.flatnonzero(live[entry] if is_chosen else needed[entry.whole][places[entry]])
    entry_of = {name: entry for entry in entries for name in entry.norms}
    return SlicingPlan(
        widths=tuple(len(kept[entry]) for entry in entries),
        kept=_cuts(entries, kept),
        selects=_selects(entries, places, kept),
        live=np.concatenate([mask[kept[entry_of[name]]] for name, mask in masks.items()]),
    )


def stream_places(model: Network, entries: Sequence[Channels]) -> Indices:
    """Where the channels of each entry lie in its whole: int64 [width], rising."""
    buffers = dict(model.named_buffers())
    return {
        entry: buffers[entry.select].cpu().numpy() if entry.select in buffers else np.arange(entry.width)
        for entry in entries
    }


def _live(entry: Channels, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The channels that a BatchNorm over them keeps; none where there is no BatchNorm."""
    found = np.zeros(entry.width, dtype=bool)
    for name in entry.norms:
        found |= masks[name]
    return found


def _needed(entries: Sequence[Channels], places: Indices, live: Indices) -> Indices:
    """Of each whole, the channels that somebody needs."""
    needed = {entry: live[entry].copy() for entry in entries if entry.stream is None}
    for entry in entries:
        needed[entry.whole][places[entry][live[entry]]] = True
        if entry.readers and not entry.norms:
            needed[entry][:] = True
    return needed


def _cuts(entries: Sequence[Channels], kept: Indices) -> Dict[str, Tuple[Optional[np.ndarray], ...]]:
    """`SlicingPlan.kept` from the indices kept of every entry."""
    rows: Dict[str, np.ndarray] = {name: kept[entry] for entry in entries for name in entry.writers}
    columns: Dict[str, np.ndarray] = {name: kept[entry] for entry in entries for name in entry.readers}
    cuts: Dict[str, Tuple[Optional[np.ndarray], ...]] = {}
    for name in {**rows, **columns}:
        cuts[f"{name}.weight"] = (rows.get(name), columns.get(name))
        cuts[f"{name}.bias"] = (rows.get(name),)
    for entry in entries:
        for name in entry.norms:
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                cuts[f"{name}.{leaf}"] = (kept[entry],)
    return cuts


def _selects(entries: List[Channels], places: Indices, kept: Indices) -> Dict[str, np.ndarray]:
    """For each entry that has less than its stream: where its channels lie in what is left of the stream."""
    return {
        entry.select: np.searchsorted(kept[entry.stream], places[entry][kept[entry]])
        for entry in entries
        if entry.stream is not None and entry.select is not None and len(kept[entry]) < len(kept[entry.stream])
    }
