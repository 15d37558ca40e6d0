"""The grammar of component inputs on the command line: ``--key value``, ``--key=value``, ``@file.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError


def parse(
    arguments: Sequence[str],
    *,
    positional: Sequence[str] = (),
    short: Mapping[str, str] | None = None,
    many: str | None = None,
) -> dict[str, Any]:
    """Turn command-line words into input values: strings from options, JSON values from files.

    ``positional`` names what bare words mean, in order, and ``many`` the last of them, if it takes all words
    that are left (a list where there are several); ``short`` maps one-letter options to names. Dashes in
    keys become underscores; an option without a value means true; later values win. Types and names are
    checked where the inputs are declared. Raises UsageError.
    """
    values: dict[str, Any] = {}
    names = list(positional)
    words = list(arguments)
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word.startswith("@"):
            values.update(_load(Path(word[1:])))
        elif word.startswith("--") and len(word) > 2:
            key, equals, value = word[2:].partition("=")
            values[key.replace("-", "_")] = value if equals else _value(words)
        elif word.startswith("-") and word[1:] in (short or {}):
            values[(short or {})[word[1:]]] = _value(words)
        elif word.startswith("-") and len(word) > 1:
            known = ", ".join(f"-{letter}" for letter in short or {}) or "no short options"
            raise UsageError("command line", expected=known, got=word, remedy="write --key value")
        elif names and names[0] == many:
            rest.append(word)
            values[names[0]] = rest if len(rest) > 1 else word  # one word may be several, with commas
        elif names:
            values[names.pop(0)] = word
        else:
            raise UsageError("command line", expected="--key value or @file.json", got=repr(word))
    return values


def parse_objectives(objectives: Sequence[str]) -> dict[str, str]:
    """Directions ("lower", "higher") by metric from ``METRIC:min`` and ``METRIC:max``. Raises UsageError."""
    directions = {"min": "lower", "max": "higher"}
    parsed = {}
    for text in objectives:
        metric, _, direction = text.rpartition(":")
        if not metric or direction not in directions:
            raise UsageError("--objective", expected="METRIC:min or METRIC:max", got=repr(text))
        parsed[metric] = directions[direction]
    return parsed


def _value(words: list[str]) -> str:
    return words.pop(0) if words and not words[0].startswith("--") else "true"


def load_json(path: Path) -> Any:
    """The JSON value in a file that was given as ``@path``. Raises UsageError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"@{path}", expected="a readable file", got=error.strerror) from error
    except ValueError as error:
        raise UsageError(f"@{path}", expected="JSON", got=str(error)) from error


def _load(path: Path) -> dict[str, Any]:
    loaded = load_json(path)
    if not isinstance(loaded, dict):
        raise UsageError(
            f"@{path}", expected="a JSON object of input names and values", got=type(loaded).__name__
        )
    return loaded
