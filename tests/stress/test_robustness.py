from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from linear_support import Linear, LinearStream, robust
from safetensors.torch import load_file
from torch import Tensor, nn

from holdfast.core.errors import DataError, StepError, UsageError
from holdfast.core.protocols import Stressed
from holdfast.core.stats import wilson
from holdfast.stress import PGD, AutoAttack, evaluate_robustness

EPS = 0.02
MODEL = Linear(2)
STREAM = LinearStream(MODEL, 40, wrong=3)
ATTACK = PGD(eps=EPS, restarts=2)


def values(records: list[Any]) -> dict[str, float]:
    return {record.metric: record.value for record in records}


def stable(records: list[Any]) -> list[Any]:
    return [record.stable() for record in records]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]


def test_accuracies_are_the_known_ones(tmp_path: Path) -> None:
    with torch.no_grad():
        decided = MODEL(STREAM.x).argmax(1)
    known = robust(MODEL, STREAM.x, decided, torch.tensor(EPS)) & (decided == STREAM.y)
    assert 3 < known.sum() < 34
    records = evaluate_robustness(
        MODEL, STREAM, ATTACK, out=tmp_path, batch_size=16, labels={"model": "linear"}
    )
    assert values(records) == {
        "clean_accuracy": 37 / 40,
        "robust_accuracy": int(known.sum()) / 40,
        "broken_images": 0,
    }
    clean, attacked, first, _ = records
    assert clean.interval == wilson(37, 40)
    assert attacked.interval == wilson(int(known.sum()), 40)
    assert first.value == 37 - int(known.sum())
    assert first.labels["broken_by"] == "pgd-1"
    assert all(record.n == 40 and record.seed == 0 and record.simulated for record in records)
    assert attacked.labels == {"attack": "pgd", "eps": EPS, "steps": 10, "restarts": 2, "model": "linear"}
    found = lines(tmp_path)
    assert [line["index"] for line in found] == list(range(40))
    assert [line["robust"] for line in found] == known.tolist()
    assert [line["clean"] for line in found] == (decided == STREAM.y).tolist()
    assert [line["label"] for line in found] == STREAM.y.tolist()
    assert {line["broken_by"] for line in found if line["clean"] and not line["robust"]} == {"pgd-1"}
    assert all(line["broken_by"] is None for line in found if line["robust"] or not line["clean"])
    assert all((line["margin"] > 0) == line["robust"] for line in found)
    assert all((line["decision"] == line["label"]) == line["robust"] for line in found)


def test_autoattack_names_what_broke_each_image(tmp_path: Path) -> None:
    model = Linear(4)
    stream = LinearStream(model, 20, wrong=1)
    attack = AutoAttack(eps=EPS, attacks=["apgd-ce", "apgd-t", "fab-t"])
    records = evaluate_robustness(model, stream, attack, out=tmp_path)
    with torch.no_grad():
        decided = model(stream.x).argmax(1)
    known = robust(model, stream.x, decided, torch.tensor(EPS)) & (decided == stream.y)
    assert values(records)["robust_accuracy"] == int(known.sum()) / 20
    broken = [r for r in records if r.metric == "broken_images"]
    assert [r.labels["broken_by"] for r in broken] == ["apgd-ce", "apgd-t", "fab-t"]
    assert sum(r.value for r in broken) == 19 - int(known.sum())
    assert records[0].labels["attacks"] == "apgd-ce+apgd-t+fab-t"


@dataclass(frozen=True)
class Stages:
    """Two attacks that answer what they are told and note which images they meet; the second may stop."""

    broken: tuple[float, ...]
    fails_on: float | None = None
    name: str = "stages"

    def __post_init__(self) -> None:
        # No field, since it is no setting.
        object.__setattr__(self, "met", [])

    def stages(self, classes: int) -> list[tuple[str, Any]]:
        assert classes == 2
        return [("first", self), ("second", self)]

    @contextmanager
    def apply(self, model: Any, x: Tensor, y: Tensor, generator: Any) -> Iterator[Stressed]:
        marks = x[:, 0, 0, 0].tolist()
        self.met.append(marks)
        if self.fails_on in marks:
            raise KeyboardInterrupt
        wrong = torch.tensor([mark in self.broken for mark in marks])
        # A draw moves every image towards the decision, so that its margin tells which draw it was.
        x = x - 0.1 * torch.rand(x.shape, generator=generator)
        yield Stressed(model, torch.where(wrong.reshape(-1, 1, 1, 1), -x, x), y)


