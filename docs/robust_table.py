"""Full MNIST on docs/robust-binary-results.md: subnetworks beside dense networks of the same bytes."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.result import Record, read_records

RECORDS = Path(__file__).parent.parent / "benchmarks" / "records"
RADII = ("0.1", "0.3")
ROWS = {
    "sparse99": "subnetwork, r = 0.99",
    "dense-as-sparse99": "dense float32, as many bytes",
    "sparse90": "subnetwork, r = 0.9",
    "dense-as-sparse90": "dense float32, as many bytes",
    "dense": "same architecture, dense float32",
}
COLUMNS = ("", "weights", "file, bytes", "clean %, 10,000 images", "AutoAttack %, 1,000 images", "PGD-20 %")
HEAD = """## Full MNIST, beside dense networks of the same architecture and of the same size

    holdfast run workflow:robust-table --eps 0.1 --attack n_fgsm --all-images true
    holdfast run workflow:robust-table --eps 0.3 --attack pgd --attack-options '{"steps":5,"step":0.35}'

The conv net (397,600 weights), 12 epochs, one seed. AutoAttack is the standard one (APGD-CE, targeted APGD,
targeted FAB, Square) on 1,000 fixed test images, made on the packed network and replayed on its compiled
form; PGD with 20 steps judged 1,000 validation images after the training. In brackets 95 % (Wilson).
"""


def section() -> str:
    """The section as Markdown."""
    return "\n".join([HEAD, *(_table(radius) for radius in RADII)])


def _table(radius: str) -> str:
    name = f"robust_table_{radius}.jsonl"
    records = read_records(RECORDS / name)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for model, title in ROWS.items():
        plain = {"model": model, "protection": "plain"}
        attacked = _chosen(records, "robust_accuracy", **plain, attack="autoattack")
        cells = (
            f"{_one(records, 'kept_weights', **plain).value:,.0f}",
            f"{_size(records, plain).value:,.0f}",
            _share(_one(records, "accuracy", **plain)),
            _share(next(r for r in attacked if r.n == 1000)),
            _share(_one(records, "robust_accuracy", **plain, attack="pgd")),
        )
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    notes = [f"ε = {radius}; records: `benchmarks/records/{name}`."]
    disagreements = sum(r.value or 0 for r in _chosen(records, "replay_disagreements"))
    notes.append(f"On the compiled form {disagreements:.0f} attacked images are decided otherwise.")
    for record in _chosen(records, "robust_accuracy", attack="autoattack"):
        if record.n != 1000:
            notes.append(f"AutoAttack on all {record.n:,} images, r = 0.99: {_share(record)} %.")
    return "\n".join(lines) + "\n\n" + " ".join(notes) + "\n"


def _size(records: list[Record], labels: dict[str, str]) -> Record:
    """Of the packed file; of a dense network its parameters and statistics in float32."""
    return (_chosen(records, "file_size", **labels) or _chosen(records, "size", **labels))[0]


def _share(record: Record) -> str:
    assert record.value is not None
    assert record.interval is not None
    low, high = 100 * record.interval.low, 100 * record.interval.high
    return f"{100 * record.value:.1f} [{low:.1f}, {high:.1f}]"


def _one(records: list[Record], metric: str, **labels: str) -> Record:
    return _chosen(records, metric, **labels)[0]


def _chosen(records: list[Record], metric: str, **labels: str) -> list[Record]:
    return [r for r in records if r.metric == metric and labels.items() <= r.labels.items()]
