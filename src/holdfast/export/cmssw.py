"""A model as a CMSSW package: the network, a producer, and the very transform that training used, in C++."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from holdfast import __version__
from holdfast.core.errors import UsageError
from holdfast.core.paths import write_bytes, write_text
from holdfast.data.transforms import Crop, Pipeline
from holdfast.export.cmssw_release import Release, check_readable, find_release
from holdfast.export.cmssw_steps import cpp_steps, input_layout
from holdfast.export.cmssw_style import check_style
from holdfast.export.face import Face
from holdfast.export.onnx import OnnxFile, inspect, read_meta, to_onnx
from holdfast.export.portable import make_portable
from holdfast.export.rendering import templates

BARREL = (170, 360)
"""Rows (iη) and columns (iφ) of the electromagnetic barrel, the default map."""
FILES = {
    "BuildFile.xml": "library.xml",
    "README.md": "README.md",
    "interface/{name}Image.h": "Image.h",
    "interface/{name}Preprocessor.h": "Preprocessor.h",
    "plugins/BuildFile.xml": "plugin.xml",
    "plugins/{name}Producer.cc": "Producer.cc",
    "plugins/{name}Producer.h": "Producer.h",
    "python/{lower}_cfi.py": "cfi.py",
    "src/{name}Image.cc": "Image.cc",
    "src/{name}Preprocessor.cc": "Preprocessor.cc",
    "test/{lower}_cfg.py": "cfg.py",
}


@dataclass(frozen=True)
class CmsswPackage:
    """What was written: the package's folder, its files, the network and the release that it is for."""

    folder: Path
    files: tuple[Path, ...]
    network: OnnxFile
    release: Release
    steps: tuple[str, ...]


def export_cmssw(
    network: nn.Module | Path,
    folder: Path | str,
    *,
    package: str,
    data: Mapping[str, Any] | None = None,
    transform: Sequence[Mapping[str, Any]] | None = None,
    release: str = "CMSSW_14_0_X",
    rows: int = BARREL[0],
    columns: int = BARREL[1],
    channels: Sequence[str] | None = None,
    title: str | None = None,
) -> CmsswPackage:
    """Write the CMSSW package ``package`` (Subsystem/Package) below ``folder``, to be built there by scram.

    ``network`` is a model of ``models.create`` or an ONNX file (protected or not). ``data`` says what it was
    trained on (``transform``, ``channels``, ``classes``, ``simulated``); an ONNX file of ``to_onnx`` says so
    itself. ``transform`` replaces that transform: it starts from the maps that the producer reads, of
    ``rows`` × ``columns``, one a channel, named ``channels``. Files of an earlier export are replaced, others
    are left.

    Raises UsageError for a name that is no CMSSW package's, a model without a transform, a transform that
    does not lead from maps to the model's input, a file that the ``release`` refuses (opset, IR version,
    inputs); UnknownNameError for an unknown release; DataError for a file that is no network; StorageError.
    """
    subsystem, name = package_name(package)
    cycle = find_release(release)
    known = dict(data or ({} if isinstance(network, nn.Module) else read_meta(network)))
    steps = _transform(known, transform)
    target = Path(folder) / subsystem / name
    lower = name[0].lower() + name[1:]
    with TemporaryDirectory() as made:
        staging = Path(made)
        file = staging / "data" / f"{lower}.onnx"
        difference = None
        if isinstance(network, nn.Module):
            difference = to_onnx(network, file, meta={**known, "transform": steps.to_json()}).difference
        else:
            check_readable(network, cycle)
            write_bytes(file, network.read_bytes())
            make_portable(file)
        check_readable(file, cycle)
        face = Face.of(file)
        names = tuple(channels) if channels else None
        layout = input_layout(steps, face.shape, rows=rows, columns=columns, channels=names)
        if names is None and len(known.get("channels") or ()) == len(layout.channels):
            layout = replace(layout, channels=tuple(known["channels"]))
        context = {
            "package": package,
            "subsystem": subsystem,
            "name": name,
            "lower": lower,
            "guard": package.replace("/", "_"),
            "pad": " " * len(name),
            "version": __version__,
            "model": title or (type(network).__name__ if isinstance(network, nn.Module) else network.name),
            "file": file.name,
            "release": cycle,
            "network": inspect(file),
            "rows": rows,
            "columns": columns,
            "simulated": bool(known.get("simulated")),
            **_classes(known, face.classes),
            **_transform_context(steps, layout.channels),
            **face.context(),
        }
        for path, template in FILES.items():
            text = templates().get_template(f"cmssw/{template}.j2").render(context)
            write_text(staging / path.format(name=name, lower=lower), text)
        if broken := check_style(staging, package):
            raise UsageError(
                f"package {package}",
                expected="C++ in the CMS style",
                got="; ".join(map(str, broken)),
                remedy="choose a shorter name",
            )
        written = []
        for source in sorted(path for path in staging.rglob("*") if path.is_file()):
            written.append(target / source.relative_to(staging))
            write_bytes(written[-1], source.read_bytes())
    final = replace(inspect(target / "data" / file.name), difference=difference)
    return CmsswPackage(target, tuple(written), final, cycle, tuple(context["steps"]))


