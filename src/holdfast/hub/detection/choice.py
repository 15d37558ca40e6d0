"""One installation of several: by a range of versions and by what the user named, never by a guess."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub.detection.found import Found

Ask = Callable[[str, Sequence[str]], int | None]


def ask_on_terminal(question: str, options: Sequence[str]) -> int | None:
    """The index of the option that the user types the number of; None where there is no terminal to ask on.

    Three answers that are no such number end the asking with None.
    """
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return None
    print(question, file=sys.stderr)
    for number, option in enumerate(options, start=1):
        print(f"  {number}  {option}", file=sys.stderr)
    for _ in range(3):
        print(f"number (1-{len(options)}): ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline().strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(options):
            return int(answer) - 1
    return None


def choose(
    found: Sequence[Found],
    versions: str | SpecifierSet = "",
    *,
    named: str | Path | None = None,
    ask: Ask = ask_on_terminal,
    remedy: str = "",
) -> Found:
    """The one of ``found`` that is within ``versions`` (such as ``>=9,<14``) and that the user ``named``.

    ``named`` is any path of the installation, or its exact version. Where several are left, ``ask`` is given
    the question and the list; ``remedy`` is what the error says to do otherwise. Raises ComponentError with
    the list if none fits or several do; UsageError for what is no range.
    """
    fitting = within(found, versions)
    wanted = f" {versions}" if str(versions) else ""
    what = found[0].component if found else "software"
    if not fitting:
        listed = "; ".join(map(described_as, found)) or "none installed"
        advice = "install one, or change the range" if wanted else "install it, or put it on PATH"
        raise ComponentError(f"no {what} fits", expected=f"a version{wanted}", got=listed, remedy=advice)
    if named is not None:
        chosen = [each for each in fitting if _is_named(each, str(named))]
        if not chosen:
            listed = "; ".join(map(described_as, fitting))
            raise ComponentError(f"{what}={named}", expected=f"one of those that fit{wanted}", got=listed)
        fitting = chosen
    if len(fitting) == 1:
        return fitting[0]
    options = [described_as(each) for each in fitting]
    index = ask(f"{what}{wanted} is installed {len(fitting)} times. Which one?", options)
    if index is not None:
        return fitting[index]
    raise ComponentError(
        f"{len(fitting)} installations of {what}{wanted}",
        expected="one",
        got="; ".join(options),
        remedy=remedy or f"name one: --software {what.partition(':')[2] or what}={fitting[0].path}",
    )


def within(found: Sequence[Found], versions: str | SpecifierSet) -> list[Found]:
    """Those of ``found`` whose version is in the range; what no range can judge fits the empty one only.

    Raises UsageError for what is no range.
    """
    try:
        range_ = SpecifierSet(versions) if isinstance(versions, str) else versions
    except InvalidSpecifier as error:
        raise UsageError("versions", expected="a range such as >=9,<14", got=repr(versions)) from error
    if not str(range_):
        return list(found)
    return [
        each for each in found if each.parsed is not None and range_.contains(each.parsed, prereleases=True)
    ]


def described_as(found: Found) -> str:
    """An installation in a few words."""
    also = f", also {', '.join(found.also)}" if found.also else ""
    return f"{found.version} at {found.path}{also}"


def _is_named(found: Found, name: str) -> bool:
    if name == found.version:
        return True
    path = os.path.expanduser(name)
    if not os.path.isabs(path):
        return False
    if path in (str(found.path), *found.also):
        return True
    # A link to the binary names it too; but an environment's python is not the python it links to.
    return os.path.realpath(path) == str(found.real) == os.path.realpath(found.path) and not any(
        (Path(each).parent.parent / "pyvenv.cfg").is_file() for each in (path, found.path)
    )
