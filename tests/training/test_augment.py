"""Views move pixels, and their adjoint moves them back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.training import augment
from holdfast.training.augment import CropFlip, View


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def reference(view, x):
    """One image at a time: pad, crop, mirror."""
    pad = max(int(view.down.abs().max()), int(view.right.abs().max()))
    height, width = x.shape[2:]
    images = []
    for image, down, right, mirrored in zip(x, view.down, view.right, view.mirrored, strict=True):
        top, left = pad - int(down), pad - int(right)
        crop = functional.pad(image, (pad,) * 4)[:, top : top + height, left : left + width]
        images.append(crop.flip(-1) if mirrored else crop)
    return torch.stack(images)


@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 9),
    st.integers(0),
)
def test_a_view_is_a_crop_and_a_mirror_image_and_back_is_its_adjoint(n, channels, height, width, pad, seed):
    generator = gen(seed % 2**32)
    view = CropFlip(pad).draw(n, generator)
    x = torch.randint(-9, 9, (n, channels, height, width), generator=generator)
    other = torch.randint(-9, 9, x.shape, generator=generator)
    assert torch.equal(view(x), reference(view, x))
    assert (view(x) * other).sum() == (x * view.back(other)).sum()
    visible = view.back(torch.ones_like(x)).bool()
    assert torch.equal(view.back(view(x)), torch.where(visible, x, 0))


def test_every_view_is_drawn_and_from_the_generator_alone():
    view = CropFlip(2).draw(4000, gen())
    assert set(view.down.tolist()) == set(view.right.tolist()) == {-2, -1, 0, 1, 2}
    assert 0.45 < view.mirrored.float().mean() < 0.55
    again, other = CropFlip(2).draw(4000, gen()), CropFlip(2).draw(4000, gen(1))
    assert torch.equal(view.down, again.down)
    assert not torch.equal(view.down, other.down)


def test_names_and_options():
    assert augment.create("crop_flip") == CropFlip(4)
    x = torch.rand(50, 1, 5, 5)
    still, _ = augment.create("crop", pad=0)(x, torch.arange(50), gen())
    assert torch.equal(still, x)
    with pytest.raises(UsageError, match="did you mean 'crop'"):
        augment.create("corp")
    with pytest.raises(UsageError, match="options pad, flip, got size"):
        augment.create("crop_flip", size=3)
    with pytest.raises(UsageError, match="padding of the crop"):
        augment.create("crop", pad=-1)


def test_a_view_has_its_numbers():
    view = View(torch.tensor([1, 0]), torch.tensor([0, -1]), torch.tensor([False, True]))
    x = torch.tensor([[1, 2], [3, 4]]).repeat(2, 1, 1, 1)
    assert view(x)[:, 0].tolist() == [[[0, 0], [1, 2]], [[0, 2], [0, 4]]]
