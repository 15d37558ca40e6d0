"""One number an image: what a detector image is summed up in before any model sees it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]
BAND = 2
"""Rows on either side of the hottest cell that count for a width, as in ``schema.phi_width``."""


def image_quantities(
    images: NDArray[np.float32], channels: Sequence[str]
) -> tuple[dict[str, Numbers], list[NDArray[np.int64]]]:
    """Numbers (n,) by name of ``images`` (n, C, H, W), and where each channel is largest: (n,).

    Per channel: sum, cells hit (not zero), largest value; of a channel that is no time its widths along eta
    (rows) and phi (columns); of a time its value at the hottest cell of the first channel. That place is
    row·W + column, −1 where no value is positive; NaN counts as 0 in finding it, and stays in the sums.
    """
    numbers: dict[str, Numbers] = {}
    seeds = [hottest(images[:, channel]) for channel in range(images.shape[1])]
    for channel, name in enumerate(channels):
        image = images[:, channel]
        numbers[f"{name}: sum"] = image.sum(axis=(1, 2), dtype=np.float64)
        numbers[f"{name}: cells hit"] = (image != 0).sum(axis=(1, 2)).astype(np.float32)
        numbers[f"{name}: largest value"] = image.max(axis=(1, 2))
        if is_time(name):
            if channel:
                flat = image.reshape(len(image), -1)
                there = flat[np.arange(len(flat)), seeds[0]]
                numbers[f"{name}: at the hottest cell"] = np.where(seeds[0] >= 0, there, np.nan)
        else:
            numbers[f"{name}: phi width"] = width(image, seeds[channel])
            numbers[f"{name}: eta width"] = width(image.swapaxes(1, 2), _transposed(seeds[channel], image))
    return numbers, seeds


def is_time(channel: str) -> bool:
    """Whether a channel of that name holds times, which have no sum or width that means anything."""
    return "time" in channel.lower()


def hottest(image: NDArray[np.float32]) -> NDArray[np.int64]:
    """Place (n,) of the largest value of ``image`` (n, H, W) as row·W + column; −1 if it is not positive."""
    flat = image.reshape(len(image), -1)
    if np.isnan(flat).any():
        flat = np.nan_to_num(flat, nan=0.0)
    place = flat.argmax(axis=1)
    return np.where(flat[np.arange(len(flat)), place] > 0, place, -1)


def width(image: NDArray[np.float32], seed: NDArray[np.int64]) -> Numbers:
    """Second moment in cells² along columns about ``seed``, over five rows: (n, H, W) → (n,) float64.

    As ``schema.phi_width``, about each image's own hottest cell; NaN for an image without one or whose five
    rows do not sum to something positive.
    """
    height, columns = image.shape[1:]
    row, column = np.divmod(seed, columns)
    line = np.zeros((len(image), columns))
    events = np.arange(len(image))
    for step in range(-BAND, BAND + 1):
        inside = (seed >= 0) & (row + step >= 0) & (row + step < height)
        line[inside] += image[events[inside], row[inside] + step]
    total = line.sum(axis=1)
    good = (total > 0) & (seed >= 0)
    moment = (line * (np.arange(columns) - column[:, None]) ** 2).sum(axis=1)
    widths: Numbers = np.divide(moment, total, out=np.full(len(image), np.nan), where=good)
    return widths


def _transposed(seed: NDArray[np.int64], image: NDArray[np.float32]) -> NDArray[np.int64]:
    row, column = np.divmod(seed, image.shape[2])
    return np.where(seed >= 0, column * image.shape[1] + row, -1)
