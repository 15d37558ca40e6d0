"""The page of score distributions: the figure, and in words whether the sources differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from holdfast.core.stats import roc_auc, wilson
from holdfast.hub.render import number, render, table
from holdfast.programs import charts
from holdfast.programs.model_files import ModelFile
from holdfast.programs.score_distribution import Source, TwoSample

_FOLDER = Path(__file__).parent / "templates"


def page(file: ModelFile, found: Sequence[Source], tests: Sequence[TwoSample], classes: Sequence[str]) -> str:
    """One HTML file that needs no network."""
    marked = [titled(source) for source in found]
    figure = Markup(
        '<figure><div class="chart" role="img" aria-label="Scores by class and source" tabindex="0">{}</div>'
        "<figcaption>Share of the events of a class in each bin of the score; bars: 95 % intervals (Wilson). "
        "Scores beyond the axis are in the outermost bins.</figcaption></figure>"
    ).format(Markup(figures(found, classes)))
    aucs = [_auc_row(source) for source in found]
    rows = [
        [
            titled_name(found, test.name),
            "all events" if test.label is None else classes[test.label],
            f"{test.n:,}",
            f"{test.m:,}",
            f"{test.auc:.3f} [{test.interval.low:.3f}, {test.interval.high:.3f}]",
            f"{test.ks:.3f}",
            number(test.p, 2),
        ]
        for test in tests
    ]
    against = f"Against {titled(found[0])}; brackets are 95 % intervals (DeLong), p of Kolmogorov-Smirnov"
    columns = [
        "Source",
        "Class",
        "Events",
        "Of the reference",
        "AUC of telling them apart",
        "KS distance",
        "p",
    ]
    return render(
        "scores.html.j2",
        folder=_FOLDER,
        title=f"Scores of {file.name}",
        subtitle=f"Score: log odds of {classes[1]} against {classes[0]}. Sources: {', '.join(marked)}.",
        sentences=[sentence(found, test, classes) for test in tests]
        or ["Too few events to compare: ten a class."],
        figure=figure,
        tables=[
            table(against, columns, rows),
            table(
                f"How well the scores tell {classes[1]} from {classes[0]} within each source",
                ["Source", "Events", "AUC", "Steps to the model's input", "Scores not finite"],
                aucs,
            ),
        ],
    )


def titled(source: Source) -> str:
    """Its name, with "simulated" where it is."""
    return f"{source.name} (simulated)" if source.simulated else source.name


def titled_name(found: Sequence[Source], name: str) -> str:
    """The title of the source of that name."""
    return next(titled(source) for source in found if source.name == name)


def sentence(found: Sequence[Source], test: TwoSample, classes: Sequence[str]) -> str:
    """Whether two sources differ in one class, and how far a difference that was not seen may go."""
    what = "All events" if test.label is None else f"Class {classes[test.label]}"
    span = f"[{test.interval.low:.3f}, {test.interval.high:.3f}]"
    pair = f"{titled_name(found, test.name)} ({test.n:,}) and {titled_name(found, test.against)} ({test.m:,})"
    measured = f"AUC {test.auc:.3f} {span}, KS distance {test.ks:.3f} (p = {number(test.p, 2)})"
    if test.differ:
        way = "higher" if test.auc > 0.5 else "lower"
        return f"{what}: scores of {pair} differ; those of the first are {way}. {measured}."
    if test.shape_differs:
        return f"{what}: scores of {pair} differ in shape, not in rank on average. {measured}."
    reach = max(test.interval.high - 0.5, 0.5 - test.interval.low)
    return (
        f"{what}: no difference seen between the scores of {pair}. {measured}. "
        f"A shift of more than {reach:.3f} in AUC is excluded at 95 %; a smaller one is not."
    )


def _auc_row(source: Source) -> list[Any]:
    known = source.labels >= 0
    text = "–"
    if set(np.unique(source.labels[known])) == {0, 1}:
        auc, interval = roc_auc(source.labels[known], source.scores[known])
        text = f"{auc:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    steps = ", ".join(source.steps) or "none"
    return [titled(source), f"{len(source.scores):,}", text, steps, f"{source.bad:,}"]


def score_rows(found: Sequence[Source], classes: Sequence[str]) -> list[charts.Row]:
    """Shares in common bins, as many as the smallest source bears, by class and source."""
    everything = np.concatenate([source.scores for source in found])
    low, high = np.quantile(everything, [0.002, 0.998])
    bins = int(np.clip(2 * min(len(source.scores) for source in found) ** (1 / 3), 6, 30))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    rows = []
    for label, named in enumerate(classes):
        for source in found:
            scores = np.clip(source.of(label), edges[0], edges[-1])
            if len(scores) == 0:
                continue
            for k, count in enumerate(np.histogram(scores, edges)[0]):
                interval = wilson(int(count), len(scores))
                rows.append(
                    {
                        "class": named,
                        "series": f"{titled(source)}",
                        "x": float((edges[k] + edges[k + 1]) / 2),
                        "value": float(count) / len(scores),
                        "low": interval.low,
                        "high": interval.high,
                    }
                )
    return rows


def figures(found: Sequence[Source], classes: Sequence[str]) -> str:
    """A panel a class: shares over the score by source, with intervals."""
    alt = charts._altair()
    rows = score_rows(found, classes)
    order = [titled(source) for source in found]
    base = alt.Chart().properties(width=440, height=190)
    colour = charts._colour(alt, "series", order)
    scale = alt.Scale(zero=False)
    x = alt.X("x:Q", title=f"log odds of {classes[1]} against {classes[0]}", scale=scale)
    y = alt.Y("value:Q", title="share of the class", axis=alt.Axis(format="%", tickCount=5))
    bars = base.mark_rule(opacity=0.6).encode(
        x=x, y=alt.Y("low:Q", title="share of the class"), y2="high:Q", color=colour
    )
    dashes = alt.Scale(domain=order, range=[[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]])
    dash = alt.StrokeDash("series:N", scale=dashes, legend=None)
    lines = base.mark_line(interpolate="step").encode(x=x, y=y, color=colour, strokeDash=dash)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=order), legend=None)
    points = base.mark_point(filled=True, size=30, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    panels = alt.layer(bars, lines, points, data=alt.Data(values=rows))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    shown = [name for name in classes if any(row["class"] == name for row in rows)]
    return charts.svg(panels.facet(row=alt.Row("class:N", title=None, sort=shown, header=header)))
