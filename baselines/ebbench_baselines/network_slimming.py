"""Network slimming (Liu et al. 2017): train with L1 on the BatchNorm scales, prune the channels of the smallest, fine-tune."""

from __future__ import annotations

import numpy as np

from ebbench.training.loop import Trainer
from ebbench.training.pruning.masks import gamma_of
from ebbench.training.pruning.ranking import Ranking
from ebbench_baselines.stages import PrunesTrained


class NetworkSlimmingPipeline(PrunesTrained):
    """``ns``: one threshold on |gamma| over the whole network, after the dense training; L1 goes on while fine-tuning."""

    def _l1(self) -> float:
        return self.recipe.l1

    def _draw(self, trainer: Trainer) -> np.ndarray:
        ranking, gamma = Ranking(trainer.model, self.recipe.masks), gamma_of(trainer.model)
        mask = ranking.draw(gamma, self.recipe.prune_ratio)
        return ranking.round_up(mask, gamma, self.recipe.width_multiple)
