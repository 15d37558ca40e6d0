"""Figures of the tables on robust binary subnetworks: a map over p and r, bars with LBN, capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.programs.charts import PALETTE, Row, _altair, svg


def heat(rows: Sequence[Row]) -> str:
    """Robust accuracy over pruning rate and p, the best p of each rate framed; SVG.

    Rows have prune_rate, p, value, low, high (per cent), best (bool) and seeds.
    """
    alt = _altair()
    rates = [f"{rate:g}" for rate in sorted({row["prune_rate"] for row in rows})]
    powers = [f"{p:g}" for p in sorted({row["p"] for row in rows})]
    middle = (min(row["value"] for row in rows) + max(row["value"] for row in rows)) / 2
    shown = [
        {
            "rate": f"{row['prune_rate']:g}",
            "p": f"{row['p']:g}",
            "value": row["value"],
            "mean": f"{row['value']:.1f}",
            "range": f"{row['low']:.1f} to {row['high']:.1f}",
            "ink": "#000000" if row["value"] > middle else "#ffffff",
            "best": row["best"],
        }
        for row in rows
    ]
    base = alt.Chart(alt.Data(values=shown), width=alt.Step(96), height=alt.Step(44)).encode(
        x=alt.X("rate:N", title="pruning rate r", sort=rates, axis=alt.Axis(labelAngle=0, orient="bottom")),
        y=alt.Y("p:N", title="p (0: fixed number, 1: fixed rate)", sort=powers),
    )
    colour = alt.Color(
        "value:Q", title=["robust", "accuracy (%)"], scale=alt.Scale(scheme="viridis"), legend=alt.Legend()
    )
    ink = alt.Color("ink:N", scale=None)
    boxes = base.mark_rect(stroke="#ffffff", strokeWidth=1).encode(color=colour)
    means = base.mark_text(dy=-7, fontSize=14, fontWeight="bold").encode(text="mean:N", color=ink)
    ranges = base.mark_text(dy=10, fontSize=11).encode(text="range:N", color=ink)
    frames = (
        base.transform_filter("datum.best").mark_rect(filled=False, stroke=PALETTE[1], strokeWidth=4).encode()
    )
    layers = [boxes, means, ranges, frames]
    return svg(alt.layer(*layers).resolve_scale(color="independent"))


def bars(rows: Sequence[Row], *, x: str, x_title: str) -> str:
    """Robust accuracy with and without LBN over a nominal ``x``, a panel a ``panel``; SVG.

    Rows have ``x``, panel, series, value, low and high, in per cent.
    """
    alt = _altair()
    order, series = (list(dict.fromkeys(row[name] for row in rows)) for name in (x, "series"))
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    base = alt.Chart().properties(width=440, height=150)
    scale = alt.Scale(domain=series, range=[PALETTE[4], PALETTE[0]][: len(series)])
    legend = alt.Legend(orient="top", title=None)
    common: dict[str, Any] = {
        "x": alt.X(f"{x}:N", title=x_title, sort=order, axis=alt.Axis(labelAngle=0)),
        "xOffset": alt.XOffset("series:N", sort=series),
    }
    y_title = "robust accuracy (%)"
    drawn = base.mark_bar().encode(
        y=alt.Y("value:Q", title=y_title), color=alt.Color("series:N", scale=scale, legend=legend), **common
    )
    spans = base.mark_rule(color="#222").encode(y=alt.Y("low:Q", title=y_title), y2="high:Q", **common)
    texts = base.mark_text(dy=-5, baseline="bottom", fontSize=10).encode(
        y=alt.Y("high:Q", title=y_title), text=alt.Text("value:Q", format=".1f"), **common
    )
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    facet = alt.Row("panel:N", title=None, sort=panels, header=header)
    return svg(alt.layer(drawn, spans, texts, data=alt.Data(values=list(rows))).facet(row=facet))


def capacity(rows: Sequence[Row]) -> str:
    """Accuracy over the number of weights by ``series``; rows have weights, series, value, low, high. SVG."""
    alt = _altair()
    series = list(dict.fromkeys(row["series"] for row in rows))
    base = alt.Chart(alt.Data(values=list(rows)), width=520, height=260)
    title = "accuracy (%)"
    axis = alt.Axis(format="~s", tickCount=6, grid=False)
    x = alt.X("weights:Q", title="weights", scale=alt.Scale(type="log"), axis=axis)
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=series, range=list(PALETTE[: len(series)])),
        legend=alt.Legend(orient="top", title=None, labelLimit=300),
    )
    shape = alt.Shape("series:N", scale=alt.Scale(domain=series), title=None)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(domain=[0, 100]))
    spans = base.mark_rule().encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=colour)
    lines = base.mark_line().encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    return svg(spans + lines + points)
