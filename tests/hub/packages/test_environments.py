"""Private Python environments from a folder of wheels, without an index."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import zipfile

import pytest

from holdfast.core.errors import ComponentError, DataError
from holdfast.hub.packages import environments, install, planned
from holdfast.hub.repository import find


def wheel(folder, name, version="1.0", requires=()):
    """A wheel of one module that says its version, with a script of that name."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"def main():\n    print('{name} {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {item}\n" for item in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in (files | {f"{info}/RECORD": record + f"{info}/RECORD,,\n"}).items():
            archive.writestr(zipfile.ZipInfo(path), text)


@pytest.fixture
def wheels(packages, tmp_path):
    """A folder with two versions of ``toy``, and ``needy``, which requires it."""
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        wheel(folder, "toy", version)
    wheel(folder, "needy", requires=["toy<2"])
    return folder


def says(command, **environment):
    """What a command prints."""
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout.strip()


@pytest.mark.slow
def test_exact_requirements_in_an_environment_of_their_own(packages, wheels):
    packages.write("tools", pip=["toy==1.0"], provides={"toy": "bin/toy"})
    assert planned(find("package:tools")).way == "pip"
    made = install("package:tools", offline=True, given=wheels)
    python = made.provides["python"]
    assert says([made.provides["toy"]]) == "toy 1.0", "scripts name the folder where they ended"
    assert says([python, "-c", "import sys, toy; print(sys.prefix)"]) == str(made.folder)
    assert says([python, "-c", "import importlib.util as u; print(u.find_spec('pydantic'))"]) == "None"
    assert "work/install-" not in (made.folder / "pyvenv.cfg").read_text()
    assert not install("package:tools", offline=True).fresh
    assert packages.leftovers() == []


def test_an_environment_is_named_by_its_distributions(packages, wheels):
    found = [{"distribution": "toy", "version": "1.0", "sha256": "ab"}]
    assert environments.identity(found) == environments.identity(list(found))
    assert environments.identity(found) != environments.identity([found[0] | {"sha256": "cd"}])


@pytest.mark.slow
def test_what_a_requirement_requires_has_to_be_listed(packages, wheels):
    packages.write("short", pip=["needy==1.0"])
    with pytest.raises(ComponentError, match=r"needy 1\.0 requires toy, which is not installed"):
        install("package:short", given=wheels)
    packages.write("wrong", pip=["needy==1.0", "toy==2.0"])
    with pytest.raises(ComponentError, match="toy"):
        install("package:wrong", given=wheels)
    assert packages.entries() == []
    packages.write("whole", pip=["needy==1.0", "toy==1.0"])
    assert install("package:whole", given=wheels).fresh


@pytest.mark.slow
def test_what_is_not_there_is_said_in_the_words_of_pip(packages, wheels):
    packages.write("absent", pip=["toy==3.0"])
    with pytest.raises(DataError, match=r"toy==3\.0"):
        install("package:absent", offline=True, given=wheels)
    assert packages.entries() == []


@pytest.mark.slow
def test_a_damaged_environment_is_made_anew(packages, wheels):
    packages.write("tools", pip=["toy==1.0"])
    made = install("package:tools", given=wheels)
    (module,) = made.folder.glob("lib/*/site-packages/toy.py")
    module.chmod(0o644)
    module.write_text("import nothing")
    again = install("package:tools", given=wheels)
    assert (again.fresh, again.hash) == (True, made.hash)
    assert says([again.provides["python"], "-c", "import toy; toy.main()"]) == "toy 1.0"
