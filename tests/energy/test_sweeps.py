"""Sweeps that compiled code makes are those that Python makes."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ebbench.clock import monotonic_ns
from ebbench.energy.sampler_process.schedule import Schedule
from ebbench.energy.sampler_process.sweeps import LIBRARY, Sweeps
from ebbench.protocols import NumberFile

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="no C compiler was there when ebbench was installed")
RATE_HZ = 2000.0


@pytest.fixture
def ear():
    """A pipe: what the sampler listens to, and where the parent speaks."""
    heard, said = os.pipe()
    yield heard, said
    os.close(heard)
    os.close(said)


@pytest.fixture
def number(tmp_path):
    """Makes files that hold what they are told, each opened once."""
    made = []

    def number(text, **how):
        path = tmp_path / f"number{len(made)}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        made.append(os.open(path, os.O_RDONLY))
        return NumberFile(made[-1], **how)

    yield number
    for descriptor in made:
        os.close(descriptor)


class Plain:
    """A meter whose columns are its files."""

    def __init__(self, *files):
        self._files = files

    def files(self):
        return self._files

    def take(self, numbers, offsets_ns):
        return numbers, offsets_ns


def make(ear, *files, schedule=None, slots=200):
    """What is made in 200 slots of half a millisecond, of which a busy machine takes some."""
    schedule = schedule or Schedule(monotonic_ns(), RATE_HZ, jitter=True, seed=0)
    return Sweeps.load(ear[0]).make(Plain(*files), schedule, range(slots))


def test_each_slot_has_a_sweep_in_its_time_and_every_file_its_number(ear, number):
    start_ns = monotonic_ns() + 1_000_000
    schedule = Schedule(start_ns, RATE_HZ, jitter=True, seed=0)
    made = make(ear, number("4000\n"), number("-17"), number(" 32760 mA\n"), schedule=schedule)
    assert not made.is_cut
    assert made.slots.tolist() == sorted(set(made.slots.tolist()))
    assert (made.values == [4000, -17, 32760]).all()
    instants_ns = np.array([schedule.instant_ns(slot) for slot in made.slots])
    assert (made.late_ns == made.time_ns - instants_ns).all()
    assert (made.late_ns >= 0).all()
    assert (made.time_ns < [schedule.end_ns(slot) for slot in made.slots] + made.late_ns).all()
    assert (np.diff(made.time_ns) >= made.read_ns[:-1]).all()
    assert (np.diff(made.offsets_ns, axis=1) >= 0).all()
    assert (made.offsets_ns[:, -1] <= made.read_ns).all()
    assert schedule.missed + len(made.slots) == made.slots[-1] + 1


def test_slots_that_are_over_are_missed(ear, number):
    schedule = Schedule(monotonic_ns() - 5_200_000, RATE_HZ, jitter=False, seed=0)
    made = make(ear, number("1"), schedule=schedule)
    assert made.slots[0] >= 10  # each takes half a millisecond
    assert schedule.missed == made.slots[-1] + 1 - len(made.slots)
    assert schedule.next(monotonic_ns()) > made.time_ns[-1] - made.late_ns[-1]


def test_a_file_is_read_when_it_is_due_and_is_nan_in_between(ear, number):
    made = make(ear, number("5"), number("6", every=3), number("7", every=4, next_in=2))
    sweeps = np.arange(len(made.slots))
    assert len(sweeps) > 8
    assert np.array_equal(np.isnan(made.values[:, 1]), sweeps % 3 != 0)
    assert np.array_equal(np.isnan(made.values[:, 2]), (sweeps < 2) | (sweeps % 4 != 2))
    assert not np.isnan(made.values[:, 0]).any()


@pytest.mark.parametrize("text", ["", "n/a", "12V", "0x10", "--3", b"\xff\xfe", " "])
def test_the_sweep_before_one_that_is_no_number_is_the_last(ear, number, text):
    made = make(ear, number("1"), number(text, every=50, next_in=3))
    assert made.is_cut
    assert len(made.slots) == 3
    assert (made.values[:, 0] == 1).all()
    assert np.isnan(made.values[:, 1]).all()


def test_a_file_that_was_closed_ends_it(ear, number):
    file = number("1")
    closed = os.dup(file.descriptor)
    os.close(closed)
    made = make(ear, file._replace(descriptor=closed))
    assert made.is_cut and not len(made.slots)


def test_a_file_that_was_replaced_ends_it_where_that_may_be(ear, number, tmp_path):
    files = [number("1", is_followed=followed) for followed in (False, True)]
    assert not make(ear, *files).is_cut
    for at in range(2):
        (tmp_path / f"number{at}").unlink()
        (tmp_path / f"number{at}").write_text("2")
    assert not make(ear, files[0]).is_cut
    assert make(ear, files[1]).is_cut


@pytest.mark.parametrize("word", [b"stop 0\n", None])
def test_a_word_or_the_end_of_the_pipe_ends_it_at_once(number, word):
    heard, said = os.pipe()
    if word:
        os.write(said, word)
    os.close(said)
    began_ns = monotonic_ns()
    made = make((heard, None), number("1"), schedule=Schedule(began_ns + 60_000_000_000, 1.0, jitter=False, seed=0))
    os.close(heard)
    assert (len(made.slots), made.is_cut) == (0, False)
    assert monotonic_ns() - began_ns < 30_000_000_000


def test_a_library_that_is_none_is_as_good_as_none(ear, tmp_path):
    assert Sweeps.load(ear[0], tmp_path / "missing.so") is None
    (tmp_path / "text.so").write_text("int main;")
    assert Sweeps.load(ear[0], tmp_path / "text.so") is None
