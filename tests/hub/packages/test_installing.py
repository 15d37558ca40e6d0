"""Installing: every way, twice, at once, killed, on a full disk, offline, and out of a damaged store."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from textwrap import dedent

import pytest

from holdfast.core.canonical import hash_tree
from holdfast.core.errors import ComponentError, DataError, StorageError, UsageError
from holdfast.core.paths import find_data
from holdfast.hub import packages as hub_packages
from holdfast.hub.packages import install, installed, planned
from holdfast.hub.repository import find

from .conftest import sha256


def archive(**files: bytes) -> bytes:
    """A tar.gz of files below ``images/``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"images/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def images(packages, server):
    """``package:images``: an archive on the server."""
    data = archive(a=b"1", b=b"22")
    source = {"url": server.add("/images.tar.gz", data), "sha256": sha256(data), "bytes": len(data)}
    packages.write(
        "images",
        sources=[source | {"unpack": True}],
        provides={"a": "images/a", "all": "."},
        tags=["data"],
        license="CC0",
    )
    return packages


def test_an_archive_is_installed_once(images, server):
    first = install("package:images")
    assert (first.folder, first.fresh) == (images.home / "store" / first.hash, True)
    assert first.provides["a"].read_text() == "1"
    assert not os.stat(first.provides["a"]).st_mode & 0o222
    again = install("package:images")
    assert (again.hash, again.fresh) == (first.hash, False)
    assert len(server.requests) == 1
    assert images.leftovers() == []
    assert list((images.home / "downloads").iterdir()) == []


def test_what_is_installed_is_found_as_data(images):
    folder = install("package:images").folder
    assert find_data(["images/a"]).resolve() == folder / "images/a"
    (images.data / "images").mkdir()
    (images.data / "images/a").write_text("the user's own goes first")
    assert find_data(["images/a"]) == images.data / "images/a"


def test_offline_needs_the_files(images, server, tmp_path):
    with pytest.raises(UsageError, match=r"--offline.*images.tar.gz by --from"):
        install("package:images", offline=True)
    assert server.requests == []
    (tmp_path / "given").mkdir()
    (tmp_path / "given/images.tar.gz").write_bytes(server.files["/images.tar.gz"])
    result = install("package:images", offline=True, given=tmp_path / "given")
    assert result.provides["a"].read_text() == "1"
    assert (tmp_path / "given/images.tar.gz").exists()


def test_a_file_that_is_given_may_have_any_name_but_not_any_content(images, server, tmp_path):
    (tmp_path / "mine").write_bytes(server.files["/images.tar.gz"])
    assert install("package:images", given=tmp_path / "mine", offline=True).fresh
    shutil.rmtree(images.home)
    (tmp_path / "mine").write_bytes(b"other")
    with pytest.raises(DataError, match=sha256(b"other")):
        install("package:images", given=tmp_path / "mine")


def test_a_dry_run_changes_nothing(images, server):
    plan = planned(find("package:images"))
    assert (plan.way, plan.what) == ("download", (server.url("/images.tar.gz"),))
    assert (plan.bytes, plan.license) == (len(server.files["/images.tar.gz"]), "CC0")
    assert server.requests == []
    assert images.entries() == []
    install("package:images")
    assert planned(find("package:images")).way == "installed"


def test_a_hash_that_is_not_known_has_to_be_confirmed(packages, server):
    packages.write("open", sources=[{"url": server.add("/x.bin", b"data")}])
    with pytest.raises(UsageError, match=f"--accept {sha256(b'data')}"):
        install("package:open")
    assert packages.entries() == []
    with pytest.raises(UsageError, match="--accept"):
        install("package:open", accept=["0" * 64])
    result = install("package:open", accept=[sha256(b"data")])
    assert (result.folder / "x.bin").read_bytes() == b"data"
    assert len(server.requests) == 1, "what was downloaded to be checked is not downloaded again"


def test_wrong_bytes_leave_no_package(packages, server):
    packages.write("bad", sources=[{"url": server.add("/x", b"evil"), "sha256": sha256(b"good")}])
    with pytest.raises(DataError, match=sha256(b"good")):
        install("package:bad")
    assert packages.entries() == []
    assert packages.leftovers() == []


