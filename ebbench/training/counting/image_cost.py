"""What one image costs in a network, and in what is left of it when it is pruned, by one convention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Tuple

from ebbench.errors import ConfigError
from ebbench.training.counting.forward_cost import EXACT, ForwardCost, forward_cost
from ebbench.training.models import Network, empty_model
from ebbench.training.pruning.widths import UNIFORM, Pruning


@dataclass(frozen=True)
class ImageCost:
    """One image through one network: forward and whole training step, in FLOPs of the convention."""

    forward: int
    step: int
    widths: Optional[Tuple[int, ...]] = None
    macs: Optional[int] = None
    parameters: Optional[int] = None

    @classmethod
    def counted(cls, cost: ForwardCost, convention: str, widths: Optional[Tuple[int, ...]] = None) -> ImageCost:
        """That of a network whose forward pass was counted."""
        return cls(cost.forward_flops(convention), cost.training_flops(convention), widths, cost.macs, cost.parameters)

    def to_json(self) -> Dict[str, Any]:
        """As in the document of ``ebbench flops``."""
        return {
            "forward_flops": self.forward,
            "forward_macs": self.macs,
            "parameters": self.parameters,
            "widths": None if self.widths is None else list(self.widths),
        }


class ImageCosts:
    """The costs of one network, `dense` and pruned; what they take for granted is added to `assumptions`.

    `dense_forward`: GFLOPs (1e9) of a forward pass, in place of what is counted.
    """

    def __init__(
        self, network: Network, convention: str, dense_forward: Optional[float], assumptions: List[str]
    ) -> None:
        self._network, self._convention, self._assumptions = network, convention, assumptions
        self._counted, self._dense_forward = forward_cost(network), dense_forward
        self.dense = ImageCost.counted(self._counted, convention)
        if dense_forward is not None:
            self.dense = self._given(dense_forward, "--dense-forward")

    def pruned(self, pruning: Pruning, pruned_forward: Optional[float] = None) -> ImageCost:
        """In the network that `pruning` leaves; `pruned_forward`: GFLOPs of its forward pass, in place of what is counted."""
        if pruned_forward is None:
            network, widths = self._network, pruning.widths_of(self._network)
            counted = forward_cost(empty_model(network.name, network.num_classes, widths))
            return ImageCost.counted(counted, self._convention, widths)
        if pruning.widths is not None:
            raise ConfigError(
                "--widths and --pruned-forward both say how large the pruned network is; give one of them"
            )
        cost = self._given(pruned_forward, "--pruned-forward")
        if cost.forward > self.dense.forward:
            raise ConfigError(
                f"--pruned-forward {pruned_forward}: GFLOPs above 0 are needed, and at most the dense "
                f"{self.dense.forward / 1e9:.4g}"
            )
        return cost

    def at(self, ratio: float, pruning: Pruning) -> ImageCost:
        """With all layers pruned alike at this ratio, in the way of `pruning`; 0 is the dense network."""
        if not ratio:
            return self.dense
        return self.pruned(replace(pruning, prune_ratio=ratio, widths=UNIFORM, assumptions=[]))

    def to_json(self) -> Dict[str, Any]:
        """The dense network in the document of ``ebbench flops``; by the paper's counter, its forward pass is not rounded."""
        if self._dense_forward is not None:
            forward = self.dense.forward
        else:
            forward = 2 * self._counted.macs if self._convention == EXACT else self._counted.counter_flops
        return {
            "forward_flops": forward,
            "forward_macs": self._counted.macs,
            "parameters": self._counted.parameters,
            "prunable_channels": sum(norm.num_features for norm in self._network.prunable_norms()),
        }

    def _given(self, gflops: float, option: str) -> ImageCost:
        """The cost of a network of which no more than one forward pass is known."""
        if not 0 < gflops < float("inf"):
            raise ConfigError(f"{option} {gflops}: GFLOPs above 0 are needed")
        if self._convention == EXACT:
            self._assumptions.append(f"{option}: the layers are not known, a step is counted as 3 x forward")
        forward = round(gflops * 1e9)
        return ImageCost(forward, 3 * forward)
