"""ThiNet against exhaustive search, normal equations, and a whole pruning done over by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ebbench.errors import ConfigError
from ebbench.testing import FakeContext
from ebbench.training.loop import Trainer
from ebbench.training.models import build_model
from ebbench.training.state import load_weights
from ebbench_baselines import thinet
from ebbench_baselines.thinet import ThiNetPipeline, choose, contributions, rescale, scales


def choose_by_hand(x_RC, kept):
    """Try every channel at every step, and look at the whole sum."""
    removed = []
    while x_RC.shape[1] - len(removed) > kept:
        trials = {
            c: np.linalg.norm(x_RC[:, [*removed, c]].sum(axis=1)) for c in range(x_RC.shape[1]) if c not in removed
        }
        removed.append(min(trials, key=lambda c: (trials[c], c)))
    return np.array([c not in removed for c in range(x_RC.shape[1])])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kept", [1, 4, 8])
def test_the_channels_are_those_of_an_exhaustive_greedy_search(seed, kept):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(200, 1)) * rng.normal(size=9)  # correlated, so that the order in which they go matters
    x_RC = rng.normal(size=(200, 9)) * rng.uniform(0.1, 2, 9) + common
    assert np.array_equal(choose(x_RC, kept), choose_by_hand(x_RC, kept))


def test_of_equal_channels_the_first_goes():
    assert choose(np.ones((5, 4)), 3).tolist() == [False, True, True, True]


def test_the_scales_solve_the_normal_equations():
    rng = np.random.default_rng(2)
    x_RC = rng.normal(size=(300, 7))
    kept = choose(x_RC, 4)
    part = x_RC[:, kept]
    expected = np.linalg.inv(part.T @ part) @ part.T @ x_RC.sum(axis=1)
    assert scales(x_RC, kept) == pytest.approx(expected, rel=1e-9)


def test_a_dead_channel_does_no_harm():
    x_RC = np.random.default_rng(2).normal(size=(50, 5))
    x_RC[:, [1, 3]] = 0
    kept = choose(x_RC, 4)
    assert not kept[1] and np.isfinite(scales(x_RC, kept)).all()


READERS = [
    torch.nn.Conv2d(5, 4, 3, padding=1),
    torch.nn.Conv2d(5, 4, 3, padding=1, stride=2, bias=False),
    torch.nn.Conv2d(5, 4, (1, 3), padding=(0, 2), stride=(2, 1)),
    torch.nn.Conv2d(5, 4, 1),
    torch.nn.Linear(5, 4),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_a_contribution_is_what_the_layer_gives_for_that_channel_alone(reader):
    """The layer itself, with all inputs but one channel's at zero, less what it gives for none at all."""
    reader = reader.double()
    generator = torch.Generator().manual_seed(3)
    shape = (6, 5) if isinstance(reader, torch.nn.Linear) else (6, 5, 7, 9)
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    words = np.random.default_rng(4).integers(0, 2**63, (6, 11)).astype(np.uint64)
    with torch.no_grad():
        found = contributions(reader, inputs, words)
        nothing = reader(torch.zeros_like(inputs)).flatten(1)
        for channel in range(5):
            alone = torch.zeros_like(inputs)
            alone[:, channel] = inputs[:, channel]
            outputs = reader(alone).flatten(1) - nothing
            places = torch.from_numpy((words % np.uint64(outputs.shape[1])).astype(np.int64))
            assert torch.allclose(found[:, channel], outputs.gather(1, places).flatten(), atol=1e-12)


def pruned_by_hand(recipe, weights):
    """Layer by layer with the plainest means: one channel at a time through the reading layer, exhaustive search, lstsq."""
    trainer = Trainer(recipe, FakeContext(), "train")
    model = build_model("tiny", 10)
    load_weights(model, weights)
    model.eval()
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    norms = model.prunable_norms()
    masks = []
    for number, (norm, reader) in enumerate(zip(norms, layers[1:])):
        batches = trainer.looks(20, phase="thinet", number=number, batch_size=12, augment=False)
        x = torch.cat([images for images, _ in batches])
        seen = []
        hook = reader.register_forward_pre_hook(lambda m, i, seen=seen: seen.append(i[0].clone()))
        with torch.no_grad():
            model(x)
            hook.remove()
            columns = []
            for channel in range(norm.num_features):
                alone = torch.zeros_like(seen[0])
                alone[:, channel] = seen[0][:, channel]
                if isinstance(reader, torch.nn.Conv2d):
                    outputs = F.conv2d(alone, reader.weight, None, 1, 1).flatten(1)
                else:
                    outputs = F.linear(alone, reader.weight).flatten(1)
                words = thinet._random_words((20, 6), recipe.seed, number)
                places = torch.from_numpy((words % np.uint64(outputs.shape[1])).astype(np.int64))
                columns.append(outputs.gather(1, places).flatten().double().numpy())
            x_RC = np.stack(columns, axis=1)
            kept = choose_by_hand(x_RC, max(1, int(norm.num_features * (1 - recipe.prune_ratio) + 1e-9)))
            factors = np.linalg.lstsq(x_RC[:, kept], x_RC.sum(axis=1), rcond=None)[0]
            for channel, factor in zip(np.flatnonzero(kept), factors):
                reader.weight[:, channel] *= factor
            for channel in np.flatnonzero(~kept):
                norm.weight[channel] = norm.bias[channel] = 0
        masks.append(kept)
    return np.concatenate(masks), model


