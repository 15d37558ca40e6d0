"""The live paper: every cell of the slides' tables is a claim with the printed number."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast

ROOT = Path(__file__).parents[2]
COMPONENT = Path(holdfast.__file__).parent / "components" / "paper" / "robust-binary" / "component.json"

# As printed on the slides, row by row; "-" is an empty cell.
P_R = """
        0.5   0.8   0.9   0.95  0.99  0.995 0.998
    0.0 2.16  6.86  23.01 41.61 44.60 40.70 34.97
    0.1 4.35  15.03 28.12 42.65 44.88 40.97 33.09
    0.2 8.01  19.21 27.99 43.72 42.92 40.52 32.99
    0.5 9.21  32.70 42.84 43.62 42.45 40.55 30.08
    0.8 28.90 41.51 43.64 43.88 39.12 33.61 28.07
    0.9 39.09 41.71 43.07 42.28 38.68 33.89 17.43
    1.0 42.85 43.23 42.13 41.12 34.57 26.67 20.56
"""
LBN_A = """
           0.001 0.01  0.1   1.0
    no-lbn 33.08 39.96 41.01 31.04
    lbn    45.06 44.88 44.63 44.41
"""
LBN_INIT = """
        kaiming-constant.no-lbn kaiming-constant.lbn binary.no-lbn binary.lbn
    0.0 39.38 42.83 40.94 44.65
    0.1 39.62 45.01 41.01 45.06
    0.2 36.66 45.04 37.85 41.58
    0.5 39.98 42.64 40.61 39.95
    0.8 37.96 41.71 35.15 38.95
    0.9 34.75 40.14 35.64 35.81
    1.0 36.88 39.32 30.02 30.62
"""
COLUMNS = "cifar10-float cifar10-binary cifar100-float cifar100-binary"
ROBUST = """
    at-none-no-lbn       43.26 40.34 36.63 26.49
    at-none-lbn          42.39 39.58 35.15 32.98
    hydra-p0.1-no-lbn    42.73 29.28 33.00 23.60
    hydra-p1.0-no-lbn    40.51 26.40 31.09 18.24
    hydra-p0.1-lbn       40.55 33.99 13.63 24.69
    hydra-p1.0-lbn       32.93 26.23 29.96 17.75
    atmc-global-no-lbn   34.14 25.62 25.10 11.09
    atmc-p0.1-no-lbn     34.58 24.65 25.37 11.04
    atmc-p1.0-no-lbn     30.50 20.21 22.28 2.53
    atmc-global-lbn      33.55 19.01 23.16 15.73
    atmc-p0.1-lbn        31.61 22.88 25.16 17.33
    atmc-p1.0-lbn        27.88 13.22 22.12 9.55
    ours-p0.1-lbn        -     45.06 -     34.83
    ours-p1.0-lbn        -     34.57 -     26.32
    ours-fast-p0.1-lbn   -     40.77 -     34.45
    ours-fast-p1.0-lbn   -     29.68 -     24.97
"""
CLEAN = """
    at-none-no-lbn       80.99 74.37 61.48 47.87
    at-none-lbn          80.96 74.17 57.73 60.08
    hydra-p0.1-no-lbn    75.31 62.09 55.92 45.96
    hydra-p1.0-no-lbn    73.89 59.69 54.88 37.84
    hydra-p0.1-lbn       74.37 68.43 53.65 46.09
    hydra-p1.0-lbn       66.59 57.15 26.64 37.16
    atmc-global-no-lbn   81.85 72.97 57.15 36.39
    atmc-p0.1-no-lbn     81.37 73.34 59.99 32.68
    atmc-p1.0-no-lbn     74.33 57.01 54.06 5.19
    atmc-global-lbn      80.72 68.25 55.69 40.51
    atmc-p0.1-lbn        76.39 51.31 57.34 43.97
    atmc-p1.0-lbn        69.83 19.26 49.69 28.78
    ours-p0.1-lbn        -     76.59 -     60.16
    ours-p1.0-lbn        -     65.70 -     47.21
    ours-fast-p0.1-lbn   -     81.63 -     63.73
    ours-fast-p1.0-lbn   -     70.72 -     50.98
