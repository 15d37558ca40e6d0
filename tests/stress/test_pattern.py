from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.stress.fault import Pattern
from holdfast.stress.pattern import elements_hit, unravel

N, M, H, W = 3, 4, 2, 5
PATTERNS = ("element", "block", "row", "column", "across")


def hit(
    pattern: Pattern, extent: int, index: tuple[int, ...] = (1, 2, 1, 3), channels: int = 1
) -> set[tuple[int, ...]]:
    shape = (N, M, H, W) if channels == 1 else (N, H, W, M)
    return {unravel(int(i), shape) for i in elements_hit(shape, index, pattern, extent, channels)}


def test_one_element() -> None:
    assert hit("element", 7) == {(1, 2, 1, 3)}


def test_several_in_a_block_wrap_around() -> None:
    assert hit("block", 4) == {(1, 2, 1, 3), (1, 2, 1, 4), (1, 2, 0, 0), (1, 2, 0, 1)}


def test_a_row_is_one_image_and_all_channels() -> None:
    assert hit("row", 2) == {(1, m, 1, w) for m in range(M) for w in (3, 4)}


def test_a_column_is_one_channel_and_all_images() -> None:
    assert hit("column", 2) == {(n, 2, 1, w) for n in range(N) for w in (3, 4)}


def test_across_are_blocks_of_several_images_and_channels() -> None:
    assert hit("across", 3) == {(1, 2, 1, 3), (2, 3, 1, 3), (0, 0, 1, 3)}


def test_channels_may_be_last() -> None:
    assert hit("row", 1, (1, 0, 4, 2), channels=3) == {(1, 0, 4, m) for m in range(M)}
    assert elements_hit((N, M), (1, 2), "row", 9, 1).tolist() == [6, 7, 4, 5]


def test_a_single_image() -> None:
    assert {unravel(int(i), (M, H, W)) for i in elements_hit((M, H, W), (2, 1, 3), "row", 1, 0)} == {
        (m, 1, 3) for m in range(M)
    }


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    pattern=st.sampled_from(PATTERNS),
    extent=st.integers(1, 40),
    data=st.data(),
)
def test_every_pattern_starts_at_its_index_and_names_none_twice(
    shape: list[int], pattern: Pattern, extent: int, data: st.DataObject
) -> None:
    index = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    found = elements_hit(shape, index, pattern, extent, data.draw(st.sampled_from([1, len(shape) - 1])))
    assert unravel(int(found[0]), shape) == index
    assert len(found.unique()) == len(found)
    assert int(found.max()) < torch.Size(shape).numel()


def test_a_checksum_has_neither_rows_nor_columns() -> None:
    assert elements_hit((2, 3), (1, 1), "block", 3, None).tolist() == [4, 5, 0]
    with pytest.raises(UsageError, match="no images"):
        elements_hit((2, 3), (1, 1), "row", 1, None)
