"""Quark and gluon jets of proton collisions: particles by Pythia 8, jets by FastJet (extra ``physics``).

Sources: Bierlich et al., arXiv:2203.11601 (Pythia 8.3); Cacciari, Salam, Soyez, arXiv:1111.6097 (FastJet).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.data.simulate.jet_parameters import JetParameters

Floats = NDArray[np.float64]

FLAVOURS = ("gluon", "quark")
"""By label: y is 0 for gluons and 1 for quarks."""
EVENTS_AT_ONCE = 50
WINDOW = 1.9
"""Particles this far from the axis in eta are kept: half an image, what it may be shifted by, and some."""

_PROCESS = {"gluon": "HardQCD:gg2gg", "quark": "HardQCD:qq2qq"}
_HARD = 23  # Pythia's status of what leaves the hard process, negative once it has radiated
_NEUTRINOS = (12, 14, 16)
_KEPT: list[Any] = []


@dataclass(frozen=True)
class Jets:
    """Jets, and the particles around them in flat arrays.

    ``pt_gev``, ``eta``, ``phi``, ``mass_gev`` and ``constituents`` (n,) are those of all visible particles,
    before any detector. ``jet`` (k,) is the index of the jet that a particle is near to; ``particle_pt_gev``,
    ``particle_eta``, ``particle_phi``, ``energy_gev``, ``charge`` and ``pid`` (PDG code) (k,) describe it.
    """

    pt_gev: Floats
    eta: Floats
    phi: Floats
    mass_gev: Floats
    constituents: NDArray[np.int64]
    jet: NDArray[np.int64]
    particle_pt_gev: Floats
    particle_eta: Floats
    particle_phi: Floats
    energy_gev: Floats
    charge: Floats
    pid: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pt_gev)

    def first(self, count: int) -> Jets:
        """The first ``count`` jets."""
        kept = {name: getattr(self, name)[:count] for name in _OF_JETS}
        near = self.jet < count
        return Jets(**kept, **{name: getattr(self, name)[near] for name in _OF_PARTICLES})

    @staticmethod
    def join(parts: list[Jets]) -> Jets:
        """All jets of ``parts`` in order."""
        starts = np.cumsum([0, *(len(part) for part in parts)])
        fields = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*_OF_JETS, *_OF_PARTICLES)
        }
        fields["jet"] = np.concatenate([part.jet + start for part, start in zip(parts, starts, strict=False)])
        return Jets(**fields)


_OF_JETS = ("pt_gev", "eta", "phi", "mass_gev", "constituents")
_OF_PARTICLES = (
    "jet",
    "particle_pt_gev",
    "particle_eta",
    "particle_phi",
    "energy_gev",
    "charge",
    "pid",
)


def generate(flavour: str, count: int, *, seed: int, parameters: JetParameters | None = None) -> Jets:
    """``count`` jets of ``flavour`` ("quark": qq to qq; "gluon": gg to gg), each near an outgoing parton.

    The result depends on flavour, count, seed and parameters alone, not on what the process made before.
    Raises UsageError, also without the extra ``physics``.
    """
    p = parameters or JetParameters()
    if flavour not in FLAVOURS:
        raise UsageError("flavour", expected=f"one of {', '.join(FLAVOURS)}", got=repr(flavour))
    if count < 1:
        raise UsageError("jets", expected="at least 1", got=count)
    pythia = _generator(flavour, p)
    pythia.rndm.init(1 + seeding.derive(seed, "pythia", flavour) % 900_000_000)  # Pythia's range of seeds
    parts: list[Jets] = []
    while (missing := count - sum(map(len, parts))) > 0:
        # An event has one jet or two as a rule: few batches, and hardly a jet too many.
        parts.append(_batch(pythia, p, min(EVENTS_AT_ONCE, 2 * missing // 3 + 1)))
    return Jets.join(parts).first(count)


def require_physics() -> tuple[Any, Any, Any]:
    """The modules awkward, fastjet and pythia8mc. Raises UsageError without the extra ``physics``."""
    try:
        import awkward
        import fastjet
        import pythia8mc
    except ImportError as error:
        raise UsageError(
            "simulated jets",
            expected="Pythia 8 and FastJet",
            got=str(error),
            remedy="pip install 'holdfast[physics]'",
        ) from error
    return awkward, fastjet, pythia8mc


@lru_cache(maxsize=4)
def _generator(flavour: str, p: JetParameters) -> Any:
    """A generator of that flavour's process; making one takes a third of a second."""
    _, fastjet, pythia8mc = require_physics()
    # FastJet greets on stdout, which is for results; the papers to cite are named in every file written.
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)

    hooks: Any = pythia8mc.UserHooks

    class Central(hooks):  # type: ignore[misc]
        """Drops events of which a parton misses the detector before the costly rest is made."""

        def canVetoProcessLevel(self) -> bool:  # noqa: N802 - Pythia's name
            return True

        def doVetoProcessLevel(self, process: Any) -> bool:  # noqa: N802 - Pythia's name
            return any(
                particle.status() == _HARD and abs(particle.eta()) > p.jet_eta_max for particle in process
            )

    pythia = pythia8mc.Pythia("", False)
    central = Central()
    _KEPT.append(central)  # Pythia does not keep it alive
    pythia.setUserHooksPtr(central)
    for setting in (
        "Print:quiet = on",
        f"Beams:eCM = {p.collision_gev}",
        f"{_PROCESS[flavour]} = on",
        f"PhaseSpace:pTHatMin = {p.pt_hat_min_gev}",
        f"PhaseSpace:pTHatMax = {p.pt_hat_max_gev}",
        "Random:setSeed = on",
        "Random:seed = 1",
    ):
        pythia.readString(setting)
    if not pythia.init():
        raise UsageError("jet parameters", expected="a process that Pythia can make", got=repr(p))
    return pythia


