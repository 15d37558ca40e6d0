"""Charts of trainings: learning curves, ROC curves, and quality against the number of training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.programs.charts import WIDTH, Row, _altair, _colour, _lines, _order, _shape, svg


def learning(history: Sequence[dict[str, Any]], *, loss: str = "loss (nats)") -> str:
    """Losses and, below, accuracy and ROC-AUC over the epochs of one training."""
    alt = _altair()
    panels = []
    for title, keys in ((loss, ("train_loss", "val_loss")), ("validation", ("val_accuracy", "val_auc"))):
        names = {"train_loss": "training", "val_loss": "validation"}
        names |= {"val_accuracy": "accuracy", "val_auc": "ROC-AUC"}
        rows = [
            {"epoch": line["epoch"], "value": line[key], "series": names[key]}
            for key in keys
            for line in history
            if line.get(key) is not None
        ]
        if rows:
            base = alt.Chart(alt.Data(values=rows), width=WIDTH, height=190)
            x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"))
            y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
            colour = _colour(alt, "series", _order(rows, "series"))
            panels.append(base.mark_line(point=True).encode(x=x, y=y, color=colour))
    return svg(alt.vconcat(*panels).resolve_scale(color="independent"))


def roc(rows: Sequence[Row]) -> str:
    """ROC curves; rows have false_positive_rate, true_positive_rate, series."""
    alt = _altair()
    base = alt.Chart(alt.Data(values=list(rows)), width=340, height=340)
    unit = alt.Scale(domain=[0, 1])
    x = alt.X("false_positive_rate:Q", title="false positive rate", scale=unit)
    y = alt.Y("true_positive_rate:Q", title="true positive rate", scale=unit)
    order = alt.Order("position:Q")
    numbered = [{**row, "position": index} for index, row in enumerate(rows)]
    base = base.properties(data=alt.Data(values=numbered))
    lines = base.mark_line().encode(x=x, y=y, order=order, **_lines(alt, "series", _order(rows, "series")))
    ends = alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}])
    chance = alt.Chart(ends).mark_line(color="#888", strokeDash=[4, 3]).encode(x="x:Q", y="y:Q")
    return svg(chance + lines)


def sizes(rows: Sequence[Row], *, y_title: str) -> str:
    """Lines with interval bars over a logarithmic ``images``; rows have model, images, value, low, high."""
    alt = _altair()
    base = alt.Chart(alt.Data(values=list(rows)), width=WIDTH, height=280)
    order = _order(rows, "model")
    colour = _colour(alt, "model", order)
    ticks = sorted({row["images"] for row in rows})
    axis = alt.Axis(values=ticks, format=",d")
    x = alt.X("images:Q", title="training images", scale=alt.Scale(type="log", nice=False), axis=axis)
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=False))
    bars = base.mark_rule(opacity=0.6).encode(x=x, y=alt.Y("low:Q", title=y_title), y2="high:Q", color=colour)
    lines = base.mark_line().encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x, y=y, color=colour, shape=_shape(alt, "model", order)
    )
    return svg(bars + lines + points)
