"""How far models are behind the best of them on the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.core.result import Label, Record

if TYPE_CHECKING:
    from holdfast.bench import Evaluation

Answers = tuple[str, Any, Any]
"""``auc`` or ``accuracy``, the labels (n,), and the scores (n,) or which of n images are right."""


def answers_of(found: Evaluation) -> Answers:
    """What is kept of a model's answers to compare them with another's."""
    import numpy as np

    if found.has_auc and bool(np.isfinite(found.scores).all()):
        return "auc", found.labels, found.scores
    return "accuracy", found.labels, found.logits.argmax(1) == found.labels


def from_the_best(
    answers: dict[str, Answers], labels: dict[str, Label], common: dict[str, Any]
) -> list[Record]:
    """Each model minus the one with the best value: ``auc_difference`` or ``accuracy_difference``, by image.

    Nothing where models were measured by different metrics.
    """
    from holdfast.core import stats

    kinds = {metric for metric, _, _ in answers.values()}
    if len(answers) < 2 or len(kinds) > 1:
        return []
    (metric,) = kinds

    def quality(answer: Answers) -> float:
        _, label, score = answer
        return stats.roc_auc(label, score)[0] if metric == "auc" else float(score.mean())

    best = max(answers, key=lambda name: quality(answers[name]))
    records = []
    for name, (_, label, score) in answers.items():
        if name == best:
            continue
        other = answers[best][2]
        value, interval = (
            stats.auc_difference(label, score, other)
            if metric == "auc"
            else stats.mean_difference(score, other)
        )
        about: dict[str, Label] = {"model": name, "protection": "plain", "against": best, **labels}
        records.append(
            Record(
                metric=f"{metric}_difference",
                value=value,
                interval=interval,
                n=len(label),
                labels=about,
                **common,
            )
        )
    return records
