"""The average of weights and the running statistics that go with it, against sums over all images."""

from __future__ import annotations

import torch

from ebbench.training.averaging import add_to_average, averaged, estimate_norms, take_average
from ebbench.training.models import build_model
from ebbench.training.state import TrainState


def test_the_average_counts_every_taking_the_same():
    state, models = (
        TrainState("retrain", "contiguous"),
        [build_model("vgg16-small", 10, seed=seed) for seed in (1, 2, 3)],
    )
    for model in models:
        add_to_average(state, model)
    target = build_model("vgg16-small", 10, seed=4)
    take_average(state, target)
    assert averaged(state) == 3
    for name, parameter in target.named_parameters():
        mean = sum(dict(m.named_parameters())[name].double() for m in models) / 3
        torch.testing.assert_close(parameter.double(), mean, rtol=1e-6, atol=1e-7)


def test_an_average_that_nothing_was_added_to_is_of_no_epochs():
    assert averaged(TrainState("retrain", "contiguous")) == 0


def test_statistics_are_means_over_all_images_though_the_last_batch_is_short():
    """Of the first BatchNorm: the mean over images of what the convolution gives, whatever the batches."""
    model = build_model("vgg16-small", 10, seed=1).eval()
    x = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert estimate_norms(model, x.split(4)) == 10
    norm = model.prunable_norms()[0]
    with torch.no_grad():
        out = model.features[0](x)
        variances = torch.stack([part.var((0, 2, 3)) * len(part) for part in out.split(4)]).sum(0) / 10
    torch.testing.assert_close(norm.running_mean, out.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-4, atol=1e-6)
    assert norm.momentum == 0.1 and not model.training
    assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters())
