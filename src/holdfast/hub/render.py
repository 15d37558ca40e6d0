"""HTML pages from templates: one self-contained file, readable without a network."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, *, folder: Path | None = None, **context: Any) -> str:
    """Render ``template`` from ``folder``, or from the hub's own; it may extend ``page.html.j2``.

    Everything is escaped unless it is ``Markup``. An undefined name is an error.
    """
    return _environment(folder).get_template(template).render(**context)


def page(title: str, *blocks: Markup | str, subtitle: str = "") -> str:
    """A page of ``blocks`` below a title: ``Markup`` as it is, text as a paragraph."""
    return render("blocks.html.j2", title=title, subtitle=subtitle, blocks=blocks)


def table(caption: str, headers: list[str], rows: list[list[Any]]) -> Markup:
    """A table: captioned, headed, scrolling sideways by itself; numbers aligned, None as a dash."""
    return Markup(render("table.html.j2", caption=caption, headers=headers, rows=rows))


def number(value: float | int | None, digits: int = 4) -> str:
    """A number with ``digits`` significant digits; a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, bool | int):
        return str(value)
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:.{digits}g}"
        return f"{value:.0f}" if "e" in text and math.isfinite(value) else text
    return f"{value:.{digits - 1}e}"


@cache
def _environment(folder: Path | None) -> Environment:
    folders = [_TEMPLATES] if folder is None else [folder, _TEMPLATES]
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(each) for each in folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment
