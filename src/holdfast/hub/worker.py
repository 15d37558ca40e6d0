"""The process of a Python step: reads ``call.json``, calls the function, leaves ``error.json`` if it fails.

Imports as little as possible: everything here is paid by every step.
"""

from __future__ import annotations

import errno
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from holdfast.core.errors import INTERRUPTED_EXIT_CODE, ComponentError, HoldfastError, StorageError

TYPE_CHECKING = False  # as in holdfast/__init__.py
if TYPE_CHECKING:
    from typing import Any

_NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def main(work: Path) -> int:
    """Run the call described in ``work/call.json``; return the exit code."""
    call = json.loads((work / "call.json").read_text(encoding="utf-8"))
    try:
        function = _function(call["entry"], Path(call["here"]))
        function(Path(call["out"]), **_arguments(call["inputs"], call["types"]))
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except HoldfastError as error:
        _report(work, error)
        return error.exit_code
    except OSError as error:
        _trace()
        if error.errno not in _NO_SPACE:
            return 1
        full = StorageError(
            f"cannot write {error.filename or 'output'}", got=error.strerror, remedy="free space"
        )
        _report(work, full)
        return full.exit_code
    except Exception:
        _trace()
        return 1
    return 0


def _trace() -> None:
    import traceback  # only failures pay for it

    traceback.print_exc(file=sys.stdout)


def _function(entry: str, here: Path) -> Callable[..., object]:
    module, _, name = entry.partition(":")
    if module.endswith(".py"):
        sys.path.insert(0, str(here))
        module = Path(module).with_suffix("").as_posix().replace("/", ".")
    loaded = importlib.import_module(module)
    file = getattr(loaded, "__file__", None) or ""
    if entry.partition(":")[0].endswith(".py") and not Path(file).is_relative_to(here):
        # A file such as json.py: the standard module of that name is loaded already.
        raise ComponentError(f"program entry {entry!r}", expected="a module name of its own", got=module)
    function = getattr(loaded, name, None)
    if not callable(function):
        raise ComponentError(
            f"program entry {entry!r}", expected=f"a function {name}", got="none in the module"
        )
    return function  # type: ignore[no-any-return]


def _arguments(inputs: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    arguments = dict(inputs)
    for name, value in inputs.items():
        if value is not None and types[name] == "path":
            arguments[name] = Path(value)
        elif value is not None and types[name] == "paths":
            arguments[name] = [Path(item) for item in value]
    return arguments


def _report(work: Path, error: HoldfastError) -> None:
    print(f"{type(error).__name__}: {error}", flush=True)
    problem = {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
    try:
        (work / "error.json").write_text(json.dumps(problem), encoding="utf-8")
    except OSError:
        print("the error could not be written to error.json", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
