"""The colour of each phase."""

from __future__ import annotations

#: Okabe and Ito's colours, which colour-blind readers tell apart; neighbours in a run also differ in lightness and hatch
PHASE_COLOURS = {
    "search": "#0072b2", "draw": "#d55e00", "prune": "#cc79a7", "rewind": "#882255", "train": "#56b4e9",
    "retrain": "#009e73", "finetune": "#117733", "idle": "#b8bec5", "warmup": "#ddcc77", "evaluate": "#e69f00",
    "checkpoint": "#8c6d46", "amplify": "#f0e442", "epoch": "#93a1ad",
}  # fmt: skip


def colour_of(name: str) -> str:
    """The colour of a phase; grey for what is not in the list."""
    return PHASE_COLOURS.get(name, "#8f9aa5")
