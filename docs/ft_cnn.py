"""Writes ``docs/ft-cnn.md``, the live paper and the class assignment: python docs/ft_cnn.py [RECORDS].

RECORDS, the ``records.jsonl`` of a run of the paper, takes the place of what the page shows as measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ft_cnn_results
import numpy as np
from numpy.typing import NDArray

PAGE = Path(__file__).parent / "ft-cnn.md"
Numbers = NDArray[np.int64]

D = np.array([[1, 2], [3, -1], [2, 2]])
W = np.array([[1, 0], [2, 1], [0, 3], [-1, 2]])
DAMAGED_D = (1, 0, 7)
DAMAGED_W = (2, 1, -5)
"""Index of the struck number, from 0, and what it becomes."""

HEAD = """# FT-CNN, rerun

One command runs what the slides on FT-CNN (Zhao et al., TPDS 32(7), arXiv 2003.12203) claim, and sets
the claims beside what was measured:

    holdfast run paper:ft-cnn --weights resnet20.th --out ft-cnn

`ft-cnn/paper.html` has the claims: each number and each cell of the slides' tables, what was measured
for it, and whether it was rerun at source scale, at a reduced scale (and what was cut), or not at all.
`ft-cnn/report.html` has the measurements: which scheme corrects which fault, what protection costs,
what flipped bits do to trained networks, plain, behind ECC, and protected. Every number is a record in
`ft-cnn/records.jsonl`.

Without `--weights` (a state dict of a ResNet-20 trained on CIFAR-10, with the images below
`HOLDFAST_DATA`) those steps are left out and their claims show as not run. A run that was killed goes on
where it was: finished steps come from the cache, and in a step finished trials and finished cells of the
overhead are kept.

The defaults are a reduced run for two cores. Overhead is measured cell by cell, a cell being a model at a
batch size: everything in it is timed in turn, round after round, `least` rounds at least and up to `pairs`
while `budget_s` lasts. A cell that would need more than `limit_s` is not run, and the compiled model is
timed at `compile_batches` only; tables and claims say so. The same with 30 pairs over three processes,
without a time limit:

    holdfast run paper:ft-cnn --weights resnet20.th --pairs 30 --least 30 --processes 3 \\
        --limit-s 1e6 --error-batches "[1, 16, 64]" --compile-batches "[1, 16, 64]" --out ft-cnn

Weights are random where only time is measured: it does not depend on them.

The slides also name two examples of oneDNN, whose protected counterparts are
`examples/onednn_cnn_inference_f32.py` (AlexNet, batch 1) and `examples/onednn_cnn_inference_int8.py` (its
conv3, batch 8, exact on integers).

# The class assignment

> If soft errors exist in Co2, Co5 and Co7 are used to locate the corrupted row, and Co1 is used to
> correct. Show with some example index values.

A layer small enough to follow by hand: a matrix product, N = 3 images D_n and M = 4 kernels W_m of two
numbers each, so that a block O_nm = D_n · W_m is a single number. n and m count from 1.
"""

PYTHON = """
The same in Holdfast, with the thresholds that rounding needs in place of exact equality:

```python
import torch
from holdfast.abft import schemes
from holdfast.abft.threshold import Thresholds

d, w = (
    torch.tensor(rows, dtype=torch.float64)
    for rows in ({d}, {w})
)
struck = d.clone()
struck[{row}, {entry}] = {value}
cd1, cw1 = d.sum(0), w.sum(0)  # taken before the fault
cd2 = (torch.arange(1, 4)[:, None] * d).sum(0)
cw2 = (torch.arange(1, 5)[:, None] * w).sum(0)
blocks = (struck @ w.T)[:, :, None]  # (N, M, positions)
tau = Thresholds(*(torch.full((k, 1), 1e-9, dtype=torch.float64) for k in (4, 3, 4, 3)), 1e-9, 1e-9, 1e-9)
found = schemes.full(
    blocks,
    (w @ cd1)[:, None],  # Co1
    (struck @ cw1)[:, None],  # Co2, from the damaged D
    *(torch.stack([value]) for value in (cd1 @ cw1, cd1 @ cw2, cd2 @ cw1)),
    tau,
)
assert found.state.item() == schemes.LOCATED
assert torch.equal(found.blocks[:, :, 0], d @ w.T)
```

The protection table of the report runs both cases with every element of D and of W of several layers.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, _table("D", "n", D), _table("W", "m", W), *_clean(), *_damaged_d(), *_damaged_w()]
    row, entry, value = DAMAGED_D
    python = PYTHON.format(d=D.tolist(), w=W.tolist(), row=row, entry=entry, value=value)
    return "\n".join(parts) + python + "\n" + ft_cnn_results.section()


def _counted(count: int) -> Numbers:
    return np.arange(1, count + 1)


def _table(name: str, index: str, rows: Numbers, over: str = "") -> str:
    """A table of ``rows``, one a line, named ``name_1``, ``name_2``…"""
    width = rows.shape[1]
    titles = [f"{over} = {m}" for m in _counted(width)] if over else [f"[{k}]" for k in _counted(width)]
    lines = [f"| {index} | " + " | ".join(titles) + " |", "|---" * (width + 1) + "|"]
    lines += [f"| {name}_{i} | " + " | ".join(map(str, row)) + " |" for i, row in enumerate(rows, 1)]
    return "\n".join(lines) + "\n"


