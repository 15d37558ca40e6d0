"""Private Python environments: exact requirements, nothing else, in a folder of their own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from holdfast.core.canonical import content_hash, hash_file
from holdfast.core.errors import ComponentError, DataError, UsageError
from holdfast.core.paths import storage_errors

PYTHON = "bin/python"


def interpreter() -> str:
    """What an environment is made for, for example cpython-3.11-x86_64."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"{sys.implementation.name}-{version}-{platform.machine()}"


def make(
    requirements: list[str], staging: Path, *, offline: bool, wheels: Path | None
) -> list[dict[str, Any]]:
    """Install exactly ``requirements`` into a new environment in ``staging``; return what each came from.

    ``wheels`` is a folder to take them from instead of the index. Raises DataError with pip's own words, and
    ComponentError if a requirement needs another one that is not listed.
    """
    with storage_errors(staging):
        venv.EnvBuilder(symlinks=True, with_pip=False).create(staging)
    report = staging.with_name("report.json")
    sources = ["--no-index"] if offline or wheels else []
    if wheels is not None:
        sources += ["--find-links", str(wheels.resolve())]
    done = _pip(staging, "install", "--quiet", "--no-deps", "--report", str(report), *sources, *requirements)
    if done.returncode != 0:
        raise DataError(
            f"cannot install {', '.join(requirements)}",
            got=_last_words(done),
            remedy="give a folder of wheels by --from FOLDER" if offline else None,
        )
    checked = _pip(staging, "check")
    if checked.returncode != 0:
        raise ComponentError(
            "pip", expected="every requirement of a requirement in the list", got=_last_words(checked)
        )
    installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    return sorted((_described(item) for item in installed), key=lambda item: str(item["distribution"]))


def identity(distributions: list[dict[str, Any]]) -> str:
    """The hash of an environment: its distributions by version and hash, and the interpreter."""
    named = {item["distribution"]: [item["version"], item["sha256"]] for item in distributions}
    return content_hash({"pip": named, "python": interpreter()})


def settle(staging: Path, final: Path) -> None:
    """Let everything in ``staging`` that names its own folder name ``final`` instead."""
    old, new = str(staging).encode(), str(final).encode()
    with storage_errors(staging):
        for path in [staging / "pyvenv.cfg", *(staging / "bin").iterdir()]:
            if path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            if old in data:
                path.write_bytes(data.replace(old, new))


def _described(item: dict[str, Any]) -> dict[str, Any]:
    info = item["download_info"]
    digest = info.get("archive_info", {}).get("hashes", {}).get("sha256")
    if digest is None and info["url"].startswith("file://"):
        digest = hash_file(Path(info["url"].removeprefix("file://")))
    metadata = item["metadata"]
    return {"distribution": metadata["name"].lower(), "version": metadata["version"], "sha256": digest}


def _pip(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--python", str(folder / PYTHON), "--no-input"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*command, "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if "No module named pip" in done.stderr:
        raise UsageError("pip", expected="pip beside Holdfast", got="none", remedy="python -m ensurepip")
    return done


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "; ".join(lines[-3:]) or f"exit code {done.returncode}"
