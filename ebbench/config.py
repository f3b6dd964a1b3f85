"""Recipe (what to run) and Bench (with what to measure it), from TOML and JSON values. Both are frozen."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

from ebbench.errors import ConfigError, Faults, nearest
from ebbench.meter_ref import OFF, MeterRef, Named, refs_of
from ebbench.method_settings import AUTO, AUTO_METHODS, READERS, TRAIN_FIRST, default_draw, is_one_of, reads

if sys.version_info >= (3, 11):
    import tomllib
else:  # the last Python of a TX2 is 3.8
    import tomli as tomllib

#: epochs that `measure_epochs` takes at least
FEWEST_MEASURED = 3
#: images that `auto_images` holds out at least: of fewer, one is more than ten percentage points
FEWEST_HELD_OUT = 10

Draw = Union[str, Tuple[int, ...]]  # "early-bird", "final", "best-accuracy", or the epochs at which to draw
PruneRatio = Union[str, float]  # a fraction, or "auto"


@dataclass(frozen=True)
class Recipe:
    """What to run. Every default is the paper's CIFAR protocol (You et al. 2020, section 4.1 and appendix).

    What one method reads and another does not is listed in `ebbench.method_settings`.
    """

    method: str = "eb-ff"
    model: str = "vgg16"
    dataset: str = "cifar10"
    data_dir: str = "data"
    prune_ratio: PruneRatio = 0.5
    seed: int = 1
    epochs: int = 160
    batch_size: int = 256
    learning_rate: float = 0.1
    #: where the learning rate is divided by ten, as fractions of `epochs`
    milestones: Tuple[float, ...] = (0.5, 0.75)
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    #: L1 penalty on every BatchNorm scale during search and retraining (Liu et al. 2017)
    l1: float = 1e-4
    #: "per-layer": every channel is ranked for itself; "grouped": the BatchNorms of one residual stream share a mask
    masks: str = "per-layer"
    #: a BatchNorm that keeps less of a residual stream than the stream has: "keep" leaves the rest in place, at zero; "select"
    #: takes out what it keeps, in front of it (pre-activation networks only)
    residual: str = "keep"
    #: what a layer keeps is rounded up to a multiple of this, by the largest |gamma| that were masked (tensor cores work in eights)
    width_multiple: int = 1
    #: let masked channels that could not be removed come back to life in retraining, as the public code does
    regrow: bool = False
    #: when the ticket is drawn. None becomes "early-bird" for EB Train, and "final" for what trains in full first
    draw: Optional[Draw] = None
    #: the ticket is drawn when the last `fifo_length` mask distances are all below `epsilon` (Algorithm 1)
    epsilon: float = 0.1
    fifo_length: int = 5
    #: "paper": consecutive epochs; "reference": the public code's newest mask against the four before it
    pairs: str = "paper"
    #: the rate that a search begins with (None: `learning_rate`), and where it is divided by ten (None: `milestones`)
    search_rate: Optional[float] = None
    search_milestones: Optional[Tuple[float, ...]] = None
    #: epochs after the draw: "remaining" (epochs - t*) or "full"
    retrain_epochs: str = "remaining"
    #: epochs of fine-tuning after pruning (None: as many as `epochs`) and the rate they begin with (None: `learning_rate`)
    finetune_epochs: Optional[int] = None
    finetune_rate: Optional[float] = None
    #: layers whose weights a mask over weights ranks: "conv" or "conv+linear"
    lt_layers: str = "conv"
    snip_layers: str = "conv+linear"
    #: images of the one batch that connection sensitivities are taken from (None: `batch_size`)
    snip_images: Optional[int] = None
    #: per layer, images (None: 1,000, or all) and outputs of each (channel and place) from which ThiNet samples contributions
    thinet_images: Optional[int] = None
    thinet_positions: int = 10
    #: scale what the kept channels contribute, by least squares, so that it stands for all
    thinet_rescale: bool = True
    #: epochs from one zeroing of filters to the next
    sfp_every: int = 1
    #: train and measure this many epochs of each phase, after one that settles, and extrapolate to the schedule (None: train all)
    measure_epochs: Optional[int] = None
    #: the epoch at which a search would have found its ticket: an assumption, where `measure_epochs` cuts the search short
    ticket_epoch: Optional[int] = None
    #: prune_ratio = "auto": the candidates; epochs of each short retraining; accuracy that it may lose against the dense network's;
    #: training images held out of the search to see that (None: a tenth). See `ebbench.ratio_choice`
    auto_ratios: Tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    auto_epochs: int = 3
    auto_max_loss: float = 0.02
    auto_images: Optional[int] = None
    #: 8-bit block floating point (eb-lf, eb-ll): "stochastic" or to the "nearest"
    rounding: str = "stochastic"
    #: where the average of eb-ll's weights begins, as a fraction of `epochs` (the last 20 of 160)
    average_from: float = 0.875
    #: 16-bit type of eb-amp: "float16", "bfloat16", or "auto" (float16 on a GPU, bfloat16 on a CPU)
    amp_dtype: str = "auto"
    #: side in pixels of what a network sees of an image of a folder (None: what the model takes), and the processes that read them
    image_size: Optional[int] = None
    workers: int = 4
    #: keep only the first N images of the training and of the test part (None: all); of a folder as many of each class
    train_images: Optional[int] = None
    test_images: Optional[int] = None
    #: accuracy every N epochs, and after the last one
    evaluate_every: int = 1
    deterministic: bool = True
    #: let tensor cores round the factors of float32 products to 10 bits, as torch does in convolutions unasked
    tf32: bool = False
    #: CPU threads of torch; part of the recipe because it changes the last bit of a sum
    threads: int = 1
    #: take a first training that another run of the same matrix did, and lend one's own (`ebbench.first_training`)
    share_phases: bool = True
    #: a checkpoint at most this many seconds after the last one
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        if self.draw is None:
            object.__setattr__(self, "draw", default_draw(self.method))
        faults = list(_recipe_faults(self))
        if faults:
            raise ConfigError(*faults)

    @property
    def ratios(self) -> Tuple[float, ...]:
        """The prune ratios that the run may end with."""
        return self.auto_ratios if isinstance(self.prune_ratio, str) else (self.prune_ratio,)

    def settings(self) -> Dict[str, Any]:
        """All fields as JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


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


