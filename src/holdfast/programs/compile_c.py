"""Program ``compile-c``: a C file, compiled by flags that a tuner may choose, and once by none of them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from holdfast.core.errors import StepError
from holdfast.core.result import Label, Record, write_records

SWITCHES = {
    "vectorize": ("-ftree-vectorize", "-fno-tree-vectorize"),
    "unroll": ("-funroll-loops", "-fno-unroll-loops"),
    "inline": ("-finline-functions", "-fno-inline"),
    "fast_math": ("-ffast-math", "-fno-fast-math"),
    "contract": ("-ffp-contract=fast", "-ffp-contract=off"),
    "strict_aliasing": ("-fstrict-aliasing", "-fno-strict-aliasing"),
    "link_time": ("-flto", "-fno-lto"),
}
KINDS = {
    "branches": r"j\w+|b(?:eq|ne|lt|gt|le|ge|\.\w+)|cbn?z",
    "calls": r"call\w*|bl",
    "multiplications": r"i?mul\w*|v?mul[sp][sd]|f?mul|f?madd",
    "divisions": r"i?div\w*|v?(?:div|sqrt)[sp][sd]|f(?:div|sqrt)|[su]div",
    "floating": r"v?(?:add|sub|mul|div|sqrt|cvt)\w*[sp][sd]|f(?:add|sub|mul|div|madd)",
}
"""Instructions of x86-64 and AArch64 that say what kind of program it is."""


def run(out: Path, *, source: Path, level: str, arch: str, **switches: bool) -> None:
    """Compile ``source`` to ``out/run``, and with -O0 to ``out/reference``.

    Records: the size of the stripped binary in bytes; and, of the code at -O1, how many instructions it has
    and which share of them are of each kind, the features that a learner knows a program by. Raises StepError
    with the compiler's words.
    """
    chosen = [SWITCHES[name][0 if on else 1] for name, on in switches.items()]
    if arch:
        chosen.append(f"-march={arch}")
    _compile(source, out / "run", [level, *chosen])
    _compile(source, out / "reference", ["-O0", "-ffp-contract=off"])
    _compile(source, out / "code.s", ["-O1", "-S"])
    labels: dict[str, Label] = {"program": source.stem}
    size = Record(
        metric="binary_size", value=(out / "run").stat().st_size, unit="B", direction="lower", labels=labels
    )
    found = features((out / "code.s").read_text(errors="replace"))
    write_records(
        out / "records.jsonl",
        [size]
        + [
            Record(metric=name, value=value, unit="1", direction="none", labels=labels)
            for name, value in found.items()
        ],
    )


def features(assembly: str) -> dict[str, float]:
    """Number of instructions in ``assembly``, and the share of each kind."""
    names = re.findall(r"^\t([a-z]\w*(?:\.\w+)?)", assembly, re.MULTILINE)
    touching = re.findall(r"^\t[a-z]\w*\t[^\n]*[(\[]", assembly, re.MULTILINE)
    count = max(1, len(names))
    found: dict[str, float] = {"instructions": len(names), "memory": len(touching) / count}
    for kind, pattern in KINDS.items():
        found[kind] = sum(re.fullmatch(pattern, name) is not None for name in names) / count
    return found


def _compile(source: Path, target: Path, flags: list[str]) -> None:
    compiler = os.environ.get("HOLDFAST_NEED_COMPILER", "cc")
    # Without this the size of the file is that of whole pages.
    link = [] if "-S" in flags else ["-s", "-Wl,-z,noseparate-code", "-lm"]
    command = [compiler, *flags, str(source), "-o", str(target), *link]
    done: Any = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StepError(
            f"compiling {source.name} with {' '.join(flags)}", got=(done.stderr or done.stdout)[-800:].strip()
        )
