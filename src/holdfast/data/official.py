"""Where the published particle images are found: below the folders of ``$HOLDFAST_DATA``."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.errors import DataError
from holdfast.data import lookup

FILES = {
    "ml4sci-egamma": (
        "SingleElectronPt50_IMGCROPS_n249k_RHv1.hdf5",
        "SinglePhotonPt50_IMGCROPS_n249k_RHv1.hdf5",
    ),
    "quark-gluon": (
        "QCDToGGQQ_IMGjet_RH1all_jet0_run0_n36272.test.snappy.parquet",
        "QCDToGGQQ_IMGjet_RH1all_jet0_run1_n47540.test.snappy.parquet",
        "QCDToGGQQ_IMGjet_RH1all_jet0_run2_n55494.test.snappy.parquet",
    ),
}
"""The official files of ML4SCI by the name of the data set."""


def official_files(name: str) -> list[Path]:
    """The files of ``name``, directly below a data root or in a folder of that name. Raises DataError."""
    return [lookup.find(name, [file, f"{name}/{file}"]) for file in FILES[name]]


def is_present(name: str) -> bool:
    """Whether all files of ``name`` are found."""
    try:
        return bool(official_files(name))
    except DataError:
        return False