def _recipe_faults(recipe: Recipe) -> Iterable[str]:
    """Every fault of the values themselves, each with what would be right."""
    yield from _ratio_faults(recipe)
    for name in (
        "epochs",
        "batch_size",
        "threads",
        "fifo_length",
        "evaluate_every",
        "workers",
        "sfp_every",
        "width_multiple",
    ):
        if getattr(recipe, name) < 1:
            yield f"{name} = {getattr(recipe, name)} is below 1"
    for name in ("train_images", "test_images", "finetune_epochs", "snip_images", "thinet_images", "thinet_positions"):
        value = getattr(recipe, name)
        if value is not None and value < 1:
            yield f"{name} = {value} is below 1"
    if recipe.image_size is not None and recipe.dataset.partition(":")[0] not in ("imagefolder", "imagenet"):
        yield f"image_size = {recipe.image_size} is for imagefolder:DIR and imagenet; {recipe.dataset!r} has images of one size"
    for name in ("learning_rate", "epsilon"):
        if not getattr(recipe, name) > 0:
            yield f"{name} = {getattr(recipe, name)} is not above 0"
    for name in ("momentum", "weight_decay", "l1"):
        if not getattr(recipe, name) >= 0:
            yield f"{name} = {getattr(recipe, name)} is below 0"
    for name in ("finetune_rate", "search_rate"):
        if getattr(recipe, name) is not None and not getattr(recipe, name) > 0:
            yield f"{name} = {getattr(recipe, name)} is not above 0"
    if recipe.nesterov and not recipe.momentum > 0:
        yield "nesterov = true needs a momentum above 0"
    if not 0 <= recipe.average_from < 1:
        yield f"average_from = {recipe.average_from} is outside [0, 1): it is a fraction of the epochs, such as 0.875"
    if recipe.seed < 0:
        yield f"seed = {recipe.seed} is below 0"
    if not 0 < recipe.checkpoint_s <= 600:
        yield f"checkpoint_s = {recipe.checkpoint_s} is outside (0, 600]: a checkpoint at least every ten minutes"
    for name in ("milestones", "search_milestones"):
        values = list(getattr(recipe, name) or ())
        if any(not 0 < m < 1 for m in values) or values != sorted(values):
            yield f"{name} = {values} must be rising fractions of the epochs, such as [0.5, 0.75]"
    for name, choices in _CHOICES.items():
        if getattr(recipe, name) not in choices:
            yield f"{name} = {getattr(recipe, name)!r}: {nearest(getattr(recipe, name), choices)}"
    yield from _draw_faults(recipe)
    yield from _excerpt_faults(recipe)
    yield from _foreign_settings(recipe)


