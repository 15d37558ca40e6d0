"""Where repositories are pulled from: a folder, an archive or a git address, brought here as plain files.

Nothing of what arrives runs: git starts without hooks, filters, submodules or a question, and every file is
copied as bytes.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from holdfast.core.errors import DataError, StorageError, UsageError
from holdfast.core.paths import storage_errors
from holdfast.hub.packages.archives import form_of, unpack

MOST_BYTES: Final = 2 << 30
MOST_FILES: Final = 200_000
TIMEOUT_S: Final = 300.0
_LEFT_OUT: Final = frozenset({".git", "__pycache__"})
_PROTOCOLS: Final = "https:http:ssh:git:file"

Kind = Literal["folder", "archive", "git"]


def kind_of(origin: str) -> Kind:
    """Whether ``origin`` is a folder, a zip or tar archive, or a git address. Raises UsageError."""
    path = Path(origin).expanduser()
    if path.is_dir():
        return "git" if (path / "HEAD").is_file() and (path / "objects").is_dir() else "folder"
    if path.is_file():
        if form_of(path.name) in ("zip", "tar"):
            return "archive"
        raise UsageError("origin", expected="a folder, a .zip or .tar archive, or a git address", got=origin)
    scheme, separator, _ = origin.partition("://")
    scp = ":" in origin and "@" in origin.partition(":")[0] and not separator
    if (separator and scheme in _PROTOCOLS.split(":")) or scp:
        return "git"
    raise UsageError(
        "origin",
        expected="a folder, a .zip or .tar archive, or a git address",
        got=repr(origin),
        remedy="check the path, or write https://… or git@…",
    )


def bring(
    origin: str, staging: Path, *, most_bytes: int = MOST_BYTES, timeout_s: float = TIMEOUT_S
) -> str | None:
    """Copy what lies at ``origin`` into the empty folder ``staging``; return the commit of a git origin.

    Left out: ``.git`` and ``__pycache__``, whose content no hash covers. Raises DataError for what must not
    be there (paths and links that lead out, links to folders, devices, more than ``most_bytes`` bytes or
    200,000 files, damaged archives), UsageError for an unknown or unreachable origin, StorageError.
    """
    kind = kind_of(origin)
    if kind == "folder":
        _copy(Path(origin).expanduser().resolve(), staging, most_bytes)
        return None
    arrived = staging.with_name(f"{staging.name}.arrived")
    try:
        if kind == "archive":
            archive = Path(origin).expanduser()
            form = form_of(archive.name)
            assert form is not None  # kind_of looked
            unpack(archive, arrived, form, limit=most_bytes)
            revision = None
        else:
            revision = _clone(origin, arrived, timeout_s)
        _copy(_single_folder(arrived), staging, most_bytes)
    finally:
        shutil.rmtree(arrived, ignore_errors=True)
    return revision


def _single_folder(root: Path) -> Path:
    """The one folder that an archive holds, or the archive itself."""
    inside = [path for path in root.iterdir() if path.name not in _LEFT_OUT]
    only = inside[0] if len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink() else None
    # <kind>/ alone is a repository with components of one kind; a wrapping folder has kinds below it.
    wrapped = only is not None and not any(only.glob("*/component.json"))
    return only if only is not None and wrapped else root


def _clone(origin: str, target: Path, timeout_s: float) -> str:
    git = shutil.which("git")
    if git is None:
        raise UsageError(
            "pulling by git", expected="git", got="not installed", remedy="install git, or use a zip"
        )
    local = Path(origin).expanduser()
    address = local.resolve().as_uri() if local.exists() else origin
    nothing = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.symlinks=true"]
    nothing += [
        "-c",
        "protocol.ext.allow=never",
        "-c",
        "filter.lfs.smudge=",
        "-c",
        "filter.lfs.required=false",
    ]
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/true",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_TEMPLATE_DIR": "",
    }
    clone = [git, *nothing, "clone", "--quiet", "--depth", "1", "--no-tags", "--template="]
    _git([*clone, "--", address, str(target)], origin, environment, timeout_s)
    return _git([git, "-C", str(target), "rev-parse", "HEAD"], origin, environment, timeout_s).strip()


def _git(command: list[str], origin: str, environment: dict[str, str], timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(origin, expected=f"git to end within {timeout_s:g} s", got="no end") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UsageError(origin, expected="a git repository", got=last[0], remedy="check the address")
    return done.stdout


def _copy(source: Path, target: Path, most_bytes: int) -> None:
    left = most_bytes
    for files, (path, name) in enumerate(_files(source), start=1):
        left -= path.stat().st_size
        if left < 0 or files > MOST_FILES:
            raise _refused(source, f"more than {most_bytes} bytes or {MOST_FILES} files")
        place = target / name
        with storage_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            place.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _files(source: Path) -> Iterator[tuple[Path, Path]]:
    """Regular files below ``source`` and their relative names; links to files inside count as files."""

    def stop(error: OSError) -> None:
        raise StorageError(f"cannot read {error.filename}", got=error.strerror)

    inside = source.resolve()
    for folder, folders, names in os.walk(source, onerror=stop):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        for name in (*folders, *sorted(names)):
            path = Path(folder) / name
            relative = path.relative_to(source)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                if not path.resolve().is_relative_to(inside):
                    raise _refused(source, f"the link {relative}, which leads out")
                if not path.is_file() or _LEFT_OUT.intersection(path.resolve().relative_to(inside).parts):
                    raise _refused(source, f"the link {relative} to a folder or to nothing")
            elif stat.S_ISDIR(mode):
                continue
            elif not stat.S_ISREG(mode):
                raise _refused(source, f"the device or pipe {relative}")
            if name not in _LEFT_OUT:
                yield path, relative


def _refused(source: Path, why: str) -> DataError:
    return DataError(
        str(source), expected="regular files and folders inside", got=why, remedy="do not trust it"
    )
