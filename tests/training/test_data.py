import pickle
import types

import numpy as np
import pytest
import torch

from ebbench.errors import ConfigError, InputError
from ebbench.training import download
from ebbench.training.data import datasets as data
from ebbench.training.data.datasets import load_dataset


def test_the_embedded_data_are_the_same_on_every_machine():
    dataset = load_dataset("synthetic")
    assert dataset.fingerprint == "25ca2d41a0f7aab9"
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (2000, 500, 10)
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.train.images.dtype == torch.uint8
    assert dataset.train.labels.dtype == torch.int64


def test_a_cut_keeps_the_first_images_and_changes_the_fingerprint():
    whole, cut = load_dataset("synthetic"), load_dataset("synthetic", train_images=100, test_images=7)
    assert (len(cut.train), len(cut.test)) == (100, 7)
    assert torch.equal(cut.train.images, whole.train.images[:100])
    assert cut.fingerprint != whole.fingerprint


def test_mean_and_spread_are_those_of_the_training_images():
    dataset = load_dataset("synthetic")
    pixels = dataset.train.images.double() / 255
    assert dataset.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=6e-5)
    assert dataset.std == pytest.approx(pixels.transpose(0, 1).flatten(1).std(1).tolist(), abs=6e-5)


@pytest.mark.parametrize(
    ("which", "line"),
    [
        (
            {"train_images": 2001},
            "train part of 'synthetic' has 2000 images, not the 2001 of train_images; give --train-images 2000",
        ),
        (
            {"test_images": 501},
            "test part of 'synthetic' has 500 images, not the 501 of test_images; give --test-images 500",
        ),
    ],
)
def test_more_images_than_there_are_is_refused(which, line):
    with pytest.raises(ConfigError, match=line):
        load_dataset("synthetic", **which)


def test_classes_without_a_training_image_are_said(tmp_path):
    """The labels come from the set itself: which of them the first four do not hold."""
    assert load_dataset("synthetic").notes == ()
    cut = load_dataset("synthetic", train_images=4)
    unseen = sorted(set(range(10)) - set(cut.train.labels.tolist()))
    (note,) = cut.notes
    assert note.startswith(f"{len(unseen)} of 10 classes have no training image (numbers {str(unseen[:5])[1:-1]} and ")
    images = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(
        tmp_path / "a.npz",
        x_train=images,
        y_train=[0, 1, 0, 1],
        x_test=images,
        y_test=[0, 1, 2, 3],
        class_names=list("abcd"),
    )
    (note,) = load_dataset(f"npz:{tmp_path / 'a.npz'}").notes
    assert note.startswith("2 of 4 classes have no training image (numbers 2, 3, counted from 0)")


def test_an_unknown_dataset_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown dataset 'cifar11'; did you mean 'cifar10'"):
        load_dataset("cifar11")


@pytest.mark.parametrize("name", ["synthetic:8", "npz", "npz:", "cifar10:data"])
def test_a_name_with_too_much_or_too_little_is_refused(name):
    with pytest.raises(ConfigError, match=name.partition(":")[0]):
        load_dataset(name)


def archive(path, grey=None):
    rng = np.random.default_rng(1)
    images = (
        rng.integers(0, 256, (6, 9, 7, 3), dtype=np.uint8) if grey is None else np.full((6, 9, 7, 3), grey, np.uint8)
    )
    np.savez(path, x_train=images[:4], y_train=[0, 1, 0, 1], x_test=images[4:], y_test=[1, 0])
    return images


def test_an_archive_becomes_images_with_channels_first(tmp_path):
    images = archive(tmp_path / "a.npz")
    dataset = load_dataset(f"npz:{tmp_path / 'a.npz'}")
    np.testing.assert_array_equal(dataset.train.images.numpy(), images[:4].transpose(0, 3, 1, 2))
    assert dataset.image_shape == (3, 9, 7)
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.train.images.is_contiguous()


def test_images_of_one_grey_value_do_not_divide_by_zero(tmp_path):
    archive(tmp_path / "a.npz", grey=80)
    assert min(load_dataset(f"npz:{tmp_path / 'a.npz'}").std) > 0


def test_a_cifar_folder_that_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"python -m ebbench\.training\.download cifar100") as fault:
        load_dataset("cifar100", str(tmp_path / "nowhere"))
    assert "\n" not in str(fault.value)


def test_cifar_has_the_published_moments_and_keeps_its_order(tmp_path, monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)

    def fake_cifar(root, train, download):
        assert not download
        return types.SimpleNamespace(
            data=pixels if train else pixels[:5], targets=[k % 10 for k in range(20 if train else 5)]
        )

    monkeypatch.setattr(data, "import_torchvision_datasets", lambda: types.SimpleNamespace(CIFAR10=fake_cifar))
    dataset = load_dataset("cifar10", str(tmp_path))
    assert dataset.mean == (0.4914, 0.4822, 0.4465)
    assert dataset.num_classes == 10
    np.testing.assert_array_equal(dataset.train.images.numpy(), pixels.transpose(0, 3, 1, 2))
    assert dataset.test.labels.tolist() == [0, 1, 2, 3, 4]


def test_a_cifar_folder_with_damaged_files_says_so(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match=f"^cifar10 is not whole in {tmp_path}; get it with: python -m"):
        load_dataset("cifar10", str(tmp_path))


def test_a_download_that_fails_is_one_line_and_no_traceback(tmp_path, capsys):
    (tmp_path / "data").write_text("a file where the folder is to be")
    assert download.main(["cifar10", str(tmp_path / "data")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ebbench: cannot fetch cifar10 into") and "exists" in line
