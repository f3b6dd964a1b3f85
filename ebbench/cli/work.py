"""``ebbench flops``: the arithmetic of a training, without training."""

from __future__ import annotations

import json
from typing import Any, Optional, Tuple

import click

from ebbench.cli.number_or import RATIO
from ebbench.cli.typed import Typed


@click.command(cls=Typed)
@click.option(
    "--model", default="vgg16", show_default=True, help="The network: vgg16, preresnet101, resnet18, resnet50."
)
@click.option(
    "--dataset",
    default="cifar10",
    show_default=True,
    help="What says how many images and classes there are; as `ebbench run` takes it.",
)
@click.option(
    "--method", default="dense", show_default=True, help="dense, lt, snip, ns, thinet, sfp, eb-ff, eb-reinit, ..."
)
@click.option("--prune-ratio", type=RATIO, metavar="P|auto", help="Fraction of the channels that are pruned, or auto.")
@click.option("--auto-chosen", type=float, help="With auto, the ratio to assume; all larger are tried.  [default: 0.5]")
@click.option("--auto-ratio", type=float, multiple=True, help="With auto, a candidate; repeat.  [default: 0.1 to 0.9]")
@click.option("--auto-epochs", type=int, help="With auto, epochs of each short retraining.  [default: 3]")
@click.option("--auto-images", type=int, help="With auto, training images held out.  [default: a tenth]")
@click.option("--epochs", type=int, help="Epochs of the whole training.  [default: the paper's]")
@click.option("--ticket-epoch", type=int, help="Epochs trained before the ticket is drawn.  [default: 6, the earliest]")
@click.option("--retrain-epochs", default="remaining", show_default=True, help="Of eb-*: remaining or full.")
@click.option("--widths", help="uniform, a run folder, or a file with the kept channels of every layer.")
@click.option("--masks", default="per-layer", show_default=True, help="With uniform widths: per-layer or grouped.")
@click.option("--residual", help="keep or select, as in a recipe.  [default: that of the run, else keep]")
@click.option("--width-multiple", type=int, help="Round what every layer keeps up to a multiple of this.  [default: 1]")
@click.option("--pruned-forward", type=float, help="GFLOPs of one pruned forward pass, instead of --widths.")
@click.option("--dense-forward", type=float, help="GFLOPs of one dense forward pass, instead of counting them.")
@click.option(
    "--convention",
    type=click.Choice(["exact", "paper"]),
    default="exact",
    show_default=True,
    help="exact: each step as it is computed; paper: 3 x forward, rounded as in the paper's tables.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def flops(
    as_json: bool,
    widths: Optional[str],
    auto_chosen: Optional[float],
    auto_ratio: Tuple[float, ...],
    auto_epochs: Optional[int],
    auto_images: Optional[int],
    **options: Any,
) -> None:
    """Count the FLOPs of a method's whole training.

    \b
    ebbench flops --model vgg16 --dataset cifar10 --method dense
    ebbench flops --method eb-ff --prune-ratio 0.5 --ticket-epoch 20 --widths uniform --convention paper
    ebbench flops --method eb-ff --prune-ratio auto --auto-chosen 0.7 --ticket-epoch 20
    """
    from ebbench.cli.display import print_flops
    from ebbench.training.counting.flops import Training, document
    from ebbench.training.counting.trials import Trials

    trials = Trials(auto_chosen, auto_ratio, auto_epochs, auto_images)
    found = document(Training(widths=widths, trials=trials, **options))
    if as_json:
        click.echo(json.dumps(found, allow_nan=False))
    else:
        print_flops(found)
