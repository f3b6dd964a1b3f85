"""A network of a few channels and twenty images of noise: a whole method runs in a fraction of a second."""

from __future__ import annotations

import pytest
from noise import write_noise

from ebbench.config import Recipe
from ebbench.training.models import MODELS, Architecture, vgg

WIDTHS = (4, 5, 6, 7, 8)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "POOLED_AFTER", (1, 2, 3, 4))
    monkeypatch.setitem(MODELS, "tiny", Architecture(WIDTHS, vgg.VGG))


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_noise(tmp_path_factory.mktemp("data"), test=20, seed=3)


@pytest.fixture
def recipe_of(noise: str, tiny: None):
    """A recipe of a method: two epochs of two steps, with every setting that is given."""

    def make(method: str, **settings) -> Recipe:
        small = {"model": "tiny", "dataset": noise, "epochs": 2, "batch_size": 12}
        return Recipe(method=method, **{**small, **settings})

    return make
