"""Checkpoints: whole or not at all, without pickle, with a clear line when damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ebbench.context import read_checkpoint, write_checkpoint
from ebbench.errors import DiskError, UserError


def test_arrays_and_state_come_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "layer.0/weight": rng.normal(size=(3, 4)).astype(np.float32),
        "mask": rng.random(9) > 0.5,
        "step": np.int64(7),
    }
    state = {"epoch": 3, "best": 0.125, "phase": "search", "nested": {"a": [1, 2.5, None]}}
    write_checkpoint(tmp_path / "deep" / "state.npz", arrays, state)
    found, found_state = read_checkpoint(tmp_path / "deep" / "state.npz")
    assert found_state == state
    assert set(found) == set(arrays)
    for name, value in arrays.items():
        assert found[name].dtype == np.asarray(value).dtype
        assert found[name].tobytes() == np.asarray(value).tobytes()


def test_no_checkpoint_is_none_and_not_an_error(tmp_path):
    assert read_checkpoint(tmp_path / "state.npz") is None


def test_a_pickled_object_is_refused_and_never_loaded(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, state=np.frombuffer(b"{}", np.uint8), **{"array/evil": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_torn_checkpoint_says_what_to_do(tmp_path, keep):
    path = tmp_path / "state.npz"
    write_checkpoint(path, {"w": np.arange(100.0)}, {"epoch": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="remove it to train from the start"):
        read_checkpoint(path)


def test_a_state_with_nan_is_our_fault_and_replaces_nothing(tmp_path):
    path = tmp_path / "state.npz"
    write_checkpoint(path, {}, {"epoch": 1})
    with pytest.raises(ValueError):
        write_checkpoint(path, {}, {"loss": float("nan")})
    assert read_checkpoint(path)[1] == {"epoch": 1}


def test_a_folder_that_cannot_be_written_is_a_disk_error(tmp_path):
    (tmp_path / "checkpoint").write_text("a file where the folder should be")
    with pytest.raises(DiskError, match="--resume"):
        write_checkpoint(tmp_path / "checkpoint" / "state.npz", {}, {})


WRITER = """
import sys, numpy as np
from pathlib import Path
from ebbench.context import write_checkpoint
number = 0
while True:
    number += 1
    write_checkpoint(Path(sys.argv[1]), {"w": np.full(50_000, number, np.int64)}, {"number": number})
    print(number, flush=True)
"""


def test_killed_at_any_moment_the_last_whole_checkpoint_is_there(tmp_path):
    path = tmp_path / "state.npz"
    for after in (1, 3, 7):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=_environment()
        )
        reached = [int(process.stdout.readline()) for _ in range(after)][-1]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        arrays, state = read_checkpoint(path)
        assert state["number"] >= reached
        assert (arrays["w"] == state["number"]).all()


def _environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_the_state_inside_is_plain_json(tmp_path):
    path = Path(tmp_path / "state.npz")
    write_checkpoint(path, {}, {"epoch": 4})
    with np.load(path, allow_pickle=False) as stored:
        assert json.loads(stored["state"].tobytes()) == {"epoch": 4}
