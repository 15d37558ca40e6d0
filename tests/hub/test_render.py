"""Pages are self-contained, escaped, and readable by machines and people."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import jinja2
import pytest
from markupsafe import Markup

from holdfast.hub import render

VOID = {"meta", "link", "br", "img", "hr"}


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_is_well_formed_self_contained_and_escaped():
    table = render.table("A <caption>", ["name", "value"], [["a&b", 1.5], ["c", None], ["d", 12345]])
    html = render.page("Title & more", "text <script>", table, Markup("<p>kept</p>"), subtitle="below")
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert "Title &amp; more" in html
    assert "text &lt;script&gt;" in html
    assert "<p>kept</p>" in html
    assert '<td class="number">12345</td>' in html
    assert "<td>–</td>" in html
    assert 'scope="col"' in html
    assert 'scope="row"' in html
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html
    assert not re.search(r"(src|href)=|@import|url\(", html), "a page must not need the network"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.123456, "0.1235"),
        (123456.7, "123457"),
        (1e-9, "1.000e-09"),
        (2.5e9, "2.500e+09"),
        (-0.5, "-0.5"),
        (7, "7"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value, text):
    assert render.number(value) == text


def test_a_room_above_extends_the_page_with_its_own_template(tmp_path):
    (tmp_path / "own.html.j2").write_text(
        "{% extends 'page.html.j2' %}{% block main %}{{ x | number }}{% endblock %}"
    )
    assert "0.5" in render.render("own.html.j2", folder=tmp_path, title="t", x=0.5)
    with pytest.raises(jinja2.UndefinedError):
        render.render("own.html.j2", folder=tmp_path, title="t")
