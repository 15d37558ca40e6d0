"""All verbs. Each parses, calls the library once, and prints."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import typer

from holdfast.cli import (
    components,
    detection,
    experiments,
    exports,
    packages,
    tuning,
    verbs,
    views,
    workflows,
)
from holdfast.cli.output import print_json, print_table

EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}
DOMAIN_VERBS = (
    "train",
    "pretrain",
    "prune",
    "pack",
    "protect",
    "stress",
    "bench",
    "curves",
    "calibrate",
    "ensemble",
    "explore",
    "convert",
    "quantize",
)

app = typer.Typer(
    name="holdfast",
    help="Neural networks that hold fast, and the proof: under bit flips, hostile or noisy inputs, and on "
    "changing machines.",
    epilog="Start with: holdfast run workflow:egamma-hardened",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Target = Annotated[
    str, typer.Argument(help="kind:name, with @ and a version range if wanted", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="copy the results to this folder")]
Force = Annotated[bool, typer.Option("--force", help="run again what the cache already holds")]
Objectives = Annotated[
    list[str],
    typer.Option("--objective", help="METRIC:min or METRIC:max; may be repeated", show_default=False),
]


@app.command()
def version(json: Json = False) -> None:
    """Print the version.

    Example: holdfast version
    """
    from holdfast import __version__

    print_json({"version": __version__}) if json else print(__version__)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this installation can do and what it lacks.

    Example: holdfast doctor
    """
    rows = views.doctor()
    if json:
        print_json({row[0]: {"state": row[1], "detail": row[2]} for row in rows})
    else:
        print_table(("part", "state", "detail"), rows)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="only this kind")] = None,
    repositories: Annotated[
        bool, typer.Option("--repositories", help="the repositories instead, in order of precedence")
    ] = False,
    json: Json = False,
) -> None:
    """List components.

    Example: holdfast list workflow
    """
    views.repositories(json) if repositories else views.components(kind=kind, json=json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="words to look for")] = "",
    kind: Annotated[str | None, typer.Option(help="only this kind")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="a tag it must have; may be repeated")] = None,
    json: Json = False,
) -> None:
    """Find components by name, tag or text.

    Example: holdfast search hardened
    """
    views.components(text, kind=kind, tags=tag or (), json=json)


@app.command()
def show(target: Target, json: Json = False) -> None:
    """Show a component: what it is, its inputs, outputs and metrics.

    Example: holdfast show workflow:egamma-hardened
    """
    views.show(target, json)


@app.command()
def validate(
    path: Annotated[Path, typer.Argument(help="a component or a repository")], json: Json = False
) -> None:
    """Check one component or a whole repository.

    Example: holdfast validate my-components/
    """
    views.validate(path, json)


@app.command(context_settings=EXTRA)
def run(
    context: typer.Context,
    target: Target,
    out: Out = None,
    force: Force = False,
    settings: workflows.Settings = None,
    workers: workflows.Workers = None,
    executor: workflows.ExecutorName = None,
    software: packages.Software = None,
    locked: packages.Locked = False,
    lock: packages.LockFile = None,
    json: Json = False,
) -> None:
    """Run a component, or a workflow's file, with --key value or @file.json inputs.

    Example: holdfast run workflow:egamma-hardened --events 30000 --out results
    """
    verbs.run(
        target,
        context.args,
        out=out,
        force=force,
        json=json,
        settings=workflows.settings(settings),
        executor=executor,
        workers=workers,
        software=packages.choices(software),
        lock=packages.lock_file(locked, lock),
    )


@app.command(context_settings=EXTRA)
def explain(
    context: typer.Context,
    target: Target,
    settings: workflows.Settings = None,
    software: packages.Software = None,
    json: Json = False,
) -> None:
    """Say for each step why it is served from the cache or has to run.

    Example: holdfast explain workflow:egamma-hardened --events 40000
    """
    chosen = packages.choices(software)
    verbs.explain(target, context.args, json, workflows.settings(settings), software=chosen)


@app.command(context_settings=EXTRA)
def tune(
    context: typer.Context,
    target: Target,
    objective: Objectives,
    trials: Annotated[int, typer.Option(help="number of trials", min=1)] = 20,
    sampler: Annotated[str, typer.Option(help="tpe, random, nsga2 or grid")] = "tpe",
    constraint: Annotated[
        list[str] | None,
        typer.Option(help="METRIC<=NUMBER or METRIC>=NUMBER; may be repeated", metavar="TEXT"),
    ] = None,
    choice: Annotated[list[str] | None, typer.Option(help="search only this choice; repeatable")] = None,
    repetitions: Annotated[int, typer.Option(help="runs of every trial", min=1)] = 1,
    tight: Annotated[
        float | None, typer.Option(help="repeat until the first objective's interval is within ± this share")
    ] = None,
    budget_s: Annotated[float | None, typer.Option(help="start no trial after this many seconds")] = None,
    rungs: Annotated[
        str | None,
        typer.Option(
            help="INPUT=1,3,9: run candidates with few first, and discard weak ones", metavar="TEXT"
        ),
    ] = None,
    discard: Annotated[str, typer.Option(help="which are weak: halving or median")] = "halving",
    executor: Annotated[
        str | None, typer.Option(help="where trials run: local, dask or dask:tcp://HOST:PORT")
    ] = None,
    workers: Annotated[int, typer.Option(help="trials at a time", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="seed of the sampler")] = 0,
    json: Json = False,
) -> None:
    """Search a workflow's exposed choices for the best trade-offs; interrupted, the same command goes on.

    Example: holdfast tune workflow:compiler-flags --objective wall_time:min --objective binary_size:min
    """
    options = tuning.Options(
        objective, trials, seed, sampler, constraint or [], choice or [], repetitions, tight, budget_s,
        rungs, discard, executor, workers,
    )  # fmt: skip
    tuning.tune(target, context.args, options, json)


