"""A file is replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import pytest

from ebbench.errors import DiskError
from ebbench.whole_file import write_whole

MASKS_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from ebbench.training.pruning.mask_file import load_masks, save_masks
path = Path(sys.argv[1])
save_masks(path, np.ones((1, 9), bool), [1], np.ones((1, 9)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    save_masks(path, np.zeros((1, 9), bool), [2], np.ones((1, 9)))
except Exception as error:
    print(type(error).__name__, error)
print(load_masks(path).epochs, [p.name for p in path.parent.iterdir()])
"""


def test_it_holds_what_was_written(tmp_path):
    write_whole(tmp_path / "made" / "file", lambda file: file.write(b"all of it"), make_folder=True)
    assert (tmp_path / "made" / "file").read_bytes() == b"all of it"


def test_a_disk_that_fills_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older")

    def fill(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskError, match=r"^cannot write the thing .*/file: No space left on device; make room$"):
        write_whole(path, fill, what="the thing", advice="make room")
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the size of files cannot be limited here")
def test_masks_of_a_run_whose_disk_is_full_are_the_older_ones(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MASKS_ON_A_FULL_DISK, str(tmp_path / "masks.npz")],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said, rest = done.stdout.splitlines()
    assert said.startswith("DiskError cannot write the masks ") and said.endswith("make room, then go on with --resume")
    assert rest == "[1] ['masks.npz']"