def package_name(package: str) -> tuple[str, str]:
    """Subsystem and package of ``package``. Raises UsageError unless both are UpperCamel, joined by one /."""
    found = re.fullmatch(r"([A-Z][A-Za-z0-9]+)/([A-Z][A-Za-z0-9]+)", package)
    if not found:
        raise UsageError(
            "CMSSW package",
            expected="Subsystem/Package, both UpperCamel: RecoE2E/HoldfastTagger",
            got=repr(package),
        )
    return found[1], found[2]


def _transform(known: Mapping[str, Any], given: Sequence[Mapping[str, Any]] | None) -> Pipeline:
    steps = known.get("transform") if given is None else given
    if steps is None:
        raise UsageError(
            "model without a transform",
            expected="what its training images went through",
            got="nothing in the model file",
            remedy="say it from the maps on: --transform @steps.json with [{'name': 'crop', 'size': 32, "
            "'around': 'hottest'}, {'name': 'scale', 'factors': [0.02, 1]}], or [] if nothing was changed",
        )
    return Pipeline.from_json(steps)


def _transform_context(steps: Pipeline, maps: tuple[str, ...]) -> dict[str, Any]:
    return {
        "steps": cpp_steps(steps),
        "transform": json.dumps(steps.to_json(), indent=2),
        "seed": _seed(steps),
        "maps": [(name, _label(name)) for name in maps],
        "input_channels": len(maps),
    }


def _classes(known: Mapping[str, Any], count: int) -> dict[str, list[str]]:
    classes = [str(name) for name in known.get("classes") or [f"class{number}" for number in range(count)]]
    labels = [_label(name) for name in classes]
    if len(classes) != count or len(set(labels)) != count or "deviation" in labels:
        got = ", ".join(classes)
        raise UsageError("classes", expected=f"{count} different names, one a logit", got=got)
    return {"classes": classes, "labels": labels}


def _label(name: str) -> str:
    """``name`` as CMSSW takes it for a product: letters and digits, lowerCamel."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    if not words:
        raise UsageError("class or channel", expected="a name with letters or digits", got=repr(name))
    label = words[0][0].lower() + words[0][1:] + "".join(word[0].upper() + word[1:] for word in words[1:])
    return label if label[0].isalpha() else f"class{label}"


def _seed(steps: Pipeline) -> str:
    """Where the candidate is if nobody says it, in words."""
    crop = next((step for step in steps.steps if isinstance(step, Crop)), None)
    if crop is None or crop.around == "centre":
        return "at the centre of the map"
    return f"at the hottest cell of channel {crop.channel}"
