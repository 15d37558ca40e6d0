"""Augmentations of detector images: symmetry, the seed's place, and what is refused for whom."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.training import augment
from holdfast.training.detector import mirrored, turned


@dataclass(frozen=True)
class Info:
    classes: tuple[str, ...]
    unit_gev: tuple[float | None, ...] | None = (50.0, None)
    value_range: tuple[float, float] | None = None


EGAMMA, JETS, DIGITS = Info(("photon", "electron")), Info(("gluon", "quark"), (1.0,) * 3), Info(("0", "1"))
PHOTONS = Info(("photon", "pi0"))


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def reference(image, place):
    """One cell at a time: the cell d from the seed goes to ``place(d)``; what leaves the image is lost."""
    size = image.shape[-1]
    seed, out = size // 2, torch.zeros_like(image)
    for row in range(size):
        for column in range(size):
            eta, phi = place(row - seed, column - seed)
            if 0 <= eta + seed < size and 0 <= phi + seed < size:
                out[..., eta + seed, phi + seed] = image[..., row, column]
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(0, 9))
def test_mirror_images_and_turns_are_about_the_seed(channels, size, seed):
    x = torch.randint(1, 9, (2, channels, size, size), generator=gen(seed)).float()
    assert torch.equal(mirrored(x, 2), reference(x, lambda eta, phi: (-eta, phi)))
    assert torch.equal(mirrored(x, 3), reference(x, lambda eta, phi: (eta, -phi)))
    assert torch.equal(turned(x, 1), reference(x, lambda eta, phi: (phi, -eta)))
    assert torch.equal(turned(x, 2), reference(x, lambda eta, phi: (-eta, -phi)))
    assert torch.equal(turned(x, 3), reference(turned(x, 2), lambda eta, phi: (phi, -eta)))
    centre = size // 2
    for operation in (mirrored(x, 2), mirrored(x, 3), turned(x, 1)):
        assert torch.equal(operation[..., centre, centre], x[..., centre, centre])


@pytest.mark.parametrize(
    ("name", "info", "refused"),
    [
        ("eta_flip", EGAMMA, None),
        ("phi_flip", EGAMMA, "opposite, got electron"),
        ("rot90", EGAMMA, "along φ alone"),
        ("phi_flip", PHOTONS, None),
        ("rot90", PHOTONS, "along φ alone"),
        ("eta_flip", JETS, None),
        ("phi_flip", JETS, None),
        ("rot90", JETS, None),
        ("eta_flip", DIGITS, "detector images"),
        ("rot90", None, "got classes none"),
    ],
    ids=lambda value: "-".join(value.classes) if isinstance(value, Info) else None,
)
def test_the_symmetry_gate(name, info, refused):
    if refused is None:
        augment.create(name, info=info)
    else:
        with pytest.raises(UsageError, match=refused):
            augment.create(name, info=info)
    augment.create(name, info=info, unsafe=True)


@pytest.mark.parametrize(("name", "variants"), [("eta_flip", 2), ("phi_flip", 2), ("rot90", 4)])
def test_every_image_draws_for_itself_from_the_generator_alone(name, variants):
    x = torch.rand(1, 2, 6, 6, generator=gen()).expand(400, -1, -1, -1)
    made = augment.create(name, info=JETS)
    out, y = made(x, torch.arange(400), gen(1))
    assert torch.equal(y, torch.arange(400))
    kinds, counts = out.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == variants
    assert counts.min() > 300 / variants
    assert torch.equal(out, made(x, y, gen(1))[0])


def test_turns_need_square_images():
    with pytest.raises(UsageError, match="square"):
        augment.create("rot90", info=JETS)(torch.rand(2, 1, 3, 4), torch.zeros(2), gen())


def test_perturbations_are_those_of_the_stressors_in_a_share_of_the_images():
    x = torch.full((2000, 2, 4, 4), 0.5)
    noisy, _ = augment.create("gaussian_noise", info=EGAMMA, sigma_gev=5.0, share=0.25)(x, x, gen())
    changed = (noisy != x).flatten(1).any(1)
    assert 0.2 < changed.float().mean() < 0.3
    assert noisy[changed, 0].sub(0.5).std() == pytest.approx(5 / 50, rel=0.05)
    assert torch.equal(noisy[:, 1], x[:, 1])  # time is no energy
    dead, _ = augment.create("dead_channels", rate=0.25, share=1.0)(x, x, gen())
    assert ((dead == 0).flatten(2).sum(2) == 4).all()
    hidden, _ = augment.create("masked_patches", count=1, patch=2, share=1.0)(x, x, gen())
    assert ((hidden == 0).flatten(2).sum(2) == 4).all()
    with pytest.raises(UsageError, match="share"):
        augment.create("dead_channels", share=0.0)
    with pytest.raises(UsageError, match="fraction"):
        augment.create("dead_channels", rate=2.0)
    with pytest.raises(UsageError, match="rates"):
        augment.create("dead_channels", rates=0.1)


def test_several_one_after_the_other_with_options_by_name():
    names = ["eta_flip", "dead_channels"]
    options = {"dead_channels": {"rate": 1.0, "share": 1.0}}
    both = augment.create_all(names, info=EGAMMA, options=options)
    x = torch.rand(8, 2, 4, 4)
    assert not both(x, x, gen())[0].any()
    assert augment.create_all([]) is None
    assert augment.create_all(["crop"]) == augment.create("crop")
    with pytest.raises(UsageError, match=r"options of eta_flip, got dead_channels"):
        augment.create_all(["eta_flip"], info=EGAMMA, options=options)
