"""The worked page: the numbers that it prints, read back and worked out anew."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "ft-cnn.md").read_text()
CLEAN, ROW, COLUMN = re.split(r"^## .*$", TEXT, flags=re.MULTILINE)[:3]


def rows(section, name):
    """The table rows ``name_1``, ``name_2``… of a section, as an array."""
    found = re.findall(rf"^\| {name}_\d+ \| (.+) \|$", section, flags=re.MULTILINE)
    return np.array([[int(cell) for cell in line.split(" | ")] for line in found])


def value(section, name):
    """The numbers of the row called ``name``."""
    (found,) = re.findall(rf"^\| {re.escape(name)}(?: = [^|]*)? \| (.+) \|$", section, flags=re.MULTILINE)
    return [int(cell) for cell in found.split(", ")]


@pytest.fixture(scope="module")
def operands():
    return rows(CLEAN, "D"), rows(CLEAN, "W")


def changed(section, name, array):
    """The array with the one change that the section tells of."""
    pattern = rf"{name}_(\d)\[(\d)\] from (-?\d+) into (-?\d+)"
    i, k, before, after = map(int, re.search(pattern, section).groups())
    assert array[i - 1, k - 1] == before
    struck = array.copy()
    struck[i - 1, k - 1] = after
    return struck, i


def test_the_fault_free_numbers(operands):
    d, w = operands
    o, n, m = rows(CLEAN, "O"), np.arange(1, 4), np.arange(1, 5)
    assert o.tolist() == [[int(x @ y) for y in w] for x in d]
    assert value(CLEAN, "Cd1") == d.sum(0).tolist()
    assert value(CLEAN, "Cd2") == (n[:, None] * d).sum(0).tolist()
    assert value(CLEAN, "Cw1") == w.sum(0).tolist()
    assert value(CLEAN, "Cw2") == (m[:, None] * w).sum(0).tolist()
    # The checksums, from the output that they must equal.
    assert value(CLEAN, "Co1") == o.sum(0).tolist()
    assert value(CLEAN, "Co2") == o.sum(1).tolist()
    assert value(CLEAN, "Co5") == [o.sum()]
    assert value(CLEAN, "Co6") == [(m * o).sum()]
    assert value(CLEAN, "Co7") == [(n[:, None] * o).sum()]


def test_damaged_co2_is_overcome_by_co5_co7_and_co1(operands):
    d, w = operands
    clean, n = rows(CLEAN, "O"), np.arange(1, 4)
    struck, i = changed(ROW, "D", d)
    o = rows(ROW, "O")
    assert o.tolist() == (struck @ w.T).tolist()
    assert value(ROW, "Co2 - S2") == (struck @ w.sum(0) - o.sum(1)).tolist() == [0, 0, 0]
    assert value(ROW, "Co1 - S1") == (clean.sum(0) - o.sum(0)).tolist()
    (delta5,), (delta7,) = value(ROW, "Co5 - S5"), value(ROW, "Co7 - S7")
    assert delta5 == clean.sum() - o.sum() != 0
    assert delta7 == (n[:, None] * (clean - o)).sum()
    assert value(ROW, "i") == [delta7 // delta5] == [i]
    others = np.array(value(ROW, f"Σ of the rows other than {i}"))
    assert others.tolist() == (o.sum(0) - o[i - 1]).tolist()
    assert value(ROW, f"O_{i} corrected") == (np.array(value(ROW, "Co1")) - others).tolist()
    assert value(ROW, f"O_{i} corrected") == clean[i - 1].tolist()


def test_damaged_co1_is_overcome_by_co5_co6_and_co2(operands):
    d, w = operands
    clean, m = rows(CLEAN, "O"), np.arange(1, 5)
    struck, j = changed(COLUMN, "W", w)
    o = rows(COLUMN, "O")
    assert o.tolist() == (d @ struck.T).tolist()
    assert value(COLUMN, "Co1 - S1") == (struck @ d.sum(0) - o.sum(0)).tolist() == [0, 0, 0, 0]
    assert value(COLUMN, "Co2 - S2") == (clean.sum(1) - o.sum(1)).tolist()
    (delta5,), (delta6,) = value(COLUMN, "Co5 - S5"), value(COLUMN, "Co6 - S6")
    assert delta5 == clean.sum() - o.sum() != 0
    assert delta6 == (m * (clean - o)).sum()
    assert value(COLUMN, "j") == [delta6 // delta5] == [j]
    others = np.array(value(COLUMN, f"Σ of the columns other than {j}"))
    assert others.tolist() == (o.sum(1) - o[:, j - 1]).tolist()
    assert value(COLUMN, f"O_n{j} corrected") == (np.array(value(COLUMN, "Co2")) - others).tolist()
    assert value(COLUMN, f"O_n{j} corrected") == clean[:, j - 1].tolist()


def test_the_page_is_the_scripts():
    code = "import sys; sys.path.insert(0, 'docs'); import ft_cnn; print(ft_cnn.page(), end='')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=DOCS.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == TEXT
