"""The tables and calls of the exported C, from its steps."""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.export import c_weights
from holdfast.export.c_arena import Life, place
from holdfast.export.c_steps import Maps, Pointwise, Pool, Product, Step, Windows
from holdfast.models.scaling import KNEE

Flash = Literal["fast", "compact"]
"""How weights lie in flash: where each one reads, or in the packed file's code which they are."""
BYTES = {"uint8_t": 1, "uint16_t": 2, "float": 4}


class Tables:
    """What the templates are filled with; equal tables are written once.

    ``table_bytes`` counts the arrays, ``arena`` the floats of working memory; ``additions`` and
    ``multiplications`` are those of one image in convolutions and linear layers.
    """

    def __init__(self, steps: list[Step], flash: Flash) -> None:
        self.steps, self.flash = steps, flash
        self.image = Maps(*_shape(steps[0].out))
        self.compress = any(isinstance(step, Pointwise) and step.compress for step in steps)
        self.halves = flash == "compact" and any(
            isinstance(step, Pointwise) and step.statistics is not None for step in steps
        )
        self.arrays: dict[tuple[str, str], dict[str, Any]] = {}
        self.structs: dict[str, dict[str, str]] = {"maps": {}, "finish": {}, "product": {}}
        self.titles: dict[str, str] = {}
        self.additions = self.multiplications = 0
        self.where = self._places()
        self.calls = [f"{self._call(step)} /* {step.title} */" for step in steps]
        self.table_bytes = sum(BYTES[each["type"]] * each["count"] for each in self.arrays.values())

    def context(self) -> dict[str, Any]:
        """Values for the templates."""
        return {
            "arrays": list(self.arrays.values()),
            "structs": [
                {"type": kind, "name": name, "values": values, "title": self.titles.get(name)}
                for kind, found in self.structs.items()
                for values, name in found.items()
            ],
            "calls": self.calls,
            "tables": self.table_bytes,
            "arena": self.arena,
            "arena_bytes": 4 * self.arena,
            "additions": self.additions,
            "multiplications": self.multiplications,
            "compress": self.compress,
            "halves": self.halves,
            "pointwise": any(type(step) is Pointwise for step in self.steps),
            "pools": sorted({step.kind for step in self.steps if isinstance(step, Pool)}),
            "knee": literal(KNEE),
            "root_of_knee": literal(sqrt(KNEE)),
        }

    def _places(self) -> dict[Maps, str]:
        """Each map as the C expression of where it lies."""
        made = [step.out for step in self.steps[:-1]]
        last = {maps: index for index, step in enumerate(self.steps) for maps in _read(step)}
        lives = [Life(maps.floats, index, last.get(maps, index)) for index, maps in enumerate(made)]
        offsets, total = place(lives)
        self.arena = max(1, total)
        found = {maps: f"arena + {at}" for maps, at in zip(made, offsets, strict=True)}
        return {self.image: "input", self.steps[-1].out: "logits", **found}

    def _call(self, step: Step) -> str:
        source = self.image if step.source is None else step.source
        origin, target, to = self.where[source], self.where[step.out], self._maps(step.out)
        if isinstance(step, Pool):
            windows = f"{self._windows(step.rows)}, {self._windows(step.columns)}"
            return f"{step.kind}_pool(&{self._maps(source)}, {origin}, &{to}, {target}, {windows});"
        assert isinstance(step, Pointwise)
        other = "NULL, NULL"
        if step.residual is not None:
            other = f"&{self._maps(step.residual)}, {self.where[step.residual]}"
        finish = self._finish(step)
        if isinstance(step, Product):
            return f"sums(&{self._product(step)}, &{finish}, {origin}, &{to}, {target}, {other});"
        return f"pointwise(&{finish}, &{self._maps(source)}, {origin}, &{to}, {target}, {other});"

    def _finish(self, step: Pointwise) -> str:
        values: list[object] = [step.activation.upper()]
        values += [int(step.compress)] if self.compress else []
        found = step.statistics
        if self.flash == "fast" or found is None:
            values += [self._floats(step.scale, 1), self._floats(step.shift, 0)]
            return self._struct("finish", *values, *(["NULL", 0, 0] if self.halves else []))
        table = self._array("uint16_t", np.stack([found.mean, found.deviation], 1).reshape(-1))
        return self._struct(
            "finish", *values, "NULL", "NULL", table, literal(found.factor), literal(found.eps)
        )

    def _product(self, step: Product) -> str:
        assert step.source is not None
        self.additions += int(c_weights.live(step).sum()) * step.out.height * step.out.width
        self.multiplications += step.out.pixels
        start, row = c_weights.start(step), step.source.row
        reach = (start, step.stride[0] * row, step.stride[1])
        if self.flash == "fast":
            weights = self._array("uint8_t", np.frombuffer(c_weights.stepped(step), dtype=np.uint8))
            return self._struct("product", weights, *reach, title=step.title)
        code = c_weights.rice(step)
        bits = self._array("uint8_t", np.frombuffer(code.code, dtype=np.uint8))
        signs = "NULL"
        if code.signs:
            signs = self._array("uint8_t", np.frombuffer(code.signs, dtype=np.uint8))
        many, inner, high, wide = step.mask.shape
        numbers = (code.kept, code.k, inner * high * wide, high * wide, wide, many // step.groups, inner)
        steps = (step.source.plane, step.dilation[0] * row, step.dilation[1])
        key = f"UINT64_C({step.key or 0})"
        values = (bits, f"{bits} + {code.remainders}", signs, key, *numbers, *steps, *reach)
        return self._struct("product", *values, title=step.title)

    def _maps(self, maps: Maps) -> str:
        return self._struct("maps", *_shape(maps), maps.row, maps.plane, maps.origin)

    def _windows(self, windows: Windows) -> str:
        return self._array("uint16_t", np.array(windows).reshape(-1))

    def _floats(self, values: NDArray[np.float64] | None, neutral: float) -> str:
        if values is None or bool((values == neutral).all()):
            return "NULL"
        return self._array("float", values)

    def _array(self, kind: str, values: NDArray[Any]) -> str:
        text = wrapped(values)
        new = {"name": f"table{len(self.arrays)}", "type": kind, "count": len(values), "text": text}
        return str(self.arrays.setdefault((kind, text), new)["name"])

    def _struct(self, kind: str, *values: object, title: str | None = None) -> str:
        text = ", ".join(map(str, values))
        found = self.structs[kind]
        name = found.setdefault(text, f"{kind}{len(found)}")
        if title is not None:
            self.titles.setdefault(name, title)
        return name


def literal(value: float) -> str:
    """``value``, rounded to float32, as C writes it."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def wrapped(values: ArrayLike) -> str:
    """``values`` as lines of an initialiser."""
    flat = np.asarray(values).reshape(-1)
    texts = [literal(value) if flat.dtype.kind == "f" else str(value) for value in flat.tolist()]
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) + 2 > 104:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return "\n".join([*lines, line])


def _read(step: Step) -> list[Maps]:
    found = [step.source, step.residual if isinstance(step, Pointwise) else None]
    return [maps for maps in found if maps is not None]


def _shape(maps: Maps) -> tuple[int, int, int]:
    return maps.channels, maps.height, maps.width
