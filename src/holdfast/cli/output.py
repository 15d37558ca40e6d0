"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from textwrap import fill
from typing import Any


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON to stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table to stdout; columns fold rather than cut on narrow terminals."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table, markup=False)


def print_lines(lines: Iterable[str]) -> None:
    """Print each line, wrapped with an indent where the terminal is narrow."""
    for line in lines:
        print(fill(line, get_terminal_size().columns, subsequent_indent="  "))


def number(value: float | None) -> str:
    """A number with four digits, or that there is none."""
    return "not measured" if value is None else f"{value:.4g}"


def in_words(record: Any) -> str:
    """A result record as one line."""
    value = number(record.value) + (f" {record.unit}" if record.unit not in ("", "1") else "")
    if record.interval is not None:
        value += f" [{record.interval.low:.4g}, {record.interval.high:.4g}]"
    labels = ", ".join(f"{name} {value}" for name, value in record.labels.items())
    return f"{record.metric.replace('_', ' ')}: {value}" + (f" ({labels})" if labels else "")
