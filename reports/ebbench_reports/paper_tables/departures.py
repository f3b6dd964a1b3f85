"""In what a run departs from the paper's protocol."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from ebbench_reports.compare import Group
from ebbench_reports.paper_tables.layouts import Layout
from ebbench_reports.paper_tables.places import paper_epochs

#: where the paper divides the rate by ten, as parts of its epochs, and what else it trains with
MILESTONES = {"imagenet": [0.333, 0.667]}
PROTOCOL = {"batch_size": 256, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4, "l1": 1e-4}


def departures(group: Group, plan: Layout) -> List[str]:
    """In what a run is not the paper's protocol, but for what the rows of the table `plan` say; empty where it is."""
    recipe = group.recipe
    epochs, wanted = recipe.get("epochs"), paper_epochs(recipe)
    found = [f"{epochs} epochs, the paper trains {wanted}"] if epochs != wanted else []
    for part, name in (("training", "train_images"), ("test", "test_images")):
        found += [f"the first {recipe[name]} {part} images only"] if recipe.get(name) else []
    for name, value in _protocol(recipe, plan).items():
        own = recipe.get(name)
        if name in recipe and not _alike(own, value):
            found.append(f"{name} = {own}" + ("" if value is None else f", the paper's is {value}"))
    return found


def _protocol(recipe: Mapping[str, Any], plan: Layout) -> Dict[str, Any]:
    """The paper's settings that the method reads and that are not in the head of the table's rows."""
    is_early_bird = str(recipe.get("method")).startswith("eb-")
    found: Dict[str, Any] = dict(PROTOCOL)
    if "initial_lr" not in plan.row:
        found.update(learning_rate=0.1, milestones=MILESTONES.get(str(recipe.get("dataset")), [0.5, 0.75]))
        found.update({"search_rate": None, "search_milestones": None})
    if is_early_bird:
        found.update(epsilon=0.1, fifo_length=5)
    if plan.retrain_epochs and recipe.get("method") == "eb-ff":
        found["retrain_epochs"] = plan.retrain_epochs
    return found


def _alike(own: Any, value: Any) -> bool:
    if isinstance(own, (list, tuple)) and isinstance(value, list):
        return len(own) == len(value) and all(abs(a - b) < 1e-3 for a, b in zip(own, value))
    return bool(own == value)
