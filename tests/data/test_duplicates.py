"""Duplicates found through files of hashes, against comparing every image with every other."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.data.duplicates import HashFiles, find_duplicates, parts_for


def images(seed: int, n: int) -> np.ndarray:
    """Images of two cells out of few values, so that some are equal and some zero."""
    return np.random.default_rng(seed).integers(0, 4, (n, 1, 1, 2)).astype(np.float32)


@pytest.mark.parametrize("parts", [1, 3])
def test_duplicates_are_those_of_a_comparison_of_all_pairs(tmp_path, parts):
    files = [images(0, 20), images(1, 15)]
    labels = [np.arange(20) % 2, np.arange(15) % 2]
    for number, (content, y) in enumerate(zip(files, labels, strict=True)):
        hashes = HashFiles(tmp_path, number, parts)
        hashes.add(0, content[:7], y[:7])
        hashes.add(7, content[7:], y[7:])
    found = find_duplicates(tmp_path, parts)

    first: dict[bytes, tuple[int, int]] = {}
    pairs = []
    for number, content in enumerate(files):
        for row, image in enumerate(content):
            if image.any():
                at = first.setdefault(image.tobytes(), (number, row))
                if at != (number, row):
                    pairs.append((*at, number, row))
    assert found.copies == len(pairs) > 10
    assert found.images == len({pair[:2] for pair in pairs})
    assert found.across_files == sum(a != b for a, _, b, _ in pairs) > 0
    assert found.contradictory == sum(labels[a][i] != labels[b][j] for a, i, b, j in pairs) > 0
    assert set(found.examples) <= set(pairs)
    assert len(found.examples) == min(20, len(pairs))


def test_nothing_is_no_duplicate(tmp_path):
    HashFiles(tmp_path, 0, 1).add(0, np.zeros((5, 1, 2, 2), dtype=np.float32), None)
    found = find_duplicates(tmp_path, 1)
    assert (found.copies, found.images, found.examples) == (0, 0, [])


def test_parts_bound_what_is_sorted_at_once():
    assert [parts_for(n) for n in (0, 1, 1 << 21, (1 << 21) + 1, 10**9)] == [1, 1, 1, 2, 477]
