"""A network of a few channels and twenty images of noise: a whole method runs in a fraction of a second."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ebbench.config import Recipe
from ebbench.training.models import MODELS, Architecture, vgg

WIDTHS = (4, 5, 6, 7, 8)


@pytest.fixture(autouse=True)
def leave_torch_as_it_was():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "POOLED_AFTER", (1, 2, 3, 4))
    monkeypatch.setitem(MODELS, "tiny", Architecture(WIDTHS, vgg.VGG))


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    images = {f"x_{part}": rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"y_{part}": np.arange(20) % 10 for part in ("train", "test")}
    np.savez(path, **images, **labels)
    return f"npz:{path}"


@pytest.fixture
def recipe_of(noise: str, tiny: None):
    """A recipe of a method: two epochs of two steps, with every setting that is given."""

    def make(method: str, **settings) -> Recipe:
        small = {"model": "tiny", "dataset": noise, "epochs": 2, "batch_size": 12}
        return Recipe(method=method, **{**small, **settings})

    return make
