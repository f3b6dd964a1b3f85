"""What to run: a recipe. Every default is that of the paper's CIFAR protocol."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from ebbench.config.method_settings import default_draw
from ebbench.config.recipe_faults import faults_of
from ebbench.config.values import coerce, refuse_unknown
from ebbench.errors import ConfigError

Draw = Union[str, Tuple[int, ...]]  # "early-bird", "final", "best-accuracy", or the epochs at which to draw
PruneRatio = Union[str, float]  # a fraction, or "auto"
#: epochs of a phase before those that `measure_epochs` measures: caches fill, clocks rise
SETTLING = 1


@dataclass(frozen=True)
class Recipe:
    """What to run. Every default is the paper's CIFAR protocol (You et al. 2020, section 4.1 and appendix).

    What one method reads and another does not is listed in `ebbench.config.method_settings`.
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
    #: training images held out of the search to see that (None: a tenth). See `ebbench.early_bird.ratio_choice`
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
    #: take a first training that another run of the same matrix did, and lend one's own (`ebbench.sharing.first_training`)
    share_phases: bool = True
    #: a checkpoint at most this many seconds after the last one
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        if self.draw is None:
            object.__setattr__(self, "draw", default_draw(self.method))
        faults = list(faults_of(self))
        if faults:
            raise ConfigError(*faults)

    @property
    def ratios(self) -> Tuple[float, ...]:
        """The prune ratios that the run may end with."""
        return self.auto_ratios if isinstance(self.prune_ratio, str) else (self.prune_ratio,)

    def trained_of(self, epochs: int) -> int:
        """How many epochs of a phase of `epochs` are really trained: all, or `measure_epochs` after those that settle."""
        return epochs if self.measure_epochs is None else min(epochs, SETTLING + self.measure_epochs)

    def settings(self) -> Dict[str, Any]:
        """All fields as JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def make_recipe(settings: Mapping[str, Any]) -> Recipe:
    """A recipe from JSON or TOML values, each checked for its type."""
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    refuse_unknown(settings, known, "recipe")
    return Recipe(**{k: coerce(k, v, Recipe) for k, v in settings.items()})


def ratio_text(ratio: PruneRatio) -> str:
    """A prune ratio in as few letters as it has."""
    return ratio if isinstance(ratio, str) else f"{ratio:g}"