"""
OTHERS = {
    **{f"best-p.r{r}": p for r, p in zip((0.5, 0.8, 0.9, 0.95), (1.0, 1.0, 0.8, 0.8), strict=True)},
    **{f"best-p.r{r}": p for r, p in zip((0.99, 0.995, 0.998), (0.1, 0.1, 0.0), strict=True)},
    "best-p.falls": 0,
    "best-p.drop": 1.0,
    "lbn.helps": 0,
    "lbn.insensitive": 1,
    "comparison.lead-cifar10": 0,
    "comparison.lead-cifar100": 0,
    "counts.masks": 1.0,
    "counts.paths": 0.0,
    "cost.forward": 50,
    "cost.backward": 25,
    "masks.aligned": 1,
    "capacity.small": 0,
    "capacity.big": 0,
}


def cells(table, name, columns=""):
    """The cells of a printed table by the names of their claims."""
    head, *rows = (columns + table).strip("\n").splitlines()
    found = {}
    for line in rows:
        row, *values = line.split()
        for column, value in zip(head.split(), values, strict=True):
            if value != "-":
                found[name.format(row=row, column=column)] = float(value)
    return found


def expected():
    return {
        **cells(P_R, "p-r.r{column}.p{row}"),
        **cells(LBN_A, "lbn-a.{row}.a{column}"),
        **cells(LBN_INIT, "lbn-init.{column}.p{row}"),
        **cells(ROBUST, "comparison.{row}-{column}-robust", COLUMNS),
        **cells(CLEAN, "comparison.{row}-{column}-clean", COLUMNS),
        **OTHERS,
    }


def differences(claims):
    """Names of cells that are missing, altered, or on no slide."""
    wanted, found = expected(), {claim["id"]: claim["value"] for claim in claims}
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))


@pytest.fixture(scope="module")
def claims():
    return json.loads(COMPONENT.read_text())["claims"]


def test_every_cell_of_every_table_is_a_claim(claims):
    assert [len(cells(table, "{row}{column}")) for table in (P_R, LBN_A, LBN_INIT)] == [49, 8, 28]
    assert len(cells(ROBUST, "{row}{column}", COLUMNS)) == len(cells(CLEAN, "{row}{column}", COLUMNS)) == 56
    assert differences(claims) == []


def test_a_missing_or_an_altered_cell_is_seen(claims):
    altered = [{**claims[0], "value": claims[0]["value"] + 0.01}, *claims[1:]]
    assert differences(claims[1:]) == differences(altered) == [claims[0]["id"]]


def test_every_claim_says_when_it_counts(claims):
    for claim in claims:
        assert claim["workflow"] == "workflow:robust-binary"
        assert claim["status"] == "reduced" or claim["scale"]["model"] == "resnet34", claim["id"]
        if claim["record"]["metric"].endswith("_accuracy_mean"):
            classes = claim["record"]["labels"].get("classes", 10)
            fast = claim["record"]["labels"].get("method") == "ours fast"
            assert claim["scale"] == {
                "data": f"cifar{classes}",
                "model": "resnet34",
                "judge": "autoattack",
                "epochs": 100 if fast else 400,
                "training_images": 50000,
                "test_images": 10000,
            }


def test_no_two_claims_take_the_same_record(claims):
    taken = [json.dumps(claim["record"], sort_keys=True) for claim in claims]
    assert len(set(taken)) == len(taken)


def test_the_component_is_the_scripts():
    code = "import json, sys; sys.path.insert(0, 'docs'); import robust_binary_claims as r"
    code += "; print(json.dumps(r.component()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(COMPONENT.read_text())