def _batch(pythia: Any, p: JetParameters, events: int) -> Jets:
    """The selected jets of so many events, of which each has one or two, if any."""
    ak, fastjet, _ = require_physics()
    # Straight to the buffers: operations on awkward arrays take as long as the collisions of a small batch.
    record = pythia.nextBatch(events).layout["prt"]
    status, pids = (np.asarray(record.content[name].data) for name in ("status", "id"))
    momenta = [np.asarray(record.content["p"][name].data) for name in ("px", "py", "pz", "e")]
    hard = np.flatnonzero(np.abs(status) == _HARD).reshape(-1, 2)
    seen = np.flatnonzero((status > 0) & ~np.isin(np.abs(pids), _NEUTRINOS))
    starts = np.searchsorted(seen, np.asarray(record.offsets.data))
    final = [values[seen] for values in momenta]
    contents = ak.contents.RecordArray(
        [ak.contents.NumpyArray(values) for values in final],
        ["px", "py", "pz", "E"],
        parameters={"__record__": "Momentum4D"},
    )
    sequence = fastjet.ClusterSequence(
        ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(starts), contents)),
        fastjet.JetDefinition(fastjet.antikt_algorithm, p.jet_radius),
    )
    found = sequence.inclusive_jets(p.jet_pt_min_gev).layout
    of_jet = sequence.constituent_index(p.jet_pt_min_gev).layout.content
    constituents = np.diff(np.asarray(of_jet.offsets.data)).astype(np.int64)
    event = np.repeat(np.arange(events), np.diff(np.asarray(found.offsets.data)))
    px, py, pz, energy = (np.asarray(found.content[name].data) for name in ("px", "py", "pz", "E"))
    pt, eta, phi = _cylindrical(px, py, pz)
    mass = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0))
    # Both partons of the hard process go on as jets; others are from radiation or from other partons.
    _, hard_eta, hard_phi = _cylindrical(*(values[hard[event]] for values in momenta[:3]))
    distance = np.hypot(eta[:, None] - hard_eta, wrapped(phi[:, None] - hard_phi)).min(axis=1, initial=9.0)
    chosen = np.flatnonzero((distance < p.jet_radius) & (np.abs(eta) < p.jet_eta_max))

    first, sizes = starts[event[chosen]], np.diff(starts)[event[chosen]]
    jet = np.repeat(np.arange(len(chosen)), sizes)
    index = np.arange(sizes.sum()) + np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
    particle_pt, particle_eta, particle_phi = _cylindrical(*final[:3])
    near = np.abs(particle_eta[index] - eta[chosen][jet]) < WINDOW
    jet, index = jet[near], index[near]
    pids, which = np.unique(pids[seen].astype(np.int64), return_inverse=True)
    charges = np.array([pythia.particleData.charge(int(pid)) for pid in pids])
    return Jets(
        pt[chosen],
        eta[chosen],
        phi[chosen],
        mass[chosen],
        constituents[chosen],
        jet,
        particle_pt[index],
        particle_eta[index],
        particle_phi[index],
        final[3][index],
        charges[which][index],
        pids[which][index],
    )


def _cylindrical(px: Floats, py: Floats, pz: Floats) -> tuple[Floats, Floats, Floats]:
    """pT, eta and phi of momenta."""
    pt = np.hypot(px, py)
    return pt, np.arcsinh(pz / np.maximum(pt, 1e-9)), np.arctan2(py, px)


def wrapped(angle: Floats) -> Floats:
    """``angle`` in radians, moved to [-pi, pi)."""
    moved: Floats = (angle + np.pi) % (2 * np.pi) - np.pi
    return moved
