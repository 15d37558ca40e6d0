"""Named errors. Each says what was expected, what came, and what to do; the CLI maps them to exit codes."""

from __future__ import annotations

from collections.abc import Iterable


class HoldfastError(Exception):
    """Base of all errors that Holdfast raises on purpose.

    The message reads "<what>: expected <expected>, got <got>; <remedy>", with absent parts left out.
    """

    exit_code: int = 1

    def __init__(
        self, what: str, *, expected: object = None, got: object = None, remedy: str | None = None
    ) -> None:
        self.what, self.expected, self.got, self.remedy = what, expected, got, remedy
        parts = []
        if expected is not None:
            parts.append(f"expected {expected}")
        if got is not None:
            parts.append(f"got {got}")
        message = what + (": " + ", ".join(parts) if parts else "")
        super().__init__(message + (f"; {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would otherwise be lost when a worker process sends the error home.
        return (_rebuild, (type(self), self.what, self.expected, self.got, self.remedy))


def _rebuild(
    kind: type[HoldfastError], what: str, expected: object, got: object, remedy: str | None
) -> HoldfastError:
    error = kind.__new__(kind)
    HoldfastError.__init__(error, what, expected=expected, got=got, remedy=remedy)
    return error


class UsageError(HoldfastError):
    """A call or a command line that cannot be carried out as written."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nothing is registered under."""

    exit_code = 3

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches  # every step's process would pay for it

        names = sorted(known)
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else None
        super().__init__(
            f"unknown {kind}", expected=f"one of {', '.join(names)}", got=repr(name), remedy=hint
        )


class DuplicateNameError(HoldfastError):
    """A name registered twice."""


class ComponentError(UsageError):
    """A component whose description or content is wrong."""

    exit_code = 3


class DataError(HoldfastError):
    """Input data that are damaged, or not in the layout, units or label convention they claim."""

    exit_code = 4


class StepError(HoldfastError):
    """A workflow step that failed, crashed or timed out.

    ``exit_code`` is that of the error the step itself ended with, where it named one.
    """

    exit_code = 5

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        remedy: str | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(what, expected=expected, got=got, remedy=remedy)
        if exit_code is not None:
            self.exit_code = exit_code

    def __reduce__(self) -> tuple[object, ...]:
        return (*super().__reduce__(), {"exit_code": self.exit_code})


class InfrastructureError(StepError):
    """A step that the machine ended, not its program: killed from outside, a lost worker; worth a retry."""


class StorageError(HoldfastError):
    """A file that could not be written whole (full disk, permissions); nothing half-written is left."""

    exit_code = 6


class NativeCoreError(HoldfastError):
    """The compiled core is required but absent or broken."""

    exit_code = 7


class FaultError(HoldfastError):
    """A soft error that was detected and could not be corrected.

    ``event`` is its record, and ``damaged`` the input of the layer, where they are known.
    """

    exit_code = 8
    event: object = None
    damaged: object = None


class InputDamaged(FaultError):  # noqa: N818 - a FaultError by another name
    """A layer's input changed in memory after it had been summed; running the model again may mend it."""


class WeightsChanged(FaultError):  # noqa: N818 - a FaultError by another name
    """Weights differ from those that were protected, by more than a fault would make them."""


INTERRUPTED_EXIT_CODE = 130
