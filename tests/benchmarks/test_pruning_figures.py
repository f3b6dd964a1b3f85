"""How exactly the pruned networks of the paper, at their real widths, compute what the masked ones do: one pass, and ten steps.

In float64 they agree. In float32 ten steps grow any rounding; by how much shows the masked network beside itself, with every weight
moved by one unit in the last place or with the memory in another layout.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "training"))
from rounding import differences

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

#: images of one step, and its rate. A step of ResNet50 takes seconds, hence two images, which at a rate of 0.001 multiply any
#: difference by up to 25 in every step; at this one double precision can still show that there is no other
STEPS = {"vgg16": (8, 0.05), "preresnet101": (8, 0.05), "resnet18": (4, 0.05), "resnet50": (2, 0.0002)}
CASES = [
    *((name, "keep", kind) for name in STEPS for kind in ("random", "skewed")),
    ("preresnet101", "select", "random"),
    *((name, "keep", "grouped") for name in ("preresnet101", "resnet18", "resnet50")),
]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "residual", "kind"), CASES)
def test_pruned_against_masked(name, residual, kind, capsys):
    batch, rate = STEPS[name]
    training = {"residual": residual, "batch": batch, "lr": rate}
    double = differences(name, kind, torch.float64, moves=0, **training)
    single = differences(name, kind, torch.float32, moves=2, **training)
    *moved, layout = single.itself
    with capsys.disabled():
        print(
            f"\n{name} ({residual}), {kind} masks, p = 0.5, ten steps of {batch} images at {rate:g}: "
            f"float64 after ten steps {double.pruned:.1e} (limit 1e-10); "
            f"float32 in one pass {single.forward:.1e} (limit 1e-5), after ten steps {single.pruned:.1e}, where the masked one is "
            f"{' and '.join(f'{m:.1e}' for m in moved)} from itself with every weight moved by one unit in the last place, and "
            f"{layout:.1e} in another memory layout: {single.pruned / max(single.itself):.2g} times the largest (limit 10)"
        )
    assert double.pruned < 1e-10
    assert single.forward < 1e-5
    assert single.pruned < 10 * max(single.itself)
