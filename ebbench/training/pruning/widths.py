"""The widths of a pruned network without training one: the same for every layer, or those of a mask or a file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from ebbench.errors import ConfigError, InputError, nearest
from ebbench.training.models import KEEP, SELECT, Network
from ebbench.training.models.channels import Channels
from ebbench.training.pruning.mask_file import load_masks
from ebbench.training.pruning.physical import plan_of
from ebbench.training.pruning.ranking import GROUPED, PER_LAYER, Ranking

UNIFORM = "uniform"
DEFAULT_PRUNE_RATIO = 0.5


@dataclass
class Pruning:
    """How a network becomes smaller, as far as was said; what was not is in `assumptions` once it was needed.

    `widths`: "uniform", kept channels per layer, a run folder, or a file of either kind. `masks`, `residual` and `multiple` as in
    a recipe; None: that of the run, else the default.
    """

    prune_ratio: Optional[float] = None
    widths: Union[str, Sequence[int], None] = None
    masks: str = PER_LAYER
    residual: Optional[str] = None
    assumptions: List[str] = field(default_factory=list)
    #: what is kept of every layer is rounded up to it (None: that of the run, else 1)
    multiple: Optional[int] = None

    def __post_init__(self) -> None:
        if self.multiple is not None and self.multiple < 1:
            raise ConfigError(
                f"--width-multiple {self.multiple} is below 1; 8 keeps every layer at 8, 16, 24, ... channels"
            )
        if self.masks not in (PER_LAYER, GROUPED):
            raise ConfigError(f"--masks {self.masks}: {nearest(self.masks, (PER_LAYER, GROUPED))}")
        if self.residual not in (None, KEEP, SELECT):
            raise ConfigError(f"--residual {self.residual}: {nearest(str(self.residual), (KEEP, SELECT))}")

    def widths_of(self, network: Network) -> Tuple[int, ...]:
        """One for each of the network's widths. Raises ConfigError and InputError."""
        if self.widths is None or self.widths == UNIFORM:
            ratio = self._ratio()
            if self.widths is None:
                self.assumptions.append("every layer loses the same fraction of its channels (--widths uniform)")
            return uniform_widths(network, ratio, self.masks, self.residual or KEEP, self.multiple or 1)
        kept = self._read(Path(self.widths), network) if isinstance(self.widths, str) else tuple(self.widths)
        if len(kept) != len(network.widths) or any(not 1 <= k <= w for k, w in zip(kept, network.widths)):
            raise InputError(
                f"{self.widths}: widths {list(kept)} do not fit {network.name} with {list(network.widths)}"
            )
        return kept

    def _ratio(self) -> float:
        ratio = DEFAULT_PRUNE_RATIO if self.prune_ratio is None else self.prune_ratio
        if not 0 < ratio < 1:
            raise ConfigError(f"--prune-ratio {ratio} is outside (0, 1); 0.5 prunes half of the channels")
        if self.prune_ratio is None:
            self.assumptions.append(f"prune ratio {ratio}, the default")
        return ratio

    def _read(self, path: Path, network: Network) -> Tuple[int, ...]:
        """Kept channels per layer: from the last mask of a run folder or a ``masks.npz``, or the numbers of a text file."""
        recipe = _recipe_of_run(path) if path.is_dir() else {}
        residual = self.residual or (SELECT if recipe.get("residual") == SELECT else KEEP)
        multiple = self.multiple or recipe.get("width_multiple") or 1
        path = path / "masks.npz" if path.is_dir() else path
        if path.suffix == ".npz":
            stored = load_masks(path)
            if not len(stored.masks):
                raise InputError(f"{path} holds no mask; the run drew none")
            mask = stored.masks[-1]
            if multiple > 1:
                ranking = Ranking(network, recipe.get("masks", self.masks))
                mask = ranking.round_up(mask, stored.gamma[-1], multiple)
            return plan_of(network, mask, residual).widths
        try:
            text = path.read_text(encoding="utf-8")
            numbers = json.loads(text) if text.lstrip().startswith("[") else re.split(r"[\s,]+", text.strip())
            return tuple(int(number) for number in numbers)
        except FileNotFoundError as error:
            raise InputError(
                f"--widths {path}: 'uniform', a run folder or a file is needed, and that is not there"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path} is not a list of kept channels per layer, such as [32, 32, 64]: {error}"
            ) from error


def uniform_widths(
    network: Network, prune_ratio: float, masks: str = PER_LAYER, residual: str = KEEP, multiple: int = 1
) -> Tuple[int, ...]:
    """int(C (1 - p)) channels, at least one, wherever channels can go when every layer loses the same fraction.

    With VGG these are ThiNet's widths, which reproduce Table 2. Residual streams stay whole, unless masks are grouped: with
    different masks in every layer that is what remains of them, but for the channels that all happen to mask. Rounded up
    to the multiple, as far as a layer goes.
    """

    def left(width: int) -> int:
        return min(-(-fewer(width, prune_ratio) // multiple) * multiple, width)

    entries = network.channels()
    widths = {id(e): left(e.width) if _goes(e, masks) else e.width for e in entries}
    for entry in entries:
        if entry.stream is not None:
            chosen = left(entry.width)
            widths[id(entry)] = chosen if residual == SELECT else widths[id(entry.stream)]
    return tuple(widths[id(entry)] for entry in entries)


def fewer(width: int, prune_ratio: float) -> int:
    """int(C (1 - p)), at least one, with the ratio as it was typed: 1 - .9 in binary would lose a channel of ten."""
    return max(1, int(round(width * (1 - prune_ratio), 9)))


def _goes(entry: Channels, masks: str) -> bool:
    """Whether channels of this entry are removed: those of one BatchNorm are, those of a stream only together."""
    if masks == GROUPED:
        return bool(entry.norms) or not entry.readers
    return len(entry.norms) == 1


def _recipe_of_run(folder: Path) -> Dict[str, Any]:
    """The recipe in the manifest of a run; empty where there is none: masks may lie in any folder."""
    try:
        return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["recipe"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
