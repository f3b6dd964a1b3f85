"""What a training frees stays for its next step, and is given back before the peak of another run is taken."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")

MB = 2**20
#: a process of its own, since what it chooses holds for the whole process; blocks above 32 MB, which glibc always gives back
PROGRAM = """
import resource, sys
import torch
from ebbench.training import heap
from ebbench.training.device import peak_memory_bytes, reset_peak_memory
from ebbench.training.models import build_model

def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(x_BCHW).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert heap.keep_freed()
model, x_BCHW = build_model("vgg16-small", 10), torch.zeros(1100, 3, 32, 32)
faults = [faults_of_a_step() for _ in range(4)]
peak = peak_memory_bytes("cpu")
reset_peak_memory("cpu")
print(min(faults), peak - peak_memory_bytes("cpu"))
"""


@pytest.fixture(scope="module")
def measured():
    """Of a small training: the fewest page faults of a step, and by how much its peak is lower once reset; in both ways."""
    found = {}
    for way in ("kept", "given back"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, way], stdout=subprocess.PIPE, check=True)
        found[way] = [int(word) for word in done.stdout.split()]
    return found


def test_a_step_works_in_the_memory_of_the_steps_before_it(measured):
    assert measured["kept"][0] < measured["given back"][0] / 20


def test_the_peak_of_a_run_does_not_hold_what_the_run_before_it_freed(measured):
    assert measured["kept"][1] > 200 * MB
