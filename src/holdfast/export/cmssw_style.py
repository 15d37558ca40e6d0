"""CMS naming and style rules, checked on C++ files: those of the rules that a text can show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 120
_CLASS = re.compile(
    r"\b(class|struct|enum\s+class|enum|union)\s+([A-Za-z_]\w*)[^;{}()=<>]*(?:<[^;{}()]*>)?[^;{}()]*\{"
)
_PRINTF = re.compile(r"\b(?:std::)?[fsv]*n?printf\s*\(")
_UPPER, _LOWER = re.compile(r"[A-Z][A-Za-z0-9]*"), re.compile(r"[a-z][A-Za-z0-9]*")
_NO_MEMBER = re.compile(r"(?:using|typedef|friend|static_assert|template\s*<[^>]*>\s*(?:class|struct))\b")


@dataclass(frozen=True)
class Violation:
    """A rule that a file breaks, and where."""

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message} [{self.rule}]"


def check_style(package: Path, name: str) -> list[Violation]:
    """What the C++ files below the folder ``package`` of the CMSSW package ``name`` (A/B) break, in order.

    Rules: ``columns`` (at most 120), ``guard`` (A_B_File_h), ``pair`` (each class has File.h and File.cc),
    ``type`` (UpperCamel), ``method`` (lowerCamel), ``member`` (ends in _), ``public-data`` (none), ``printf``
    (none). It reads text, not C++: macros and code of a shape unlike this package's may escape it.
    """
    found: list[Violation] = []
    for path in sorted([*package.rglob("*.h"), *package.rglob("*.cc")]):
        where = path.relative_to(package).as_posix()
        text = path.read_text(encoding="utf-8")
        found += [Violation(where, *each) for each in (*_lines(text), *_code(_bare(text)))]
        if path.suffix == ".h":
            found += [
                Violation(where, *each) for each in _guard(text, f"{name.replace('/', '_')}_{path.stem}_h")
            ]
        if not any(other.exists() for other in _partners(path)):
            found.append(
                Violation(where, 1, "pair", f"{path.stem} has no {_partners(path)[0].suffix} beside it")
            )
    return found


def _partners(path: Path) -> list[Path]:
    """Where the other file of a class may lie: in the same folder, or interface/ and src/ of each other."""
    other, folder = (".cc", "src") if path.suffix == ".h" else (".h", "interface")
    return [path.with_suffix(other), path.parent.parent / folder / (path.stem + other)]


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS:
            yield number, "columns", f"{len(line)} columns, expected at most {COLUMNS}"


def _guard(text: str, guard: str) -> Iterator[tuple[int, str, str]]:
    lines = [line for line in _bare(text).splitlines() if line.strip()]
    if lines[:2] != [f"#ifndef {guard}", f"#define {guard}"] or lines[-1] != "#endif":
        yield 1, "guard", f"expected the include guard {guard}"


def _code(text: str) -> Iterator[tuple[int, str, str]]:
    for found in _PRINTF.finditer(text):
        yield _line(text, found.start()), "printf", "printf; expected the message logger"
    for found in _CLASS.finditer(text):
        kind, name = found[1], found[2]
        if not _UPPER.fullmatch(name):
            yield _line(text, found.start()), "type", f"{kind} {name}, expected UpperCamel"
        if kind in ("class", "struct"):
            yield from _members(text, found.end(), name, kind == "struct")


def _members(text: str, start: int, owner: str, public: bool) -> Iterator[tuple[int, str, str]]:
    """Violations of the declarations in the class body that begins at ``start``."""
    for at, statement in _statements(text, start):
        label = re.match(r"(public|protected|private)\s*:(?!:)", statement)
        while label:
            public, cut = label[1] == "public", label.end()
            statement = statement[cut:].lstrip()
            label = re.match(r"(public|protected|private)\s*:(?!:)", statement)
        line = _line(text, at)
        if (
            not statement
            or _NO_MEMBER.match(statement)
            or re.match(r"(class|struct|enum|union)\b", statement)
        ):
            continue
        method = _method(statement)
        if method is not None:
            if method != owner and not _LOWER.fullmatch(method):
                yield line, "method", f"method {method}, expected lowerCamel"
            continue
        member = re.search(r"([A-Za-z_]\w*)\s*(?:\[[^\]]*\]\s*)*(?:[={].*)?$", statement, re.DOTALL)
        name = member[1] if member else statement
        if public:
            yield line, "public-data", f"public data {name}"
        if not re.fullmatch(r"[a-z][A-Za-z0-9]*_", name):
            yield line, "member", f"member {name}, expected lowerCamel with a _ at its end"


def _method(statement: str) -> str | None:
    """The name of what ``statement`` declares if that is a function; constructors have their class's."""
    head = statement
    while (plain := re.sub(r"<[^<>]*>", "", head)) != head:
        head = plain
    if re.search(r"\boperator\b|~", head.split("(")[0]):
        return "operators"
    found = re.match(r"[^=({]*?([A-Za-z_]\w*)\s*\(", head)
    return found[1] if found else None


def _statements(text: str, start: int) -> Iterator[tuple[int, str]]:
    """The declarations of a body, each with where it begins; what is in its inner braces is left out."""
    depth, begin = 0, start
    kept: list[str] = []
    for at in range(start, len(text)):
        char = text[at]
        if char == "}" and depth == 0:
            return
        if not kept and char.isspace():
            begin = at + 1
            continue
        if depth == 0 or (depth == 1 and char == "}"):
            kept.append(char)
        depth += (char == "{") - (char == "}")
        # A function ends with its body, anything else (and braces among its arguments) with a semicolon.
        whole = depth == 0 and kept.count("(") == kept.count(")")
        if whole and (char == ";" or (char == "}" and _method("".join(kept)) is not None)):
            yield begin, "".join(kept).rstrip(";{} \n")
            begin, kept = at + 1, []


def _bare(text: str) -> str:
    """``text`` with comments and the content of strings blanked out, line by line where it was."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'

    def blank(found: re.Match[str]) -> str:
        return '""' if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0])

    return "\n".join(line.rstrip() for line in re.sub(pattern, blank, text, flags=re.DOTALL).split("\n"))


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
