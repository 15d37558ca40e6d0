"""The verbs ``install`` and ``lock``: packages into the store; all that a run rests on into one file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli.output import print_json, print_lines
from holdfast.core.errors import UsageError

Software = Annotated[
    list[str] | None,
    typer.Option("--software", help="NAME=PATH or NAME=VERSION: which of several installations"),
]

Locked = Annotated[bool, typer.Option("--locked", help="refuse to run if anything is not as locked")]
LockFile = Annotated[
    Path | None, typer.Option("--lock", help="the lock of --locked (default: holdfast.lock.json)")
]


def lock_file(locked: bool, path: Path | None) -> Path | None:
    """The lock that a run is to obey: none, the one that is named, or the one here."""
    return path or (Path("holdfast.lock.json") if locked else None)


def choices(software: Iterable[str] | None) -> dict[str, str]:
    """``["gcc=/usr/bin/gcc-12"]`` as a dictionary. Raises UsageError."""
    found = {}
    for text in software or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError("--software", expected="NAME=PATH or NAME=VERSION", got=repr(text))
        found[name] = value
    return found


def install(
    target: Annotated[str, typer.Argument(help="package:name, or a program or workflow, with all it needs")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="refuse the network")] = False,
    given: Annotated[
        Path | None, typer.Option("--from", help="a file or a folder of yours to take the files from")
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="SHA-256 of a file that you have checked", metavar="SHA256")
    ] = None,
    software: Software = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Install a package, or all packages that a program or workflow needs.

    Example: holdfast install package:mnist --dry-run
    """
    from holdfast import hub
    from holdfast.hub import packages
    from holdfast.hub.needs import packages_of

    if given is not None and not given.exists():
        raise UsageError("--from", expected="an existing file or folder", got=str(given))
    components = packages_of(hub.find(target), software=choices(software))
    if dry_run:
        _print_plan([packages.planned(component, given=given) for component in components], json)
        return
    rows = []
    for component in components:
        made = packages.install(component, offline=offline, given=given, accept=accept or (), tell=_tell)
        rows.append(made)
    if json:
        print_json([made.to_json() for made in rows])
    elif not rows:
        print(f"{target} needs no package")
    else:
        for made in rows:
            state = "installed" if made.fresh else "was there"
            print(f"{made.component} {made.version}: {state}; {_terms(made)}")
            print(f"  {made.folder}")


def lock(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="the component to lock", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="file to write")] = Path("holdfast.lock.json"),
    software: Software = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Pin all that a component rests on: components, software, packages, inputs, Python, platform.

    Example: holdfast lock workflow:digits-train
    """
    from holdfast import hub
    from holdfast.cli.verbs import inputs_of
    from holdfast.hub import lock as locks

    component = hub.find(target)
    made = locks.pin(component, inputs_of(component, context.args), software=choices(software))
    locks.write(made, out)
    if json:
        print_json(made.model_dump(mode="json", by_alias=True))
        return
    pinned = {item.id for items in made.needs.values() for item in items.values()}
    print(
        f"{out}: {len(made.components)} components, {len(pinned)} needs, {len(made.files)} inputs that are"
        f" files, {len(made.distributions)} Python distributions"
    )


def _print_plan(plans: Sequence[Any], json: bool) -> None:
    if json:
        print_json([vars(plan) for plan in plans])
        return
    for plan in plans:
        size = "" if plan.way in ("installed", "link") else f", {_bytes(plan.bytes)} bytes"
        print(f"{plan.component} {plan.version}: {_WAYS[plan.way]}{size}; {_terms(plan)}")
        print_lines(f"  {what}" for what in plan.what)
    known = sum(plan.bytes or 0 for plan in plans)
    unknown = sum(plan.bytes is None for plan in plans)
    print(f"{_bytes(known)} bytes to fetch" + (f", and {unknown} of unknown size" if unknown else ""))


_WAYS = {
    "installed": "is installed",
    "link": "links to your files",
    "download": "would download",
    "generate": "would run",
    "pip": "would install with pip",
}


def _terms(package: Any) -> str:
    simulated = "; simulated data" if package.simulated else ""
    return f"licence: {package.license or 'not stated'}{simulated}"


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
