"""What is wrong with the values of a recipe, each with what would be right."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Optional, Sequence

from ebbench.config.method_settings import AUTO, AUTO_METHODS, READERS, TRAIN_FIRST, default_draw, is_one_of, reads
from ebbench.errors import nearest

Recipe = Any  # that of `recipe`, which checks itself with this module and so is not imported by it

#: epochs that `measure_epochs` takes at least
FEWEST_MEASURED = 3
#: what a random generator of torch takes
GREATEST_SEED = 2**63 - 1
#: images that `auto_images` holds out at least: of fewer, one is more than ten percentage points
FEWEST_HELD_OUT = 10
#: the settings that only a ratio that is to be found needs
AUTO_SETTINGS = ("auto_ratios", "auto_epochs", "auto_max_loss", "auto_images")

_COUNTS = ("epochs", "batch_size", "threads", "fifo_length", "evaluate_every", "workers", "sfp_every", "width_multiple")
_OPTIONAL_COUNTS = (
    "train_images",
    "test_images",
    "finetune_epochs",
    "snip_images",
    "thinet_images",
    "thinet_positions",
)
_FROM_ONE = (*_COUNTS, *_OPTIONAL_COUNTS)
_ABOVE_ZERO = ("learning_rate", "epsilon", "finetune_rate", "search_rate")
_FROM_ZERO = ("momentum", "weight_decay", "l1", "seed")
_CHOICES = {
    "pairs": ("paper", "reference"),
    "retrain_epochs": ("remaining", "full"),
    "masks": ("per-layer", "grouped"),
    "residual": ("keep", "select"),
    "lt_layers": ("conv", "conv+linear"),
    "snip_layers": ("conv", "conv+linear"),
    "rounding": ("stochastic", "nearest"),
    "amp_dtype": ("auto", "float16", "bfloat16"),
}


def faults_of(recipe: Recipe) -> Iterable[str]:
    """Every fault of the values themselves, each with what would be right."""
    yield from _ratio_faults(recipe)
    yield from _number_faults(recipe)
    yield from _choice_faults(recipe)
    yield from _draw_faults(recipe)
    yield from _excerpt_faults(recipe)
    yield from foreign_settings(recipe)


def _number_faults(recipe: Recipe) -> Iterable[str]:
    for names, holds, fault in (
        (_FROM_ONE, lambda value: value >= 1, "below 1"),
        (_ABOVE_ZERO, lambda value: value > 0, "not above 0"),
        (_FROM_ZERO, lambda value: value >= 0, "below 0"),
    ):
        for name in names:
            value = getattr(recipe, name)
            if value is not None and not holds(value):
                yield f"{name} = {value} is {fault}"
    if recipe.seed > GREATEST_SEED:
        yield f"seed = {recipe.seed} is above {GREATEST_SEED}"
    if recipe.epsilon > 1:
        yield f"epsilon = {recipe.epsilon} is above 1, the distance of masks that have nothing in common; the paper takes 0.1"
    if recipe.momentum >= 1:
        yield f"momentum = {recipe.momentum} is not below 1: steps would grow without end"
    if recipe.nesterov and not recipe.momentum > 0:
        yield "nesterov = true needs a momentum above 0"
    if not 0 <= recipe.average_from < 1:
        yield f"average_from = {recipe.average_from} is outside [0, 1): it is a fraction of the epochs, such as 0.875"
    if not 0 < recipe.checkpoint_s <= 600:
        yield f"checkpoint_s = {recipe.checkpoint_s} is outside (0, 600]: a checkpoint at least every ten minutes"
    for name in ("milestones", "search_milestones"):
        values = list(getattr(recipe, name) or ())
        if any(not 0 < m < 1 for m in values) or values != sorted(set(values)):
            yield f"{name} = {values} must be rising fractions of the epochs, {_fractions(values, recipe.epochs)}"


def _fractions(milestones: Sequence[float], epochs: int) -> str:
    """Milestones that were given as epochs as the fractions that they are; else an example."""
    if any(not 1 <= m < epochs for m in milestones) or list(milestones) != sorted(set(milestones)):
        return "such as [0.5, 0.75]"
    return f"which of {epochs} epochs are [{', '.join(f'{m / epochs:g}' for m in milestones)}]"


def _choice_faults(recipe: Recipe) -> Iterable[str]:
    for name, choices in _CHOICES.items():
        if getattr(recipe, name) not in choices:
            yield f"{name} = {getattr(recipe, name)!r}: {nearest(getattr(recipe, name), choices)}"
    if recipe.image_size is not None and recipe.dataset.partition(":")[0] not in ("imagefolder", "imagenet"):
        yield f"image_size = {recipe.image_size} is for imagefolder:DIR and imagenet; {recipe.dataset!r} has images of one size"


def _ratio_faults(recipe: Recipe) -> Iterable[str]:
    """What is wrong with the prune ratio, or with the candidates for it."""
    ratio = recipe.prune_ratio
    if not isinstance(ratio, str):
        if not 0 < ratio < 1:
            yield f"prune_ratio = {ratio} is outside (0, 1); 0.5 prunes half of the channels"
        return
    if ratio != AUTO:
        yield f"prune_ratio = {ratio!r}: a number such as 0.5 is needed, or 'auto'"
        return
    if not reads(recipe.method, "prune_ratio"):
        return
    if not is_one_of(recipe.method, AUTO_METHODS):
        yield f"prune_ratio = 'auto' is for {' and '.join(AUTO_METHODS)}, not for {recipe.method!r}; give it a number"
        return
    if recipe.draw != "early-bird":
        yield "prune_ratio = 'auto' draws at 'early-bird', when the masks of all candidates have settled; leave draw out"
    if recipe.measure_epochs is not None:
        yield (
            f"prune_ratio = 'auto' cannot be had from measure_epochs = {recipe.measure_epochs}: accuracies decide, and those of a "
            "training cut short say nothing; find the ratio in a whole run, then give its number"
        )
    if not recipe.auto_ratios or any(not 0 < p < 1 for p in recipe.auto_ratios):
        yield f"auto_ratios = {list(recipe.auto_ratios)}: fractions inside (0, 1) are needed, such as [0.3, 0.5, 0.7]"
    elif list(recipe.auto_ratios) != sorted(set(recipe.auto_ratios)):
        yield f"auto_ratios = {list(recipe.auto_ratios)} must rise, each once"
    if not 1 <= recipe.auto_epochs <= recipe.epochs:
        yield f"auto_epochs = {recipe.auto_epochs} is outside 1..{recipe.epochs}"
    if not 0 <= recipe.auto_max_loss < 1:
        yield f"auto_max_loss = {recipe.auto_max_loss} is outside [0, 1): 0.02 are two percentage points of accuracy"
    if recipe.auto_images is not None and recipe.auto_images < FEWEST_HELD_OUT:
        yield f"auto_images = {recipe.auto_images} is below {FEWEST_HELD_OUT}: fewer cannot tell one accuracy from another"


def _excerpt_faults(recipe: Recipe) -> Iterable[str]:
    """What `measure_epochs` and `ticket_epoch` need of each other."""
    measured, ticket = recipe.measure_epochs, recipe.ticket_epoch
    if measured is not None and measured < FEWEST_MEASURED:
        yield f"measure_epochs = {measured} is below {FEWEST_MEASURED}: fewer epochs cannot tell a drift from scatter"
    if ticket is not None and not 1 <= ticket <= recipe.epochs:
        yield f"ticket_epoch = {ticket} is outside 1..{recipe.epochs}"
    if ticket is not None and measured is None:
        yield f"ticket_epoch = {ticket} is an assumption of measure_epochs; to draw the ticket there, give draw = {ticket}"
    stated = stated_draw(recipe.draw, recipe.epochs)
    if measured is not None and None not in (ticket, stated) and ticket != stated:
        yield f"ticket_epoch = {ticket}: draw says already that the ticket is of epoch {stated}; leave one of the two out"
    is_open = recipe.method.startswith("eb-") and stated is None
    if measured is not None and ticket is None and is_open and measured + 1 < recipe.epochs:
        yield (
            f"measure_epochs = {measured} ends a search before its ticket is found; state the epoch to assume for it with "
            "ticket_epoch (--ticket-epoch)"
        )


def stated_draw(draw: Any, epochs: int) -> Optional[int]:
    """The epoch of the ticket where `draw` says it; None where the training shows it."""
    if isinstance(draw, str) or not draw:
        return epochs if draw == "final" else None
    return int(draw[0])


def _draw_faults(recipe: Recipe) -> Iterable[str]:
    names = ("early-bird", "final", "best-accuracy")
    draw = recipe.draw
    if draw == "early-bird" and is_one_of(recipe.method, TRAIN_FIRST):
        yield f"draw = 'early-bird' is EB Train's; {recipe.method!r} draws at 'final', 'best-accuracy' or an epoch"
    if draw == "best-accuracy" and recipe.evaluate_every > recipe.epochs:
        yield (
            f"draw = 'best-accuracy' needs an accuracy before the draw, but evaluate_every = {recipe.evaluate_every} is "
            f"beyond the {recipe.epochs} epochs; take 1"
        )
    if isinstance(draw, str):
        if draw not in names:
            yield f"draw = {draw!r}: {nearest(draw, names)}, or an epoch"
    elif not draw or any(not 1 <= e <= recipe.epochs for e in draw):
        yield f"draw = {list(draw or ())}: the epochs must lie in 1..{recipe.epochs}"


def foreign_settings(recipe: Recipe, named: Iterable[str] = ()) -> Iterable[str]:
    """What was set and means nothing to the method; of the settings `named`, also where the value is the default."""
    defaults = {f.name: f.default for f in dataclasses.fields(recipe)}
    defaults["draw"] = default_draw(recipe.method)
    is_set = {name for name in defaults if name in named or getattr(recipe, name) != defaults[name]}
    for name, readers in READERS.items():
        if name in is_set and not reads(recipe.method, name):
            value = getattr(recipe, name)
            shown = list(value) if isinstance(value, tuple) else value
            yield f"{name} = {shown!r} means nothing to method {recipe.method!r}, only to {', '.join(readers)}; leave it out"
    idle = [name for name in AUTO_SETTINGS if name in is_set]
    if idle and not isinstance(recipe.prune_ratio, str) and is_one_of(recipe.method, AUTO_METHODS):
        yield f"{', '.join(idle)}: only prune_ratio = 'auto' reads it; leave it out"
