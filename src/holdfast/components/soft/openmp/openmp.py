"""The OpenMP specification that a date stands for."""

SPECIFICATIONS = {
    "200505": "2.5",
    "200805": "3.0",
    "201107": "3.1",
    "201307": "4.0",
    "201511": "4.5",
    "201811": "5.0",
    "202011": "5.1",
    "202111": "5.2",
    "202411": "6.0",
}


def specification(version: str, **_: object) -> str | None:
    """The specification of the date ``_OPENMP``; None for a date of none."""
    return SPECIFICATIONS.get(version)
