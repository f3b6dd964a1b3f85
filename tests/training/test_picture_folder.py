"""Folders of pictures: what is taken, what is counted, what is refused before anything is trained."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from picture_tree import encoded, pixels, write_tree
from PIL import Image

from ebbench.errors import ConfigError, InputError
from ebbench.training.counting.flops import Training, document
from ebbench.training.data.datasets import load_dataset
from ebbench.training.data.pictures.folder import evenly, list_folder
from ebbench.training.data.pictures.read import read_pictures
from ebbench.training.data.pictures.readers import Readers


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "hands")


def test_classes_are_numbered_by_their_names_and_files_sorted(tree):
    (tree / "train/c1/0.jpg").rename(tree / "train/c1/zebra.JPEG")
    train, val, classes = list_folder(tree)
    assert classes == ("c0", "c1", "c2")
    assert [f.name for f in train.files][6:12] == [
        f"train/c1/{n}" for n in ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "zebra.JPEG")
    ]
    assert train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert (len(val.files), train.strays, val.strays) == (9, 0, 0)


def test_strays_are_counted_and_said(tree):
    for name in ("train/list.txt", "train/c0/Thumbs.db", "train/c0/.DS_Store", "val/c1/._3.jpg", "val/c1/a.gif"):
        (tree / name).write_bytes(b"x")
    for name in ("train/c0/more/deep.jpg", "train/.ipynb_checkpoints/9.jpg"):
        (tree / name).parent.mkdir()
        (tree / name).write_bytes(encoded(pixels(0, 0)))
    (tree / "val/c2/gone.jpg").symlink_to(tree / "nowhere.jpg")
    for circle in ("train/c1/round.jpg", "val/round"):
        (tree / circle).symlink_to(tree / circle)
    found = read_pictures(tree, 32)
    assert (len(found.train), len(found.val), len(found.classes)) == (18, 9, 3)
    assert found.notes == ("10 files or folders that are no images of a class were passed over",)


def flatten(tree):
    """As the ImageNet validation images come: all of them in one folder."""
    for label in range(3):
        for file in (tree / f"val/c{label}").iterdir():
            file.rename(tree / f"val/c{label}_{file.name}")
        (tree / f"val/c{label}").rmdir()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda t: shutil.rmtree(t), "train is not there; train/ and val/ hold"),
        (lambda t: shutil.rmtree(t / "val"), "val is not there"),
        (lambda t: shutil.rmtree(t / "val/c1"), "val lacks 'c1', which the other part has"),
        (lambda t: (t / "val/c9").mkdir(), "train lacks 'c9', which the other part has"),
        (lambda t: [p.unlink() for p in (t / "train/c2").iterdir()], "train: 'c2' without a JPEG or PNG"),
        (lambda t: [shutil.rmtree(t / part / c) for part in ("train", "val") for c in ("c1", "c2")], "the class 'c0' only"),
        (flatten, "val has no class folders, but 9 pictures that are in none"),
        (lambda t: (shutil.rmtree(t / "train"), (t / "train").write_text("")), "train cannot be read: Not a directory"),
        (lambda t: [(t / f"train/c0/{k}.jpg").write_bytes(b"") for k in range(2)], "2 of 18 images cannot be taken"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_as_it_should_be_is_one_clear_line(tree, spoil, line):
    spoil(tree)
    with pytest.raises(InputError, match=line) as fault:
        load_dataset(f"imagefolder:{tree}", image_size=32, workers=1)
    assert "\n" not in str(fault.value)


def test_a_class_of_which_no_image_can_be_taken_is_refused(tmp_path):
    tree = write_tree(tmp_path / "many", train=12)
    for k in range(1, 12):
        (tree / f"train/c1/{k}.jpg").unlink()
    (tree / "train/c1/0.jpg").write_bytes(b"no picture")
    with pytest.raises(
        InputError, match=r"no image of class 'c1' can be taken \('train/c1/0.jpg': it is no JPEG or PNG\)"
    ):
        read_pictures(tree, 32)


def test_a_few_damaged_and_odd_images_are_left_out_or_made_rgb_and_said(tmp_path):
    tree = write_tree(tmp_path / "hands", val=6)
    whole = (tree / "train/c0/1.jpg").read_bytes()
    (tree / "train/c0/1.jpg").write_bytes(whole[:-40])
    (tree / "train/c0/2.jpg").rename(tree / "train/c0/2.png")
    Image.fromarray(pixels(0, 2)).convert("P").save(tree / "train/c0/2.png")
    Image.fromarray(pixels(1, 1)).convert("L").save(tree / "train/c1/1.jpg")
    (tree / "val/c0/0.jpg").write_bytes(b"")
    Image.fromarray(pixels(1, 1)).convert("CMYK").save(tree / "val/c1/1.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(2, 2)).save(tree / "train/c2/2.jpg", exif=exif)
    found = read_pictures(tree, 32)
    assert len(found.train) == 17
    assert "train/c0/1.jpg" not in found.train.names
    assert found.train.labels.tolist() == [0] * 5 + [1] * 6 + [2] * 6
    damage, empty, kinds = found.notes
    assert damage.startswith("1 of 18 train images were left out: 'train/c0/1.jpg': image file is truncated")
    assert empty == "1 of 18 val images were left out: 'val/c0/0.jpg': it is empty"
    assert kinds == (
        "of the images, 1 CMYK made RGB, 1 with a palette made RGB, 1 grey made RGB, 1 turned upright as their EXIF says"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_left_out(tree):
    (tree / "train/c0/1.jpg").chmod(0)
    assert "it cannot be read: Permission denied" in read_pictures(tree, 32).notes[0]


def test_names_may_be_as_odd_as_a_file_system_allows(tree):
    for name in (b"new\nline.jpg", b"latin\xff.jpg", b'quote"\\.png'):
        with open(os.path.join(os.fsencode(tree / "train/c0"), name), "wb") as file:
            file.write(encoded(pixels(0, 3)))
    with open(os.path.join(os.fsencode(tree / "train/c1"), b"bad\n\xff.jpg"), "wb") as file:
        file.write(b"bad")
    found = read_pictures(tree, 32)
    assert len(found.train) == 21
    assert found.notes[0].encode().isascii()
    assert "\n" not in found.notes[0]


def test_what_was_seen_once_is_remembered_until_a_file_changes(tree, monkeypatch):
    first = read_pictures(tree, 32)
    with monkeypatch.context() as patch:
        patch.setattr(Readers, "answers", None)
        assert read_pictures(tree, 32).fingerprint == first.fingerprint
    (tree / "train/c0/1.jpg").write_bytes(encoded(pixels(0, 99)))
    assert read_pictures(tree, 32).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    "content", ["", "{}", '{"digests": 3, "faults": {}, "kinds": {}}', '{"digests": "", "faults": [], "kinds": {}}']
)
def test_a_memory_that_is_damaged_is_made_anew(tree, cache, content):
    first = read_pictures(tree, 32)
    kept = list(cache.rglob("*.json"))
    assert len(kept) == 2
    for path in kept:
        path.write_text(content)
    assert read_pictures(tree, 32).fingerprint == first.fingerprint


def test_without_a_place_to_remember_it_is_looked_again(tree, cache, monkeypatch):
    cache.write_text("a file where the folder should be")
    assert len(read_pictures(tree, 32).train) == 18


def test_a_copy_elsewhere_is_the_same_data_and_a_swapped_label_is_not(tree, tmp_path):
    first = read_pictures(tree, 32).fingerprint
    shutil.copytree(tree, tmp_path / "copy")
    assert read_pictures(tmp_path / "copy", 32, workers=2).fingerprint == first
    a, b = tree / "train/c0/0.jpg", tree / "train/c1/0.jpg"
    a_bytes, b_bytes = a.read_bytes(), b.read_bytes()
    a.write_bytes(b_bytes), b.write_bytes(a_bytes)
    assert read_pictures(tree, 32).fingerprint != first


def test_a_cut_takes_as_many_of_each_class_and_looks_at_no_others(tree):
    (tree / "train/c0/1.jpg").write_bytes(b"damaged")
    found = read_pictures(tree, 32, train_images=9, test_images=4)
    assert np.bincount(found.train.labels).tolist() == [3, 3, 3]
    assert np.bincount(found.val.labels).tolist() == [2, 1, 1]
    assert found.train.names[:3] == ["train/c0/0.jpg", "train/c0/2.jpg", "train/c0/4.jpg"]
    assert found.notes == ()


@given(st.lists(st.integers(1, 40), min_size=2, max_size=9), st.floats(0, 1))
def test_a_cut_is_even_over_the_classes(sizes, part):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    count = max(1, round(part * len(labels)))
    chosen = evenly(labels, len(sizes), count)
    assert len(set(chosen.tolist())) == count
    assert (np.diff(chosen) > 0).all()
    taken = np.bincount(labels[chosen], minlength=len(sizes))
    most = taken.max()
    assert all(t == n or t >= most - 1 for t, n in zip(taken, sizes))


def test_more_images_than_there_are_is_refused(tree):
    with pytest.raises(
        ConfigError,
        match="hands/train has 18 images, not the 19 of train_images; give --train-images 18, or fewer",
    ):
        read_pictures(tree, 32, train_images=19)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("imagefolder", "needs a folder: imagefolder:DIR"),
        ("imagenet:here", "the folder is given with --data-dir"),
        ("imagenett", "did you mean 'imagenet'"),
    ],
)
def test_a_name_with_too_much_or_too_little_is_refused(name, line):
    with pytest.raises(ConfigError, match=line):
        load_dataset(name)


def test_flops_counts_the_files_of_a_folder(tree):
    counted = document(Training("vgg16-small", f"imagefolder:{tree}", "dense", epochs=2))
    assert (counted["phases"][0]["images"], counted["evaluation"]["images"]) == (18, 9)


def test_imagenet_is_its_thousand_classes(tree):
    with pytest.raises(InputError, match="hands has 3 classes, not 1000; name a part of a data set imagefolder:"):
        load_dataset("imagenet", str(tree), workers=1)


def test_a_folder_has_the_moments_of_imagenet(tree):
    dataset = load_dataset(f"imagefolder:{tree}", image_size=32, workers=1)
    assert (dataset.mean, dataset.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (dataset.image_shape, dataset.num_classes) == ((3, 32, 32), 3)
    assert dataset.decoder.startswith("Pillow ")