def test_a_whole_pruning_is_the_one_done_by_hand(recipe_of, monkeypatch):
    recipe = recipe_of("thinet", thinet_positions=6, prune_ratio=0.4, learning_rate=0.01)
    small = {}
    train_until = Trainer.train_until
    monkeypatch.setattr(
        Trainer,
        "train_until",
        lambda t, *a, **k: (
            small.update({n: v.clone() for n, v in t.model.state_dict().items()}),
            train_until(t, *a, **k),
        ),
    )
    context = FakeContext(due=False)
    ThiNetPipeline(recipe).run(context)
    arrays = next(a for a, state in context.checkpoints if json.loads(state)["stage"] == "draw")
    weights = {n[len("model/") :]: v for n, v in arrays.items() if n.startswith("model/")}
    mask, model = pruned_by_hand(recipe, weights)
    assert np.array_equal(context.masks[0][0], mask)
    layers = np.split(mask, np.cumsum([4, 5, 6, 7]))
    expected = model.classifier.weight.detach()[:, layers[-1]]
    assert torch.allclose(small["classifier.weight"], expected, rtol=1e-3, atol=1e-5)
    second = next(n for n in small if n.endswith(".weight") and small[n].ndim == 4 and small[n].shape[1] != 3)
    whole = model.state_dict()[second][torch.from_numpy(layers[1])][:, torch.from_numpy(layers[0])]
    assert torch.allclose(small[second], whole, rtol=1e-3, atol=1e-5)


def test_rescaling_brings_the_outputs_nearer_to_those_of_the_whole_layer():
    generator = torch.Generator().manual_seed(3)
    reader = torch.nn.Conv2d(8, 6, 3, padding=1, bias=False)
    reader.weight.data.uniform_(
        0.0, 0.2, generator=generator
    )  # removed channels leave a sum that the others can make up
    inputs = torch.randn(64, 8, 6, 6, generator=generator).relu()
    words = np.random.default_rng(4).integers(0, 2**63, (64, 30)).astype(np.uint64)
    with torch.no_grad():
        x_RC = contributions(reader, inputs, words).double().numpy()
        kept = choose(x_RC, 4)
        wanted, cut = reader(inputs), inputs * torch.from_numpy(kept).view(1, -1, 1, 1)
        plain = float((reader(cut) - wanted).norm())
        rescale(reader, kept, scales(x_RC, kept))
        assert float((reader(cut) - wanted).norm()) < plain


def test_without_rescaling_the_weights_stay_what_they_were(recipe_of, monkeypatch):
    monkeypatch.setattr(thinet, "rescale", lambda *a: pytest.fail("not asked for"))
    ThiNetPipeline(recipe_of("thinet", thinet_rescale=False)).run(FakeContext(due=False))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"thinet_images": 21}, "thinet_images = 21, but there are 20 training images"),
        ({"thinet_images": 10, "thinet_positions": 7}, "too few samples for a layer of 8 channels; take 8 or more"),
    ],
)
def test_samples_that_cannot_be_had_or_do_not_suffice_are_refused(recipe_of, settings, words):
    with pytest.raises(ConfigError, match=words):
        ThiNetPipeline(recipe_of("thinet", **settings)).check()


@pytest.mark.parametrize(("ratio", "is_refused"), [(0.75, False), (0.76, True)])
def test_a_ratio_that_would_empty_a_layer_is_refused(recipe_of, ratio, is_refused):
    pipeline = ThiNetPipeline(recipe_of("thinet", prune_ratio=ratio))  # its narrowest layer has 4 channels
    if is_refused:
        with pytest.raises(ConfigError, match=r"0\.76 prunes all of a layer of 4 channels .* take at most 0\.75"):
            pipeline.check()
    else:
        pipeline.check()
