"""Program ``calibrate``: a model whose confidences can be believed, by temperature scaling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record, write_records
from holdfast.programs.model_files import ModelFile

if TYPE_CHECKING:
    from holdfast.data.info import Split


def run(
    out: Path,
    *,
    model: Path,
    data: Path | str,
    name: str | None,
    bins: int,
    split: Split,
    limit: int | None,
    seed: int,
) -> None:
    """Fit the temperature of ``model`` on the validation split; write ``out/model.safetensors`` and records.

    Records: the temperature, and calibration on ``split`` before and after. A protected model is refused:
    calibrate first, then protect. A stacked ensemble is refused as well: its own scale was fitted on the
    validation split, so that a temperature fitted there once more would only repeat its overfitting.
    """
    from holdfast import bench
    from holdfast.data import open as open_data
    from holdfast.models.calibrated import Calibrated
    from holdfast.models.ensemble import Ensemble

    file = plain_file(model, "calibrate")
    val, test = (open_data(data, split=part, seed=seed, limit=limit) for part in ("val", split))
    network = file.plain()
    if isinstance(network, Ensemble) and network.how == "stacked":
        remedy = "calibrate its members, or join them by mean or weighted"
        expected = "a model that was not fitted on the validation split"
        raise UsageError(f"model {model}", expected=expected, got="a stacked ensemble", remedy=remedy)
    fitted = bench.evaluate_stream(network, val)
    temperature = bench.fit_temperature(fitted)
    name = name or f"{file.name}-calibrated"
    save(Calibrated.of(network, temperature), out / "model.safetensors", name, [model])
    labels: dict[str, Label] = {"model": file.name, "protection": "plain"}
    simulated = val.info.simulated
    records = [
        Record(
            metric="temperature",
            value=temperature,
            unit="1",
            direction="none",
            interval=bench.temperature_interval(fitted, temperature),
            n=len(fitted.labels),
            labels={**labels, "split": "val"},
            seed=seed,
            simulated=simulated,
        )
    ]
    found = bench.evaluate_stream(network, test)
    for calibrated, answers in ((False, found), (True, bench.at_temperature(found, temperature))):
        records += bench.calibration_records(
            answers,
            bins=bins,
            labels={**labels, "split": split, "calibrated": calibrated},
            seed=seed,
            simulated=simulated,
        )
    write_records(out / "records.jsonl", records)


def plain_file(path: Path, verb: str) -> ModelFile:
    """The model file ``path``. Raises UsageError for a protected one, which keeps its settings beside it."""
    file = ModelFile.open(path)
    if file.protection is not None:
        remedy = f"{verb} the plain model, then protect what comes out"
        raise UsageError(f"model {path}", expected="a plain model", got="a protected one", remedy=remedy)
    return file


def save(model: Any, path: Path, name: str, sources: list[Path]) -> None:
    """Write ``model`` made of the models in ``sources``, with what these say of their data.

    Raises UsageError if they say different things: one image cannot be prepared in two ways.
    """
    told = [_meta(source).get("data") for source in sources]
    if any(each != told[0] for each in told):
        got = "; ".join(f"{source.name}: {each}" for source, each in zip(sources, told, strict=True))
        raise UsageError("models of one ensemble", expected="the same data and transform", got=got)
    data = {} if told[0] is None else {"data": told[0]}
    models.save(model.eval(), path, {"name": name, "protection": None, **data})


def _meta(path: Path) -> dict[str, Any]:
    return models.read_meta(path) if ModelFile.open(path).format is None else {}
