"""What is said of the losses of an epoch."""

from __future__ import annotations

import pytest
import torch

from ebbench.errors import RunFailed
from ebbench.training.layout import CONTIGUOUS
from ebbench.training.losses import mean_loss
from ebbench.training.state import TrainState

LOSSES = torch.tensor([2.0, 4.0, float("inf"), float("nan")])


def test_the_mean_is_of_the_steps_that_are_done():
    assert mean_loss(LOSSES, TrainState("train", CONTIGUOUS, step=2), 4) == 3.0


def test_the_first_step_whose_loss_is_not_finite_is_named():
    with pytest.raises(RunFailed, match=r"^the loss is inf at retrain epoch 8, step 3 of 4: the training diverged"):
        mean_loss(LOSSES, TrainState("retrain", CONTIGUOUS, epoch=7, step=4), 4)
