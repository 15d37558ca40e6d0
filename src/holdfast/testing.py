"""Contract suites that every entry of a registry passes, ours and those of plugins alike."""

from __future__ import annotations

import pickle
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.protocols import Stressed, Stressor

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_stressor(stressor: Stressor, model: nn.Module, x: Tensor, y: Tensor, *, seed: int = 0) -> None:
    """Check that ``stressor`` keeps the Stressor contract on ``model`` and a batch ``x``, ``y`` (N samples).

    It yields a Stressed, also after pickling; the same generator state gives the same inputs, outputs and
    labels; it leaves parameters, buffers, gradients, hooks, training flags, inputs and the global random
    state bit for bit as they were, also when the block raises. Raises AssertionError that names what broke.
    """
    before = _snapshot(model, x, y)
    first = _run(stressor, model, x, y, seed)
    _same(before, _snapshot(model, x, y), "apply left a trace on")
    _same(first, _run(stressor, model, x, y, seed), "the same generator gave another")
    revived = pickle.loads(pickle.dumps(stressor))
    assert revived.name == stressor.name, "pickling changes the name"
    _same(first, _run(revived, model, x, y, seed), "pickling changes the")
    try:
        with stressor.apply(model, x, y, torch.Generator().manual_seed(seed)) as stressed:
            stressed.model(stressed.x)
            raise _InterruptionError
    except _InterruptionError:
        pass
    else:
        raise AssertionError("apply swallows an exception of its block")
    _same(before, _snapshot(model, x, y), "an exception in the block left a trace on")


class _InterruptionError(Exception):
    pass


def _run(stressor: Stressor, model: nn.Module, x: Tensor, y: Tensor, seed: int) -> dict[str, Any]:
    with stressor.apply(model, x, y, torch.Generator().manual_seed(seed)) as stressed:
        assert isinstance(stressed, Stressed), f"apply yields a {type(stressed).__name__}, not a Stressed"
        labels = dict(stressed.labels)
        for key, value in labels.items():
            assert isinstance(value, str | int | float | bool), f"label {key!r} is a {type(value).__name__}"
        assert stressed.x.shape[0] == len(stressed.y), "inputs and labels differ in number"
        with torch.no_grad():
            output = stressed.model(stressed.x)
        return {"input": stressed.x.detach().clone(), "output": output.clone(), "labels": labels}


def _snapshot(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    state: dict[str, Any] = {"inputs": x.detach().clone(), "labels": y.clone()}
    state["random state"] = torch.get_rng_state()
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        state[f"tensor {name}"] = value.detach().clone()
        state[f"storage of {name}"] = value.data_ptr()
        state[f"requires_grad of {name}"] = value.requires_grad
        state[f"gradient of {name}"] = None if value.grad is None else value.grad.clone()
    for name, module in model.named_modules():
        state[f"training flag of {name!r}"] = module.training
        state[f"hooks of {name!r}"] = [list(getattr(module, hooks)) for hooks in _HOOKS]
        state[f"attributes of {name!r}"] = sorted(vars(module))
    return state


def _same(before: dict[str, Any], after: dict[str, Any], what: str) -> None:
    assert before.keys() == after.keys(), f"{what} {sorted(before.keys() ^ after.keys())}"
    for key, value in before.items():
        if isinstance(value, Tensor):
            # Bytes, since NaN equals nothing.
            same = value.shape == after[key].shape and _bytes(value) == _bytes(after[key])
        else:
            same = value == after[key]
        assert same, f"{what} {key}"


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
