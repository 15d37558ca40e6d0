"""What a comparison says about cost: quality over FLOPs and latency, and which model is worth its cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.core.result import Record
from holdfast.hub import pareto
from holdfast.hub.render import number, table
from holdfast.programs import particle_charts
from holdfast.programs.report_sections import select, value_text

Costs = dict[str, Record]
"""One cost of every model, by name."""


def section(records: Sequence[Record]) -> dict[str, Any] | None:
    """Figures, choice and table of the plain models that were measured; None for fewer than two."""
    qualities = {
        metric: {str(r.labels["model"]): r for r in _plain(records, metric) if r.value is not None}
        for metric in ("auc", "accuracy")
    }
    main = "auc" if len(qualities["auc"]) > 1 else "accuracy"
    if len(qualities[main]) < 2:
        return None
    costs = _costs(records)
    sentences, figures = [], []
    for title, axis, cost in costs:
        sentences += [f"{title}. {choice(records, main, qualities[main], cost)}"]
        for metric in ("auc", "accuracy"):
            wanted = metric == main or (metric == "accuracy" and title == "FLOPs")
            if wanted and qualities[metric]:
                figures.append(_figure(title, axis, metric, qualities[metric], cost))
    about = (
        "A model is on the Pareto front if no other is at least as good and as cheap. The choice is the "
        "cheapest model that is not behind the best one beyond chance, by the paired difference on the same "
        "test images."
    )
    tables = [_table(records, qualities, costs)]
    return {
        "title": "Quality and cost",
        "about": about,
        "sentences": sentences,
        "figures": figures,
        "tables": tables,
    }


def choice(records: Sequence[Record], metric: str, quality: Costs, cost: Costs) -> str:
    """The Pareto front, and the model that is worth its cost, in words."""
    names = [name for name in quality if name in cost]
    if len(names) < 2:
        return "Fewer than two models were measured."
    points = [{"quality": quality[name].value, "cost": cost[name].value} for name in names]
    front = [names[i] for i in pareto(points, {"quality": "higher", "cost": "lower"}).indices]
    front.sort(key=lambda name: cost[name].value or 0.0)
    best = max(names, key=lambda name: quality[name].value or 0.0)
    behind = {
        str(r.labels["model"]): r
        for r in select(records, f"{metric}_difference", without=("stressor",), against=best, split="test")
    }
    level = [n for n in names if n == best or (n in behind and _reaches_zero(behind[n]))]
    chosen = min(level, key=lambda name: cost[name].value or 0.0)
    text = f"On the front: {', '.join(f'{n} ({value_text(cost[n])[0]})' for n in front)}. "
    named = {"auc": "AUC"}.get(metric, metric)
    if chosen != best:
        ratio = (cost[chosen].value or 0.0) / (cost[best].value or 1.0)
        gap = behind[chosen]
        return text + (
            f"Choose {chosen}: at {number(ratio, 2)} of the cost of {best}, which has the highest {named}, "
            f"it is not behind it beyond chance ({_signed(gap)})."
        )
    cheaper = [n for n in names if n in behind and (cost[n].value or 0.0) < (cost[best].value or 0.0)]
    if not cheaper:
        return text + f"Choose {best}: it has the highest {named}, and no model costs less."
    close = max(cheaper, key=lambda name: behind[name].value or -1.0)
    ratio = (cost[close].value or 0.0) / (cost[best].value or 1.0)
    return text + (
        f"Choose {best} for its {named}: every cheaper model is behind it beyond chance. The closest of "
        f"them, {close}, costs {number(ratio, 2)} of it and is behind by {_signed(behind[close])}."
    )


def _plain(records: Sequence[Record], metric: str, **labels: Any) -> list[Record]:
    wanted = {"split": "test"} if metric in ("auc", "accuracy") else {}
    return select(records, metric, without=("stressor", "how"), protection="plain", **wanted, **labels)


def _costs(records: Sequence[Record]) -> list[tuple[str, str, Costs]]:
    """(title, axis, cost by model) of the FLOPs and of each device and batch size that was timed."""
    flops = {str(r.labels["model"]): r for r in _plain(records, "flops")}
    found = [("FLOPs", "FLOPs of one image (2 × multiply-adds)", flops)] if flops else []
    latencies = _plain(records, "latency")
    for device, batch in sorted({(str(r.labels["device"]), int(r.labels["batch"])) for r in latencies}):
        some = {
            str(r.labels["model"]): r
            for r in latencies
            if r.labels["device"] == device and r.labels["batch"] == batch
        }
        sample = next(iter(some.values())).labels
        threads = f"{sample.get('threads')} thread{'s' if sample.get('threads') != 1 else ''}"
        where = str(sample.get("gpu", device.upper())) if device != "cpu" else f"CPU, {threads}"
        found.append(
            (f"Latency on {where}, batch {batch}", f"time of a batch of {batch} on {where} (ms)", some)
        )
    return found


def _figure(title: str, axis: str, metric: str, quality: Costs, cost: Costs) -> dict[str, str]:
    names = [name for name in quality if name in cost]
    points = [{"quality": quality[name].value, "cost": cost[name].value} for name in names]
    front = set(pareto(points, {"quality": "higher", "cost": "lower"}).indices)
    rows = []
    for i, name in enumerate(names):
        y, x = _span(quality[name]), _span(cost[name])
        rows.append(
            {"name": name, "x": x[0], "x_low": x[1], "x_high": x[2], "y": y[0], "y_low": y[1], "y_high": y[2]}
            | {"on_front": i in front}
        )
    named = {"auc": "ROC-AUC"}.get(metric, metric)
    drawn = particle_charts.trade_off(
        rows,
        x_title=axis,
        y_title=f"{named} on the test split",
        x_format="~s" if title == "FLOPs" else "~g",
    )
    caption = "Filled: on the Pareto front. Bars are 95 % intervals, each model's own."
    return {"title": f"{title} against {named}", "svg": drawn, "caption": caption}


def _table(
    records: Sequence[Record], qualities: dict[str, Costs], costs: list[tuple[str, str, Costs]]
) -> Any:
    parameters = {str(r.labels["model"]): r for r in _plain(records, "parameters")}
    columns: list[tuple[str, Costs]] = [("parameters", parameters)]
    columns += [("ROC-AUC", qualities["auc"]), ("accuracy", qualities["accuracy"])]
    columns += [(title, cost) for title, _, cost in costs]
    used = [(title, values) for title, values in columns if values]
    names = list(dict.fromkeys(name for values in qualities.values() for name in values))
    rows = [
        [name, *(" ".join(value_text(values[name])) if name in values else None for _, values in used)]
        for name in names
    ]
    return table(
        "Plain models on the test split; brackets are 95 % intervals.", ["model", *(t for t, _ in used)], rows
    )


def _span(record: Record) -> tuple[float, float, float]:
    value = record.value or 0.0
    return (value, record.interval.low, record.interval.high) if record.interval else (value, value, value)


def _reaches_zero(record: Record) -> bool:
    return record.interval is not None and record.interval.high >= 0


def _signed(record: Record) -> str:
    span = record.interval
    limits = f" [{span.low:+.4f}, {span.high:+.4f}]" if span else ""
    return f"{record.value:+.4f}{limits}"
