"""Which settings of a recipe which method reads: one that means nothing to a method is refused, never ignored in silence."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Dict, Iterable, Tuple

#: methods whose settings are known here; one from outside may read any
BUILT_IN = ("dense", "lt", "snip", "ns", "thinet", "sfp", "eb-*")

#: those that train in full before they draw, and so draw at the end unless told otherwise
TRAIN_FIRST = ("lt", "ns", "thinet")

#: those that rank the channels of the whole network, so that a large ratio could empty a layer
RANK_CHANNELS = ("ns", "eb-*")

#: what `prune_ratio` is where the ratio is to be found, and the methods that can find it
AUTO = "auto"
AUTO_METHODS = ("eb-ff", "eb-reinit")

#: the settings that not every method reads, and the methods that do
READERS: Dict[str, Tuple[str, ...]] = {
    "prune_ratio": BUILT_IN[1:],
    "l1": RANK_CHANNELS,
    "masks": RANK_CHANNELS,
    "residual": RANK_CHANNELS,
    "width_multiple": RANK_CHANNELS,
    "regrow": RANK_CHANNELS,
    "draw": (*TRAIN_FIRST, "eb-*"),
    "epsilon": ("eb-*",),
    "fifo_length": ("eb-*",),
    "pairs": ("eb-*",),
    "search_rate": ("eb-*",),
    "search_milestones": ("eb-*",),
    "retrain_epochs": ("eb-*",),
    "ticket_epoch": ("eb-*",),
    "auto_ratios": AUTO_METHODS,
    "auto_epochs": AUTO_METHODS,
    "auto_max_loss": AUTO_METHODS,
    "auto_images": AUTO_METHODS,
    "rounding": ("eb-lf", "eb-ll"),
    "average_from": ("eb-ll",),
    "amp_dtype": ("eb-amp",),
    "finetune_epochs": ("ns", "thinet"),
    "finetune_rate": ("ns", "thinet"),
    "lt_layers": ("lt",),
    "snip_layers": ("snip",),
    "snip_images": ("snip",),
    "thinet_images": ("thinet",),
    "thinet_positions": ("thinet",),
    "thinet_rescale": ("thinet",),
    "sfp_every": ("sfp",),
}


def reads(method: str, setting: str) -> bool:
    """Whether `method` makes anything of the recipe's `setting`."""
    return setting not in READERS or is_one_of(method, READERS[setting]) or not is_one_of(method, BUILT_IN)


def is_one_of(method: str, patterns: Iterable[str]) -> bool:
    """Whether one of the names is `method`'s; ``eb-*`` stands for all variants of EB Train."""
    return any(fnmatchcase(str(method), pattern) for pattern in patterns)


def default_draw(method: str) -> str:
    """When a method draws that was not told when."""
    return "final" if is_one_of(method, TRAIN_FIRST) else "early-bird"
