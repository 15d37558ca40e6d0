"""Program ``bench``: quality, latency, FLOPs and size of one or several models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record, write_records
from holdfast.programs.differences import Answers, answers_of, from_the_best
from holdfast.programs.model_files import PACKED, ModelFile

if TYPE_CHECKING:
    from holdfast.data.info import Split


def run(
    out: Path,
    *,
    models: list[Path],
    data: Path | str,
    batches: list[int],
    repeats: int,
    split: Split,
    limit: int | None,
    seed: int,
    device: str = "cpu",
    traces: bool = False,
    threads: int | None = None,
) -> None:
    """Measure every model on ``split`` and at every batch size, and write ``out/records.jsonl``.

    A protected model that comes after the plain one of its name is also timed against it, in turn. Of a
    packed network its compiled form is measured beside, as the protection ``compiled``. Plain models are also
    compared with the best of them, image by image: ``auc_difference`` (accuracy, unless two classes).
    ``device`` is that of the latencies: ``cpu``, ``cuda``, or ``all`` there are, on ``threads`` of the
    processor; with ``traces`` a profiler's trace of each lies in ``out/traces``.
    """
    from holdfast import bench
    from holdfast.data import open as open_data

    if threads is not None:
        torch.set_num_threads(threads)
    stream = open_data(data, split=split, seed=seed, limit=limit)
    shape = stream.info.shape
    records: list[Record] = []
    plain: dict[str, nn.Module] = {}
    answers: dict[str, Answers] = {}
    folder = out / "traces"
    folder.mkdir(exist_ok=True)
    devices = _devices(device)
    for path in models:
        file = ModelFile.open(path)
        model = file.load()
        for labels, subject in ((file.labels, model), *_compiled(file)):
            found = bench.evaluate_stream(subject, stream)
            records += bench.quality_records(
                found, labels={**labels, "split": split}, seed=seed, simulated=stream.info.simulated
            )
            if subject is model:
                records += bench.size(model, labels=labels)
                records += bench.flops(model, shape, labels=labels)
            if file.protection is None and subject is model:
                plain[file.name] = model
                answers[file.name] = answers_of(found)
            own = plain.get(file.name, subject)
            for where in devices if subject is own else ["cpu"]:
                if where != "cpu":
                    subject.to(where)
                for batch in batches:
                    if subject is not own:
                        records += bench.overhead(own, subject, shape, batch, labels=labels, seed=seed)
                    records += bench.latency(subject, shape, batch, repeats=repeats, labels=labels, seed=seed)
                    if traces:
                        name = "-".join(map(str, (*labels.values(), where, batch))).replace("/", "_")
                        bench.save_trace(subject, shape, batch, folder / f"{name}.json.gz")
                if where != "cpu":
                    subject.to("cpu")
    common = {"seed": seed, "simulated": stream.info.simulated, "unit": "1", "direction": "higher"}
    records += from_the_best(answers, {"split": split}, common)
    write_records(out / "records.jsonl", records)


def _devices(device: str) -> list[str]:
    import torch

    present = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    if device == "all":
        return present
    if device not in present:
        raise UsageError("device", expected=" or ".join(present), got=device)
    return [device]


def _compiled(file: ModelFile) -> list[tuple[dict[str, Label], nn.Module]]:
    """The compiled form of a packed network, with the labels of its records."""
    if file.format != PACKED:
        return []
    import torch

    from holdfast.subnet import load_packed

    compiled = load_packed(file.path).compile(threads=torch.get_num_threads())
    return [({**file.labels, "protection": "compiled"}, compiled)]
