"""A plugin's own Python function, called in a fresh interpreter that can do little."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.core.errors import ComponentError
from holdfast.hub.detection.sandbox import Answer, Sandbox

# Isolated (-I), with the standard library alone (-S). The answer follows a mark that the hook's prints lack.
_BOOT = """
import importlib.util, json, resource, sys
file, function, mark, given, seconds = sys.argv[1:]
for name, value in (("CPU", int(seconds)), ("AS", 1 << 30), ("FSIZE", 0), ("NOFILE", 64), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("hook", file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
answer = getattr(module, function)(**json.loads(given))
print("\\n" + mark + json.dumps(answer))
"""


def call_hook(
    folder: Path, hook: str, found: Mapping[str, str], *, sandbox: Sandbox, timeout: float
) -> tuple[Any, str | None]:
    """What the function ``hook`` (``file.py:function``, in ``folder``) answers to ``found``, or the problem.

    It gets ``path``, ``real``, ``text`` (what the command or the name and content said) and ``version`` (as
    the pattern read it, or "") as keywords, and answers None, a version, or a dictionary with ``version`` and
    ``environment``. Raises ComponentError if the file lies outside of the component.
    """
    name, _, function = hook.partition(":")
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise ComponentError(f"hook {hook!r}", expected="a file of the component", got=str(file))
    mark = secrets.token_hex(8)
    seconds = str(max(1, round(timeout)))
    command = [sys.executable, "-I", "-S", "-c", _BOOT, str(file), function, mark, json.dumps(dict(found))]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    answer = sandbox.ask([*command, seconds], timeout=timeout, environment=environment)
    return _parsed(answer, mark)


def _parsed(answer: Answer, mark: str) -> tuple[Any, str | None]:
    if answer.problem is not None:
        return None, f"hook: {answer.problem}"
    _, _, text = answer.text.rpartition(f"\n{mark}")
    try:
        return json.loads(text), None
    except ValueError:
        return None, "hook: no answer"
