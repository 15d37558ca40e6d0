"""Program ``simulate``: e/γ showers in the official ML4SCI layout."""

from __future__ import annotations

from pathlib import Path

from holdfast.core import environment


def run(out: Path, *, events: int, seed: int, workers: int | None) -> None:
    """Write ``events`` simulated images, half electrons and half photons, to ``out/data``."""
    from holdfast.data.simulate import simulate

    simulate(out / "data", events=events, seed=seed, workers=workers or environment.cores())
