"""Writes ``paper:robust-binary`` from the tables of its slides: python docs/robust_binary_claims.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMPONENT = Path(__file__).parent.parent / "src/holdfast/components/paper/robust-binary/component.json"
WORKFLOW = "workflow:robust-binary"

RATES = (0.5, 0.8, 0.9, 0.95, 0.99, 0.995, 0.998)
P_R = """
0.0  2.16  6.86 23.01 41.61 44.60 40.70 34.97
0.1  4.35 15.03 28.12 42.65 44.88 40.97 33.09
0.2  8.01 19.21 27.99 43.72 42.92 40.52 32.99
0.5  9.21 32.70 42.84 43.62 42.45 40.55 30.08
0.8 28.90 41.51 43.64 43.88 39.12 33.61 28.07
0.9 39.09 41.71 43.07 42.28 38.68 33.89 17.43
1.0 42.85 43.23 42.13 41.12 34.57 26.67 20.56
"""
SCORE_SCALES = (0.001, 0.01, 0.1, 1.0)
LBN_A = {False: (33.08, 39.96, 41.01, 31.04), True: (45.06, 44.88, 44.63, 44.41)}
INITS = (("kaiming_constant", False), ("kaiming_constant", True), ("binary", False), ("binary", True))
LBN_INIT = """
0.0 39.38 42.83 40.94 44.65
0.1 39.62 45.01 41.01 45.06
0.2 36.66 45.04 37.85 41.58
0.5 39.98 42.64 40.61 39.95
0.8 37.96 41.71 35.15 38.95
0.9 34.75 40.14 35.64 35.81
1.0 36.88 39.32 30.02 30.62
"""
# Method, LBN, pruning strategy | CIFAR10 FP, Binary, CIFAR100 FP, Binary: robust | the same: clean.
COMPARISON = """
at        no  none    | 43.26 40.34 36.63 26.49 | 80.99 74.37 61.48 47.87
at        yes none    | 42.39 39.58 35.15 32.98 | 80.96 74.17 57.73 60.08
hydra     no  p = 0.1 | 42.73 29.28 33.00 23.60 | 75.31 62.09 55.92 45.96
hydra     no  p = 1.0 | 40.51 26.40 31.09 18.24 | 73.89 59.69 54.88 37.84
hydra     yes p = 0.1 | 40.55 33.99 13.63 24.69 | 74.37 68.43 53.65 46.09
hydra     yes p = 1.0 | 32.93 26.23 29.96 17.75 | 66.59 57.15 26.64 37.16
atmc      no  global  | 34.14 25.62 25.10 11.09 | 81.85 72.97 57.15 36.39
atmc      no  p = 0.1 | 34.58 24.65 25.37 11.04 | 81.37 73.34 59.99 32.68
atmc      no  p = 1.0 | 30.50 20.21 22.28  2.53 | 74.33 57.01 54.06  5.19
atmc      yes global  | 33.55 19.01 23.16 15.73 | 80.72 68.25 55.69 40.51
atmc      yes p = 0.1 | 31.61 22.88 25.16 17.33 | 76.39 51.31 57.34 43.97
atmc      yes p = 1.0 | 27.88 13.22 22.12  9.55 | 69.83 19.26 49.69 28.78
ours      yes p = 0.1 |     - 45.06     - 34.83 |     - 76.59     - 60.16
ours      yes p = 1.0 |     - 34.57     - 26.32 |     - 65.70     - 47.21
ours fast yes p = 0.1 |     - 40.77     - 34.45 |     - 81.63     - 63.73
ours fast yes p = 1.0 |     - 29.68     - 24.97 |     - 70.72     - 50.98
"""
BEST_P = (1.0, 1.0, 0.8, 0.8, 0.1, 0.1, 0.0)
NAMES = {"kaiming_constant": "Signed Kaiming constant", "binary": "binary", "float": "full precision"}

Claim = dict[str, Any]


def component() -> dict[str, Any]:
    """The whole component."""
    return {
        "schema": "holdfast.component/1",
        "kind": "paper",
        "name": "robust-binary",
        "uid": "c81f4a6b29d05e37",
        "version": "0.1.0",
        "title": "Robust binary models by pruning randomly initialised networks",
        "description": "Every cell of the slides' tables as a typed claim, beside what a rerun measured."
        " A rerun at a reduced scale says what was cut, and then only the pattern compares, not the number.",
        "tags": ["robust-binary", "attacks", "pruning"],
        "reference": "Liu, Zhao, Süsstrunk, Salzmann: Robust Binary Models by Pruning Randomly-initialized"
        " Networks, NeurIPS 2022, arXiv 2202.01341; its slides of March 22, 2022",
        "workflow": WORKFLOW,
        "claims": [
            *_p_r(),
            *_lbn_a(),
            *_lbn_init(),
            *_comparison(),
            *_patterns(),
            *_counts(),
            *_motivation(),
        ],
        "example": "holdfast run paper:robust-binary --scale digits --out robust-binary",
    }


def _source_scale(classes: int = 10, epochs: int = 400) -> dict[str, Any]:
    return {
        "data": f"cifar{classes}",
        "model": "resnet34",
        "judge": "autoattack",
        "epochs": epochs,
        "training_images": 50000,
        "test_images": 10000,
    }


def _claim(
    name: str,
    text: str,
    source: str,
    value: float,
    metric: str,
    labels: dict[str, Any],
    **more: Any,
) -> Claim:
    claim = {
        "id": name,
        "text": text,
        "source": source,
        "value": value,
        "unit": "%",
        "direction": "higher",
        "workflow": WORKFLOW,
        "record": {"metric": metric, "labels": labels},
        "status": "reproduced at source scale",
        "scale": _source_scale(),
    }
    return {key: each for key, each in (claim | more).items() if each is not None}


def _rows(table: str) -> Iterator[tuple[float, list[float]]]:
    for line in table.strip().splitlines():
        first, *rest = map(float, line.split())
        yield first, rest


def _p_r() -> Iterator[Claim]:
    for p, cells in _rows(P_R):
        for rate, value in zip(RATES, cells, strict=True):
            yield _claim(
                f"p-r.r{rate}.p{p}",
                f"Robust accuracy at pruning rate {rate}, p = {p}",
                "Pruning rate r and p in adaptive pruning strategy",
                value,
                "robust_accuracy_mean",
                {"table": "p-r", "prune_rate": rate, "p": p},
            )


def _lbn_a() -> Iterator[Claim]:
    for last_norm, cells in LBN_A.items():
        for a, value in zip(SCORE_SCALES, cells, strict=True):
            yield _claim(
                f"lbn-a.{_lbn(last_norm)}.a{a}",
                f"Robust accuracy {_with(last_norm)}, scores from N(0, a²), a = {a}",
                "Last batch normalization layer, over a",
                value,
                "robust_accuracy_mean",
                {"table": "lbn-a", "last_norm": last_norm, "score_scale": a},
            )


def _lbn_init() -> Iterator[Claim]:
    for p, cells in _rows(LBN_INIT):
        for (init, last_norm), value in zip(INITS, cells, strict=True):
            yield _claim(
                f"lbn-init.{init.replace('_', '-')}.{_lbn(last_norm)}.p{p}",
                f"Robust accuracy, {NAMES[init]} initialisation {_with(last_norm)}, p = {p}",
                "Last batch normalization layer, over initialisations",
                value,
                "robust_accuracy_mean",
                {"table": "lbn-init", "init": init, "last_norm": last_norm, "p": p},
            )


def _comparison() -> Iterator[Claim]:
    columns = [(classes, weights) for classes in (10, 100) for weights in ("float", "binary")]
    for line in COMPARISON.strip().splitlines():
        row, *halves = line.split("|")
        method, last_norm, strategy = row[:10].strip(), row[10:14].strip() == "yes", row[14:].strip()
        for half, kind in zip(halves, ("robust", "clean"), strict=True):
            for (classes, weights), text in zip(columns, half.split(), strict=True):
                if text == "-":
                    continue
                name = f"{method} {strategy} {_lbn(last_norm)} cifar{classes} {weights} {kind}"
                labels = {"method": method, "last_norm": last_norm, "strategy": strategy, "weights": weights}
                fast = method == "ours fast"
                pruned = "" if strategy == "none" else f", pruned to 1 % ({strategy})"
                yield _claim(
                    "comparison." + name.replace(" = ", "").replace(" ", "-"),
                    f"CIFAR-{classes}, {_shown(method)} {_with(last_norm)}{pruned}, {NAMES[weights]}:"
                    f" {kind} accuracy",
                    f"Comparison with existing works, {kind} accuracy",
                    float(text),
                    f"{kind}_accuracy_mean",
                    {"table": "comparison", "classes": classes, **labels},
                    scale=_source_scale(classes, 100 if fast else 400),
                )


def _patterns() -> Iterator[Claim]:
    table = "Pruning rate r and p in adaptive pruning strategy"
    for rate, p in zip(RATES, BEST_P, strict=True):
        text = f"The best p at pruning rate {rate}"
        yield _claim(
            f"best-p.r{rate}", text, table, p, "best_p", {"prune_rate": rate}, unit="1", direction="none"
        )
    common: dict[str, Any] = {"unit": "1", "direction": "none"}
    yield _claim(
        "best-p.falls",
        "Larger r, smaller p: how often the best p rises from one pruning rate to the next",
        "Adaptive pruning strategy",
        0,
        "best_p_rises",
        {},
        agreement="at most",
        **common,
    )
    yield _claim(
        "best-p.drop",
        "How far the best p falls from the smallest pruning rate to the largest",
        table,
        1.0,
        "best_p_drop",
        {},
        **common,
    )
    yield _claim(
        "lbn.helps",
        "LBN helps at p = 0.1, r = 0.99, binary initialisation: points of robust accuracy gained",
        "Last batch normalization layer, over initialisations",
        0,
        "last_norm_gain",
        {"init": "binary", "p": 0.1},
        agreement="at least",
    )
    yield _claim(
        "lbn.insensitive",
        "With LBN the scale of the scores matters less: spread of robust accuracy over a, of that without",
        "Last batch normalization layer, over a",
        1,
        "score_scale_spread_ratio",
        {},
        agreement="at most",
        **common,
    )
    for classes in (10, 100):
        yield _claim(
            f"comparison.lead-cifar{classes}",
            f"CIFAR-{classes}: ours (p = 0.1) leads the best binary network of the other methods at r = 0.99",
            "Comparison with existing works, robust accuracy",
            0,
            "lead_over_binary",
            {"classes": classes},
            agreement="at least",
            scale=_source_scale(classes),
        )


def _counts() -> Iterator[Claim]:
    common: dict[str, Any] = {"unit": "1", "direction": "none", "agreement": "equal"}
    for name, value, text in (
        ("masks", 1.0, "p = 1 maximises the number of masks ∏ C(n_i, m_i)"),
        ("paths", 0.0, "p = 0 maximises the number of paths ∏ m_i"),
    ):
        yield _claim(
            f"counts.{name}",
            f"{text}: the p at which it is largest, ResNet-34, r = 0.99",
            "Two readings of the pruning rate",
            value,
            f"most_{name}_at_p",
            {"prune_rate": 0.99, "model": "resnet34"},
            scale={"model": "resnet34"},
            **common,
        )
    for which, value in (("forward", 50), ("backward", 25)):
        yield _claim(
            f"cost.{which}",
            f"Binary initialisation saves {'1/2' if value == 50 else '1/4'} of the {which} computation",
            "Normalization layers, advantages",
            value,
            "operations_saved",
            {"pass": which, "model": "resnet34"},
            status="reduced",
            reduced_how="operations counted, not timed: PyTorch multiplies by ±1 as by any other weight",
            scale=None,
        )
    yield _claim(
        "masks.aligned",
        "Consecutive layers: channels without weights on either side are the same ones, times chance",
        "Structures of pruned subset networks, second figure",
        1,
        "dead_in_both_ratio",
        {},
        unit="1",
        agreement="at least",
        scale={name: _source_scale()[name] for name in ("data", "model", "epochs", "training_images")},
    )


def _motivation() -> Iterator[Claim]:
    for name, text, metric in (
        (
            "small",
            "Small models: adversarial training fails first: how much more of its best accuracy vanilla"
            " training keeps at the smallest width",
            "vanilla_lead_small",
        ),
        (
            "big",
            "Big models: vanilla saturates first: how much more of its best accuracy adversarial training"
            " gains over the second half of the widths",
            "adversarial_gain_big",
        ),
    ):
        yield _claim(
            f"capacity.{name}",
            text,
            "Motivation",
            0,
            metric,
            {},
            agreement="at least",
            status="reduced",
            reduced_how="the slides give no numbers, nor the networks",
            scale=None,
        )


def _lbn(last_norm: bool) -> str:
    return "lbn" if last_norm else "no-lbn"


def _with(last_norm: bool) -> str:
    return "with LBN" if last_norm else "without LBN"


def _shown(method: str) -> str:
    return {"ours": "ours", "ours fast": "ours (Fast)"}.get(method, method.upper())


if __name__ == "__main__":
    COMPONENT.parent.mkdir(parents=True, exist_ok=True)
    COMPONENT.write_text(json.dumps(component(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
