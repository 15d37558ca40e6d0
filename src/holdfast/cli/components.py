"""The verbs that make, test, fetch and give away components."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import arguments
from holdfast.cli.output import print_json, print_lines, print_table

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Target = Annotated[
    str, typer.Argument(help="kind:name, with @ and a version range if wanted", show_default=False)
]


def new(
    target: Annotated[str, typer.Argument(help="kind:name", show_default=False)],
    to: Annotated[
        Path | None, typer.Option("--to", help="repository to make it in; $HOLDFAST_REPO or your own")
    ] = None,
    json: Json = False,
) -> None:
    """Make a component from a template that validates and runs.

    Example: holdfast new program:blur
    """
    from holdfast import hub

    component = hub.new_component(target, repository=to)
    if json:
        print_json(component.to_json())
        return
    print(f"{component.id} in {component.folder}")
    print(f"next: edit it, then: holdfast test {component.id}")


def run_checks(
    target: Target,
    cached: Annotated[bool, typer.Option("--cached", help="results that the cache holds count")] = False,
    json: Json = False,
) -> None:
    """Validate a component and run its own checks.

    Example: holdfast test program:blur
    """
    from holdfast.hub import checking

    answer = checking.outcome(target, force=not cached)
    if json:
        print_json(answer)
        return
    print_table(
        ("check", "passed", "seconds"), [(c["name"], "yes", f"{c['seconds']:.1f}") for c in answer["checks"]]
    )


def pull(
    origin: Annotated[
        str,
        typer.Argument(
            help="a folder, a zip or tar archive, a git address, or a name pulled before",
            show_default=False,
        ),
    ],
    name: Annotated[str | None, typer.Option(help="name of the repository here")] = None,
    digest: Annotated[
        str | None, typer.Option("--hash", help="sha256:… that its content must have", metavar="TEXT")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="its components may run code")] = False,
    json: Json = False,
) -> None:
    """Fetch a repository of components; nothing of it runs without your consent.

    Example: holdfast pull https://example.org/components.git
    """
    from holdfast import hub

    def ask(contents: Any) -> bool:
        _print_contents(contents)
        return typer.confirm("May they run?", default=False)

    asks = not (yes or json) and sys.stdin.isatty() and sys.stdout.isatty()
    contents = hub.pull(origin, name=name, digest=digest, consent=ask if asks else yes)
    if json:
        print_json(contents.to_json())
        return
    if not asks:
        _print_contents(contents)
    pulled = contents.pulled
    if pulled.consent is not None:
        print(f"may run since {pulled.consent.when}, by {pulled.consent.who}")
    else:
        print_lines(
            [
                "Nothing of it may run yet. Read it, then: "
                f"holdfast pull {pulled.name} --hash sha256:{pulled.hash} --yes"
            ]
        )


def _print_contents(contents: Any) -> None:
    data = contents.to_json()
    revision = f" at {data['revision']}" if data["revision"] else ""
    print(f"{data['repository']} from {data['origin']}{revision}")
    print(f"content {data['hash']}\nin {data['folder']}")
    runnable = set(data["may_run_code"])
    state = dict.fromkeys(data["added"], "new") | dict.fromkeys(data["changed"], "changed")
    rows = [
        (
            component.id,
            component.meta.version,
            state.get(f"{component.id} {component.version}", ""),
            "yes" if component.id in runnable else "",
            component.meta.title,
        )
        for component in contents.components
    ]
    print_table(("component", "version", "change", "runs code", "title"), rows)
    print_lines(f"removed: {item}" for item in data["removed"])
    # A file that cannot be read may hold anything; it must not steer the terminal.
    safe = ("".join(c if c.isprintable() else "?" for c in item) for item in data["problems"])
    print_lines(f"problem: {item}" for item in safe)


def publish(
    components: Annotated[list[str], typer.Argument(help="kind:name, one or several", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="a repository, or a .zip to make", show_default=False)],
    json: Json = False,
) -> None:
    """Copy components into another repository or a zip, with its content hash.

    Example: holdfast publish program:blur --to blur.zip
    """
    from holdfast import hub

    published = hub.publish_components(components, to)
    if json:
        print_json(published.to_json())
        return
    print(f"{', '.join(published.components)} in {published.path}")
    print(f"content sha256:{published.hash}")


def remove(
    target: Annotated[
        str, typer.Argument(help="kind:name of your own, or a pulled repository", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: Json = False,
) -> None:
    """Take out a component of your own, or a whole pulled repository.

    Example: holdfast remove program:blur
    """
    from holdfast import hub

    if not yes and not json and sys.stdin.isatty():
        typer.confirm(f"Remove {target}?", abort=True)
    place = hub.remove(target)
    if json:
        print_json({"removed": target, "path": str(place)})
    elif ":" in target:
        print(f"{target} is now in {place}")
    else:
        print(f"repository {target} is removed")


def act(
    context: typer.Context,
    action: Annotated[str, typer.Argument(help="an action of the component's kind", show_default=False)],
    target: Target,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="copy the results to this folder")] = None,
    json: Json = False,
) -> None:
    """Do what the kind of a component, a project's own, calls by this name.

    Example: holdfast act test card:my-card
    """
    from holdfast import hub

    done = hub.act(target, action, arguments.parse(context.args), out=out)
    if json:
        print_json({**done.to_json(), "experiment": str(done.folder)})
    else:
        print(f"{action} {target}: {done.seconds:.1f} s; run {done.id}; results in {out or done.folder}")


def access(
    request: Annotated[str, typer.Argument(help="@file.json, or JSON", show_default=False)], json: Json = True
) -> None:
    """Do what a JSON request asks, as CK's access did: {"action": …} gives {"return": 0, …}.

    Example: holdfast access '{"action": "search", "text": "hardened"}'
    """
    import json as jsonlib

    from holdfast import hub
    from holdfast.core.errors import UsageError

    try:
        asked = arguments.load_json(Path(request[1:])) if request.startswith("@") else jsonlib.loads(request)
    except ValueError as error:
        raise UsageError("request", expected="JSON", got=str(error)) from error
    answer = hub.access(asked)
    print_json(answer)
    if answer["return"]:
        raise SystemExit(answer["return"])
