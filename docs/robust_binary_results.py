"""Writes ``docs/robust-binary-results.md`` and its figures: python docs/robust_binary_results.py [OUT].

OUT, the folder of a run of ``paper:robust-binary``, takes the place of what the page shows as measured.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import robust_table

from holdfast.core.result import Record, read_records, write_records
from holdfast.programs import robust_binary_sections as sections
from holdfast.programs import robust_binary_tables
from holdfast.programs.robust_binary_cells import PACKED

DOCS = Path(__file__).parent
PAGE = DOCS / "robust-binary-results.md"
RECORDS = DOCS.parent / "benchmarks" / "records" / "robust_binary.jsonl"
NETWORK = RECORDS.with_suffix(".packed")
IMAGES = DOCS / "images"

HEAD = """# Robust binary subnetworks, rerun

One command fills the tables of Liu et al., NeurIPS 2022 (arXiv 2202.01341; its slides of March 22, 2022), and
sets every cell beside the published one:

    holdfast run paper:robust-binary --scale digits --out robust-binary

`robust-binary/paper.html` has the claims: each cell of the slides' tables, what was measured for it, and
whether that was at source scale, at a reduced one (and what was cut), or not at all. `report.html` has the
tables and figures below, `records.jsonl` every number.

| `--scale` | network and data | takes |
|---|---|---|
| `digits` | the conv net on the 8×8 digits of scikit-learn | an hour on two cores, p-r a quarter |
| `mnist` | the same on 6,000 images of MNIST | about an hour |
| `cifar10-small` | the same on 2,000 images of CIFAR-10 | about an hour |
| `paper` | ResNet-34 on CIFAR-10 and CIFAR-100, 400 epochs (Fast: 100), AutoAttack | a GPU, and days |

`--tables` chooses among p-r, lbn-a, lbn-init, comparison, capacity, masks, counts and cost; `--seeds`,
`--prune-rates`, `--powers`, `--epochs`, `--limit`, `--test-limit`, `--precision bf16-mixed` and `--workers`
change what the scale says. Each training is a unit: finished ones are kept, and after a kill the same command
goes on from the checkpoints of those under way. What was found by a search is packed, and the packed network
is attacked.
"""


def keep(out: Path) -> None:
    """Keep what the page shows of a run in ``RECORDS`` and ``NETWORK``."""
    write_records(RECORDS, read_records(out / "records.jsonl"))
    shutil.copy(out / "networks" / PACKED, NETWORK)


def page() -> str:
    """The whole page."""
    if not RECORDS.exists():
        return (
            HEAD + "\nNo run is kept yet: `python docs/robust_binary_results.py robust-binary` keeps one.\n"
        )
    records = read_records(RECORDS)
    first = records[0]
    place = f"{first.platform['processor']}, {first.platform['cores']} cores"
    parts = [
        HEAD,
        "# Measured\n",
        f"{sections.scale(records)} {first.time[:10]}, {place}; records:"
        " `benchmarks/records/robust_binary.jsonl`.\n",
        *(f"- {sentence}" for sentence in sections.verdicts(records)),
        "",
    ]
    for name, figure in _figures(records):
        parts.append(
            f"![{figure['title']}]({IMAGES.name}/{name})\n\n{figure['title']}. {figure['caption']}\n"
        )
    parts += [_table(table) for table in robust_binary_tables.tables(records)]
    parts.append(robust_table.section())
    return "\n".join(parts)


def draw() -> None:
    """Write the figures of the page in place of those before."""
    for old in IMAGES.glob("robust-binary-*.svg"):
        old.unlink()
    for name, figure in _figures(read_records(RECORDS)):
        (IMAGES / name).write_text(figure["svg"], encoding="utf-8")


def _figures(records: list[Record]) -> list[tuple[str, dict[str, str]]]:
    found = sections.figures(records, NETWORK if NETWORK.exists() else None)
    return [(f"robust-binary-{number}.svg", figure) for number, figure in enumerate(found, 1)]


def _table(table: dict[str, Any]) -> str:
    lines = ["| " + " | ".join(table["columns"]) + " |", "|---" * len(table["columns"]) + "|"]
    for title, cells in table["rows"]:
        texts = [f"**{text}**" if best else text for text, best in cells]
        lines.append("| " + " | ".join([title, *texts]) + " |")
    return f"## {table['title']}\n\n{table['caption']}\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep(Path(sys.argv[1]))
    if RECORDS.exists():
        draw()
    PAGE.write_text(page(), encoding="utf-8")
