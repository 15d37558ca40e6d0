"""Which mirror images and turns of a detector image keep its label.

The solenoid's field lies along the beam: it bends charged particles in φ, positive and negative ones to
opposite sides, and nothing in η. So of images with rows in η and columns in φ

* a mirror image in η is another possible event, whatever the particle;
* a mirror image in φ shows the antiparticle. A set that has electrons and no positrons (as the e/γ set of
  ML4SCI has) gets images that do not exist, and the side to which bremsstrahlung falls, which tells electrons
  from photons, is lost: −0.010 in AUC on simulated images;
* a turn by 90° lays the bending along η. No single particle does that, a photon that converts neither;
* jets hold particles of both charges in equal parts, and their radiation knows no axis: all of it is allowed.
"""

from __future__ import annotations

from typing import Any, Literal

from holdfast.core.errors import UsageError

Operation = Literal["eta_flip", "phi_flip", "rot90"]

CHARGED = frozenset({"electron", "positron", "muon", "antimuon", "pion", "kaon", "proton", "tau"})
NEUTRAL = frozenset({"photon", "pi0", "neutron", "gamma"})
JETS = frozenset({"quark", "gluon", "light", "charm", "bottom", "top", "qcd", "w", "z", "higgs", "jet"})


def allow(operation: Operation, info: Any, *, unsafe: bool = False) -> None:
    """Raise UsageError unless ``operation`` keeps the labels of the data that ``info`` describes.

    ``info`` is a DataInfo, whose ``classes`` say which particles the images are of. With ``unsafe`` nothing
    is refused.
    """
    if unsafe:
        return
    classes = {str(name).lower() for name in getattr(info, "classes", ())}
    if not classes or not classes <= CHARGED | NEUTRAL | JETS:
        _refuse(operation, "detector images of particles or jets", f"classes {_listed(classes)}")
    if operation == "eta_flip" or classes <= JETS:
        return
    if operation == "rot90":
        _refuse(operation, "jets: the field bends single particles along φ alone", _listed(classes))
    if charged := classes & CHARGED:
        _refuse(operation, "neutral particles or jets: it turns a charge into its opposite", _listed(charged))


def _refuse(operation: str, expected: str, got: str) -> None:
    remedy = "leave it out (eta_flip is safe), or set unsafe to use it nevertheless"
    raise UsageError(f"augmentation {operation!r}", expected=expected, got=got, remedy=remedy)


def _listed(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
