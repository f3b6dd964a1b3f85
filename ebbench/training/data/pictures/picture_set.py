"""A part of a folder of pictures as a training uses it: batches in any order, read ahead by the readers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Deque, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ebbench.training.data.pictures.readers import Readers

#: batches that are read while one is used; memory is bounded by this
AHEAD = 2
#: pictures to a request: few, so that the readers end a batch together
CHUNK = 8


@dataclass(frozen=True)
class PictureSet:
    """Files under `folder` by `names`, `labels` int64 [N] on the device that uses them; a network sees squares of `side` pixels."""

    folder: Path
    names: List[str]
    labels: Tensor
    side: int
    readers: Readers

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: str) -> PictureSet:
        """The same pictures for a training on `device`."""
        return PictureSet(self.folder, self.names, self.labels.to(device), self.side, self.readers)

    def batches(
        self, order: np.ndarray, batch_size: int, key: Optional[bytes], normalise: Callable[[Tensor], Tensor]
    ) -> Iterator[Tuple[Tensor, Tensor]]:
        """(x, y) of the pictures in `order`, int64, in batches of which the last may be short.

        With a `key` the squares are random, as `views.training_view` says, otherwise those of an evaluation. `normalise` gets uint8
        [B, 3, side, side] and must not return what it got: the memory is filled anew. One user at a time.
        """
        size = self.side * self.side * 3
        memory = self.readers.share((AHEAD + 1) * batch_size * size)[: (AHEAD + 1) * batch_size * size]
        squares = torch.from_numpy(memory).view(AHEAD + 1, batch_size, self.side, self.side, 3)
        parts = deque(order[start : start + batch_size] for start in range(0, len(order), batch_size))
        # all at once: a step that sent its own would wait for the GPU
        labels = self.labels.index_select(0, torch.from_numpy(order).to(self.labels.device))
        under_way: Deque[Tuple[int, np.ndarray]] = deque()
        try:
            for slot in range(min(AHEAD + 1, len(parts))):
                under_way.append(self._ask(slot, parts.popleft(), batch_size, key))
            while under_way:
                slot, part = under_way[0]
                for _ in range(0, len(part), CHUNK):
                    self.readers.hear()
                x_BCHW = normalise(self._take(squares[slot, : len(part)]))
                under_way.popleft()
                if parts:
                    under_way.append(self._ask(slot, parts.popleft(), batch_size, key))
                y_B, labels = labels[: len(part)], labels[len(part) :]
                yield x_BCHW, y_B
        finally:
            if under_way:  # what they still write would land among the pictures of whoever comes next
                self.readers.close()

    def _ask(self, slot: int, part: np.ndarray, batch_size: int, key: Optional[bytes]) -> Tuple[int, np.ndarray]:
        """Have a batch written to that place of the shared memory."""
        for start in range(0, len(part), CHUNK):
            wanted = [[int(n), str(self.folder / self.names[n])] for n in part[start : start + CHUNK]]
            first = slot * batch_size + start
            self.readers.ask({"view": wanted, "first": first, "side": self.side, "key": key.hex() if key else None})
        return slot, part

    def _take(self, squares_BHWC: Tensor) -> Tensor:
        """The same on the device of the labels, [B, C, H, W]; a GPU copies it while the training goes on."""
        if self.labels.is_cuda:
            squares_BHWC = squares_BHWC.pin_memory().to(self.labels.device, non_blocking=True)
        return squares_BHWC.permute(0, 3, 1, 2)