def _ratio_faults(recipe: Recipe) -> Iterable[str]:
    """What is wrong with the prune ratio, or with the candidates for it."""
    ratio = recipe.prune_ratio
    if not isinstance(ratio, str):
        if not 0 < ratio < 1:
            yield f"prune_ratio = {ratio} is outside (0, 1); 0.5 prunes half of the channels"
        foreign = [n for n in AUTO_SETTINGS if getattr(recipe, n) != getattr(Recipe, n)]
        if foreign and is_one_of(recipe.method, AUTO_METHODS):
            yield f"{', '.join(foreign)}: only prune_ratio = 'auto' reads it; leave it out"
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


#: the settings that only a ratio that is to be found needs
AUTO_SETTINGS = ("auto_ratios", "auto_epochs", "auto_max_loss", "auto_images")


def _excerpt_faults(recipe: Recipe) -> Iterable[str]:
    """What `measure_epochs` and `ticket_epoch` need of each other."""
    measured, ticket = recipe.measure_epochs, recipe.ticket_epoch
    if measured is not None and measured < FEWEST_MEASURED:
        yield f"measure_epochs = {measured} is below {FEWEST_MEASURED}: fewer epochs cannot tell a drift from scatter"
    if ticket is not None and not 1 <= ticket <= recipe.epochs:
        yield f"ticket_epoch = {ticket} is outside 1..{recipe.epochs}"
    if ticket is not None and measured is None:
        yield f"ticket_epoch = {ticket} is an assumption of measure_epochs; to draw the ticket there, give draw = {ticket}"
    is_open = recipe.method.startswith("eb-") and recipe.draw in ("early-bird", "best-accuracy")
    if measured is not None and ticket is None and is_open and measured + 1 < recipe.epochs:
        yield (
            f"measure_epochs = {measured} ends the search of {recipe.method} before its ticket is found; state the epoch to assume "
            "for it with ticket_epoch (--ticket-epoch)"
        )


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


def _foreign_settings(recipe: Recipe) -> Iterable[str]:
    """What was set and means nothing to the method."""
    defaults = {f.name: f.default for f in dataclasses.fields(recipe)}
    defaults["draw"] = default_draw(recipe.method)
    for name, readers in READERS.items():
        value = getattr(recipe, name)
        if value != defaults[name] and not reads(recipe.method, name):
            shown = list(value) if isinstance(value, tuple) else value
            yield f"{name} = {shown!r} means nothing to method {recipe.method!r}, only to {', '.join(readers)}; leave it out"


