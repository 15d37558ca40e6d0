"""The graph of a workflow: its steps in layers, with what each has found in the cache, as SVG or text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import fmean

from holdfast.hub.workflow import Plan

COLOURS = {
    "hit": ("#d9efdc", "#2e7d32", "from the cache"),
    "ran": ("#d7e6f7", "#1f5fa8", "ran"),
    "miss": ("#fdebcf", "#b26a00", "has to run"),
    "failed": ("#f8d7da", "#b3261e", "failed"),
    "interrupted": ("#f8d7da", "#b3261e", "interrupted"),
    "skipped": ("#ececec", "#757575", "skipped"),
    "": ("#ffffff", "#555555", "not run yet"),
}
"""Fill, line and meaning of every status."""

_WIDTH, _HEIGHT, _GAP, _LANE = 178, 40, 14, 66
_MARGIN, _LEGEND, _SWEEPS, _LETTERS = 16, 30, 8, 25


@dataclass
class Box:
    """One step, or all cells of one, drawn at (``layer``, ``row``); ``row`` counts from the top, in boxes."""

    id: str
    title: str
    needs: list[str]
    statuses: list[str] = field(default_factory=list)
    layer: int = 0
    row: float = 0.0

    @property
    def status(self) -> str:
        """The one status of all cells, else the first in the order of ``_WORST`` that a cell has."""
        return next((status for status in _WORST if status in self.statuses), "")


_WORST = ("failed", "interrupted", "miss", "ran", "hit", "skipped")


def boxes(plan: Plan, statuses: Mapping[str, str] | None = None) -> list[Box]:
    """The steps of ``plan``, cells of a matrix as one, laid out: every arrow points to a later layer.

    ``statuses`` are those of the bound steps, by id.
    """
    found: dict[str, Box] = {}
    name = {step.id: step.step.id for step in plan.steps}
    for step in plan.steps:
        box = found.setdefault(step.step.id, Box(step.step.id, step.title, []))
        box.needs = sorted({*box.needs, *(name[need] for need in step.needs)})
        box.statuses.append((statuses or {}).get(step.id, ""))
        box.layer = max([box.layer, *(found[need].layer + 1 for need in box.needs)])
    _arrange(found)
    return list(found.values())


def _arrange(found: Mapping[str, Box]) -> None:
    """Order each layer by the mean row of its boxes' neighbours, to and fro (Sugiyama et al. 1981)."""
    layers: dict[int, list[Box]] = {}
    for box in found.values():
        layers.setdefault(box.layer, []).append(box)
    readers: dict[str, list[str]] = {name: [] for name in found}
    for box in found.values():
        for need in box.needs:
            readers[need].append(box.id)
    tallest = max(map(len, layers.values()))
    for layer in layers.values():
        _place(layer, tallest)
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for number in sorted(layers, reverse=not forth):
            for box in layers[number]:
                near = [found[other].row for other in (box.needs if forth else readers[box.id])]
                box.row = fmean(near) if near else box.row
            layers[number].sort(key=lambda box: box.row)
            _place(layers[number], tallest)


def _place(layer: Sequence[Box], tallest: int) -> None:
    """Give the boxes of a layer rows in their order, centred."""
    for index, box in enumerate(layer):
        box.row = index + (tallest - len(layer)) / 2


def svg(plan: Plan, statuses: Mapping[str, str] | None = None) -> str:
    """The graph as an SVG document; layers run from left to right, colours tell what each step did."""
    drawn = boxes(plan, statuses)
    place = {
        box.id: (
            _MARGIN + box.layer * (_WIDTH + _LANE),
            _LEGEND + _MARGIN + box.row * (_HEIGHT + _GAP),
        )
        for box in drawn
    }
    layer = {box.id: box.layer for box in drawn}
    shown = [status for status in COLOURS if any(box.status == status for box in drawn)]
    width = max(max(x for x, _ in place.values()) + _WIDTH + _MARGIN, _MARGIN + 130 * len(shown))
    height = max(y for _, y in place.values()) + _HEIGHT + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(plan.component.id)} {escape(plan.component.meta.version)}</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
    ]
    lines += _legend(shown)
    # Arrows that leap over layers, which pass behind other boxes, are faint and below the others.
    arrows = sorted(
        ((layer[need] + 1 == box.layer, box.id, need) for box in drawn for need in box.needs),
        key=lambda arrow: arrow[0],
    )
    for near, reader, need in arrows:
        (from_x, from_y), (x, y) = place[need], place[reader]
        from_x, from_y, y = from_x + _WIDTH, from_y + _HEIGHT / 2, y + _HEIGHT / 2
        half = max(_LANE / 2, (x - from_x) / 2)
        lines.append(
            f'<path d="M{from_x:g},{from_y:g} C{from_x + half:g},{from_y:g} {x - half:g},{y:g} {x:g},{y:g}" '
            f'fill="none" stroke="{"#8a95a3" if near else "#d3d9e0"}"/>'
        )
    for box in drawn:
        lines += _drawn(box, *place[box.id])
    return "\n".join([*lines, "</svg>", ""])


def _legend(shown: Sequence[str]) -> list[str]:
    lines = []
    for index, status in enumerate(shown):
        fill, line, meaning = COLOURS[status]
        x = _MARGIN + 130 * index
        lines.append(f'<rect x="{x}" y="10" width="14" height="14" rx="3" fill="{fill}" stroke="{line}"/>')
        lines.append(f'<text x="{x + 20}" y="22" font-size="12" fill="#333333">{meaning}</text>')
    return lines


def _drawn(box: Box, x: float, y: float) -> list[str]:
    fill, line, meaning = COLOURS[box.status]
    cells = f" ×{len(box.statuses)}" if len(box.statuses) > 1 else ""
    name = _shortened(box.id, _LETTERS - 4 - len(cells)) + cells
    return [
        f"<g><title>{escape(box.id)}: {escape(box.title)} ({meaning})</title>",
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" '
        f'stroke="{line}"/>',
        f'<text x="{x + 9:g}" y="{y + 17:g}" font-size="12.5" font-weight="600" fill="#1a1a1a">'
        f"{escape(name)}</text>",
        f'<text x="{x + 9:g}" y="{y + 32:g}" font-size="11" fill="#4d4d4d">'
        f"{escape(_shortened(box.title, _LETTERS))}</text></g>",
    ]


def _shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def text(plan: Plan, statuses: Mapping[str, str] | None = None) -> str:
    """The graph in words: a line a step, layer by layer, with what it needs and its status."""
    lines = []
    for box in sorted(boxes(plan, statuses), key=lambda box: (box.layer, box.row)):
        cells = f" ×{len(box.statuses)}" if len(box.statuses) > 1 else ""
        needs = f" ← {', '.join(box.needs)}" if box.needs else ""
        status = f" [{COLOURS[box.status][2]}]" if box.status else ""
        lines.append(f"{box.layer + 1:>2}. {box.id}{cells}{needs}{status}")
    return "\n".join(lines)
