"""The verb ``detect``: what software this machine has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import arguments
from holdfast.cli.output import print_json, print_lines, print_table
from holdfast.core.errors import ComponentError, UsageError

ALL = "all"


def detect(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="soft:name, or all", metavar="TARGET")] = ALL,
    versions: Annotated[str, typer.Option(help="only versions in this range, e.g. '>=9,<14'")] = "",
    one: Annotated[
        bool, typer.Option("--one", help="print the path of the only one; ask if there are several")
    ] = False,
    python: Annotated[
        list[Path] | None, typer.Option(help="look for Python packages in this interpreter only")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="ask every binary again")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="say where was looked, and what did not answer")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say what software is installed here, which versions, and where.

    Example: holdfast detect soft:gcc
    """
    from holdfast.hub import detection

    inputs = arguments.parse(context.args)
    if target == ALL:
        if inputs or one:
            raise UsageError("detect all", expected="no inputs, and no --one", got=" ".join(sys.argv[2:]))
        outcomes = detection.outcome_of_all(refresh=refresh, pythons=python)
    else:
        outcomes = [detection.outcome(_id(target), refresh=refresh, inputs=inputs, pythons=python)]
    for note in (note for outcome in outcomes for note in outcome.notes):
        print(f"detected anew: {note}", file=sys.stderr)
    for outcome in outcomes:
        outcome.found = detection.within(outcome.found, versions)
    if target != ALL and not outcomes[0].found:
        raise _none(outcomes[0], versions)
    if one:
        chosen = detection.choose(outcomes[0].found, versions, remedy="narrow the range with --versions")
        print_json(chosen.to_json()) if json else print(chosen.path)
    elif json:
        print_json([outcome.to_json() for outcome in outcomes])
    else:
        _print(outcomes, verbose)


def _id(target: str) -> str:
    return target if ":" in target else f"soft:{target}"


def _none(outcome: Any, versions: str) -> ComponentError:
    reasons = f"; {'; '.join(outcome.problems)}" if outcome.problems else ""
    return ComponentError(
        f"{outcome.component} {versions}".strip(),
        expected="an installation",
        got=f"none, looked for {'; '.join(outcome.looked)}{reasons}",
        remedy="install it, or put it on PATH",
    )


def _print(outcomes: list[Any], verbose: bool) -> None:
    everything = [found for outcome in outcomes for found in outcome.found]
    if everything:
        rows = [(found.component, found.version, found.path) for found in everything]
        print_table(("software", "version", "path"), rows)
    absent = [outcome for outcome in outcomes if not outcome.found]
    if verbose:
        print_lines(f"found: {found.path}: {_details(found)}" for found in everything)
        print_lines(f"not found: {each.component}: {'; '.join(each.looked)}" for each in absent)
        print_lines(
            f"no answer: {outcome.component}: {problem}"
            for outcome in outcomes
            for problem in outcome.problems
        )
    elif absent:
        print(f"not found: {', '.join(outcome.component.removeprefix('soft:') for outcome in absent)}")
        print("(-v says where was looked)")


def _details(found: Any) -> str:
    also = f"; also {', '.join(found.also)}" if found.also else ""
    behind = f"; it is {found.real}" if found.real not in (found.path, Path()) else ""
    sha256 = f"; sha256 {found.binary_hash[:16]}…" if found.binary_hash else ""
    return f"{found.how}{also}{behind}{sha256}; {found.detected}"
