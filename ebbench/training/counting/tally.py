"""FLOPs that a run really did, from the images that it processed."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence

from ebbench.training.counting.forward_cost import EXACT, ForwardCost

#: phases whose work is the pruned network's, where there is one
OF_PRUNED = ("retrain", "finetune", "evaluate")


def run_flops(
    images: Mapping[str, int],
    dense: ForwardCost,
    pruned: Optional[ForwardCost] = None,
    forward_only: Sequence[str] = (),
    own: Optional[Mapping[str, ForwardCost]] = None,
) -> Dict[str, Any]:
    """The FLOPs of a run by phase, exact convention; `images` as in `TrainState`: by phase, each step once.

    ``total`` is of the training phases; evaluations stand in ``by_phase``. What a pruned network does is counted as its:
    retraining, fine-tuning, their evaluations and the one of the result. Evaluations and the phases `forward_only` do no
    gradients. `own`: the costs of phases with a network of their own, by path. Work that a kill made necessary a second
    time is not in it.
    """
    by_phase = {}
    for path, count in images.items():
        of_pruned = pruned is not None and path.split("/")[0] in OF_PRUNED
        cost = (own or {}).get(path) or (pruned if of_pruned and pruned is not None else dense)
        forward = cost.forward_flops()
        per_image = forward if path.endswith("evaluate") or path in forward_only else cost.training_flops()
        by_phase[path] = {"images": count, "forward_flops": forward, "flops": count * per_image}
    return {
        "total": sum(entry["flops"] for path, entry in by_phase.items() if not path.endswith("evaluate")),
        "forward_dense": dense.forward_flops(),
        "forward_pruned": None if pruned is None else pruned.forward_flops(),
        "by_phase": by_phase,
        "convention": EXACT,
    }
