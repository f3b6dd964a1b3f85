"""What ``prune_ratio = "auto"`` adds to the arithmetic of a training, without training: see `ebbench.early_bird.ratio_trials`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

from ebbench.config import Recipe
from ebbench.config.method_settings import AUTO_METHODS
from ebbench.errors import ConfigError
from ebbench.training.counting.image_cost import ImageCost
from ebbench.training.data.hold_out import held_out_count

#: the ratio that is assumed to be found where nobody says
CHOSEN = 0.5
#: the cost of one image at a ratio; 0 is the dense network
CostAt = Callable[[float], ImageCost]


@dataclass(frozen=True)
class Trials:
    """The candidates, and the one that is assumed to be taken after all larger ones have been tried. None: a recipe's default."""

    chosen: Optional[float] = None
    ratios: Tuple[float, ...] = ()
    epochs: Optional[int] = None
    images: Optional[int] = None

    def settled(self, method: str, assumptions: List[str]) -> Trials:
        """With every default in its place, checked; what is assumed is added to `assumptions`."""
        if method not in AUTO_METHODS:
            raise ConfigError(f"--prune-ratio auto is for {' and '.join(AUTO_METHODS)}, not {method!r}; give a number")
        ratios = tuple(sorted(self.ratios)) or Recipe.auto_ratios
        epochs = Recipe.auto_epochs if self.epochs is None else self.epochs
        chosen = CHOSEN if self.chosen is None else self.chosen
        Recipe(method=method, prune_ratio="auto", auto_ratios=ratios, auto_epochs=epochs, auto_images=self.images)
        if chosen not in ratios:
            raise ConfigError(f"--auto-chosen {chosen:g} is not among the candidates {list(ratios)}; name one of them")
        tried = ", ".join(f"{ratio:g}" for ratio in ratios[::-1] if ratio >= chosen)
        assumptions.append(f"prune ratio auto: {tried} are tried, and {chosen:g} is taken (--auto-chosen)")
        return Trials(chosen, ratios, epochs, self.images)

    def held_out(self, images: int) -> int:
        """How many of the training images."""
        return held_out_count(images, self.images)

    def phases(self, images: int, cost_at: CostAt) -> List[Dict[str, Any]]:
        """The trials as phases; `images`: of the training part."""
        held, found = self.held_out(images), []
        tried = [0.0, *(ratio for ratio in self.ratios[::-1] if ratio >= (self.chosen or 0.0))]
        for number, ratio in enumerate(tried):
            cost = cost_at(ratio)
            for part, epochs, count, each in (
                ("retrain", self.epochs or 0, images - held, cost.step),
                ("draw", 1, held, cost.forward),
            ):
                found.append({
                    "phase": f"search/trial-{number}/{part}", "epochs": epochs, "images": count, "forward_flops": cost.forward,
                    "flops": epochs * count * each,
                })  # fmt: skip
        return found
