"""What the records of the rerun say in sentences and figures, for the report and for the docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from holdfast.core.result import Record
from holdfast.hub.render import number
from holdfast.programs import mask_figures
from holdfast.programs import robust_binary_charts as charts
from holdfast.programs.report_sections import Figure
from holdfast.programs.robust_binary_derived import chosen
from holdfast.programs.robust_binary_tables import INITS, lbn


def scale(records: Sequence[Record]) -> str:
    """At which scale the cells were measured, in a sentence; empty if none was."""
    cells = [r for r in records if "table" in r.labels and r.value is not None]
    if not cells:
        return ""
    label = cells[0].labels
    seeds = {int(r.labels["seeds"]) for r in cells}
    several = f"{min(seeds)} to {max(seeds)} seeds" if len(seeds) > 1 else f"{max(seeds)} seeds"
    several = "one seed" if seeds == {1} else several
    attack = "AutoAttack" if label["judge"] == "autoattack" else "PGD, 20 steps, 3 restarts"
    return (
        f"{label['model']} on {label['data']}: {label['training_images']} training images, {label['epochs']}"
        f" epochs, ε = {number(float(label['eps']), 3)}; judged by {attack} on {label['test_images']} test"
        f" images; {several} a cell."
    )


def verdicts(records: Sequence[Record]) -> list[str]:
    """One sentence a statement of the paper: what was found for it."""
    said = []
    best = sorted(chosen(records, "best_p"), key=lambda r: float(r.labels["prune_rate"]))
    if best:
        steps = ", ".join(f"{r.value:g} at r = {r.labels['prune_rate']:g}" for r in best)
        said.append(f"The best p by pruning rate: {steps}.")
    for gain in chosen(records, "last_norm_gain", init="binary", p=0.1):
        said.append(f"LBN at p = 0.1, r = 0.99, binary: {gain.value:+.1f} points of robust accuracy.")
    for ratio in chosen(records, "score_scale_spread_ratio"):
        said.append(
            f"Over the scale of the scores robust accuracy spreads {ratio.value:.2f} times as much with LBN"
            " as without."
        )
    for lead in chosen(records, "lead_over_binary"):
        said.append(
            f"{lead.labels['classes']} classes: ours at p = 0.1 leads the best binary network of the other"
            f" methods by {lead.value:+.1f} points."
        )
    for small in chosen(records, "vanilla_lead_small"):
        for big in chosen(records, "adversarial_gain_big"):
            said.append(
                f"Capacity: at the smallest width vanilla training keeps {small.value:+.1f} points more of"
                " its best than adversarial training of its own; over the larger half of the widths"
                f" adversarial training gains {big.value:+.1f} points more."
            )
    return said


def figures(records: Sequence[Record], network: Path | None = None) -> list[Figure]:
    """The map over p and r, LBN over a and over inits, capacity, and the masks of a packed ``network``."""
    return [*_heat(records), *_bars(records), *_capacity(records), *(_masks(network) if network else [])]


def _heat(records: Sequence[Record]) -> Iterator[Figure]:
    cells = chosen(records, table="p-r")
    best = {r.labels["prune_rate"]: r.value for r in chosen(records, "best_p")}
    if len(cells) < 2:
        return
    rows = [
        {
            **{name: float(r.labels[name]) for name in ("prune_rate", "p")},
            **_span(r),
            "best": r.labels["p"] == best.get(r.labels["prune_rate"]),
        }
        for r in cells
    ]
    yield {
        "title": "Robust accuracy over pruning rate r and p",
        "svg": charts.heat(rows),
        "caption": "Framed: the best p of each r. Below each mean the lowest and the highest seed;"
        " with one seed 95 % over the images.",
    }


def _bars(records: Sequence[Record]) -> Iterator[Figure]:
    for table, x, panel, title, caption in (
        ("lbn-init", "p", "init", "LBN, over initialisations", "r = 0.99."),
        ("lbn-a", "score_scale", None, "LBN, over the scale of the scores", "r = 0.99, p = 0.1, binary."),
    ):
        rows = [
            {
                **_span(r),
                "x": f"{r.labels[x]:g}",
                "series": lbn(bool(r.labels["last_norm"])),
                "panel": INITS[str(r.labels[panel])] if panel else "",
            }
            for r in chosen(records, table=table)
        ]
        if len({row["series"] for row in rows}) == 2:
            yield {
                "title": title,
                "svg": charts.bars(rows, x="x", x_title="p" if x == "p" else "a: scores start from N(0, a²)"),
                "caption": f"{caption} Rules: lowest and highest seed; with one seed 95 % over the images.",
            }


def _capacity(records: Sequence[Record]) -> Iterator[Figure]:
    rows = [
        {**_span(r), "weights": float(r.labels["kept"]), "series": f"{r.labels['training']} training, {kind}"}
        for training, kind in (("vanilla", "clean"), ("adversarial", "clean"), ("adversarial", "robust"))
        for r in chosen(records, f"{kind}_accuracy_mean", table="capacity", training=training)
    ]
    if len(rows) > 3:
        yield {
            "title": "Capacity: vanilla against adversarial training",
            "svg": charts.capacity(rows),
            "caption": "The same network at several widths, in full precision. Rules: lowest and highest"
            " seed; with one seed 95 % over the images. Vanilla training under attack is in the records.",
        }


def _masks(network: Path) -> Iterator[Figure]:
    from holdfast.subnet import load_packed

    before, after = mask_figures.to_draw(load_packed(network))
    yield {
        "title": f"Mask of {after.name}",
        "svg": mask_figures.layer(after.mask),
        "caption": "Each kernel of the convolution as a square: blue dots are the weights that are kept."
        " Orange: channels without any. The bar on top is white where an input channel has none.",
    }
    yield {
        "title": f"Masks of {before.name} and {after.name}",
        "svg": mask_figures.pair(before.mask, after.mask),
        "caption": "The channels between the two layers share their rows. White in the middle: on the left"
        " outputs that the first layer leaves empty, on the right inputs that the second does not read.",
    }


def _span(record: Record) -> dict[str, float | None]:
    span = record.interval
    value = record.value
    return {"value": value, "low": span.low if span else value, "high": span.high if span else value}
