"""What the record says of a ticket."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ebbench.training.pruning.masks import split
from ebbench.training.pruning.weight_masks import WeightMask


def channel_ticket(mask: np.ndarray, layer_sizes: Sequence[int], **facts: Any) -> Dict[str, Any]:
    """What the record says of a mask over channels; `facts`: at least its epoch, how it was drawn and its prune_ratio."""
    return {
        "found": True,
        "distances": [],
        **facts,
        "kept_channels": int(mask.sum()),
        "channels": len(mask),
        "layer_kept": _counts(mask, layer_sizes),
        "layer_channels": list(layer_sizes),
    }


def weight_ticket(mask: WeightMask, channels: int, **facts: Any) -> Dict[str, Any]:
    """What the record says of a mask over weights, which leaves all `channels` where they are."""
    return {
        "found": True,
        "distances": [],
        **facts,
        "kept_channels": channels,
        "channels": channels,
        "kept_weights": int(mask.kept.sum()),
        "weights": len(mask.kept),
        "layer_kept_weights": _counts(mask.kept, mask.layer_sizes),
        "layer_weights": mask.layer_sizes,
    }


def drawn_notes(ticket: Mapping[str, Any]) -> List[str]:
    """What a reader should know of when the ticket was drawn."""
    epoch, trained = ticket["epoch"], ticket["searched_epochs"]
    notes = []
    if ticket["assumed"]:
        notes.append(f"the ticket of epoch {epoch} is an assumption: its mask is the one after {trained} epochs")
    elif not ticket["found"]:
        notes.append(f"the mask had not settled by epoch {epoch}: the ticket was drawn there")
    if ticket["draw"] == "best-accuracy" and not ticket["assumed"]:
        notes.append(f"epoch {epoch} was chosen by the accuracy on the test images, which is then no independent judge")
    more = ticket["kept_channels"] - ticket.get("drawn_channels", ticket["kept_channels"])
    if more:
        notes.append(f"{more} masked channels came back, to round the widths up; mask distances are without them")
    if trained > epoch:
        notes.append(f"the ticket is of epoch {epoch}, the training before it went on to epoch {trained}")
    return notes


def _counts(mask: np.ndarray, layer_sizes: Sequence[int]) -> List[int]:
    return [int(layer.sum()) for layer in split(mask, layer_sizes)]
