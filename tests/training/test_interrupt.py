"""Ctrl-C while steps are trained: the open step is saved, a second one ends at once, and a handler of the user's own is heard."""

from __future__ import annotations

import signal
import threading
from typing import Any, List

import pytest
from noise import write_noise

from ebbench.config import Recipe
from ebbench.testing import FakeContext
from ebbench.training.interrupt import AfterStep
from ebbench.training.loop import Trainer


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    dataset = write_noise(tmp_path_factory.mktemp("data"), train=20, test=20, seed=11)
    return Recipe(model="vgg16-small", dataset=dataset, epochs=2, batch_size=8)


@pytest.fixture(autouse=True)
def handlers():
    """A Ctrl-C and a `kill` that are answered as on the command line, put back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Interrupted(FakeContext):
    """A context in which a signal arrives `times` times before the end of step `at` (from 1)."""

    def __init__(self, at: int, times: int = 1, number: int = signal.SIGINT) -> None:
        super().__init__(due=False)
        self.at, self.times, self.number = at, times, number

    def progress(self, done: float, total: float) -> None:
        super().progress(done, total)
        if len(self.fractions) == self.at:
            for _ in range(self.times):
                signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_the_step_in_which_it_comes_is_saved_and_the_resumed_training_ends_with_the_same_bits(
    recipe: Recipe, at: int, number: int
):
    whole, context = FakeContext(due=False), Interrupted(at, number=number)
    trainer = Trainer(recipe, whole, "train")
    trainer.train_until(2, l1=recipe.l1)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, context, "train").train_until(2, l1=recipe.l1)
    assert len(context.fractions) == at and len(context.checkpoints) == 1
    resumed = context.resumed()
    again = Trainer(recipe, resumed, "train")
    assert again.state.epoch * 3 + again.state.step == at  # three steps an epoch
    again.train_until(2, l1=recipe.l1)
    assert len(resumed.fractions) == 6 - at
    for name, value in again.model.state_dict().items():
        assert value.numpy().tobytes() == trainer.model.state_dict()[name].numpy().tobytes(), name


def test_a_second_one_ends_at_once_and_saves_nothing(recipe: Recipe):
    context = Interrupted(2, times=2)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, context, "train").train_until(2, l1=recipe.l1)
    assert context.checkpoints == []


def test_after_the_steps_a_signal_is_obeyed_as_before_them():
    before = signal.getsignal(signal.SIGINT)
    with AfterStep():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(KeyboardInterrupt), AfterStep():
        signal.raise_signal(signal.SIGINT)  # nobody follows it inside
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_is_ignored_or_ends_the_process_stays_so(handler: Any):
    signal.signal(signal.SIGINT, handler)
    with AfterStep():
        assert signal.getsignal(signal.SIGINT) == handler


def test_a_handler_of_the_users_own_gets_the_signal_after_the_step_and_may_go_on(recipe: Recipe):
    heard: List[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    context = Interrupted(2)
    Trainer(recipe, context, "train").train_until(2, l1=recipe.l1)
    assert heard == [signal.SIGINT] and len(context.checkpoints) == 1 and len(context.fractions) == 6


def test_in_another_thread_nothing_is_held_back(recipe: Recipe):
    context = FakeContext(due=False)
    thread = threading.Thread(target=lambda: Trainer(recipe, context, "train").train_until(1, l1=0.0))
    thread.start()
    thread.join()
    assert len(context.fractions) == 3
