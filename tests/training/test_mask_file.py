import numpy as np
import pytest

from ebbench.errors import InputError
from ebbench.training.pruning.masks import load_masks, save_masks


def test_masks_come_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(1)
    masks, gamma = rng.random((6, 13)) < 0.5, rng.random((7, 13), dtype=np.float32)
    save_masks(tmp_path / "masks.npz", masks, [1, 2, 3, 4, 5, 6], gamma)
    back = load_masks(tmp_path / "masks.npz")
    np.testing.assert_array_equal(back.masks, masks)
    np.testing.assert_array_equal(back.epochs, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(back.gamma, gamma)
    assert (back.masks.dtype, back.gamma.dtype) == (bool, np.float32)


def test_160_masks_of_vgg16_take_85_kilobytes(tmp_path):
    save_masks(tmp_path / "m.npz", np.ones((160, 4224), dtype=bool), range(160), np.zeros((0, 4224), dtype=np.float32))
    assert (tmp_path / "m.npz").stat().st_size < 90_000


def test_a_search_without_a_mask_yet_can_be_saved(tmp_path):
    save_masks(tmp_path / "m.npz", np.zeros((0, 5), dtype=bool), [], np.zeros((0, 5), dtype=np.float32))
    assert load_masks(tmp_path / "m.npz").masks.shape == (0, 5)


def test_saving_leaves_nothing_else_behind(tmp_path):
    for _ in range(2):
        save_masks(tmp_path / "m.npz", np.ones((1, 5), dtype=bool), [1], np.zeros((1, 5)))
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_a_mask_without_its_epoch_is_refused(tmp_path):
    with pytest.raises(ValueError, match="m epochs"):
        save_masks(tmp_path / "m.npz", np.ones((2, 5), dtype=bool), [1], np.zeros((2, 5)))


def damaged_files(path):
    save_masks(path, np.ones((3, 50), dtype=bool), [1, 2, 3], np.zeros((3, 50)))
    whole = path.read_bytes()
    yield whole[: len(whole) // 2]
    yield b""
    yield b"not a zip"


def test_damaged_files_are_one_clear_line(tmp_path):
    path = tmp_path / "m.npz"
    for content in damaged_files(path):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"m\.npz is not a file of masks"):
            load_masks(path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        load_masks(tmp_path / "m.npz")


def test_another_archive_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="is not a file of masks"):
        load_masks(tmp_path / "m.npz")
