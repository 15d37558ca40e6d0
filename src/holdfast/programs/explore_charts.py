"""Charts of the exploratory page: spectra by class, maps of cells, bars of what separates the classes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.data.statistics import Spectrum
from holdfast.programs import charts

Row = dict[str, Any]
# Five points of viridis, and ColorBrewer's red and blue: told apart by readers with any colour vision.
SEQUENTIAL = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
DIVERGING = ("#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b")
BINS = 60


def spectrum_rows(
    found: Mapping[str, Spectrum], events: Mapping[str, int], *, log: bool, nonzero: bool = False
) -> list[Row]:
    """Steps of the histograms ``found`` by class: entries an event and bin, over common bins.

    ``log`` bins are equal in the logarithm and leave out what is not positive; others reach over all but the
    outermost thousandth of the classes' values, without the zeros if ``nonzero``. Rows have x, value, series,
    two a bin: where it begins and where it ends; the value of an empty bin is None.
    """
    filled = {name: spectrum for name, spectrum in found.items() if spectrum.n}
    edges = _edges(list(filled.values()), log, nonzero)
    rows: list[Row] = []
    if edges is None:
        return rows
    whole = all(spectrum.whole for spectrum in filled.values())
    for name, spectrum in filled.items():
        bounds, counts = spectrum.histogram(edges, nonzero=nonzero)
        # Bins are moved a little to where counts are exact; their heights are those of bins of one width.
        widths = np.diff(np.log(bounds) if log else np.ceil(bounds) if whole else bounds)
        values = counts / max(events[name], 1) * (np.median(widths) / widths)
        for low, high, value in zip(bounds, bounds[1:], values, strict=False):
            height = float(value) if value else None
            rows += [{"x": float(x), "value": height, "series": name} for x in (low, high)]
    return rows


def _edges(found: Sequence[Spectrum], log: bool, nonzero: bool) -> NDArray[np.float64] | None:
    some = [s for s in found if (s.high > 0 if log else not nonzero or s.zero < s.n)]
    if not some:
        return None
    high = max(s.quantile(0.9995, nonzero=nonzero) for s in some)
    low = min(s.quantile(0.0005, nonzero=nonzero) for s in some)
    if log:
        high, low = max(s.high for s in some), max(low, high / 1e8, 1e-30)
        return np.geomspace(low, max(high, low * 1.01) * 1.005, BINS + 1)
    if all(s.whole for s in some):
        step = max(1, -(-int(high - low + 1) // BINS))
        return np.arange(np.floor(low), np.floor(high) + step + 1, step) - 0.5
    margin = max((high - low) / BINS, 1e-6 * max(abs(high), abs(low), 1e-30))
    return np.linspace(low - margin, high + margin, BINS + 1)


def spectra(rows: Sequence[Row], *, x_title: str, log: bool, y_title: str, log_y: bool = True) -> str:
    """Histograms as steps by ``series``, rows as of ``spectrum_rows``."""
    alt = charts._altair()
    series = list(dict.fromkeys(row["series"] for row in rows))
    base = alt.Chart(alt.Data(values=list(rows)), width=420, height=220)
    colour = charts._colour(alt, "series", series)
    axis = alt.Axis(tickCount=6, **({"format": "~e"} if log else {}))
    x = alt.X("x:Q", title=x_title, axis=axis, scale=alt.Scale(type="log" if log else "linear", zero=False))
    y = alt.Y(
        "value:Q",
        title=y_title,
        axis=alt.Axis(tickCount=5, **({"format": "~e"} if log_y else {})),
        scale=alt.Scale(type="log" if log_y else "linear", zero=not log_y),
    )
    dashes = alt.Scale(domain=series, range=[[1, 0], [4, 2], [2, 2], [6, 2, 2, 2]])
    dash = alt.StrokeDash("series:N", scale=dashes, legend=None)
    return charts.svg(base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour, strokeDash=dash))


def separations(rows: Sequence[Row], *, title: str) -> str:
    """Points with intervals by ``name``: how well one number alone tells two classes apart; 0.5 is marked."""
    alt = charts._altair()
    order = [row["name"] for row in rows]
    base = alt.Chart(alt.Data(values=list(rows)), width=360, height=alt.Step(22))
    y = alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelLimit=220))
    x = alt.X("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    bars = base.mark_rule(strokeWidth=2, color=charts.PALETTE[0]).encode(
        x=alt.X("low:Q", title=title), x2="high:Q", y=y
    )
    points = base.mark_point(filled=True, size=50, opacity=1, color=charts.PALETTE[0]).encode(x=x, y=y)
    half = base.mark_rule(color="#444", strokeDash=[4, 3]).encode(x=alt.datum(0.5))
    return charts.svg(half + bars + points)


def cells(values: NDArray[np.float64], *, title: str, kind: str) -> str:
    """A map (H, W) of cells, row 0 on top; ``kind``: "linear" from 0, "log", or "diverging" about 0.

    NaN, and what is not positive on a logarithmic map, stays white.
    """
    alt = charts._altair()
    shown = np.log10(values, where=values > 0, out=np.full(values.shape, np.nan)) if kind == "log" else values
    known = shown[np.isfinite(shown)]
    if kind == "diverging":
        largest = float(np.abs(known).max(initial=0)) or 1.0
        low, high, colours = -largest, largest, DIVERGING
    else:
        high = float(known.max(initial=-30.0 if kind == "log" else 0))
        low = max(float(known.min(initial=high)), high - 5) if kind == "log" else 0.0
        high, colours = (high if high > low else low + 1), SEQUENTIAL
    rows, columns = values.shape
    label = "format(pow(10, datum.value), '.1~e')" if kind == "log" else "format(datum.value, '.2~g')"
    scale = alt.Scale(domain=list(np.linspace(low, high, len(colours))), range=list(colours))
    legend = alt.Legend(title=title, titleLimit=260, labelExpr=label, gradientLength=250, tickCount=5)
    x_scale, y_scale = alt.Scale(domain=[0, columns], nice=False), alt.Scale(domain=[rows, 0], nice=False)
    frame = {"width": 250, "height": round(250 * min(rows / columns, 2))}
    corners = [{"value": low}, {"value": high}]
    bar = alt.Chart(alt.Data(values=corners), **frame).mark_point(opacity=0)
    ends = bar.encode(color=alt.Color("value:Q", scale=scale, legend=legend))
    whole = [{"x": 0, "y": 0, "x2": columns, "y2": rows, "url": _png(shown, low, high, colours)}]
    image = alt.Chart(alt.Data(values=whole), **frame).mark_image(aspect=False, smooth=False)
    picture = image.encode(
        x=alt.X("x:Q", title="column (φ)", scale=x_scale),
        x2="x2:Q",
        y=alt.Y("y:Q", title="row (η)", scale=y_scale),
        y2="y2:Q",
        url="url:N",
    )
    return charts.svg(alt.layer(picture, ends))


def _png(values: NDArray[np.float64], low: float, high: float, colours: Sequence[str]) -> str:
    """A pixel a cell as the address of a PNG; NaN is transparent."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError(
            "maps", expected="Pillow", got="no module PIL", remedy="pip install holdfast[report]"
        ) from error
    points = np.linspace(low, high, len(colours))
    channels = np.array([[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in colours], dtype=float)
    known = np.isfinite(values)
    filled = np.clip(np.where(known, values, low), low, high)
    pixels = [np.interp(filled, points, channels[:, k]) for k in range(3)]
    rgba = np.stack([*pixels, np.where(known, 255.0, 0.0)], axis=-1)
    file = BytesIO()
    Image.fromarray(np.round(rgba).astype(np.uint8), "RGBA").save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