class Sign(nn.Module):
    """Class 1 where the pixel is positive."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([-x[:, 0, 0, 0], x[:, 0, 0, 0]], 1)


class Numbers:
    """Images of one pixel: 1, 2, …, n, all of class 1 but the second."""

    def __init__(self, n: int) -> None:
        self.x = torch.arange(1.0, n + 1).reshape(-1, 1, 1, 1)
        self.y = torch.ones(n, dtype=torch.long)
        self.y[1:2] = 0
        self.info = SimpleNamespace(n=n, fingerprint=f"numbers-{n}", simulated=False)

    batches = LinearStream.batches


def test_each_stage_meets_what_is_still_right() -> None:
    attack = Stages(broken=(3.0,))
    records = evaluate_robustness(Sign(), Numbers(5), attack, batch_size=5)
    assert attack.met == [[1, 3, 4, 5], [1, 4, 5]]
    assert values(records)["robust_accuracy"] == 3 / 5


def test_an_answer_that_is_not_finite_is_wrong() -> None:
    class Nan(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([-x[:, 0, 0, 0], torch.where(x[:, 0, 0, 0] > 3, torch.nan, 1.0)], 1)

    found = values(evaluate_robustness(Nan(), Numbers(5), Stages(()), batch_size=5))
    assert found["clean_accuracy"] == found["robust_accuracy"] == 2 / 5


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    truth = evaluate_robustness(Sign(), Numbers(10), Stages((4.0, 7.0)), out=tmp_path / "truth", batch_size=3)
    killed = Stages((4.0, 7.0), fails_on=8.0)
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(Sign(), Numbers(10), killed, out=tmp_path / "out", batch_size=3)
    assert len(lines(tmp_path / "out")) == 6
    # A line cut in the middle, as a kill may leave it: that batch is not whole.
    path = tmp_path / "out" / "images.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    path = tmp_path / "out" / "robustness.json"
    path.write_text(path.read_text().replace('"fails_on": 8.0', '"fails_on": null'))
    again = Stages((4.0, 7.0))
    records = evaluate_robustness(Sign(), Numbers(10), again, out=tmp_path / "out", batch_size=3)
    assert [met[0] for met in again.met] == [4, 5, 7, 8, 10, 10]
    assert stable(records) == stable(truth)
    for name in ("images.jsonl", "robustness.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "truth" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 1}, "seed"),
        ({"batch_size": 3}, "batch_size"),
        ({"attack": Stages((1.0,))}, "attack"),
        ({"stream": Numbers(5)}, "data"),
        ({"model": MODEL}, "model"),
        ({"labels": {"model": "x"}}, "labels"),
        ({"keep": True}, "keep"),
        ({"replay": Sign()}, "replayed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    given = {"model": Sign(), "stream": Numbers(4), "attack": Stages(()), "batch_size": 2}
    evaluate_robustness(**given, out=tmp_path)
    with pytest.raises(UsageError, match=f"robustness evaluation with another {what}"):
        evaluate_robustness(**{**given, **change}, out=tmp_path)


def test_hostile_inputs_are_replayed_and_kept(tmp_path: Path) -> None:
    def other(x: Tensor) -> Tensor:
        """Gets the broken 3 right, and the unbroken 5 wrong."""
        mark = x[:, :1, 0, 0].abs().add(0.05).round()
        return torch.where((mark == 3) | (mark == 5), -1, 1) * Sign()(x)

    attack = Stages((3.0,))
    records = evaluate_robustness(
        Sign(), Numbers(5), attack, out=tmp_path, batch_size=2, replay=other, keep=True
    )
    found = values(records)
    assert found["robust_accuracy"] == found["replayed_robust_accuracy"] == 3 / 5
    assert found["replay_disagreements"] == 2
    assert [line["replayed"] for line in lines(tmp_path)] == [1, 1, 1, 1, 0]
    kept = torch.cat([load_file(path)["x"] for path in sorted((tmp_path / "inputs").iterdir())])
    torch.testing.assert_close(kept.flatten(), torch.tensor([1.0, 2, -3, 4, 5]), rtol=0, atol=0.1)


def test_workers_change_nothing(tmp_path: Path) -> None:
    here = evaluate_robustness(MODEL, STREAM, ATTACK, out=tmp_path / "here", batch_size=7)
    with ThreadPoolExecutor(2) as executor:
        there = evaluate_robustness(
            MODEL, STREAM, ATTACK, out=tmp_path / "there", batch_size=7, executor=executor
        )
    assert stable(here) == stable(there)
    assert lines(tmp_path / "here") == lines(tmp_path / "there")


def test_a_dead_worker_is_told() -> None:
    class Dying(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **options: Any) -> Any:
            future = super().submit(lambda: None)
            future = type(future)()
            from concurrent.futures.process import BrokenProcessPool

            future.set_exception(BrokenProcessPool("gone"))
            return future

    with Dying(1) as executor, pytest.raises(StepError, match="the same call goes on"):
        evaluate_robustness(MODEL, STREAM, ATTACK, executor=executor)


def test_no_images() -> None:
    with pytest.raises(DataError, match="at least one image"):
        evaluate_robustness(Sign(), Numbers(0), Stages(()))