def _values(*named: tuple[str, Numbers]) -> str:
    """A table of checksums: one a line."""
    lines = ["| what | value |", "|---|---|"]
    lines += [f"| {name} | {', '.join(map(str, np.atleast_1d(value)))} |" for name, value in named]
    return "\n".join(lines) + "\n"


def _clean() -> list[str]:
    n, m, o = _counted(len(D)), _counted(len(W)), D @ W.T
    cd1, cd2, cw1, cw2 = D.sum(0), n @ D, W.sum(0), m @ W
    assert cd1 @ cw1 == o.sum()
    checksums = _values(
        ("Cd1 = Σ D_n", cd1),
        ("Cd2 = Σ n D_n", cd2),
        ("Cw1 = Σ W_m", cw1),
        ("Cw2 = Σ m W_m", cw2),
        ("Co1 = Cd1 ⊗ W", W @ cd1),
        ("Co2 = D ⊗ Cw1", D @ cw1),
        ("Co5 = Cd1 ⊗ Cw1", cd1 @ cw1),
        ("Co6 = Cd1 ⊗ Cw2", cd1 @ cw2),
        ("Co7 = Cd2 ⊗ Cw1", cd2 @ cw1),
    )
    return ["Their product, and its checksums:\n", _table("O", "n", o, "m"), checksums]


def _damaged_d() -> list[str]:
    row, entry, value = DAMAGED_D
    struck = D.copy()
    struck[row, entry] = value
    n, o = _counted(len(D)), struck @ W.T
    cd1, cd2, cw1 = D.sum(0), n @ D, W.sum(0)
    delta1, delta2 = W @ cd1 - o.sum(0), struck @ cw1 - o.sum(1)
    delta5, delta7 = cd1 @ cw1 - o.sum(), cd2 @ cw1 - n @ o.sum(1)
    others = np.delete(o, row, 0).sum(0)
    mended = W @ cd1 - others
    assert not delta2.any()
    assert delta7 == (row + 1) * delta5
    assert (mended == D[row] @ W.T).all()
    return [
        "## Soft errors in Co2",
        f"""
After Cd1, Cd2 and Cw1 were taken, a fault turns D_{row + 1}[{entry + 1}] from {D[row, entry]} into {value}.
Row {row + 1} of O is computed from the damaged number:
""",
        _table("O", "n", o, "m"),
        """Co2 is D ⊗ Cw1 with the same damaged D. It is corrupted, and agrees with the corrupted output;
Co1, Co5 and Co7 were made from Cd1 and Cd2 and are sound:
""",
        _values(
            ("Co2 - S2", delta2),
            ("Co1 - S1", delta1),
            ("Co5 - S5", delta5),
            ("Co7 - S7", delta7),
            ("i = (Co7 - S7) / (Co5 - S5)", delta7 // delta5),
        ),
        f"""Co5 and Co7 locate row {row + 1}. Co1 corrects it: each O_{row + 1}m becomes Co1[m] less the other
blocks of its column, and the damaged value never enters:
""",
        _values(
            ("Co1", W @ cd1),
            (f"Σ of the rows other than {row + 1}", others),
            (f"O_{row + 1} corrected", mended),
        ),
    ]


def _damaged_w() -> list[str]:
    row, entry, value = DAMAGED_W
    struck = W.copy()
    struck[row, entry] = value
    m, o = _counted(len(W)), D @ struck.T
    cd1, cw1, cw2 = D.sum(0), W.sum(0), m @ W
    delta1, delta2 = struck @ cd1 - o.sum(0), D @ cw1 - o.sum(1)
    delta5, delta6 = cd1 @ cw1 - o.sum(), cd1 @ cw2 - m @ o.sum(0)
    others = np.delete(o, row, 1).sum(1)
    mended = D @ cw1 - others
    assert not delta1.any()
    assert delta6 == (row + 1) * delta5
    assert (mended == D @ W[row]).all()
    return [
        "## Soft errors in Co1, the mirrored case",
        f"""
A fault turns W_{row + 1}[{entry + 1}] from {W[row, entry]} into {value}. Column {row + 1} of O is wrong,
and Co1 = Cd1 ⊗ W, made from the same damaged W, agrees with it; Co2, Co5 and Co6 were made from Cw1 and
Cw2:
""",
        _table("O", "n", o, "m"),
        _values(
            ("Co1 - S1", delta1),
            ("Co2 - S2", delta2),
            ("Co5 - S5", delta5),
            ("Co6 - S6", delta6),
            ("j = (Co6 - S6) / (Co5 - S5)", delta6 // delta5),
        ),
        f"Co5 and Co6 locate column {row + 1}; Co2 corrects it:\n",
        _values(
            ("Co2", D @ cw1),
            (f"Σ of the columns other than {row + 1}", others),
            (f"O_n{row + 1} corrected", mended),
        ),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ft_cnn_results.keep(Path(sys.argv[1]))
    PAGE.write_text(page(), encoding="utf-8")
