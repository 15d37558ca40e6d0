"""A CMSSW release's name as a version that can be compared."""

import re


def release(version: str, **_: object) -> str | None:
    """``CMSSW_14_1_0_pre3`` is 14.1.0rc3, ``CMSSW_10_6_8_patch1`` 10.6.8.post1; others get a local part."""
    found = re.fullmatch(r"CMSSW_(\d+)_(\d+)_(\d+)(?:_(pre|patch)(\d+))?(?:_(\w+))?", version)
    if found is None:
        return None
    major, minor, patch, kind, number, rest = found.groups()
    suffix = {"pre": f"rc{number}", "patch": f".post{number}", None: ""}[kind]
    return f"{major}.{minor}.{patch}{suffix}" + (f"+{rest.lower().replace('_', '.')}" if rest else "")
