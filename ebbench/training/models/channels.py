"""Which tensors of a network have their channels in common: all that pruning needs to know of its topology."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional


@dataclass(eq=False)
class Channels:
    """One entry of a network's widths: `width` channels, and the modules (by name) whose tensors have them as an axis.

    `writers`: convolutions whose outputs they are; `norms`: BatchNorms over them; `readers`: convolutions and linear
    layers whose inputs they are. With norms, a channel that all of them mask is zero for every reader. Without, the
    channels are a residual stream: readers see them as they are, and others through a BatchNorm of their own, which has an
    entry of its own with that `stream`. `select` names the buffer in the state dict with the indices, in the
    stream, of the channels that such an entry has; there is none while it has all of them.
    """

    width: int
    writers: List[str] = field(default_factory=list)
    norms: List[str] = field(default_factory=list)
    readers: List[str] = field(default_factory=list)
    stream: Optional[Channels] = None
    select: Optional[str] = None

    @property
    def whole(self) -> Channels:
        """What these channels are a part of: the stream, or themselves."""
        return self if self.stream is None else self.stream
