"""Charts of studies of several models: cost against quality, quality against harm, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.programs.charts import PALETTE, WIDTH, Row, _altair, _colour, _legend, _order, _shape, svg


def trade_off(rows: Sequence[Row], *, x_title: str, y_title: str, x_format: str = "~g") -> str:
    """Quality over cost on a logarithmic axis, intervals both ways, filled and joined on the Pareto front.

    Rows have name, x, x_low, x_high, y, y_low, y_high, on_front. ``x_format`` is d3's.
    """
    alt = _altair()
    names = _order(rows, "name")
    colour, shape = _colour(alt, "name", names), _shape(alt, "name", names)
    x = alt.X(
        "x:Q",
        title=x_title,
        scale=alt.Scale(type="log", padding=30, nice=False),
        axis=alt.Axis(tickCount=5, format=x_format),
    )
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False, padding=12))
    base = alt.Chart(alt.Data(values=list(rows)), width=WIDTH, height=280)
    front = (
        base.transform_filter("datum.on_front")
        .mark_line(color="#888", strokeDash=[3, 3], interpolate="step-after", order=False)
        .encode(x=x, y=y)
    )
    high = base.mark_rule(strokeWidth=1.5).encode(
        x=x, y=alt.Y("y_low:Q", title=y_title), y2="y_high:Q", color=colour
    )
    wide = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("x_low:Q", title=x_title), x2="x_high:Q", y=y, color=colour
    )
    opacity = alt.condition("datum.on_front", alt.value(1.0), alt.value(0.0))
    fill = alt.Fill("name:N", scale=colour["scale"], legend=None)
    points = base.mark_point(size=90, strokeWidth=2).encode(
        x=x, y=y, color=colour, shape=shape, fill=fill, fillOpacity=opacity
    )
    return svg(front + high + wide + points)


def harm(
    rows: Sequence[Row],
    differences: Sequence[Row],
    *,
    strengths: Sequence[str],
    x_title: str,
    y_title: str,
    chance: float | None,
    difference_title: str,
) -> str:
    """Quality at each of ``strengths`` with intervals, by model; below, paired differences about zero.

    Rows have strength (a text of ``strengths``), value, low, high, series. Models stand side by side at each
    strength. A dashed line is at ``chance``, and at no difference.
    """
    alt = _altair()

    def panel(data: Sequence[Row], title: str, height: int, line: float | None, zero: bool) -> Any:
        series = _order(data, "series")
        colour = _colour(alt, "series", series)
        if zero:  # pairs of models do not have the colours of models
            colours = alt.Scale(domain=series, range=[PALETTE[-1 - i % 4] for i in range(len(series))])
            colour = alt.Color("series:N", title=None, scale=colours, legend=_legend(alt, series))
        base = alt.Chart(alt.Data(values=list(data)), width=WIDTH, height=height)
        scale = alt.Scale(domain=list(strengths), paddingInner=0.6, paddingOuter=0.3)
        axis = alt.Axis(labelAngle=0, grid=False)
        x = alt.X("strength:N", title=x_title, sort=list(strengths), scale=scale, axis=axis)
        offset = alt.XOffset("series:N", sort=series)
        y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=zero))
        rules = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
            x=x, xOffset=offset, y=alt.Y("low:Q", title=title), y2="high:Q", color=colour
        )
        shape = _shape(alt, "series", series)
        points = base.mark_point(filled=True, size=40, opacity=1).encode(
            x=x, xOffset=offset, y=y, color=colour, shape=shape
        )
        lines = base.mark_line(opacity=0.4).encode(x=x, xOffset=offset, y=y, color=colour)
        layers = [lines, rules, points]
        if line is not None:
            datum = alt.Chart(alt.Data(values=[{}])).mark_rule(color="#444", strokeDash=[4, 3])
            layers.insert(0, datum.encode(y=alt.Y(datum=line)))
        return alt.layer(*layers)

    upper = panel(rows, y_title, 210, chance, False)
    if not differences:
        return svg(upper)
    lower = panel(differences, difference_title, 110, 0.0, True)
    return svg(alt.vconcat(upper, lower).resolve_scale(color="independent", shape="independent"))


def reliability_diagram(rows: Sequence[Row]) -> str:
    """Accuracy over confidence with intervals and the diagonal, a panel a model.

    Rows have model, confidence, value, low, high, series (before or after calibration).
    """
    alt = _altair()
    series = _order(rows, "series")
    lowest = min(min(row["confidence"], row["low"]) for row in rows)
    domain = [max(0.0, lowest - 0.02), 1.0]
    base = alt.Chart().properties(width=300, height=260)
    colour = _colour(alt, "series", series)
    x = alt.X("confidence:Q", title="confidence of the decision", scale=alt.Scale(domain=domain, nice=False))
    y = alt.Y("value:Q", title="share of right decisions", scale=alt.Scale(domain=domain, nice=False))
    rules = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
        x=x,
        y=alt.Y("low:Q", title="share of right decisions", scale=alt.Scale(domain=domain, nice=False)),
        y2="high:Q",
        color=colour,
    )
    shape = _shape(alt, "series", series)
    points = base.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    diagonal = base.mark_line(color="#888", strokeDash=[4, 3])
    corners = [
        {"model": model, "series": series[0], "corner": True, "at": at}
        for model in _order(rows, "model")
        for at in domain
    ]
    line = diagonal.transform_filter("datum.corner").encode(
        x=alt.X("at:Q", scale=alt.Scale(domain=domain, nice=False)),
        y=alt.Y("at:Q", scale=alt.Scale(domain=domain, nice=False)),
    )
    panels = alt.layer(
        line,
        rules.transform_filter("!datum.corner"),
        points.transform_filter("!datum.corner"),
        data=alt.Data(values=[*corners, *rows]),
    )
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    facet = alt.Facet("model:N", title=None, sort=_order(rows, "model"), header=header)
    return svg(panels.facet(facet, columns=2))
