"""How many images of a data set stay right under an attack: image by image, resumable, in records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from holdfast.core.errors import DataError, StepError
from holdfast.core.progress import progress
from holdfast.core.protocols import Stressor
from holdfast.core.result import Label, Record
from holdfast.core.seeding import derive
from holdfast.stress.image_lines import ImageLines, accuracy_records
from holdfast.stress.outcome import decisions
from holdfast.stress.store import describe, fingerprint
from holdfast.stress.trial import Laboratory, Line, laboratory
from holdfast.stress.worker import Setup, opened

Answer = Callable[[Tensor], Tensor]
"""Takes float32 images (N, C, H, W), returns their logits (N, classes)."""

Found = tuple[list[Line], Tensor]
"""A finished batch: a line an image, and the hostile images (N, C, H, W)."""


@runtime_checkable
class Staged(Protocol):
    """An attack that consists of several, each for what those before it left right."""

    def stages(self, classes: int) -> Sequence[tuple[str, Stressor]]:
        """Those attacks by name, in order, against a model of so many classes."""


def evaluate_robustness(
    model: nn.Module | Callable[[], nn.Module],
    stream: Any,
    attack: Stressor,
    *,
    out: Path | None = None,
    batch_size: int = 250,
    seed: int = 0,
    replay: Answer | None = None,
    keep: bool = False,
    executor: Executor | None = None,
    labels: Mapping[str, Label] | None = None,
) -> list[Record]:
    """Attack every image of ``stream`` that ``model`` has right; return the records.

    ``model`` is a module (run in eval mode, on its device) or a picklable factory of one; ``stream`` comes
    from ``holdfast.data.open``; ``attack`` is any stressor that harms inputs, such as ``PGD`` or
    ``AutoAttack``. Each batch of ``batch_size`` images draws from a generator of its own, derived from
    ``seed`` and its number, and is computed on one thread: neither kills nor workers change a result. With an
    ``executor`` batches are computed in its processes.

    ``replay`` answers the hostile images a second time, here in this process: the compiled form of a model
    that was attacked in another form. An image that no attack broke is replayed as the hostile input that
    came closest.

    ``out`` receives ``images.jsonl``, a line an image: number in the stream, label, whether it was right
    clean and attacked, which attack broke it, and decision and margin (logit of the label minus the largest
    other one) on the hostile input. Called again after a kill, finished batches are not repeated, and file
    and records equal those of an undisturbed run. ``keep`` leaves the hostile images too, in ``inputs/``.

    Records: ``clean_accuracy``, ``robust_accuracy``, with ``replay`` also ``replayed_robust_accuracy``, each
    with its Wilson interval; ``broken_images`` by attack; ``replay_disagreements``. ``labels`` go into all.

    Raises UsageError for settings other than those kept in ``out``, and what the attack refuses; DataError
    for an empty stream; StepError if a worker process dies.
    """
    if not stream.info.n:
        raise DataError("robustness", expected="at least one image", got="none")
    batches = -(-stream.info.n // batch_size)
    kept = ImageLines(out, stream.info.n, batch_size, keep)
    with laboratory(model, stream, batch_size=batch_size, seed=seed) as lab, closing(kept) as store:
        store.settle(
            {
                "seed": seed,
                "batch_size": batch_size,
                "images": stream.info.n,
                "model": fingerprint(lab.model),
                "data": str(stream.info.fingerprint),
                "attack": describe(attack),
                "replayed": replay is not None,
                "labels": dict(labels or {}),
            }
        )
        todo = [number for number in range(batches) if number not in store.finished]
        if executor is None:
            found = _here(lab, attack, todo)
        else:
            setup = Setup.pack(model, stream, {"attack": attack}, batch_size=batch_size, seed=seed)
            found = _shared(setup, executor, todo)
        with progress("attack", stream.info.n, "images") as advance:
            advance(stream.info.n - sum(store.size(number) for number in todo))
            for number, (batch, inputs) in found:
                if replay is not None:
                    _replay(replay, batch, inputs)
                store.add(number, batch, inputs)
                advance(len(batch))
        lines = store.finish()
        names = [name for name, _ in _stages(attack, _classes(lab.clean(0).output))]
    told: dict[str, Label] = {"attack": attack.name, **getattr(attack, "labels", {})}
    if "attacks" in told:
        told["attacks"] = "+".join(names)
    told |= labels or {}
    return accuracy_records(lines, told, names, seed=seed, simulated=bool(stream.info.simulated))


def attacked_batch(lab: Laboratory, attack: Stressor, number: int) -> Found:
    """Attack batch ``number`` stage by stage, each stage what is still right."""
    reference = lab.clean(number)
    x, y = reference.x, reference.y
    right, margin, decided = _judged(reference.output, y)
    clean, hostile = right.clone(), x.clone()
    broken_by: list[str | None] = [None] * len(y)
    for name, stage in _stages(attack, _classes(reference.output)):
        places = right.nonzero().reshape(-1)
        if not len(places):
            break
        generator = Generator().manual_seed(derive(lab.seed, "robustness", number, name))
        with stage.apply(lab.model, x[places], y[places], generator) as stressed:
            with torch.no_grad():
                now, closer, decision = _judged(stressed.model(stressed.x), y[places])
            better = (closer < margin[places]) | ~now
            changed = places[better]
            hostile[changed] = stressed.x.detach()[better].to(hostile.dtype)
            margin[changed], decided[changed] = closer[better], decision[better]
            for place in places[~now].tolist():
                broken_by[place] = name
            right[places] = now
    lines = [
        {
            "batch": number,
            "index": number * lab.batch_size + i,
            "label": int(y[i]),
            "clean": bool(clean[i]),
            "robust": bool(right[i]),
            "broken_by": broken_by[i],
            "decision": int(decided[i]),
            "margin": float(margin[i]) if bool(torch.isfinite(margin[i])) else None,
        }
        for i in range(len(y))
    ]
    return lines, hostile.cpu().contiguous()


def _stages(attack: Stressor, classes: int) -> Sequence[tuple[str, Stressor]]:
    return attack.stages(classes) if isinstance(attack, Staged) else [(attack.name, attack)]


def _classes(logits: Tensor) -> int:
    return 2 if logits.dim() == 1 or logits.shape[1] == 1 else int(logits.shape[1])


def _judged(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Right or not, margin, and decision of each sample; an answer that is not finite is wrong."""
    if logits.dim() == 1 or logits.shape[1] == 1:
        single = logits.reshape(-1)
        logits = torch.stack([torch.zeros_like(single), single], 1)
    finite, decided = torch.isfinite(logits).all(1), decisions(logits)
    others = logits.scatter(1, y.long()[:, None], -torch.inf).amax(1)
    margin = logits.gather(1, y.long()[:, None])[:, 0] - others
    return finite & (decided == y), torch.where(finite, margin, -torch.inf), decided


