"""What a comparison says about harm: curves side by side, and which model is better beyond chance where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from holdfast.core.result import Record
from holdfast.hub.render import number
from holdfast.programs import particle_charts
from holdfast.programs.report_sections import select

Section = dict[str, Any]
_MOST_PAIRS = 3
"""Base models of which all pairs are told in words; of more, each against the first."""


@dataclass(frozen=True)
class Family:
    """One kind of harm: the label that is its strength, its unit, and labels that the others must have."""

    title: str
    stressor: str
    label: str
    axis: str
    unit: str = ""
    fixed: dict[str, Any] = field(default_factory=dict)
    clean: float = 0.0

    def of(self, records: Iterable[Record], metric: str) -> list[Record]:
        """Records of ``metric`` under this harm."""
        found = select(records, metric, stressor=self.stressor, **self.fixed)
        return [r for r in found if self.label in r.labels and r.labels[self.label] != self.clean]


FAMILIES = (
    Family(
        "Gaussian noise in GeV",
        "gaussian_noise",
        "sigma_gev",
        "standard deviation in every cell (GeV)",
        " GeV",
    ),
    Family(
        "Gaussian noise, of the maximum",
        "gaussian_noise",
        "sigma_fraction_of_max",
        "standard deviation over the image's maximum",
    ),
    Family(
        "Gaussian noise, of each reading",
        "gaussian_noise",
        "sigma_relative",
        "standard deviation over the cell's reading",
    ),
    Family(
        "Gaussian noise in input units",
        "gaussian_noise",
        "sigma_input",
        "standard deviation in every cell and channel (input units)",
    ),
    Family("Masked patches", "masked_patches", "count", "squares that read zero in each image"),
    Family("Dead channels", "dead_channels", "rate", "share of cells that read zero"),
    Family(
        "Miscalibration: spread of the gains",
        "miscalibration",
        "spread",
        "relative spread of the cells' gains",
        fixed={"scale": 1.0},
    ),
    Family(
        "Miscalibration: shifted scale",
        "miscalibration",
        "scale",
        "common factor on all energies",
        fixed={"spread": 0.0},
        clean=1.0,
    ),
)


def section(records: Sequence[Record]) -> Section | None:
    """Curves and words of every kind of harm that was measured; None without any."""
    metric = "auc" if any(f.of(records, "auc") for f in FAMILIES) else "accuracy"
    sentences, figures = [], []
    for family in FAMILIES:
        found = [record for record in family.of(records, metric) if record.value is not None]
        if not found:
            continue
        told = [sentence for pair in _pairs(found) if (sentence := in_words(records, family, metric, *pair))]
        sentences += [f"{family.title}. {' '.join(told)}"] if told else []
        if len({record.labels[family.label] for record in found}) > 1:
            figures.append(_figure(records, family, metric, found))
    if not figures and not sentences:
        return None
    about = (
        "Every model met the same noise, patches and maps, so differences are paired, image by image. "
        "Intervals are 95 %, each for itself; where all images of a batch share one map, they count maps. "
        "“At chance” means that the interval holds 0.5."
    )
    return {"title": "Robustness", "about": about, "sentences": sentences, "figures": figures, "tables": []}


def _pairs(found: Sequence[Record]) -> list[tuple[str, str]]:
    """Whom to compare: models as trained, retrained ones among themselves, each with what it came from."""
    bases = {str(r.labels["model"]): str(r.labels.get("base", r.labels["model"])) for r in found}
    plain = [name for name, base in bases.items() if name == base]
    again = [name for name in bases if name not in plain]
    pairs = []
    for group in (plain, again):
        every = list(combinations(group, 2))
        pairs += every if len(group) <= _MOST_PAIRS else [pair for pair in every if pair[0] == group[0]]
    return pairs + [(name, bases[name]) for name in again if bases[name] in plain]


def in_words(records: Sequence[Record], family: Family, metric: str, first: str, second: str) -> str:
    """Where ``first`` and ``second`` differ beyond chance, in one sentence; empty if nothing was measured."""
    groups: dict[str, list[float]] = {}
    largest: dict[str, tuple[float, Record]] = {}
    for strength, apart, ours, theirs in _compared(records, family, metric, first, second):
        span = apart.interval
        assert span is not None
        if metric == "auc" and all(_at_chance(each) for each in (ours, theirs)):
            verdict = "chance"
        elif span.low > 0 or span.high < 0:
            verdict = first if span.low > 0 else second
            if verdict not in largest or abs(apart.value or 0) > abs(largest[verdict][1].value or 0):
                largest[verdict] = (strength, apart)
        else:
            verdict = "same"
        groups.setdefault(verdict, []).append(strength)
    if not groups:
        return ""
    parts = []
    total = sum(map(len, groups.values()))
    for name, other in ((first, second), (second, first)):
        if name in groups:
            strength, record = largest[name]
            size = _difference(record, flip=name != first)
            most = f"most at {_told(strength, family)}: " if len(groups[name]) > 1 else ""
            where = _list(groups[name], family, total)
            parts.append(f"{name} is better than {other} beyond chance at {where} ({most}by {size})")
    if "same" in groups:
        subject = "no difference" if parts else f"no difference between {first} and {second}"
        parts.append(f"{subject} beyond chance at {_list(groups['same'], family, total)}")
    if "chance" in groups:
        parts.append(f"both {first} and {second} are at chance at {_list(groups['chance'], family, total)}")
    text = "; ".join(parts)
    # A name keeps its own spelling; a sentence that starts with another word has a capital.
    return f"{text}." if first in groups or second in groups else f"{text[0].upper()}{text[1:]}."


def _compared(
    records: Sequence[Record], family: Family, metric: str, first: str, second: str
) -> list[tuple[float, Record, Record, Record]]:
    """(strength, difference first - second, first, second) where all three have an interval, ascending."""
    own = {
        (str(r.labels["model"]), r.labels[family.label]): r
        for r in family.of(records, metric)
        if r.interval is not None
    }
    found = []
    for record in family.of(records, f"{metric}_difference"):
        names = (str(record.labels["model"]), str(record.labels.get("against")))
        strength = record.labels[family.label]
        if record.interval is None or {*names} != {first, second}:
            continue
        if names != (first, second):
            record = _flipped(record)
        sides = own.get((first, strength)), own.get((second, strength))
        if sides[0] is not None and sides[1] is not None:
            found.append((float(strength), record, sides[0], sides[1]))
    return sorted(found, key=lambda each: each[0])


def _flipped(record: Record) -> Record:
    span = record.interval
    assert span is not None
    turned = span.model_copy(update={"low": -span.high, "high": -span.low})
    return record.model_copy(update={"value": -(record.value or 0.0), "interval": turned})


def _at_chance(record: Record) -> bool:
    span = record.interval
    return span is not None and span.low <= 0.5 <= span.high


def _difference(record: Record, *, flip: bool) -> str:
    shown = _flipped(record) if flip else record
    assert shown.interval is not None
    return f"{shown.value:.4f} [{shown.interval.low:.4f}, {shown.interval.high:.4f}]"


def _told(strength: float, family: Family) -> str:
    return f"{number(int(strength) if strength == int(strength) else strength, 3)}{family.unit}"


def _list(strengths: Sequence[float], family: Family, total: int) -> str:
    if len(strengths) == total > 2:
        return f"every strength from {_told(strengths[0], family)} to {_told(strengths[-1], family)}"
    shown = [number(int(s) if s == int(s) else s, 3) for s in strengths]
    text = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"{text}{family.unit}"


def _figure(
    records: Sequence[Record], family: Family, metric: str, found: Sequence[Record]
) -> dict[str, str]:
    name = "ROC-AUC" if metric == "auc" else "accuracy"
    models = list(dict.fromkeys(str(record.labels["model"]) for record in found))
    clean = {
        str(r.labels["model"]): r
        for r in select(records, f"clean_{metric}", stressor=family.stressor, **family.fixed)
        if family.label in r.labels and r.value is not None
    }
    values = sorted({float(r.labels[family.label]) for r in found} | ({family.clean} if clean else set()))
    texts = {value: number(int(value) if value == int(value) else value, 3) for value in values}
    rows = [_row(r, texts[float(r.labels[family.label])], str(r.labels["model"])) for r in found]
    rows += [_row(r, texts[family.clean], model) for model, r in clean.items()]
    rows.sort(key=lambda row: (models.index(row["series"]), list(texts.values()).index(row["strength"])))
    differences = []
    for first, second in _pairs(found):
        series = f"{first} − {second}"
        for strength, record, _, _ in _compared(records, family, metric, first, second):
            differences.append(_row(record, texts[strength], series))
    drawn = particle_charts.harm(
        rows,
        differences,
        strengths=list(texts.values()),
        x_title=family.axis,
        y_title=name,
        chance=0.5 if metric == "auc" else None,
        difference_title="difference",
    )
    caption = f"{name[0].upper()}{name[1:]} on harmed test images with 95 % intervals"
    caption += f"; at {texts[family.clean]} they are clean." if clean else "."
    caption += " Below: paired differences; above zero the first is better." if differences else ""
    return {"title": family.title, "svg": drawn, "caption": caption}


def _row(record: Record, strength: str, series: str) -> dict[str, Any]:
    span = record.interval
    low, high = (span.low, span.high) if span else (record.value, record.value)
    return {"strength": strength, "value": record.value, "low": low, "high": high, "series": series}
