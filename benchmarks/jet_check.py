"""Simulated jets beside known means, and beside published particle lists: a table in Markdown.

Run with ``python -m benchmarks jet_check``; needs the extra ``physics``. With ``HOLDFAST_DATA`` the kinds of
particles in the published jets (``qg_particles/qg_800.npz``, ten a jet) stand beside.
"""

import numpy as np

from holdfast.core.paths import data_roots
from holdfast.data.simulate import JetParameters, jets

COUNT = 600
KNOWN = {"gluon": (15.0, 26.7), "quark": (11.2, 18.6)}
KINDS = {
    "photons": (22,),
    "pions": (211,),
    "kaons": (321, 130),
    "nucleons": (2212, 2112),
    "leptons": (11, 13),
}


def kinds(pid):
    """Share of each kind in PDG codes."""
    return {name: float(np.isin(np.abs(pid), codes).mean()) for name, codes in KINDS.items()}


def published():
    """PDG codes by flavour in the published jets, or nothing."""
    for root in data_roots():
        path = root / "qg_particles" / "qg_800.npz"
        if path.is_file():
            with np.load(path) as arrays:
                lists, label = arrays["particles"], arrays["y"].astype(int)
            ids = {name: lists[label == value, :, 3].reshape(-1) for value, name in enumerate(jets.FLAVOURS)}
            return {name: pid[pid != 0] for name, pid in ids.items()}
    return {}


def interval(values):
    """Mean and its standard error."""
    return f"{values.mean():.2f} ± {values.std() / np.sqrt(len(values)):.2f}"


def main():
    others = published()
    print("| flavour | jets | pT, GeV | m0, GeV | known | particles | known | " + " | ".join(KINDS) + " |")
    print("|" + "---|" * (7 + len(KINDS)))
    for flavour in jets.FLAVOURS:
        made = jets.generate(flavour, COUNT, seed=0)
        off = np.hypot(
            made.particle_eta - made.eta[made.jet], jets.wrapped(made.particle_phi - made.phi[made.jet])
        )
        inside = off < JetParameters().jet_radius
        mass, number = KNOWN[flavour]
        cells = [flavour, str(COUNT), interval(made.pt_gev), interval(made.mass_gev), str(mass)]
        cells += [interval(made.constituents), str(number)]
        shares = kinds(made.pid[inside])
        print("| " + " | ".join([*cells, *(f"{value:.3f}" for value in shares.values())]) + " |")
        if flavour in others:
            cells = [f"{flavour}, published (ten particles a jet)", str(400), *[""] * 5]
            shares = kinds(others[flavour])
            print("| " + " | ".join([*cells, *(f"{value:.3f}" for value in shares.values())]) + " |")


main()
