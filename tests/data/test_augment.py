"""Shifts and flips of images: exact pixels, each image on its own, and nothing drawn from elsewhere."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from popgrad.core.errors import UsageError
from popgrad.data import augment
from popgrad.data.augment import Augment

IMAGE = torch.arange(1.0, 7.0).reshape(1, 1, 2, 3)  # 1 2 3 / 4 5 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shifted(image, dy, dx, background):
    """The slow way: pixel by pixel."""
    result = torch.full_like(image, background)
    height, width = image.shape[-2:]
    for y in range(height):
        for x in range(width):
            if 0 <= y - dy < height and 0 <= x - dx < width:
                result[..., y, x] = image[..., y - dy, x - dx]
    return result


def force(monkeypatch, *draws):
    """Let `Augment` draw these, each [b]."""
    left = [torch.tensor(each)[:, None] for each in draws]
    monkeypatch.setattr(augment, "_draw", lambda *_: left.pop(0))


@pytest.mark.parametrize(
    ("dy", "dx", "expected"),
    [
        (0, 0, [[1, 2, 3], [4, 5, 6]]),
        (1, 0, [[-9, -9, -9], [1, 2, 3]]),
        (-1, 0, [[4, 5, 6], [-9, -9, -9]]),
        (0, 1, [[-9, 1, 2], [-9, 4, 5]]),
        (1, -1, [[-9, -9, -9], [2, 3, -9]]),
    ],
)
def test_a_shift_moves_every_pixel_and_fills_with_background(monkeypatch, dy, dx, expected):
    force(monkeypatch, [dy], [dx])
    moved = Augment(crop=1, crop_shift=1, background=-9.0)(IMAGE, generator())
    assert moved.tolist() == [[expected]]


def test_each_image_is_shifted_on_its_own_and_its_channels_together(monkeypatch):
    images = torch.randn(3, 2, 5, 4, generator=generator())
    force(monkeypatch, [2, 0, -1], [-3, 1, 0])
    moved = Augment(crop=1, crop_shift=3, background=0.5)(images, generator())
    for i, (dy, dx) in enumerate([(2, -3), (0, 1), (-1, 0)]):
        assert torch.equal(moved[i], shifted(images[i], dy, dx, 0.5))


def test_flips_mirror_left_and_right_or_top_and_bottom(monkeypatch):
    two = IMAGE.expand(2, 1, 2, 3)
    force(monkeypatch, [1, 0])
    assert torch.equal(Augment(hflip=True)(two, generator()), torch.cat([IMAGE.flip(3), IMAGE]))
    force(monkeypatch, [0, 1])
    assert torch.equal(Augment(vflip=True)(two, generator()), torch.cat([IMAGE, IMAGE.flip(2)]))


def test_an_image_is_flipped_first_and_then_shifted(monkeypatch):
    force(monkeypatch, [0], [1], [1])  # rows by 0, columns by 1, and flipped
    moved = Augment(crop=1, crop_shift=1, hflip=True, background=0.0)(IMAGE, generator())
    assert moved.tolist() == [[[[0, 3, 2], [0, 6, 5]]]]


def test_every_shift_is_as_likely_as_any_other():
    images = torch.zeros(5000, 1, 5, 5)
    images[:, :, 2, 2] = 1
    moved = Augment(crop=1, crop_shift=2)(images, generator())
    counts = moved.sum(0).flatten().tolist()  # where the one bright pixel went: 25 places
    assert sum(counts) == 5000
    assert chisquare(counts).pvalue > 0.001


def test_flips_are_independent_and_happen_half_of_the_time():
    images = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(4000, 1, 2, 2)
    corner = Augment(hflip=True, vflip=True)(images, generator())[:, 0, 0, 0].long()
    assert chisquare(torch.bincount(corner)[1:].tolist()).pvalue > 0.001


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(2, 6),
    st.integers(2, 6),
    st.booleans(),
    st.booleans(),
)
def test_shape_type_and_pixels_are_kept(batch, channels, height, width, hflip, vflip):
    images = torch.rand(batch, channels, height, width, generator=generator(1), dtype=torch.float64)
    before = images.clone()
    made = Augment(crop=1, crop_shift=1, hflip=hflip, vflip=vflip, background=7.0)(
        images, generator(2)
    )
    assert (made.shape, made.dtype) == (images.shape, images.dtype)
    assert torch.equal(images, before)
    assert set(made.flatten().tolist()) <= {*images.flatten().tolist(), 7.0}


def test_images_of_any_memory_format_are_read_right():
    images = torch.rand(4, 3, 6, 5, generator=generator())
    last = images.contiguous(memory_format=torch.channels_last)
    change = Augment(crop=1, crop_shift=2, hflip=True)
    assert torch.equal(change(last, generator(3)), change(images, generator(3)))


def test_equal_seeds_give_equal_batches_and_global_generators_are_left_alone():
    images = torch.rand(16, 1, 8, 8, generator=generator())
    change = Augment(crop=1, crop_shift=2, hflip=True, vflip=True)
    before = torch.get_rng_state()
    assert torch.equal(change(images, generator(5)), change(images, generator(5)))
    assert not torch.equal(change(images, generator(5)), change(images, generator(6)))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_generator_goes_on_from_batch_to_batch():
    images, one = torch.rand(16, 1, 8, 8, generator=generator()), generator(5)
    change = Augment(crop=1, crop_shift=3)
    assert not torch.equal(change(images, one), change(images, one))


@pytest.mark.parametrize(
    "off", [Augment(), Augment(crop=0, crop_shift=4), Augment(crop=1, crop_shift=0)]
)
def test_with_everything_off_the_same_tensor_comes_back_and_nothing_is_drawn(off):
    one = generator(5)
    assert off(IMAGE, one) is IMAGE
    assert torch.equal(one.get_state(), generator(5).get_state())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"crop": 2}, r"crop: expected 0 \(off\) or 1 \(on\), got 2"),
        ({"crop_shift": -1}, "crop_shift: expected an integer of pixels from 0, got -1"),
        ({"crop_shift": 1.5}, "crop_shift: expected .*, got 1.5"),
        ({"crop_shift": True}, "crop_shift: expected .*, got True"),
        ({"hflip": "yes"}, "hflip: expected .*, got 'yes'"),
        ({"vflip": None}, "vflip: expected .*, got None"),
        ({"background": math.nan}, "background: expected a finite number, got nan"),
        ({"background": "black"}, "background: expected .*, got 'black'"),
    ],
)
def test_what_is_not_allowed_is_said(values, said):
    with pytest.raises(UsageError, match=said):
        Augment(**values)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)],
    ids=["3 dimensions", "bytes"],
)
def test_what_is_no_batch_of_images_is_refused(images):
    with pytest.raises(UsageError, match=r"expected floats of shape \[batch"):
        Augment(hflip=True)(images, generator())


def test_a_shift_out_of_sight_is_refused():
    with pytest.raises(UsageError, match="expected 0 to 1 for images of 2 x 3 pixels, got "):
        Augment(crop=1, crop_shift=2)(IMAGE, generator())
