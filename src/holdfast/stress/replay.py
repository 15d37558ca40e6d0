"""Faults struck before, struck again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Generator, Tensor, nn

from holdfast.core.errors import DataError, UsageError
from holdfast.core.result import Label
from holdfast.stress.fault import Fault, FaultedTrial, trials_from_json
from holdfast.stress.flips import Faulty
from holdfast.stress.registry import stressors


@stressors.register("replay")
@dataclass(frozen=True)
class Replay(Faulty):
    """The trials of a fault list, one after another, each on the batch that it met before.

    ``faults``: a JSON file that a campaign left (``faults.json``) or ``to_json`` made, or a list of faults
    and trials. With the same model, data and batch size every trial comes to the same outcome. Give a
    campaign as many trials as the list has (``len(replay.trials)``). Raises UsageError for what is no fault
    list, DataError for a file that cannot be read.
    """

    faults: tuple[FaultedTrial, ...] | Sequence[Fault | FaultedTrial] | str | Path = ()
    name: str = "replay"
    turn: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.faults, str | Path):
            try:
                found = trials_from_json(Path(self.faults).read_text())
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(str(self.faults), expected="a fault list", got=str(error)) from error
        else:
            found = [FaultedTrial((each,)) if isinstance(each, Fault) else each for each in self.faults]
        object.__setattr__(self, "faults", tuple(found))

    @property
    def labels(self) -> dict[str, Label]:
        """That it is a replay is all that trials have in common."""
        return {}

    @property
    def trials(self) -> tuple[FaultedTrial, ...]:
        """The trials of the list."""
        return self.faults  # type: ignore[return-value]

    def at_trial(self, index: int, seed: int) -> Replay:
        """This stressor for trial ``index`` of a campaign."""
        return replace(self, turn=index)

    def batch_of(self, index: int) -> int | None:
        """The batch that trial ``index`` met; None where the list does not say."""
        return self._trial(index).batch

    def draw(self, model: nn.Module, x: Tensor, generator: Generator) -> list[Fault]:
        """The faults of the trial."""
        return list(self._trial(self.turn).faults) if self.trials else []

    def beside(
        self, faults: Sequence[Fault], model: nn.Module, x: Tensor, generator: Generator
    ) -> list[Fault]:
        """None: the list has all that struck."""
        return []

    def _trial(self, index: int) -> FaultedTrial:
        if not 0 <= index < len(self.trials):
            raise UsageError("replay", expected=f"at most {len(self.trials)} trials", got=index + 1)
        return self.trials[index]
