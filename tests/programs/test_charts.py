"""Lines of many series are told apart in the drawing itself."""

from __future__ import annotations

import re

import pytest

from holdfast.programs import charts, training_charts

pytest.importorskip("altair")
NAMES = [f"model {n}" for n in range(13)]


def looks(svg):
    """(colour, dashes) of each line that is drawn, not of the legend's."""
    marks = re.findall(r'<path aria-label="[^"]*model \d[^"]*" role="graphics-symbol"[^>]*>', svg)
    lines = [mark for mark in marks if 'aria-roledescription="line mark"' in mark]
    return [
        (re.search(r'stroke="([^"]*)"', mark)[1], *re.findall(r'stroke-dasharray="([^"]*)"', mark))
        for mark in lines
    ]


@pytest.mark.parametrize("count", [7, 13])
def test_each_series_has_a_look_of_its_own(count):
    rows = [
        {"epoch": e, "value": n + e, "series": name} for n, name in enumerate(NAMES[:count]) for e in (1, 2)
    ]
    drawn = looks(charts.curves(rows, y_title="loss"))
    assert len(drawn) == len(set(drawn)) == count
    assert len({colour for colour, *_ in drawn}) == 7
    rates = [
        {"false_positive_rate": x, "true_positive_rate": x ** (1 / (n + 1)), "series": name}
        for n, name in enumerate(NAMES[:count])
        for x in (0.0, 0.5, 1.0)
    ]
    drawn = looks(training_charts.roc(rates))
    assert len(drawn) == len(set(drawn)) == count
