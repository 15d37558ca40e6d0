"""Widths that match a number of weights."""

from __future__ import annotations

import pytest

from holdfast.core.errors import UsageError
from holdfast.subnet.baselines import matched_width
from holdfast.subnet.baselines.matching import STEPS, parameters

DIGITS = {"in_channels": 1, "classes": 10, "size": 8}


@pytest.mark.parametrize("target", [70, 1_000, 9_820, 98_000, 1_000_000])
def test_it_is_the_widest_that_fits(target: int) -> None:
    width = matched_width("convnet", target, **DIGITS)
    assert parameters("convnet", width, DIGITS) <= target < parameters("convnet", width + 1 / STEPS, DIGITS)


def test_a_resnet34_as_small_as_its_packed_form() -> None:
    width = matched_width("resnet34", 212_651, in_channels=3, classes=10, size=32, stem="cifar")
    assert 0.099 < width < 0.101


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(UsageError, match="at least"):
        matched_width("convnet", 10, **DIGITS)
    with pytest.raises(UsageError, match="option width"):
        matched_width("vit", 1000, **DIGITS)
