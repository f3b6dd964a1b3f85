"""What a network keeps of its tensors when channels are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

import numpy as np


@dataclass(frozen=True)
class SlicingPlan:
    """The widths after pruning and, by name in the state dict, the indices kept along the leading axes.

    `kept["features.3.weight"] = (rows, columns)`: int64 indices along axes 0 and 1, None = all of that axis. A tensor
    without an entry stays whole. The BatchNorm channels of the mask are set to gamma = beta = 0 before anything is
    cut, so that a network may keep a channel in place (PreResNet's residual stream) and still compute the same.
    """

    widths: Tuple[int, ...]
    kept: Mapping[str, Tuple[Optional[np.ndarray], ...]]
