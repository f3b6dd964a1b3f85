"""What a network sees of a picture: against torchvision's own transforms, and what cannot be taken."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parent))
from picture_tree import encoded, pixels

from ebbench.training.compat import import_torchvision_datasets
from ebbench.training.data.pictures.views import (
    Picture,
    Unreadable,
    draw_key,
    evaluation_view,
    is_mirrored,
    look_at,
    random_box,
    training_view,
)

KEY = draw_key(1, "train", 3)
SIZES = [(100, 100), (75, 50), (60, 90), (20, 33)]


@pytest.fixture(scope="module")
def transforms():
    import_torchvision_datasets()
    return importlib.import_module("torchvision.transforms")


def decoded(content):
    return Image.open(io.BytesIO(content)).convert("RGB")


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("side", [32, 64])
def test_an_evaluation_sees_what_torchvision_shows_it(transforms, width, height, side):
    content = encoded(pixels(1, 2, width, height))
    shown = transforms.Compose([transforms.Resize(round(side * 256 / 224)), transforms.CenterCrop(side)])(
        decoded(content)
    )
    seen = evaluation_view(content, side)
    assert seen.shape == (side, side, 3)
    np.testing.assert_array_equal(seen, np.asarray(shown))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_training_sees_the_box_as_torchvision_cuts_it(transforms, width, height):
    content = encoded(pixels(0, 1, width, height))
    functional = importlib.import_module("torchvision.transforms.functional")
    for number in range(20):
        left, top, w, h = random_box(KEY, number, width, height)
        shown = functional.resized_crop(decoded(content), top, left, h, w, [32, 32])
        if is_mirrored(KEY, number):
            shown = ImageOps.mirror(shown)
        np.testing.assert_array_equal(training_view(content, 32, KEY, number), np.asarray(shown))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (100, 100), (90, 400), (1000, 20)])
def test_boxes_are_spread_as_torchvisions_are(transforms, width, height):
    count = 4000
    ours = np.array([random_box(KEY, number, width, height) for number in range(count)])
    blank, was = Image.new("RGB", (width, height)), torch.get_rng_state()
    torch.manual_seed(1)
    cut = transforms.RandomResizedCrop(32)
    theirs = np.array([cut.get_params(blank, cut.scale, cut.ratio) for _ in range(count)])[:, [1, 0, 3, 2]]
    torch.set_rng_state(was)
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= [width, height]).all()
    for k in range(4):
        both = np.sort(np.concatenate([ours[:, k], theirs[:, k]]))
        steps = [np.searchsorted(np.sort(a[:, k]), both, side="right") / count for a in (ours, theirs)]
        assert np.abs(steps[0] - steps[1]).max() < 1.63 * np.sqrt(2 / count)  # Kolmogorov and Smirnov's 1 % limit


def test_half_of_the_views_are_mirrored_and_other_draws_do_not_say_which():
    mirrored = np.array([is_mirrored(KEY, number) for number in range(4000)])
    across = np.array([random_box(KEY, number, 100, 100).left for number in range(4000)])
    assert abs(mirrored.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(mirrored, across)[0, 1]) < 0.05


def test_a_draw_is_the_same_everywhere_and_another_for_every_image_epoch_phase_and_seed():
    assert random_box(KEY, 7, 500, 375) == (115, 47, 238, 282)
    keys = [KEY, draw_key(2, "train", 3), draw_key(1, "retrain", 3), draw_key(1, "train", 4)]
    boxes = {random_box(key, number, 500, 375) for key in keys for number in range(50)}
    assert len(boxes) == 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_exif_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = Image.fromarray(pixels(2, 5, 50, 36))
    content = encoded(lying, "PNG", exif=exif)
    upright = encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"), "PNG")
    assert (Picture(content).width > Picture(content).height) == (orientation < 5)
    assert look_at(content) == ([] if orientation == 1 else ["turned"])
    np.testing.assert_array_equal(evaluation_view(content, 32), evaluation_view(upright, 32))
    np.testing.assert_array_equal(training_view(content, 32, KEY, 1), training_view(upright, 32, KEY, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_pixels_become_rgb_and_are_named(mode):
    content = encoded(Image.fromarray(pixels(0, 1)).convert(mode), "PNG")
    assert look_at(content) == (["grey"] if mode in ("1", "L", "LA") else [mode])
    seen = evaluation_view(content, 32)
    assert seen.shape == (32, 32, 3)
    assert (seen[..., 0] == seen[..., 2]).all() == (mode in ("1", "L", "LA"))


def test_a_palette_with_one_transparency_for_each_colour_is_taken():
    image = Image.fromarray(pixels(1, 1)).convert("P")
    assert evaluation_view(encoded(image, "PNG", transparency=bytes(range(256))), 32).shape == (32, 32, 3)


def test_a_cmyk_jpeg_looks_like_its_rgb_twin():
    image = Image.fromarray(pixels(1, 1))
    content = encoded(image.convert("CMYK"))
    assert look_at(content) == ["CMYK"]
    difference = evaluation_view(content, 32).astype(int) - evaluation_view(encoded(image), 32)
    assert np.abs(difference).mean() < 3


def test_a_png_with_the_name_of_a_jpeg_is_a_picture():
    assert look_at(encoded(pixels(0, 0), "PNG")) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"just a text", "no JPEG or PNG"),
        (encoded(pixels(0, 0), "GIF"), "no JPEG or PNG"),
        (encoded(pixels(0, 0))[:300], "runcated"),
        (encoded(pixels(0, 0))[:-30], "truncated"),
        (encoded(pixels(0, 0), "PNG")[:-60], "truncated|broken"),
        (encoded(Image.new("I;16", (5, 5)), "PNG"), "8 bits per colour"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(content, reason):
    with pytest.raises(Unreadable, match=reason) as fault:
        look_at(content)
    assert "\n" not in str(fault.value)


def test_a_picture_too_large_for_memory_is_refused(monkeypatch):
    content = encoded(pixels(0, 0, 40, 30))
    for limit in (1000, 500):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(Unreadable, match="more than 1000 pixels"):
            look_at(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_damaged_file_raises_nothing_else_and_one_that_passes_can_be_trained_on(kind):
    whole, rng = encoded(pixels(0, 0), kind), np.random.default_rng(1)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            content[place] = rng.integers(256)
        damaged = bytes(content[: rng.integers(1, len(whole))] if rng.random() < 0.3 else content)
        try:
            look_at(damaged)
        except Unreadable as fault:
            assert "\n" not in str(fault)
        else:
            assert training_view(damaged, 32, KEY, 0).shape == evaluation_view(damaged, 32).shape


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    rough = np.random.default_rng(1).integers(0, 60, (1200, 1600, 3)) + pixels(1, 1, 1600, 1200) // 2
    content = encoded(rough.astype(np.uint8))
    exact = Image.open(io.BytesIO(content)).convert("RGB")
    short = round(32 * 256 / 224)
    exact = exact.resize((int(short * 4 / 3), short), getattr(Image, "Resampling", Image).BILINEAR)
    left, top = round((exact.width - 32) / 2), round((exact.height - 32) / 2)
    exact = np.asarray(exact.crop((left, top, left + 32, top + 32))).astype(int)
    assert Picture(content).decode(0.2).size == (400, 300)
    assert np.abs(evaluation_view(content, 32) - exact).mean() < 1.5


def test_a_cut_of_a_line_is_still_a_picture():
    for width, height in ((1, 1), (1, 300), (2000, 2)):
        content = encoded(pixels(0, 0, width, height))
        for number in range(5):
            assert training_view(content, 32, KEY, number).shape == (32, 32, 3)
        assert evaluation_view(content, 32).shape == (32, 32, 3)
