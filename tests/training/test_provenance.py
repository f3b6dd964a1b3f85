"""A training goes on only where the rest of it would have the same bits."""

from __future__ import annotations

import pytest
import torch

from ebbench.errors import UserError
from ebbench.training.provenance import arithmetic, refuse_other_arithmetic


def test_another_torch_or_number_of_threads_is_refused_with_both_named():
    refuse_other_arithmetic(arithmetic())
    then = {**arithmetic(), "torch": "1.0", "threads": 99}
    with pytest.raises(
        UserError, match=r"written with torch 1\.0, here .*; CPU threads 99, here \d+: the result would differ"
    ):
        refuse_other_arithmetic(then)


def test_another_cudnn_is_refused_on_a_gpu_and_means_nothing_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    on_cpu = arithmetic()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    on_gpu = arithmetic()
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91101)
    with pytest.raises(UserError, match="cuDNN 91002, here 91101"):
        refuse_other_arithmetic(on_gpu)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    refuse_other_arithmetic(on_cpu)


def test_a_checkpoint_that_does_not_name_its_cudnn_is_taken():
    refuse_other_arithmetic({name: value for name, value in arithmetic().items() if name != "cudnn"})