@app.command()
def frontier(
    source: Annotated[str, typer.Argument(help="an experiment's name, or a folder with records.jsonl")],
    objective: Objectives,
    by: Annotated[
        list[str] | None, typer.Option(help="labels that make a point (of a study: its trials)")
    ] = None,
    pick: Annotated[
        str | None, typer.Option(help="best:METRIC, knee, or within:METRIC=AMOUNT before them")
    ] = None,
    deploy: Annotated[
        Path | None, typer.Option(help="leave what was picked in this folder, ready to run")
    ] = None,
    json: Json = False,
) -> None:
    """Print the Pareto front of recorded points; pick one, and leave it as a bundle that runs.

    Example: holdfast frontier holdfast-out --objective auc:max --objective latency:min
    """
    tuning.frontier(source, objective, by or [], pick, deploy, json)


@app.command()
def report(
    source: Annotated[str, typer.Argument(help="paper:name, or a folder with records.jsonl")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file to write")] = None,
    json: Json = False,
) -> None:
    """Render a report from records, without running anything.

    Example: holdfast report holdfast-out -o report.html
    """
    views.report(source, out, json)


def _protect(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the results, or the .onnx file to write")
    ] = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="ONNX: correct or recompute faulty layers")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only list what would be protected, and what not and why")
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    verbs.protect(context.args, correct=correct, dry_run=dry_run, out=out, force=force, json=json)


def _export_c(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the C files", show_default=False)],
    force: Force = False,
    json: Json = False,
) -> None:
    verbs.export_c(context.args, out=out, force=force, json=json)


def _export_onnx(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="the .onnx file to write", show_default=False)],
    force: Force = False,
    json: Json = False,
) -> None:
    exports.export_onnx(context.args, out=out, force=force, json=json)


def _export_cmssw(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder below which the package lies")] = Path("."),
    force: Force = False,
    json: Json = False,
) -> None:
    exports.export_cmssw(context.args, out=out, force=force, json=json)


def _quantize(context: typer.Context, out: Out = None, force: Force = False, json: Json = False) -> None:
    exports.quantize(context.args, out=out, force=force, json=json)


_SPECIAL = {"export-onnx": _export_onnx, "export-cmssw": _export_cmssw, "quantize": _quantize}


def _domain_verb(verb: str, group: typer.Typer = app, name: str | None = None) -> None:
    program = views.load_builtin("program", verb)

    def command(context: typer.Context, out: Out = None, force: Force = False, json: Json = False) -> None:
        verbs.run(f"program:{verb}", context.args, out=out, force=force, json=json)

    if verb == "protect":
        command = _protect  # type: ignore[assignment]
    elif verb == "export-c":
        command = _export_c  # type: ignore[assignment]
    elif verb in _SPECIAL:
        command = _SPECIAL[verb]  # type: ignore[assignment]
    command.__doc__ = f"{program['title']}.\n\nExample: {program['example']}"
    usage = " ".join([*(name.upper() for name in program["cli"]["positional"]), "[OPTIONS]"])
    register = group.command(
        name or verb, context_settings=EXTRA, epilog=_inputs_help(program), options_metavar=usage
    )
    register(command)


def _inputs_help(program: dict[str, Any]) -> str:
    """The inputs as a list; \\b keeps click from wrapping it anew."""
    positional = program["cli"]["positional"]
    names = {
        name: name.upper() if name in positional else f"--{name.replace('_', '-')}"
        for name in program["inputs"]
    }
    column = 2 + max(map(len, names.values()))
    lines = ["\b", "Inputs:"]
    for name, declared in program["inputs"].items():
        meaning = declared["description"]
        if len(declared.get("choices") or ()) > 1:
            meaning += f": {', '.join(map(str, declared['choices']))}"
        if declared.get("default") not in (None, False):
            meaning += f" (default {declared['default']})"
        lines += wrap(
            meaning, 76, initial_indent="  " + names[name].ljust(column), subsequent_indent=" " * (column + 2)
        )
    return "\n".join(lines)


for _verb in DOMAIN_VERBS:
    _domain_verb(_verb)

for _function in (components.new, components.pull, components.publish, components.remove, components.access):
    app.command()(_function)
app.command("test")(components.run_checks)
app.command(context_settings=EXTRA)(components.act)
app.command("detect", context_settings=EXTRA)(detection.detect)
app.command("graph")(workflows.graph)
app.command("experiments")(experiments.experiments)
app.command("query")(experiments.query)
app.command("replay", context_settings=EXTRA)(experiments.replay)
app.command("install")(packages.install)
app.command("lock", context_settings=EXTRA)(packages.lock)

plan = typer.Typer(help="Make and read plans of the ladder.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(plan, name="plan")
_domain_verb("plan", plan, "make")


@plan.command("show")
def show_plan(
    path: Annotated[Path, typer.Argument(help="a plan.json")],
    json: Json = False,
) -> None:
    """Say which rungs each layer uses, and why.

    Example: holdfast plan show planned/plan.json
    """
    views.show_plan(path, json)


export = typer.Typer(
    help="Networks and experiments in forms that other software reads.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(export, name="export")
_domain_verb("export-c", export, "c")
_domain_verb("export-onnx", export, "onnx")
_domain_verb("export-cmssw", export, "cmssw")
export.command("experiment")(experiments.export_experiment)
