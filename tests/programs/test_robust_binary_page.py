"""The page of results is what its script makes of the records that are kept."""

import re
import subprocess
import sys
from pathlib import Path

from holdfast.core.result import read_records
from holdfast.programs.robust_binary_derived import chosen

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "robust-binary-results.md").read_text()
RECORDS = ROOT / "benchmarks" / "records" / "robust_binary.jsonl"


def test_the_page_is_the_scripts():
    code = (
        "import sys; sys.path.insert(0, 'docs'); import robust_binary_results as r; print(r.page(), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == TEXT


def test_the_table_shows_the_records():
    """Every cell of the table over p and r, read back; the best of each column is the largest."""
    section = re.search(
        r"^## Robust accuracy over pruning rate r and p$.*?(?=^## )", TEXT, re.DOTALL | re.MULTILINE
    )
    head, _, *rows = [line for line in section[0].splitlines() if line.startswith("|")]
    rates = [float(rate) for rate in re.findall(r"r = ([\d.]+)", head)]
    records = read_records(RECORDS)
    assert len(rows) * len(rates) >= len(chosen(records, table="p-r")) > 0
    for column, rate in enumerate(rates):
        best = max(r.value for r in chosen(records, table="p-r", prune_rate=rate))
        for line in rows:
            p, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found = chosen(records, table="p-r", prune_rate=rate, p=float(p))
            if not found:
                assert cells[column] == "–"
                continue
            assert cells[column].strip("*").startswith(f"{found[0].value:.1f} [")
            assert cells[column].startswith("**") == (found[0].value == best)


def test_its_figures_are_there():
    for name in re.findall(r"\]\((images/[^)]+)\)", TEXT):
        assert (ROOT / "docs" / name).read_text().startswith("<svg"), name
