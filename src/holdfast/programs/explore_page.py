"""The exploratory page: findings, files, and for each shape of images its tables, spectra and maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core import environment
from holdfast.core.paths import write_text
from holdfast.data.groups import OTHER, UNLABELLED, Group
from holdfast.data.quantities import is_time
from holdfast.data.statistics import Spectrum
from holdfast.data.survey import Survey
from holdfast.hub.render import number, render
from holdfast.programs import explore_charts as charts
from holdfast.programs.explore_findings import findings, group_findings, in_bytes, plural
from holdfast.programs.explore_maps import channel_maps
from holdfast.programs.explore_summary import class_name, separating, size

Figure = dict[str, str]
_SEPARATIONS = 24


def write_page(found: Survey, path: Path) -> None:
    """Render ``found`` as one HTML file that needs no network."""
    marks = [file.reader.simulated for file in found.files if file.reader is not None]
    simulated = ""
    if marks and any(marks):
        names = [file.path.name for file in found.files if file.reader is not None and file.reader.simulated]
        simulated = "All files are simulated." if all(marks) else f"Simulated: {', '.join(names)}."
    html = render(
        "explore.html.j2",
        folder=Path(__file__).parent / "templates",
        title="What is in the files",
        simulated=simulated,
        findings=findings(found),
        files=[_file(file) for file in found.files],
        groups=[_group(group) for group in found.groups],
        copies=[
            (found.files[a].path.name, row, found.files[b].path.name, other)
            for a, row, b, other in found.duplicates.examples
        ],
        duplicates=found.duplicates,
        software=environment.software(),
    )
    write_text(path, html)


def _file(file: Any) -> dict[str, Any]:
    reader = file.reader
    row: dict[str, Any] = {"name": file.path.name, "size": in_bytes(file.bytes), "error": file.error}
    if reader is None:
        return row
    channels = [
        f"{name} ({unit})" if unit else name for name, unit in zip(reader.channels, reader.units, strict=True)
    ]
    return row | {
        "kind": reader.kind,
        "events": f"{file.read:,}" + (f" ({file.skipped:,} skipped)" if file.skipped else ""),
        "shape": "×".join(map(str, reader.shape)) if reader.shape else "several",
        "channels": ", ".join(channels) or "–",
        "columns": ", ".join(f"{name} ({kind})" for name, kind in file.types.items()) or "none",
        "simulated": "simulated" if reader.simulated else "not marked",
    }


def _group(group: Group) -> dict[str, Any]:
    figures = [*_spectra(group), *_quantities(group), *_separation(group)]
    return {
        "title": f"{size(group)}: {', '.join(group.channels)}",
        "events": plural(group.events, "event") + f" of {plural(len(group.files), 'file')}",
        "findings": group_findings(group),
        "classes": [_class_row(group, label) for label in _labels(group)],
        "cells": [row for channel in range(len(group.channels)) for row in _cell_rows(group, channel)],
        "numbers": _number_rows(group),
        "figures": figures,
        "maps": [channel_maps(group, channel) for channel in range(len(group.channels))],
    }


def _labels(group: Group) -> list[str]:
    return sorted(group.classes)


def _class_row(group: Group, label: str) -> dict[str, str]:
    counted = group.classes[label]
    return {
        "name": class_name(group, label),
        "label": label if label not in (OTHER, UNLABELLED) else "–",
        "events": f"{counted.events:,}",
        "share": f"{100 * counted.events / group.events:.2f} %",
        "empty": f"{counted.empty:,}",
        "bad": f"{counted.images.left_out:,}",
    }


def _cell_rows(group: Group, channel: int) -> list[list[str]]:
    rows = []
    for label in _labels(group):
        cells = group.classes[label].cells[channel]
        if not cells.n:
            continue
        hit = cells.n - cells.zero
        middle = number(cells.quantile(0.5, nonzero=True), 3) if hit else "–"
        top = number(cells.quantile(0.999), 3)
        rows.append(
            [
                _titled(group, channel),
                class_name(group, label),
                f"{100 * hit / cells.n:.3g} %",
                middle,
                number(cells.mean, 3),
                top,
                number(cells.low, 3),
                number(cells.high, 3),
                f"{cells.negative:,}",
                f"{cells.nan + cells.infinite:,}",
            ]
        )
    return rows


def _number_rows(group: Group) -> list[list[str]]:
    rows = []
    for name in _names(group):
        for label in _labels(group):
            values = group.classes[label].quantities.get(name)
            if values is not None and values.n:
                quantiles = [number(values.quantile(q), 3) for q in (0.05, 0.5, 0.95)]
                summary = [number(values.mean, 4), number(values.std, 3), *quantiles]
                rows.append([name, class_name(group, label), *summary])
    return rows


def _names(group: Group) -> list[str]:
    return list(dict.fromkeys(name for label in _labels(group) for name in group.classes[label].quantities))


def _titled(group: Group, channel: int) -> str:
    unit = group.units[channel]
    return f"{group.channels[channel]} ({unit})" if unit else group.channels[channel]


def _with_unit(group: Group, quantity: str) -> str:
    channel, _, what = quantity.partition(": ")
    if not what:
        return quantity
    unit = {"cells hit": "cells", "phi width": "cells²", "eta width": "cells²"}.get(what)
    unit = unit or group.units[group.channels.index(channel)]
    return f"{quantity} ({unit})" if unit else quantity


def _by_class(group: Group, of: Any) -> tuple[dict[str, Spectrum], dict[str, int]]:
    found = {class_name(group, label): of(group.classes[label]) for label in _labels(group)}
    events = {class_name(group, label): group.classes[label].events for label in _labels(group)}
    return {name: spectrum for name, spectrum in found.items() if spectrum is not None}, events


def _spectra(group: Group) -> list[Figure]:
    """Cell values of each channel: energies over logarithmic bins, times over linear ones without zeros."""
    figures = []
    for channel, name in enumerate(group.channels):
        cells, events = _by_class(group, lambda counted, channel=channel: counted.cells[channel])
        log = not is_time(name)
        rows = charts.spectrum_rows(cells, events, log=log, nonzero=True)
        if rows:
            outside = "zero" + (" or negative" if log else "")
            figures.append(
                {
                    "title": f"{name}: spectrum of the cells",
                    "svg": charts.spectra(
                        rows, x_title=_titled(group, channel), y_title="cells an image and bin", log=log
                    ),
                    "caption": f"Cells that are {outside} are not drawn; the table above counts them.",
                }
            )
    return figures


def _quantities(group: Group) -> list[Figure]:
    figures = []
    for name in _names(group):
        values, events = _by_class(group, lambda counted, name=name: counted.quantities.get(name))
        rows = charts.spectrum_rows(values, events, log=False)
        if rows:
            title = _with_unit(group, name)
            svg = charts.spectra(rows, x_title=title, y_title="share of the events", log=False, log_y=False)
            figures.append({"title": name, "svg": svg, "caption": ""})
    return figures


def _separation(group: Group) -> list[Figure]:
    figures = []
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for quantity, high, low, auc, interval in separating(group):
        row = {"name": quantity, "value": auc, "low": interval.low, "high": interval.high}
        found.setdefault((high, low), []).append(row)
    for (high, low), rows in list(found.items())[:3]:
        rows = sorted(rows, key=lambda row: -abs(row["value"] - 0.5))[:_SEPARATIONS]
        pair = f"{class_name(group, high)} against {class_name(group, low)}"
        figures.append(
            {
                "title": f"One number alone: {pair}",
                "svg": charts.separations(rows, title="ROC-AUC"),
                "caption": "A model has to beat the best of these. Bars are 95 % intervals (DeLong); "
                f"below 0.5 the {class_name(group, low)} has more of it.",
            }
        )
    return figures
