"""What a ``component.json`` may say, kind by kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from holdfast.hub.kinds.base import IDENTIFIER, NAME, Base, Check, Expected, Identifier, Name, Need
from holdfast.hub.kinds.condition import When
from holdfast.hub.kinds.custom import Custom, KindDefinition
from holdfast.hub.kinds.experiment import Experiment
from holdfast.hub.kinds.matrix import Matrix
from holdfast.hub.kinds.package import Generate, LocalFile, Package, Source
from holdfast.hub.kinds.paper import Agreement, Claim, ClaimStatus, Figure, Paper, RecordSelector
from holdfast.hub.kinds.program import PLACEHOLDER, Entry, Program, ProgramCli
from holdfast.hub.kinds.soft import Detection, Soft
from holdfast.hub.kinds.workflow import RESERVED_OUTPUTS, From, Resources, Step, TuningChoice, Workflow

AnyComponent = Annotated[
    Program | Workflow | Paper | Experiment | Soft | Package | KindDefinition, Field(discriminator="kind")
]
KINDS = ("program", "workflow", "paper", "experiment", "soft", "package", "kind")
"""The built-in kinds; a repository's ``kind/<name>/`` adds others."""

__all__ = [
    "IDENTIFIER",
    "KINDS",
    "NAME",
    "PLACEHOLDER",
    "RESERVED_OUTPUTS",
    "Agreement",
    "AnyComponent",
    "Base",
    "Check",
    "Claim",
    "ClaimStatus",
    "Custom",
    "Detection",
    "Entry",
    "Expected",
    "Experiment",
    "Figure",
    "From",
    "Generate",
    "Identifier",
    "KindDefinition",
    "LocalFile",
    "Matrix",
    "Name",
    "Need",
    "Package",
    "Paper",
    "Program",
    "ProgramCli",
    "RecordSelector",
    "Resources",
    "Soft",
    "Source",
    "Step",
    "TuningChoice",
    "When",
    "Workflow",
]
