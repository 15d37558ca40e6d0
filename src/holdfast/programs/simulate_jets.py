"""Program ``simulate-jets``: quark and gluon jets in the schema of the official Parquet files."""

from __future__ import annotations

from pathlib import Path

from holdfast.core import environment


def run(out: Path, *, jets: int, seed: int, workers: int | None) -> None:
    """Write ``jets`` simulated images, quarks and gluons in turn, to ``out/data``."""
    from holdfast.data.simulate import simulate_jets

    simulate_jets(out / "data", count=jets, seed=seed, workers=workers or environment.cores())
