from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from holdfast.stress.outcome import binary_scores, decisions, deviation, equal, judge

CLEAN = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
INF, NAN = float("inf"), float("nan")
AGAIN = {"corrected": True, "action": "recomputed"}
FIXED, SEEN = {"corrected": True}, SimpleNamespace(corrected=False)


@pytest.mark.parametrize(
    ("output", "events", "outcome"),
    [
        (CLEAN, [], "masked"),
        (CLEAN + 3e-5, [], "masked"),
        (CLEAN + 5e-5, [], "sdc"),
        (CLEAN, [FIXED], "corrected"),
        (CLEAN + 3e-5, [FIXED, FIXED], "corrected"),
        (CLEAN, [FIXED, AGAIN], "recomputed"),
        (CLEAN, [SimpleNamespace(corrected=True, action="rerun")], "recomputed"),
        (CLEAN + 0.1, [FIXED], "sdc"),
        (CLEAN, [SEEN], "detected"),
        (CLEAN + 9, [FIXED, SEEN], "detected"),
        (CLEAN * torch.tensor([3.0, 1.0]), [], "critical"),
        (torch.where(CLEAN == 4, NAN, CLEAN), [], "critical"),
        (torch.where(CLEAN == 4, INF, CLEAN), [], "critical"),
        (torch.where(CLEAN == 4, INF, CLEAN), [FIXED], "critical"),
        (CLEAN[:1], [], "critical"),
    ],
    ids=[
        "exact",
        "within tolerance",
        "beyond tolerance",
        "corrected",
        "corrected by re-summing",
        "recomputed",
        "run again",
        "corrected wrongly",
        "reported, not corrected",
        "one of two not corrected",
        "decision changed",
        "nan",
        "inf that keeps the decision",
        "inf declared corrected",
        "shape changed",
    ],
)
def test_outcomes(output: torch.Tensor, events: list, outcome: str) -> None:
    assert judge(output, CLEAN, events) == outcome


def test_a_clean_output_that_is_not_finite() -> None:
    clean = torch.tensor([[NAN, INF, 1.0]])
    assert equal(clean.clone(), clean)
    assert equal(clean + torch.tensor([[0, 0, 1e-6]]), clean)
    assert not equal(torch.tensor([[NAN, -INF, 1.0]]), clean)
    assert not equal(torch.tensor([[0.0, INF, 1.0]]), clean)
    assert equal(torch.tensor([[NAN]]), torch.tensor([[NAN]]))


def test_a_clean_output_of_zeros_allows_no_deviation() -> None:
    zeros = torch.zeros(2, 2)
    assert equal(zeros.clone(), zeros)
    assert not equal(zeros + 1e-30, zeros)
    assert deviation(zeros + 1, zeros) is None


def test_deviation() -> None:
    assert deviation(CLEAN, CLEAN) == 0
    assert deviation(CLEAN + 1, CLEAN) == pytest.approx(0.25)
    assert deviation(CLEAN * NAN, CLEAN) is None
    assert deviation(CLEAN[:1], CLEAN) is None


@pytest.mark.parametrize(
    ("output", "decided", "scores"),
    [
        (torch.tensor([-1.0, 2.0]), [0, 1], [-1, 2]),
        (torch.tensor([[-1.0], [2.0]]), [0, 1], [-1, 2]),
        (torch.tensor([[1.0, 0.0], [0.0, 3.0]]), [0, 1], [-1, 3]),
        (torch.eye(3), [0, 1, 2], None),
        (torch.eye(3)[:, :, None], [[0], [1], [2]], None),
    ],
    ids=["logit", "logit column", "two classes", "three classes", "a class a pixel"],
)
def test_decisions_and_scores(output: torch.Tensor, decided: list, scores: list | None) -> None:
    assert decisions(output).tolist() == decided
    found = binary_scores(output)
    assert (None if found is None else found.tolist()) == scores
