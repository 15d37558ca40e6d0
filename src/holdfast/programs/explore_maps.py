"""Maps of one channel: mean images, their difference and its significance, occupancy, hottest cells."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from holdfast.data.groups import Group
from holdfast.data.quantities import is_time
from holdfast.data.statistics import significance
from holdfast.programs import explore_charts as charts
from holdfast.programs.explore_findings import plural
from holdfast.programs.explore_summary import class_name


def channel_maps(group: Group, channel: int) -> dict[str, Any]:
    """Mean image of each class, their difference, occupancy and the hottest cells of one channel."""
    name, unit = group.channels[channel], group.units[channel]
    counted = [(label, group.classes[label].images) for label in sorted(group.classes)]
    counted = [(label, images) for label, images in counted if images.n]
    kind = "diverging" if is_time(name) else "log"
    figures = [
        {
            "title": f"Mean image, {class_name(group, label)}",
            "svg": charts.cells(images.mean[channel], title=unit or "mean", kind=kind),
            "caption": f"{plural(images.n, 'image')}.",
        }
        for label, images in counted
    ]
    if len(counted) == 2:
        (low, first), (high, second) = counted
        pair = f"{class_name(group, high)} − {class_name(group, low)}"
        z = significance(first, second)[channel]
        known = np.isfinite(z)
        figures.append(
            {
                "title": f"Difference, {pair}",
                "svg": charts.cells(
                    second.mean[channel] - first.mean[channel], title=unit or "difference", kind="diverging"
                ),
                "caption": "Of the mean images.",
            }
        )
        figures.append(
            {
                "title": f"Its significance, {pair}",
                "svg": charts.cells(z, title="standard errors", kind="diverging"),
                "caption": _significance(z[known]),
            }
        )
    if counted:
        total = sum(images.n for _, images in counted)
        hits = sum(images.hits[channel] for _, images in counted)
        figures.append(
            {
                "title": "Occupancy",
                "svg": charts.cells(np.asarray(hits / total), title="share of images", kind="log"),
                "caption": "Share of the images in which a cell is not zero.",
            }
        )
    seeds = group.seeds[channel]
    if seeds.sum():
        row, column = divmod(int(seeds.argmax()), seeds.shape[1])
        share = 100 * seeds.max() / seeds.sum()
        figures.append(
            {
                "title": "Hottest cell",
                "svg": charts.cells(seeds / seeds.sum(), title="share of images", kind="log"),
                "caption": f"Most often [{row}, {column}], in {share:.1f} % of the images.",
            }
        )
    return {"title": f"{name}: maps", "figures": figures}


def _significance(z: np.ndarray) -> str:
    if len(z) == 0:
        return "No cell was hit by 25 images of both classes together: too few to tell."
    most = float(np.abs(z).max())
    # Expected largest of as many independent Gaussian cells (Šidák), so that a lone bright cell says nothing.
    limit = -NormalDist().inv_cdf((1 - 0.95 ** (1 / len(z))) / 2)
    above = int((np.abs(z) > limit).sum())
    return (
        f"{len(z):,} cells were hit by 25 images or more. Largest {most:.1f}; without any difference 95 % of "
        f"such maps stay below {limit:.1f}. Above it: {plural(above, 'cell')}."
    )
