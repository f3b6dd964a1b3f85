"""Which networks a method trains, and for how many epochs each."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from ebbench.errors import ConfigError, nearest
from ebbench.training.counting.forward_cost import EXACT, PAPER

DENSE, PRUNED = "dense", "pruned"
#: six masks make the five distances of Algorithm 1, so no ticket is found before
EARLIEST_TICKET = 6

#: (phase, epochs, network) of each training
Plan = List[Tuple[str, int, str]]
#: from the epochs of a full training and the ticket's epoch
Schedule = Callable[[int, int], Plan]
SCHEDULES: Dict[str, Schedule] = {
    "dense": lambda epochs, ticket: [("train", epochs, DENSE)],
    # an unstructured mask saves no arithmetic: both trainings are dense (Table 2 charges the same at every ratio)
    "lt": lambda epochs, ticket: [("train", epochs, DENSE), ("retrain", epochs, DENSE)],
    "snip": lambda epochs, ticket: [("train", epochs, DENSE)],
    "ns": lambda epochs, ticket: [("train", epochs, DENSE), ("finetune", epochs, PRUNED)],
    "thinet": lambda epochs, ticket: [("train", epochs, DENSE), ("finetune", epochs, PRUNED)],
    # its masks are soft: every step is a dense one
    "sfp": lambda epochs, ticket: [("train", epochs, DENSE)],
    "eb-reinit": lambda epochs, ticket: [("search", ticket, DENSE), ("retrain", epochs, PRUNED)],
    # an operation in 8 bits counts as one
    **dict.fromkeys(
        ("eb-ff", "eb-lf", "eb-ll", "eb-wage", "eb-amp"),
        lambda epochs, ticket: [("search", ticket, DENSE), ("retrain", epochs - ticket, PRUNED)],
    ),
}
#: what Table 3 charges where it is not what the method runs
PAPER_SCHEDULES: Dict[str, Schedule] = {
    "sfp": lambda epochs, ticket: [("train", epochs, DENSE), ("finetune", epochs, PRUNED)],
}
#: draws that pass images through the network; how many is a setting of the recipe, and a run's record counts them
UNCOUNTED_DRAWS = {
    "snip": "the one batch that the mask is drawn from is not counted",
    "thinet": "the forward passes that the channels are chosen from are not counted",
}


def schedule_of(method: str, retrain_epochs: str, convention: str) -> Schedule:
    """What a method trains; by the paper's convention, what its tables charge. Raises ConfigError."""
    if method not in SCHEDULES:
        raise ConfigError(f"unknown method {method!r}; {nearest(method, SCHEDULES)}")
    if retrain_epochs not in ("remaining", "full"):
        raise ConfigError(f"--retrain-epochs {retrain_epochs}: {nearest(retrain_epochs, ('remaining', 'full'))}")
    if method.startswith("eb-") and retrain_epochs == "full":
        return SCHEDULES["eb-reinit"]
    return PAPER_SCHEDULES.get(method, SCHEDULES[method]) if convention == PAPER else SCHEDULES[method]


def ticket_epoch_of(method: str, ticket: Optional[int], epochs: int, assumptions: List[str]) -> int:
    """The epoch after which the ticket is drawn, the earliest possible where nobody says; 0 where there is none."""
    if epochs < 1:
        raise ConfigError(f"--epochs {epochs} is below 1")
    if not method.startswith("eb-"):
        return 0
    if ticket is None:
        ticket = min(EARLIEST_TICKET, epochs)
        assumptions.append(f"ticket at epoch {ticket}, the earliest possible (--ticket-epoch)")
    if not 1 <= ticket <= epochs:
        raise ConfigError(f"--ticket-epoch {ticket} is outside 1..{epochs}")
    return ticket


def charged_otherwise(method: str, convention: str) -> List[str]:
    """In what the convention charges a method something else than it does, as assumptions."""
    if convention == EXACT and method in UNCOUNTED_DRAWS:
        return [UNCOUNTED_DRAWS[method]]
    if convention == PAPER and method in PAPER_SCHEDULES:
        return [f"{method!r} is charged as in the paper's Table 3, a dense and a pruned training; it runs one, dense"]
    return []
