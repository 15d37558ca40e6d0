"""Plans: the rule, the file, and what a protected model does with it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from holdfast import protect
from holdfast.abft import plan as plans
from holdfast.abft.plan import LayerPlan, Plan, worth
from holdfast.core.errors import DataError, UsageError


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


@pytest.mark.parametrize(
    ("t0", "t1", "t2", "p_row", "p_column", "enabled"),
    [
        (10, 4, 12, 0.9, 0.1, True),  # 0.9 · 6 > 0.1 · 2
        (10, 4, 12, 0.1, 0.9, False),  # 0.1 · 6 <= 0.9 · 2
        (10, 9, 19, 0.9, 0.1, False),  # 0.9 · 1 = 0.1 · 9: nothing gained
        (10, 11, 12, 1.0, 0.0, False),  # slower even where it solves the error
    ],
)
def test_the_rule_of_the_slides(
    t0: float, t1: float, t2: float, p_row: float, p_column: float, enabled: bool
) -> None:
    assert worth(t0, t1, t2, p_row, p_column) is enabled


def test_auto_makes_a_plan_at_the_first_call_of_each_shape() -> None:
    model = _model()
    protected = protect(model)
    assert protected.plans is not None
    for n, count in ((3, 1), (3, 1), (1, 2), (3, 2)):
        x = torch.randn(n, 2, 8, 8)
        assert torch.allclose(protected(x), model(x), atol=1e-6)
        assert len(protected.plans.plans) == count
        current = next(p for p in protected.plans.plans if p.key["input"] == [n, 2, 8, 8])
        assert protected.guard.plan == current.rungs
    names = [layer.layer for layer in protected.plans.plans[0].layers]
    assert names == ["0", "3"]
    assert not protected.events


def test_row_checksums_are_off_for_a_single_image() -> None:
    protected = protect(_model())
    protected(torch.randn(1, 2, 8, 8))
    assert all("RC" not in rungs for rungs in protected.guard.plan.values())


def test_planning_takes_no_extra_call() -> None:
    """A fault that strikes once must strike the call that counts."""
    protected = protect(_model())
    calls = []
    protected.get_submodule("fault_site.0.fault_site").register_forward_hook(lambda *_: calls.append(1))
    protected(torch.randn(2, 2, 8, 8))
    assert calls == [1]


def test_a_plan_is_kept_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    protect(_model(), plan=path)(torch.randn(3, 2, 8, 8))
    kept = path.read_text()
    again = protect(_model(), plan=path)
    again(torch.randn(3, 2, 8, 8))
    assert path.read_text() == kept
    assert again.guard.plan == plans.load(path)[0].rungs
    again(torch.randn(2, 2, 8, 8))  # another batch: another plan, beside the first
    assert [plan.key["input"][0] for plan in plans.load(path)] == [3, 2]
    assert "p_r" in plans.load(path)[0].describe()


def test_a_plan_for_other_threads_or_processor_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    protect(_model(), plan=path)(torch.randn(3, 2, 8, 8))
    document = json.loads(path.read_text())
    document["plans"][0]["key"]["processor"] = "another"
    path.write_text(json.dumps(document))
    protect(_model(), plan=path)(torch.randn(3, 2, 8, 8))
    assert len(plans.load(path)) == 2


def test_a_plan_decides_which_rungs_run(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    protected = protect(_model(), plan=path)
    x = torch.randn(4, 2, 8, 8)
    clean = protected(x)
    document = json.loads(path.read_text())
    for rungs in (["CoC", "RC", "FC"], ["CoC", "FC"]):
        for layer in document["plans"][0]["layers"]:
            layer["rungs"] = rungs
        path.write_text(json.dumps(document))
        protected = protect(_model(), plan=path)

        def damage(module: nn.Module, args: object, out: torch.Tensor) -> torch.Tensor:
            out[1, :, 2, 3] += torch.tensor([1.0, -2.0, 4.0, 3.3])
            return out

        protected.get_submodule("fault_site.0.fault_site").register_forward_hook(damage)
        assert torch.allclose(protected(x), clean, atol=1e-5)
        assert protected.events[0].scheme == ("RC" if "RC" in rungs else "FC")


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"schema": "holdfast.plan/2", "plans": []}', '{"schema": "holdfast.plan/1"}'],
)
def test_a_corrupt_file_is_a_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"plan\.json"):
        protect(_model(), plan=path)
    assert path.read_text() == content


def test_unknown_rungs_and_missing_fields_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    layer = LayerPlan("0", ("CoC", "magic"), 1, 1, 1, 1, 1, 0.5, 0.5)
    plans.save([Plan({"layers": {}}, (layer,))], path)
    with pytest.raises(DataError, match="magic"):
        plans.load(path)


def test_the_plan_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    protect(_model(), plan=path)(torch.randn(3, 2, 8, 8))
    with pytest.raises(UsageError, match="this model"):
        protect(nn.Linear(3, 2), plan=path)


def test_threads_that_call_first_make_one_plan_each_and_leave_nothing_behind() -> None:
    """The plan is captured from the guard, which all threads share."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    protected = protect(model, fuse=False)
    batches = [torch.randn(n, 3, 9, 9) for n in (1, 2, 3)] * 2

    def work(x: torch.Tensor) -> None:
        with torch.inference_mode():
            protected(x)

    threads = [threading.Thread(target=work, args=(x,)) for x in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert protected.guard.capture is None
    assert protected.plans is not None
    assert sorted(plan.key["input"][0] for plan in protected.plans.plans) == [1, 2, 3]
    assert all(len(plan.layers) == 2 for plan in protected.plans.plans)