def test_a_hostile_archive_leaves_no_package(packages, server, tmp_path):
    data = archive(**{"../../escaped": b"x"})
    source = {"url": server.add("/x.tgz", data), "sha256": sha256(data), "unpack": True}
    packages.write("hostile", sources=[source])
    with pytest.raises(DataError, match="lies outside"):
        install("package:hostile")
    assert packages.entries() == []
    assert not list(tmp_path.rglob("escaped"))


def test_a_damaged_entry_is_moved_aside_and_installed_anew(images, server):
    first = install("package:images")
    damaged = first.provides["a"]
    damaged.chmod(0o644)
    damaged.write_text("flipped")
    said = []
    again = install("package:images", tell=said.append)
    assert (again.hash, again.provides["a"].read_text()) == (first.hash, "1")
    (aside,) = (images.home / "corrupt").iterdir()
    assert (aside / "images/a").read_text() == "flipped"
    assert "was damaged" in said[0]
    (images.home / "store" / first.hash / "images/b").unlink()
    assert install("package:images").fresh


def test_two_packages_of_one_content_share_it(images, server):
    described = json.loads((images.root / "package/images/component.json").read_text())
    images.write("twin", sources=described["sources"])
    assert install("package:twin").hash == install("package:images").hash
    assert len(images.entries()) == 1


def test_files_of_the_user_are_linked_not_copied(packages):
    (packages.data / "MNIST").mkdir()
    (packages.data / "MNIST/t10k").write_bytes(b"images")
    packages.write("letters", files=[{"names": ["t10k.gz", "t10k", "MNIST/t10k"]}], provides={"test": "t10k"})
    assert planned(find("package:letters")).way == "link"
    result = install("package:letters")
    assert result.provides["test"].readlink() == packages.data / "MNIST/t10k"
    (packages.data / "MNIST/t10k").write_bytes(b"other images")
    changed = install("package:letters")
    assert changed.hash != result.hash
    assert changed.provides["test"].read_bytes() == b"other images"


def test_a_linked_folder_is_all_its_files(packages):
    (packages.data / "batches/deep").mkdir(parents=True)
    (packages.data / "batches/one").write_bytes(b"1")
    (packages.data / "batches/deep/two").write_bytes(b"2")
    packages.write("folder", files=[{"names": ["batches"]}])
    folder = install("package:folder").folder
    assert (folder / "batches/deep/two").read_bytes() == b"2"


