"""``ebbench run`` and ``ebbench experiments``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import click

from ebbench.cli.number_or import RATIO, NumberOr
from ebbench.cli.typed import Typed


def _look(typed: Dict[str, Any]) -> None:
    """Raise UserError with the names that are not known; what settings mean together cannot be said where one is missing."""
    from ebbench.experiments.conduct import refuse_unknown_names

    bench = _bench_options(typed, typed["bench_file"])
    refuse_unknown_names(typed["experiment"], _recipe_options(typed), bench, typed["scale"])


@click.command(cls=Typed, look=_look)
@click.argument("experiment", default="quickstart")
@click.option("--scale", help="A scaled version that the experiment has, such as small: the same runs, in minutes.")
@click.option(
    "--method",
    multiple=True,
    help="dense, lt, snip, ns, thinet, sfp, eb-ff, eb-reinit, eb-ll, ...; repeat for a matrix.",
)
@click.option("--model", multiple=True, help="vgg16, vgg16-small, ...; repeat for a matrix.")
@click.option(
    "--dataset",
    multiple=True,
    help="synthetic, npz:FILE, cifar10, cifar100, imagenet, imagefolder:DIR; repeat for a matrix.",
)
@click.option("--data-dir", help="Folder of the data sets that have one.  [default: data]")
@click.option(
    "--prune-ratio",
    type=RATIO,
    metavar="P|auto",
    multiple=True,
    help="Fraction of the channels to prune, or auto: the largest of --auto-ratio whose ticket holds up in a short retraining. "
    "Repeat for a matrix.  [default: 0.5]",
)
@click.option("--auto-ratio", type=float, multiple=True, help="With auto, a candidate; repeat.  [default: 0.1 to 0.9]")
@click.option("--auto-epochs", type=int, help="With auto, epochs of each short retraining.  [default: 3]")
@click.option(
    "--auto-max-loss", type=float, help="With auto, accuracy that it may lose (0.02 is two points).  [default: 0.02]"
)
@click.option("--auto-images", type=int, help="With auto, training images held out to see that.  [default: a tenth]")
@click.option(
    "--width-multiple", type=int, help="Round what every layer keeps up to a multiple of this, such as 8.  [default: 1]"
)
@click.option("--epochs", type=int, help="Epochs of the whole training.  [default: 160]")
@click.option("--batch-size", type=int, help="Images of one step.  [default: 256]")
@click.option(
    "--learning-rate",
    type=float,
    help="The rate that training begins with; it is divided by ten at the milestones of the experiment.  [default: 0.1]",
)
@click.option(
    "--seed", type=int, multiple=True, help="What every random draw follows from; repeat for replicates.  [default: 1]"
)
@click.option(
    "--draw",
    multiple=True,
    help="When to draw the ticket: early-bird, final, best-accuracy, or an epoch; repeat for a matrix. Of several epochs "
    "(3,5) the search goes to the last, and the ticket is of the first.",
)
@click.option(
    "--measure-epochs",
    type=int,
    help="Train and measure this many epochs of each phase (3 or more), and extrapolate to --epochs.",
)
@click.option("--ticket-epoch", type=int, help="With --measure-epochs: the epoch to assume for the ticket of a search.")
@click.option("--train-images", type=int, help="Use the first N training images only.  [default: all]")
@click.option("--test-images", type=int, help="Use the first N test images only.  [default: all]")
@click.option(
    "--image-size", type=int, help="Side of an image of a folder, in pixels.  [default: what the model takes]"
)
@click.option("--workers", type=int, help="Processes that read the images of a folder.  [default: 4]")
@click.option("--threads", type=int, help="CPU threads of torch.  [default: 1]")
@click.option(
    "--checkpoint", "checkpoint_s", type=float, help="Seconds between checkpoints (600 at most).  [default: 120]"
)
@click.option(
    "--meter",
    "meters",
    multiple=True,
    help="Meter name or URI; repeat for several. The first counts, or the one with ?reference=1. off: none.  "
    "[default: auto]",
)
@click.option("--board", help="Board name (`ebbench boards` lists them), or auto.  [default: auto]")
@click.option(
    "--on", metavar="USER@BOARD", help="Run on another machine over ssh; --meter is then what is attached here."
)
@click.option("--on-command", help="The ebbench command there.  [default: ebbench]")
@click.option("--on-out", help="Folder there that keeps what was run.  [default: ebbench-remote]")
@click.option(
    "--board-meter",
    "board_meters",
    multiple=True,
    help="With --on, a meter of the board, or off: it has none.  [default: auto]",
)
@click.option(
    "--bench", "bench_file", type=click.Path(path_type=Path), help="TOML file of the bench: its meters and settings."
)
@click.option("--device", help="What trains: cpu, cuda, cuda:N or auto.  [default: auto]")
@click.option("--rate", "rate_hz", type=float, help="Readings per second.  [default: the meter's own]")
@click.option("--idle", "idle_s", type=float, help="Seconds of rest before and after.  [default: 10]")
@click.option("--warmup", "warmup_s", type=float, help="Seconds of the same work before the measurement.  [default: 0]")
@click.option(
    "--amplify",
    type=NumberOr("off"),
    metavar="S|off",
    help="Seconds to spend on repeated mask-distance checks after the training, or off.  [default: 30]",
)
@click.option(
    "--signature",
    type=NumberOr("off", "auto"),
    metavar="S|off|auto",
    help="Seconds of a pattern of work at either end that aligns a meter's own clock, off, or auto.  [default: auto]",
)
@click.option(
    "--cooldown",
    "cooldown_c",
    type=float,
    help="Wait until the board is at most this warm (degrees Celsius).  [default: no wait]",
)
@click.option("--no-calibration", is_flag=True, help="Take the meters as they describe themselves.")
@click.option(
    "--unit-energies",
    help="From what a simulated arithmetic's energy is estimated: horowitz-45nm, paper-calibrated, or a file that ends in .toml.  "
    "[default: horowitz-45nm]",
)
@click.option(
    "--max-gap",
    "max_gap_s",
    type=float,
    help="Longest interval between readings that is interpolated (s).  [default: the longer of 1 and ten median intervals]",
)
@click.option("--power-mode", help="Power mode of the board during the run, by number or name; put back afterwards.")
@click.option("--lock-clocks", is_flag=True, help="Clocks at their greatest during the run; put back afterwards.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where run folders go."
)
@click.option(
    "--share/--no-share",
    "share_phases",
    default=None,
    help="Train once what several runs begin with, and charge it to each; or let each run train it.  [default: share]",
)
@click.option("--resume", is_flag=True, help="Go on with runs that did not end.")
@click.option(
    "--lending",
    "offered",
    type=click.Path(path_type=Path),
    hidden=True,
    help="On a board, what its laptop says of the trainings that the run shares.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def run(
    experiment: str,
    scale: Optional[str],
    bench_file: Optional[Path],
    out: Path,
    resume: bool,
    offered: Optional[Path],
    as_json: bool,
    **options: Any,
) -> int:
    """Train, measure and seal the runs of an experiment. EXPERIMENT is a built-in name (`ebbench experiments` lists them;
    quickstart where none is given) or a TOML file.

    What is not typed is the experiment's, and where that says nothing the default.

    \b
    ebbench run
    ebbench run quickstart --method eb-ff --prune-ratio 0.3 --prune-ratio 0.5
    ebbench run quickstart --method eb-ff --prune-ratio auto --auto-max-loss 0.02
    ebbench run vgg16-cifar10 --dataset npz:cifar10.npz --epochs 16 --meter ina3221
    ebbench run --on nvidia@tx2 --meter 'shelly:http://192.168.1.20?scope=wall'
    ebbench run table2 --scale small --meter sim
    ebbench run vgg16-cifar10 --measure-epochs 5 --ticket-epoch 20
    """
    from ebbench.cli.display import Progress, print_runs
    from ebbench.cli.hangup import outlived_terminal
    from ebbench.experiments.conduct import conduct_all, find_experiment

    chosen = find_experiment(experiment, _recipe_options(options), _bench_options(options, bench_file), scale)
    display = Progress()
    with outlived_terminal(out, display.end_bars):
        with display:
            records, code = conduct_all(chosen, out, resume=resume, display=display, offered=offered)
        if as_json:
            click.echo(json.dumps({"runs": [record.to_json() for record in records]}, allow_nan=False))
        else:
            print_runs(records, out)
    return code


_AXES = ("method", "model", "dataset", "prune_ratio", "seed")
_SINGLE = (
    "width_multiple",
    "auto_epochs",
    "auto_max_loss",
    "auto_images",
    "data_dir",
    "epochs",
    "measure_epochs",
    "ticket_epoch",
    "batch_size",
    "learning_rate",
    "train_images",
    "test_images",
    "image_size",
    "workers",
    "threads",
    "checkpoint_s",
    "share_phases",
)
_BENCH = ("board", "device", "rate_hz", "idle_s", "warmup_s", "cooldown_c", "max_gap_s", "power_mode", "unit_energies")
_REMOTE = ("on", "on_command", "on_out")


def _recipe_options(options: Dict[str, Any]) -> Dict[str, List[Any]]:
    """The axes of the recipe matrix that were typed."""
    axes = {name: list(options[name]) for name in _AXES if options[name]}
    axes.update({name: [options[name]] for name in _SINGLE if options[name] is not None})
    if options["auto_ratio"]:
        axes["auto_ratios"] = [tuple(sorted(options["auto_ratio"]))]
    if options["draw"]:
        axes["draw"] = [_draw(text) for text in options["draw"]]
    return axes


def _draw(text: str) -> Any:
    """``3,5`` are epochs, anything else is a name."""
    parts = text.split(",")
    return tuple(int(part) for part in parts) if all(part.strip().isdigit() for part in parts) else text


def _bench_options(options: Dict[str, Any], bench_file: Optional[Path]) -> Dict[str, Any]:
    from ebbench.config import read_bench

    chosen: Dict[str, Any] = dict(read_bench(bench_file)) if bench_file else {}
    chosen.update({name: options[name] for name in (*_BENCH, *_REMOTE) if options[name] is not None})
    meters: Tuple[str, ...] = options["meters"]
    if meters:
        chosen["meters"] = list(meters)
    if options["lock_clocks"]:
        chosen["lock_clocks"] = True
    if options["no_calibration"]:
        chosen["calibration"] = False
    if options["board_meters"]:
        chosen["board_meters"] = list(options["board_meters"])
    if options["amplify"] is not None:
        chosen["amplify_s"] = _seconds(options["amplify"])
    if options["signature"] is not None:
        chosen["signature_s"] = None if options["signature"] == "auto" else _seconds(options["signature"])
    return chosen


def _seconds(typed: Union[str, float]) -> float:
    return 0.0 if typed == "off" else float(typed)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def experiments(as_json: bool) -> None:
    """List the built-in experiments.

    \b
    ebbench experiments
    """
    from ebbench.cli.display import print_table
    from ebbench.experiments.conduct import list_experiments

    found = list_experiments()
    if as_json:
        click.echo(json.dumps({"experiments": found}))
    else:
        print_table(
            ["experiment", "runs", "scales", "what it does"],
            [[e["name"], str(e["runs"]), ", ".join(e["scales"]), e["description"]] for e in found],
        )