@dataclass(frozen=True)
class Bench:
    """With what to measure. None in a field means "the default of the meter".

    One of the meters is the reference: the one that says so, else the first. Each is a URI, or a `MeterRef` from a file.
    """

    meters: Tuple[Named, ...] = ("auto",)
    board: str = "auto"
    device: str = "auto"
    rate_hz: Optional[float] = None
    idle_s: float = 10.0
    warmup_s: float = 0.0
    #: before the run, wait until the warmest sensor of the board shows at most this (degrees Celsius)
    cooldown_c: Optional[float] = None
    #: seconds spent on amplified blocks of mask-distance checks; 0 is off
    amplify_s: float = 30.0
    #: seconds of the power signature at either end; 0 is off (None: where a meter has a clock of its own, as long as it needs)
    signature_s: Optional[float] = None
    #: longest interval between readings that is interpolated (None: max(1 s, 10 median intervals))
    max_gap_s: Optional[float] = None
    #: from which an arithmetic that is only simulated here is estimated: a table of ebbench/energy/unit_energies.toml, or a file
    unit_energies: str = "horowitz-45nm"
    #: for the run only, put back afterwards: a power mode by number or name (None: as it is), clocks at their greatest
    power_mode: Optional[str] = None
    lock_clocks: bool = False
    #: use what `ebbench calibrate` found out about the meters on this machine
    calibration: bool = True
    #: the board to run on, as ssh names it (None: this machine); `meters` are then those of this machine, beside `board_meters`
    on: Optional[str] = None
    #: the command there, and the folder there that keeps what is run
    on_command: str = "ebbench"
    on_out: str = "ebbench-remote"
    board_meters: Tuple[Named, ...] = ("auto",)

    def __post_init__(self) -> None:
        faults = [
            f"{n} = {getattr(self, n)} is below 0"
            for n in ("idle_s", "warmup_s", "amplify_s", "signature_s")
            if getattr(self, n) is not None and not getattr(self, n) >= 0
        ]
        faults += [
            f"{n} = {getattr(self, n)} is not above 0"
            for n in ("rate_hz", "max_gap_s", "cooldown_c")
            if getattr(self, n) is not None and not getattr(self, n) > 0
        ]
        if not self.meters:
            faults.append("meters is empty; name at least one, or 'auto'")
        try:
            refs_of(self.meters)
        except ConfigError as error:
            faults.append(str(error))
        if self.device not in ("auto", "cpu", "cuda") and not self.device.startswith("cuda:"):
            faults.append(f"device = {self.device!r}: {nearest(self.device, ('auto', 'cpu', 'cuda'))}")
        faults += _remote_faults(self)
        if faults:
            raise ConfigError(*faults)

    @property
    def is_unmetered(self) -> bool:
        """Whether no meter is read here: another machine measures what this one does."""
        return [str(meter) for meter in self.meters] == [OFF]

    @property
    def laptop_meters(self) -> Tuple[Named, ...]:
        """The meters of this machine beside a board: those that were named; `auto` would find what this machine draws itself."""
        return () if self.meters == ("auto",) else self.meters

    def on_board(self) -> Bench:
        """The bench as the board sees it."""
        here = Bench()
        return dataclasses.replace(
            self, meters=self.board_meters, on=None, on_command=here.on_command, on_out=here.on_out,
            board_meters=here.board_meters,
        )  # fmt: skip

    def settings(self) -> Dict[str, Any]:
        """All fields as JSON values; a meter from a file as its table."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.loads(json.dumps(values, default=MeterRef.settings))


def _remote_faults(bench: Bench) -> Iterable[str]:
    """What is wrong with the settings of a run on another machine."""
    if bench.on is None:
        return
    if not bench.on.isprintable() or bench.on.startswith("-") or not bench.on or " " in bench.on:
        yield f"on = {bench.on!r} is no name of a machine; write user@board, or a name of ~/.ssh/config"
    if not bench.board_meters:
        yield "board_meters is empty; name at least one, or 'auto'"
    try:
        for_board = [ref.name for ref in refs_of(bench.laptop_meters) if ref.name in ("auto", OFF)]
        if for_board:
            yield f"meters: {for_board[0]} is for the board (board_meters); name the meters of this machine"
        elif refs_of(bench.board_meters)[0].name != OFF:
            refs_of([*bench.laptop_meters, *bench.board_meters])
        elif not bench.laptop_meters:
            yield f"board_meters is '{OFF}' and no meter here is named: nothing would be measured; name one with --meter"
    except ConfigError as error:
        yield str(error)
    for name in ("on_command", "on_out"):
        if not getattr(bench, name).strip() or not getattr(bench, name).isprintable():
            yield f"{name} = {getattr(bench, name)!r} is empty, or more than one line"
    try:
        shlex.split(bench.on_command)
    except ValueError as error:
        yield f"on_command = {bench.on_command!r}: {error}"


def make_recipe(settings: Mapping[str, Any]) -> Recipe:
    """A recipe from JSON or TOML values, each checked for its type."""
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    refuse_unknown(settings, known, "recipe")
    return Recipe(**{k: _coerce(k, v, Recipe) for k, v in settings.items()})


#: the parts of an experiment's file, which somebody may take for those of a bench file
_SECTIONS = ("experiment", "recipe", "bench")


def load_bench(settings: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> Bench:
    """A bench from the values of a file with the command line's on top. Raises ConfigError with all faults of the file."""
    known = [f.name for f in dataclasses.fields(Bench)]
    faults = Faults()
    values: Dict[str, Any] = {}
    with faults.gathered():
        refuse_unknown([key for key in settings if key not in _SECTIONS], known, where)
    for section in (key for key in settings if key in _SECTIONS):
        faults.found.append(
            f"{where}: [{section}] is of an experiment's file; in a bench file its settings and [[meters]] stand at the top"
        )
    for key in (key for key in settings if key in known):
        with faults.gathered(f"{where}: "):
            values[key] = _bench_value(key, settings[key])
    with faults.gathered(f"{where}: "):
        Bench(**values)
    faults.refuse()
    refuse_unknown(overrides, known, where)
    return Bench(**{**values, **{key: _bench_value(key, value) for key, value in overrides.items()}})