def _replay(replay: Answer, lines: list[Line], inputs: Tensor) -> None:
    with torch.inference_mode():
        logits = replay(inputs)
        label = torch.tensor([line["label"] for line in lines])
        right, _, decided = _judged(logits.cpu(), label)
    for line, ok, decision in zip(lines, right.tolist(), decided.tolist(), strict=True):
        line |= {"replayed": decision, "replayed_right": ok}


def _here(lab: Laboratory, attack: Stressor, todo: list[int]) -> Iterator[tuple[int, Found]]:
    return ((number, attacked_batch(lab, attack, number)) for number in todo)


def _shared(setup: Setup, executor: Executor, todo: list[int]) -> Iterator[tuple[int, Found]]:
    """The batches in the order of finishing; all are handed out at once, since each is but a number."""
    running: dict[Future[Found], int] = {}
    try:
        for number in todo:
            running[executor.submit(_work, setup, number)] = number
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenExecutor as error:
        remedy = "look for a lack of memory; the same call goes on where this one ended"
        raise StepError(
            "robustness", expected="worker processes that live", got=str(error), remedy=remedy
        ) from error
    finally:
        for future in running:
            future.cancel()


def _work(setup: Setup, number: int) -> Found:
    lab, stressors = opened(setup)
    return attacked_batch(lab, stressors["attack"], number)
