"""Charts of the report: Vega-Lite by altair, drawn to SVG without a browser or a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.core.errors import UsageError

# Okabe and Ito's palette: told apart by readers with any colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
WIDTH = 460
"""Of a chart in pixels: with its axis it fits one of two columns of a page of 1200."""
Row = dict[str, Any]


def _altair() -> Any:
    try:
        import altair
    except ImportError as error:
        raise UsageError(
            "charts", expected="altair", got="none", remedy="pip install holdfast[report]"
        ) from error
    return altair


def svg(chart: Any) -> str:
    """Draw an altair chart as an SVG element."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(chart.configure_view(stroke=None).to_dict(), vl_version="6.1")
    return text


def _legend(alt: Any, values: Sequence[str], **options: Any) -> Any:
    """Above the chart, in as many columns as fit its width."""
    columns = max(1, WIDTH // (5 * max((len(value) for value in values), default=0) + 36))
    return alt.Legend(orient="top", labelLimit=WIDTH - 40, columns=min(columns, len(values)), **options)


def _colour(alt: Any, field: str, values: Sequence[str], **options: Any) -> Any:
    scale = alt.Scale(domain=list(values), range=[PALETTE[i % len(PALETTE)] for i in range(len(values))])
    return alt.Color(f"{field}:N", title=None, scale=scale, legend=_legend(alt, values, **options))


def _lines(alt: Any, field: str, values: Sequence[str]) -> dict[str, Any]:
    """Encodings that tell lines by colour and, once round the palette, by dashes (28 lines in all)."""
    if len(values) <= len(PALETTE):
        return {"color": _colour(alt, field, values)}
    dashes = [DASHES[i // len(PALETTE) % len(DASHES)] for i in range(len(values))]
    drawn = {"symbolType": "stroke", "symbolSize": 400, "symbolStrokeWidth": 2}
    return {
        "color": _colour(alt, field, values, **drawn),
        "strokeDash": alt.StrokeDash(
            f"{field}:N",
            title=None,
            scale=alt.Scale(domain=list(values), range=dashes),
            legend=_legend(alt, values, **drawn),
        ),
    }


def _shape(alt: Any, field: str, values: Sequence[str]) -> Any:
    """Shapes of points, one further each time round the palette, so that an eighth is not the first again."""
    marks = [SHAPES[(i + i // len(PALETTE)) % len(SHAPES)] for i in range(len(values))]
    scale = alt.Scale(domain=list(values), range=marks)
    return alt.Shape(f"{field}:N", title=None, scale=scale, legend=_legend(alt, values))


def _order(rows: Sequence[Row], field: str) -> list[str]:
    return list(dict.fromkeys(row[field] for row in rows))


def _dash(alt: Any, rows: Sequence[Row]) -> dict[str, Any]:
    """Encodings that tell protected from plain without colour."""
    order = _order(rows, "protection")
    if len(order) < 2:
        return {}
    dashes = alt.Scale(domain=order, range=[[1, 0], [5, 4]][: len(order)])
    return {
        "strokeDash": alt.StrokeDash(
            "protection:N",
            title=None,
            scale=dashes,
            legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeColor="#444"),
        )
    }


def intervals(rows: Sequence[Row], *, x: str, x_title: str, y_title: str) -> str:
    """Lines with interval bars over a quantitative ``x``; rows have model, protection, value, low, high."""
    alt = _altair()
    base = alt.Chart(alt.Data(values=list(rows)), width=WIDTH, height=260)
    models = _order(rows, "model")
    colour = _colour(alt, "model", models)
    x_axis, y = alt.X(f"{x}:Q", title=x_title), alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=False))
    bars = base.mark_rule(opacity=0.5).encode(
        x=x_axis, y=alt.Y("low:Q", title=y_title), y2="high:Q", color=colour
    )
    lines = base.mark_line().encode(x=x_axis, y=y, color=colour, **_dash(alt, rows))
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        x=x_axis, y=y, color=colour, shape=_shape(alt, "model", models)
    )
    return svg(bars + lines + points)


def rates(rows: Sequence[Row], *, x: str, x_title: str, y_title: str) -> str:
    """Bars with interval rules over a nominal ``x``, a panel a model; rows as in ``intervals``."""
    alt = _altair()
    order, series = _order(rows, x), _order(rows, "protection")
    base = alt.Chart().properties(width=540, height=110)
    x_axis = alt.X(f"{x}:N", title=x_title, sort=order, axis=alt.Axis(labelAngle=0))
    offset = alt.XOffset("protection:N", sort=series)
    y = alt.Y("value:Q", title=y_title, axis=alt.Axis(format="%", tickCount=4))
    bars = base.mark_bar().encode(x=x_axis, xOffset=offset, y=y, color=_colour(alt, "protection", series))
    span = {"y": alt.Y("low:Q", title=y_title), "y2": "high:Q"}
    rules = base.mark_rule(color="#444").encode(x=x_axis, xOffset=offset, **span)
    panels = alt.layer(bars, rules, data=alt.Data(values=list(rows)))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    return svg(panels.facet(row=alt.Row("model:N", title=None, sort=_order(rows, "model"), header=header)))


def front(rows: Sequence[Row], *, x_title: str, y_title: str) -> str:
    """Points named by ``name``, filled on the front; rows have x, y, y_low, y_high, series, on_front."""
    alt = _altair()
    base = alt.Chart(alt.Data(values=list(rows)), width=560, height=280)
    colour = _colour(alt, "series", _order(rows, "series"))
    x = alt.X("x:Q", title=x_title, scale=alt.Scale(zero=False, padding=40))
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False, padding=15))
    filled = alt.condition("datum.on_front", alt.value(1.0), alt.value(0.0))
    bars = base.mark_rule(opacity=0.5).encode(
        x=x, y=alt.Y("y_low:Q", title=y_title), y2="y_high:Q", color=colour
    )
    points = base.mark_point(size=110, strokeWidth=2).encode(
        x=x, y=y, color=colour, fill=_colour(alt, "series", _order(rows, "series")), fillOpacity=filled
    )
    names = base.mark_text(dy=-14, fontSize=11).encode(x=x, y=y, text="name:N")
    return svg(bars + points + names)


