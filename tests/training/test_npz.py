import numpy as np
import pytest

from ebbench.errors import InputError
from ebbench.training.data.npz import read_npz


def good():
    rng = np.random.default_rng(1)
    return {
        "x_train": rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8),
        "y_test": np.array([0, 1, 2, 0], dtype=np.uint8),
    }


def stored(path, **changes):
    arrays = {**good(), **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_a_good_archive_is_read_as_it_is(tmp_path):
    arrays, classes = read_npz(stored(tmp_path / "a.npz"))
    assert classes == 3
    for name, array in good().items():
        np.testing.assert_array_equal(getattr(arrays, name), array)


def test_class_names_say_how_many_classes_there_are(tmp_path):
    assert read_npz(stored(tmp_path / "a.npz", class_names=np.array(list("abcde"))))[1] == 5


def test_a_compressed_archive_is_read_too(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **good())
    assert read_npz(tmp_path / "a.npz")[1] == 3


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"y_test": None}, "no array y_test"),
        ({"x_train": None, "x_test": None}, "no array x_train, x_test"),
        ({"x_train": np.zeros((12, 32, 32, 3))}, "x_train is float64, uint8"),
        ({"x_train": np.zeros((12, 32, 32), dtype=np.uint8)}, r"x_train has shape \[12, 32, 32\]"),
        ({"x_test": np.zeros((0, 32, 32, 3), dtype=np.uint8), "y_test": np.zeros(0, dtype=int)}, "x_test is empty"),
        ({"x_train": np.zeros((0, 32, 32, 3), dtype=np.uint8), "y_train": np.zeros(0, dtype=int)}, "x_train is empty"),
        ({"x_test": np.zeros((4, 28, 28, 3), dtype=np.uint8)}, "x_train holds images of shape"),
        ({"y_train": np.arange(11) % 3}, "x_train holds 12 images and y_train 11 labels"),
        ({"y_train": np.arange(12) / 4}, "y_train is float64, integers"),
        ({"y_train": (np.arange(12) % 3)[:, None]}, r"y_train has shape \[12, 1\]"),
        ({"y_train": np.arange(12) % 3 - 1}, "y_train has labels from -1 to 1"),
        ({"y_train": np.arange(12) % 3 - 9}, "y_train has labels from -9 to -7; number the classes from 0"),
        ({"y_test": np.array([0, 1, 2, 3])}, r"y_test has labels from 0 to 3, out of range 0\.\.2"),
        ({"y_train": np.r_[np.arange(11) % 3, 99]}, "labels up to 99 but only 4 different"),
        ({"y_train": np.r_[np.arange(11) % 3, 9], "class_names": np.array(list("abc"))}, r"out of range 0\.\.2"),
        ({"y_train": np.zeros(12, dtype=int), "y_test": np.zeros(4, dtype=int)}, "one class only"),
        ({"y_train": np.array(["a"] * 12)}, "integers are needed"),
    ],
)
def test_every_fault_is_one_clear_line(tmp_path, changes, line):
    with pytest.raises(InputError, match=line) as fault:
        read_npz(stored(tmp_path / "a.npz", **changes))
    assert "\n" not in str(fault.value)
    assert "a.npz" in str(fault.value)


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{**good(), "y_train": np.array([{}] * 12, dtype=object)})
    with pytest.raises(InputError, match="pickled objects are refused"):
        read_npz(tmp_path / "a.npz")


def test_a_pickle_with_the_name_of_an_archive_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match="pickled objects are refused"):
        read_npz(tmp_path / "a.npz")


def test_a_single_array_is_refused(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="single array"):
        read_npz(tmp_path / "a.npz")


def test_a_missing_file_and_a_folder_are_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        read_npz(tmp_path / "b.npz")
    with pytest.raises(InputError, match="cannot be read"):
        read_npz(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.95])
def test_a_file_cut_short_is_one_clear_line(tmp_path, keep):
    path = stored(tmp_path / "a.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match=r"a\.npz"):
        read_npz(path)


@pytest.mark.parametrize("place", [0.1, 0.4, 0.7])
def test_flipped_bytes_inside_an_array_are_noticed(tmp_path, place):
    path = stored(tmp_path / "a.npz")
    content = bytearray(path.read_bytes())
    start = int(len(content) * place)
    content[start : start + 50] = bytes(255 - b for b in content[start : start + 50])
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_npz(path)
