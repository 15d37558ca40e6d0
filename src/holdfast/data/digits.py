"""The 8×8 digits that come with scikit-learn; no files needed."""

from __future__ import annotations

import hashlib

import numpy as np

from holdfast.data.table import PixelTable


def digits() -> PixelTable:
    """1797 images (1, 8, 8) of the classes 0 to 9, values /16."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    pixels = raw.images.astype(np.uint8)[:, None]
    labels = raw.target.astype(np.int64)
    digest = hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    return PixelTable(
        "digits", pixels, labels, [str(digit) for digit in range(10)], fingerprint=digest, white=16
    )
