"""Which channels stand in one ranking, each for itself or together with those of the same residual stream."""

from __future__ import annotations

from typing import Dict, List

import numpy as np

from ebbench.training.models import Network
from ebbench.training.models.plan import stream_places
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of, round_up

PER_LAYER, GROUPED = "per-layer", "grouped"


class Ranking:
    """Draws the masks of one network.

    ``masks="per-layer"``: every channel of every BatchNorm stands for itself, as in the paper. ``masks="grouped"``: the
    BatchNorms of one residual stream share a mask, so that a channel goes from all of them at once; it is ranked by the mean
    of their |gamma|, and int(M p) of the M candidates go.

    `sizes`: the candidates of each layer, or group of layers; each keeps one.
    """

    def __init__(self, model: Network, masks: str = PER_LAYER) -> None:
        self.sizes: List[int] = layer_sizes_of(model)
        self._candidate_N = None if masks == PER_LAYER else self._group(model)

    def draw(self, gamma: np.ndarray, prune_ratio: float) -> np.ndarray:
        """bool [N] from |gamma|, float [N]; see `draw_mask`."""
        if self._candidate_N is None:
            return draw_mask(gamma, prune_ratio, self.sizes)
        return draw_mask(self._means(gamma), prune_ratio, self.sizes)[self._candidate_N]

    def round_up(self, mask: np.ndarray, gamma: np.ndarray, multiple: int) -> np.ndarray:
        """`mask` with what each layer, or group of layers, keeps rounded up to the multiple; see `masks.round_up`."""
        if multiple == 1:
            return mask
        if self._candidate_N is None:
            return round_up(mask, gamma, self.sizes, multiple)
        kept = np.zeros(sum(self.sizes), dtype=bool)
        kept[self._candidate_N] = mask
        return round_up(kept, self._means(gamma), self.sizes, multiple)[self._candidate_N]

    def _means(self, gamma: np.ndarray) -> np.ndarray:
        """The mean |gamma| of each candidate, float32."""
        sums = np.bincount(self._candidate_N, weights=gamma)
        return (sums / np.bincount(self._candidate_N)).astype(np.float32)

    def _group(self, model: Network) -> np.ndarray:
        """Number the candidates, and say which one each of the N channels belongs to: int64 [N]."""
        entries = model.channels()
        places = stream_places(model, entries)
        entry_of = {name: entry for entry in entries for name in entry.norms}
        starts: Dict[int, int] = {}
        self.sizes, belongs = [], []
        for name in model.norm_names():
            entry = entry_of[name]
            whole = entry.whole
            if id(whole) not in starts:
                starts[id(whole)] = sum(self.sizes)
                self.sizes.append(whole.width)
            belongs.append(starts[id(whole)] + places[entry])
        return np.concatenate(belongs)
