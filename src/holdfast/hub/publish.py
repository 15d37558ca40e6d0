"""The user's own folder: declared outputs, records and run description, each file whole or not there."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from holdfast.core.errors import UsageError
from holdfast.core.paths import atomic_folder, atomic_path, storage_errors
from holdfast.hub.run_record import Run
from holdfast.hub.workflow import Plan


def prepare(out: Path) -> None:
    """Make ``out`` a folder before any work is done. Raises UsageError if it is a file, StorageError."""
    if out.exists() and not out.is_dir():
        raise UsageError(
            "output folder", expected="a folder", got=f"the file {out}", remedy="choose another place"
        )
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)


def outputs(plan: Plan, made: Mapping[str, Mapping[str, str] | None], run: Run, out: Path) -> None:
    """Copy the declared outputs of ``plan`` into ``out``, then ``records.jsonl`` and ``run.json``.

    Outputs of skipped steps are left out. Raises StorageError.
    """
    for path, (step, name) in plan.outputs.items():
        paths = made[step]
        if paths is not None:
            source, target = Path(paths[name]), out / path
            _copy_folder(source, target) if source.is_dir() else _copy_file(source, target)
    run.write(out)
    run.out = out


def _copy_file(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _copy_folder(source: Path, target: Path) -> None:
    with storage_errors(target):
        replaced = target.with_name(f".{target.name}.replaced-{secrets.token_hex(4)}")
        with atomic_folder(target) as staging:
            shutil.copytree(source, staging, dirs_exist_ok=True, copy_function=shutil.copyfile)
            if target.exists():
                target.rename(replaced)
        shutil.rmtree(replaced, ignore_errors=True)