def test_files_given_once_stay_installed(packages, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/w.th").write_bytes(b"weights")
    packages.write("weights", files=[{"names": ["w.th"], "sha256": sha256(b"weights")}])
    with pytest.raises(UsageError, match=r"w.th"):
        install("package:weights")
    first = install("package:weights", given=tmp_path / "elsewhere")
    assert install("package:weights").hash == first.hash
    (packages.data / "w.th").write_bytes(b"not the weights")
    assert install("package:weights").hash == first.hash


def test_files_beside_sources_spare_the_download(images, server):
    described = json.loads((images.root / "package/images/component.json").read_text())
    images.write("either", sources=described["sources"], files=[{"names": ["images"]}])
    (images.data / "images").mkdir()
    (images.data / "images/a").write_text("1")
    (images.data / "images/b").write_text("22")
    linked = install("package:either")
    assert server.requests == []
    assert linked.hash == install("package:images").hash, "the content counts, not how it came"
    shutil.rmtree(images.data / "images")
    assert install("package:either").fresh
    assert install("package:images").provides["a"].read_text() == "1"


def test_what_is_provided_must_be_there(packages, server):
    source = {"url": server.add("/x", b"x"), "sha256": sha256(b"x")}
    packages.write("lies", sources=[source], provides={"y": "y"})
    with pytest.raises(ComponentError, match="provides 'y': expected y, got only x"):
        install("package:lies")
    assert packages.entries() == []


def test_a_program_makes_a_package(packages, monkeypatch):
    code = """
        def run(out, *, n):
            (out / "data").mkdir()
            (out / "data/n.txt").write_text(str(n))
            (out / "records.jsonl").write_text("")
    """
    folder = packages.write(
        "make",
        kind="program",
        inputs={"n": {"type": "integer"}},
        outputs={
            "data": {"type": "folder", "path": "data"},
            "records": {"type": "records", "path": "records.jsonl"},
        },
        entry={"python": "main.py:run"},
    )
    (folder / "main.py").write_text(dedent(code))
    packages.write(
        "made", generate={"uses": "program:make", "with": {"n": 3}}, provides={"d": "data"}, simulated=True
    )
    assert planned(find("package:made")).way == "generate"
    first = install("package:made")
    assert (first.provides["d"] / "n.txt").read_text() == "3"
    assert [path.name for path in first.folder.iterdir()] == ["data"]
    assert first.simulated
    assert not install("package:made").fresh
    monkeypatch.delenv("HOLDFAST_REPO")
    assert not install("package:made", project=packages.root).fresh, "it sees its own neighbours"
    (folder / "main.py").write_text(dedent(code).replace("str(n)", "str(n + 1)"))
    assert install("package:made", project=packages.root).hash != first.hash


def test_nothing_is_there_before(images):
    from holdfast.hub.hashes import FileHashes

    hashes = FileHashes(images.home / "hashes.sqlite")
    assert installed(find("package:images"), hashes) is None
    result = install("package:images")
    assert installed(find("package:images"), hashes).folder == result.folder
    hashes.close()


INSTALL = """
import sys
from holdfast.hub.packages import install, making
unpack = making.unpack
def slow(*arguments, **named):
    unpack(*arguments, **named)
    print("unpacked", flush=True)
    if "wait" in sys.argv:
        sys.stdin.readline()
making.unpack = slow
print(install("package:images").fresh, flush=True)
"""


def start(*arguments, limit=None):
    """An installer in a process of its own; ``wait`` stops it when all is unpacked, until a line comes."""
    code = INSTALL
    if limit is not None:
        code = (
            f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        ) + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_in_the_middle_nothing_is_visible_and_the_next_one_installs(images):
    process = start("wait")
    assert process.stdout.readline() == "unpacked\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert images.entries() == []
    assert len(images.leftovers()) == 1
    assert install("package:images").provides["a"].read_text() == "1"
    assert images.leftovers() == []


STAGES = [
    f"{place} {when}"
    for place in (
        "making.download",
        "making.unpack",
        "store.seal",
        "store.publish_folder",
        "store.write_json",
        "store.Store.publish_data",
    )
    for when in ("before", "after")
]
KILLED = """
import os, signal, sys
from holdfast.hub.packages import install, making, store
*place, name = sys.argv[1].split(".")
owner = {"making": making, "store": store}[place[0]]
owner = getattr(owner, place[1]) if place[1:] else owner
original = getattr(owner, name)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def deadly(*arguments, **named):
    if sys.argv[2] == "before":
        die()
    original(*arguments, **named)
    die()
setattr(owner, name, deadly)
install("package:images")
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_every_stage_the_store_is_whole_and_the_next_one_installs(images, stage):
    process = subprocess.run([sys.executable, "-c", KILLED, *stage.split()], check=False)
    assert process.returncode == -signal.SIGKILL
    for name in images.entries():
        assert hash_tree(images.home / "store" / name) == name, "what is visible is whole"
    for receipt in (images.home / "installed").glob("*.json"):
        assert json.loads(receipt.read_text())["receipt"]["hash"] in images.entries()
    result = install("package:images")
    assert result.provides["a"].read_text() == "1"
    assert images.entries() == [result.hash]
    assert not [path for path in (images.home / "work").rglob("*") if path.is_file()]
    assert find_data(["images/a"]).read_text() == "1"


def test_two_installers_at_once_share_the_work(images, server):
    first = start("wait")
    assert first.stdout.readline() == "unpacked\n"
    second = start()
    time.sleep(0.3)
    assert second.poll() is None
    assert first.communicate("go\n", timeout=60)[0] == "True\n"
    assert second.communicate(timeout=60)[0] == "False\n"
    assert len(server.requests) == 1


def test_a_full_disk_while_unpacking(packages, server, monkeypatch):
    data = archive(a=bytes(3_000_000))
    source = {"url": server.add("/a.tgz", data), "sha256": sha256(data), "unpack": True}
    packages.write("images", sources=[source])
    process = start(limit=1_000_000)
    _, errors = process.communicate(timeout=60)
    assert "StorageError: cannot write" in errors
    assert packages.entries() == []
    assert packages.leftovers() == []
    assert install("package:images").fresh


def test_a_full_disk_at_the_last_step_leaves_content_that_the_next_one_shares(images, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(hub_packages.store, "write_json", full)
        with pytest.raises((StorageError, OSError)):
            install("package:images")
    assert install("package:images").provides["a"].read_text() == "1"