def curves(rows: Sequence[Row], *, y_title: str) -> str:
    """Lines over epochs; rows have epoch, value, series."""
    alt = _altair()
    base = alt.Chart(alt.Data(values=list(rows)), width=WIDTH, height=240)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=False))
    look = _lines(alt, "series", _order(rows, "series"))
    # A training of one epoch is a point, and no line.
    points = base.mark_point(filled=True, size=18, opacity=1).encode(x=x, y=y, color=look["color"])
    return svg(base.mark_line().encode(x=x, y=y, **look) + points)


def overheads(rows: Sequence[Row], *, x: str, x_title: str, lines: Sequence[float]) -> str:
    """Bars of per cent with interval rules, grouped by ``series``, a panel a ``panel``; dashed ``lines``."""
    alt = _altair()
    series, order = _order(rows, "series"), _order(rows, x)
    base = alt.Chart().properties(width=540, height=150)
    x_axis = alt.X(f"{x}:N", title=x_title, sort=order, axis=alt.Axis(labelAngle=0))
    offset = alt.XOffset("series:N", sort=series)
    y = alt.Y("value:Q", title="time above the baseline (%)")
    bars = base.mark_bar().encode(x=x_axis, xOffset=offset, y=y, color=_colour(alt, "series", series))
    span = {"y": alt.Y("low:Q", title="time above the baseline (%)"), "y2": "high:Q"}
    rules = base.mark_rule(color="#444").encode(x=x_axis, xOffset=offset, **span)
    marks = [base.mark_rule(color="#444").encode(y=alt.Y(datum=0))]
    marks += [base.mark_rule(color="#444", strokeDash=[4, 3]).encode(y=alt.Y(datum=level)) for level in lines]
    panels = alt.layer(bars, rules, *marks, data=alt.Data(values=list(rows)))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    return svg(panels.facet(row=alt.Row("panel:N", title=None, sort=_order(rows, "panel"), header=header)))


def log_rates(rows: Sequence[Row], *, x: str, x_title: str, y_title: str, floor: float) -> str:
    """Rates over a nominal ``x`` on a logarithmic axis from ``floor``, a panel a model; rows as in ``rates``.

    Points are what was seen, rules their intervals; where nothing was seen, the rule alone shows how much may
    be there.
    """
    alt = _altair()
    shown = [
        {**row, "low": max(row["low"], floor), "high": max(row["high"], floor)}
        | ({"value": row["value"]} if row["value"] > 0 else {"value": None})
        for row in rows
    ]
    order, series = _order(rows, x), _order(rows, "protection")
    base = alt.Chart().properties(width=540, height=130)
    x_axis = alt.X(f"{x}:N", title=x_title, sort=order, axis=alt.Axis(labelAngle=0))
    offset = alt.XOffset("protection:N", sort=series)
    scale = alt.Scale(type="log", domain=[floor, 1])
    axis = alt.Axis(format=".1~%", tickCount=4)
    colour = _colour(alt, "protection", series)
    rules = base.mark_rule(strokeWidth=2).encode(
        x=x_axis,
        xOffset=offset,
        y=alt.Y("low:Q", title=y_title, scale=scale, axis=axis),
        y2="high:Q",
        color=colour,
        opacity=alt.condition("datum.value == null", alt.value(0.2), alt.value(0.7)),
    )
    shape = alt.Shape("protection:N", title=None, scale=alt.Scale(domain=series))
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        x=x_axis,
        xOffset=offset,
        y=alt.Y("value:Q", title=y_title, scale=scale, axis=axis),
        color=colour,
        shape=shape,
    )
    panels = alt.layer(rules, points.transform_filter("datum.value != null"), data=alt.Data(values=shown))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    return svg(panels.facet(row=alt.Row("model:N", title=None, sort=_order(rows, "model"), header=header)))


def over_rates(rows: Sequence[Row], *, x_title: str, y_title: str) -> str:
    """Lines with interval bars over a logarithmic ``rate``, by ``series``, a panel a model; y from 0 to 1."""
    alt = _altair()
    series = _order(rows, "series")
    base = alt.Chart().properties(width=540, height=170)
    colour = _colour(alt, "series", series)
    x = alt.X("rate:Q", title=x_title, scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e", tickCount=5))
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(format="%")
    rules = base.mark_rule(opacity=0.5).encode(
        x=x, y=alt.Y("low:Q", title=y_title, scale=scale, axis=axis), y2="high:Q", color=colour
    )
    dashes = alt.Scale(domain=series, range=[[1, 0], [6, 4], [2, 2], [8, 3, 2, 3]][: len(series)])
    shape = alt.Shape("series:N", title=None, scale=alt.Scale(domain=series))
    dash = alt.StrokeDash("series:N", title=None, scale=dashes, legend=None)
    y = alt.Y("value:Q", title=y_title, scale=scale, axis=axis)
    lines = base.mark_line().encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=45, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    panels = alt.layer(rules, lines, points, data=alt.Data(values=list(rows)))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    return svg(panels.facet(row=alt.Row("model:N", title=None, sort=_order(rows, "model"), header=header)))