def read_bench(path: Path) -> Dict[str, Any]:
    """The settings of a bench file, which are those of `Bench`, checked. Raises ConfigError with all its faults."""
    settings = load_toml(path)
    load_bench(settings, {}, str(path))
    return settings


def _bench_value(key: str, value: Any) -> Any:
    return _meters(value) if key in ("meters", "board_meters") else _coerce(key, value, Bench)


def _meters(value: Any) -> Tuple[Named, ...]:
    """The meters of a bench, each as a URI or as a table; a table of nothing but a URI is that URI."""
    meters: List[Named] = []
    faults: List[str] = []
    for number, each in enumerate(value if isinstance(value, (list, tuple)) else [value], 1):
        try:
            if isinstance(each, MeterRef):
                meters.append(each)
            elif isinstance(each, Mapping):
                ref = MeterRef.from_table(each)
                meters.append(each["uri"] if set(each) == {"uri"} else ref)
            else:
                meters.append(typed_scalar("meters", each, "str"))
        except ConfigError as error:
            faults.append(f"meter {number}: {error}" if isinstance(each, Mapping) else str(error))
    if faults:
        raise ConfigError(*faults)
    return tuple(meters)


def load_toml(path: Path) -> Dict[str, Any]:
    """Read a TOML file, every fault in one line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is not there") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name a file of TOML") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not TOML, which is text in UTF-8 ({error.reason} in byte {error.start})"
        ) from error
    except ValueError as error:  # also an integer of thousands of digits
        raise ConfigError(f"{path} is not TOML: {error}") from error


def run_id(recipe: Recipe, bench: Bench) -> str:
    """Name a run after what distinguishes it: ``eb-ff-vgg16-cifar10-p0.5-s1-3fa2b1c4``.

    The tail hashes every setting of the recipe and the bench that differs from its default, so that a setting added
    later with a default does not rename old runs.
    """
    own_defaults = type(recipe)(method=recipe.method)
    differing = {"recipe": _differing(recipe, own_defaults), "bench": _differing(bench, Bench())}
    if recipe.method != Recipe.method:
        differing["recipe"]["method"] = recipe.method
    text = json.dumps(differing, sort_keys=True, default=MeterRef.settings)
    dataset = recipe.dataset.partition(":")[0]
    ratio = f"-p{ratio_text(recipe.prune_ratio)}" if reads(recipe.method, "prune_ratio") else ""
    return f"{recipe.method}-{recipe.model}-{dataset}{ratio}-s{recipe.seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def ratio_text(ratio: PruneRatio) -> str:
    """A prune ratio in as few letters as it has."""
    return ratio if isinstance(ratio, str) else f"{ratio:g}"


def _differing(settings: Any, defaults: Any) -> Dict[str, Any]:
    """The fields that are not at their defaults."""
    return {
        f.name: getattr(settings, f.name)
        for f in dataclasses.fields(settings)
        if getattr(settings, f.name) != getattr(defaults, f.name)
    }


def refuse_unknown(settings: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ConfigError with every key that is not known, and the nearest one that is."""
    names = list(known)
    faults = [f"{where}: unknown key {key!r}; {nearest(key, names)}" for key in settings if key not in names]
    if faults:
        raise ConfigError(*faults)


_NUMBERS = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def _coerce(name: str, value: Any, cls: type) -> Any:
    """Check one value against the field's annotation; lists become tuples."""
    kind = next(f.type for f in dataclasses.fields(cls) if f.name == name)
    if kind.startswith("Optional["):
        if value is None:
            return None
        kind = kind[len("Optional[") : -1]
    if kind == "Draw":
        kind = "str" if isinstance(value, str) else "Tuple[int, ...]"
    if kind == "PruneRatio":
        kind = "str" if isinstance(value, str) else "float"
    if kind.startswith("Tuple["):
        values = value if isinstance(value, (list, tuple)) else (value,)
        return tuple(typed_scalar(name, v, kind[len("Tuple[") : -len(", ...]")]) for v in values)
    return typed_scalar(name, value, kind)


def typed_scalar(name: str, value: Any, kind: str) -> Any:
    """The value, if it is an int, float (a finite one), bool or str as `kind` says. Raises ConfigError with the name."""
    if not isinstance(value, _NUMBERS[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigError(f"{name} = {value!r}: a value of type {kind} is needed")
    if kind == "float" and not abs(value) <= sys.float_info.max:
        raise ConfigError(f"{name} = {value!r}: a finite number is needed")
    return float(value) if kind == "float" else value
