"""What ``[repository:]kind:name[@range]`` says, and which of several candidates it means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub.component import Component
from holdfast.hub.kinds import NAME

_UID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Spec:
    """A component that somebody asks for; ``exact`` if one version was named."""

    text: str
    repository: str | None
    kind: str
    name: str
    versions: SpecifierSet

    @property
    def is_uid(self) -> bool:
        """Whether the name is a UID."""
        return _UID.fullmatch(self.name) is not None

    @property
    def is_name(self) -> bool:
        """Whether the name may be that of a component, rather than a pattern or a path."""
        return re.fullmatch(NAME, self.name) is not None

    @property
    def exact(self) -> bool:
        """Whether one version was named."""
        return any(part.operator in ("==", "===") and "*" not in part.version for part in self.versions)


def parse(text: str) -> Spec:
    """Read ``[repository:]kind:name[@range]``. Raises UsageError."""
    name, _, versions = text.partition("@")
    parts = name.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(
            "component",
            expected="kind:name[@range]",
            got=repr(text),
            remedy="e.g. program:train, or repository:program:train",
        )
    if versions[:1].isdigit():
        versions = f"=={versions}"
    try:
        wanted = SpecifierSet(versions)
    except InvalidSpecifier as error:
        raise UsageError(
            f"version range of {text!r}", expected="a range such as >=1.2,<2", got=repr(versions)
        ) from error
    return Spec(text, parts[0] if len(parts) == 3 else None, parts[-2], parts[-1], wanted)


def choose(spec: Spec, candidates: Sequence[Component]) -> Component:
    """The one of ``candidates``, in order of precedence, that ``spec`` means.

    The first repository with a fitting version decides, and the highest one there; a yanked version is chosen
    only if it is named exactly. Raises ComponentError, with the list, where the answer would be a guess.
    """
    if len({component.uid for component in candidates}) > 1:
        raise ambiguous(
            spec.text, candidates, "name the one you mean: repository:kind:name, or by its UID, kind:uid"
        )
    if len({component.id for component in candidates}) > 1:
        raise ambiguous(spec.text, candidates, "give one of them a new UID")
    fitting = [c for c in candidates if spec.versions.contains(c.version, prereleases=True)]
    what = f"{spec.kind}:{spec.name}"
    if not fitting:
        listed = ", ".join(f"{c.version} ({c.repository})" for c in candidates)
        raise ComponentError(
            f"no version of {what} satisfies {spec.versions}", expected=str(spec.versions), got=listed
        )
    good = [c for c in fitting if spec.exact or not c.meta.yanked]
    if not good:
        raise ComponentError(
            f"every fitting version of {what} is yanked",
            got="; ".join(f"{c.version}: {c.meta.yanked}" for c in fitting),
            remedy=f"name one exactly to use it all the same: {what}@{fitting[0].version}",
        )
    best = max((c for c in good if c.root == good[0].root), key=lambda component: component.version)
    twins = [c for c in good if c.root == best.root and c.version == best.version]
    if len(twins) > 1:
        raise ambiguous(spec.text, twins, "give the versions different numbers or remove one")
    return best


def ambiguous(what: str, candidates: Sequence[Component], remedy: str) -> ComponentError:
    """The error that lists ``candidates`` because any choice between them would be a guess."""
    listed = "; ".join(f"{c.id} {c.version} uid {c.uid} in {c.folder}" for c in candidates)
    return ComponentError(f"{what} is ambiguous", expected="one component", got=listed, remedy=remedy)
