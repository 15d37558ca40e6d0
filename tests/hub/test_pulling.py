"""Pulling: what must not come in does not, what comes runs only with consent, and updates are whole."""

import errno
import json
import os
import shutil
import stat
import subprocess
import zipfile

import pytest

from holdfast.core.canonical import hash_tree
from holdfast.core.errors import ComponentError, DataError, StorageError, UsageError
from holdfast.hub import find, list_components, origins, pull, remove, repositories, run, scan, search
from holdfast.hub.packages import install
from holdfast.hub.pulled import find_pulled, repos, require_consent

GIT = shutil.which("git")


@pytest.fixture
def stranger(toys, tmp_path, monkeypatch):
    """A repository of somebody else, outside of all known places."""
    monkeypatch.delenv("HOLDFAST_REPO")
    theirs = type(toys)(tmp_path / "elsewhere" / "theirs")
    theirs.add()
    return theirs


def zipped(folder, path, extra=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
        for name, data, mode in extra:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    return path


def git(*words, at):
    identity = ["-c", "user.name=them", "-c", "user.email=them@example.org"]
    subprocess.run([GIT, *identity, *words], cwd=at, check=True, capture_output=True)


def test_without_consent_it_is_listed_and_refused_with_the_remedy(stranger):
    contents = pull(str(stranger.root))
    assert [component.id for component in contents.runnable] == ["program:add"]
    assert [c.repository for c in list_components("program") if c.name == "add"] == ["theirs"]
    with pytest.raises(
        ComponentError, match=r"expected your consent.*holdfast pull theirs --hash sha256:\w+ --yes"
    ):
        run("program:add", {"a": 1})


def test_consent_covers_what_was_looked_at_and_nothing_else(stranger):
    first = pull(str(stranger.root))
    given = pull("theirs", digest=f"sha256:{first.pulled.hash}", consent=True)
    assert run("program:add", {"a": 1}).records[0].value == 2
    assert given.pulled.consent.components == {"program/add": find("program:add").hash}
    code = given.pulled.root / "program" / "add" / "main.py"
    code.write_text(code.read_text() + "\n# touched\n")
    with pytest.raises(ComponentError, match="other content than was consented to"):
        run("program:add", {"a": 2})


def test_a_workflow_without_consent_does_not_reach_its_neighbours(stranger):
    stranger.chain()
    pull(str(stranger.root))
    with pytest.raises(ComponentError, match="consent"):
        run("workflow:chain")


def test_a_function_is_shown_what_came_before_it_answers(stranger):
    shown = []
    contents = pull(str(stranger.root), consent=lambda contents: shown.append(contents) or True)
    assert [c.id for c in shown[0].components] == ["program:add"]
    assert shown[0].pulled.consent is None
    assert contents.pulled.consent is not None


def test_an_update_shows_the_difference_and_needs_consent_anew(stranger):
    first = pull(str(stranger.root), consent=True).pulled
    assert pull("theirs").pulled.consent is not None  # the same content keeps it
    stranger.double()
    stranger.add(version="1.1.0")
    second = pull("theirs")
    assert (second.added, second.removed) == (
        ["program:add 1.1.0", "program:double 1.0.0"],
        ["program:add 1.0.0"],
    )
    assert second.pulled.consent is None
    assert second.pulled.previous == first.hash
    assert first.root.is_dir()  # what runs from it goes on
    (stranger.root / "program" / "double" / "main.py").write_text("def run(out, *, source): ...\n")
    third = pull("theirs")
    assert third.changed == ["program:double 1.0.0"]
    assert not first.root.exists()


def test_another_hash_changes_nothing(stranger):
    before = pull(str(stranger.root)).pulled
    stranger.double()
    with pytest.raises(DataError, match="expected content sha256:0000"):
        pull(str(stranger.root), digest="sha256:" + "0" * 64)
    assert find_pulled("theirs") == before
    assert [path.name for path in before.folder.iterdir() if path.is_dir()] == [before.hash]
    assert hash_tree(before.root) == before.hash


def test_pulled_repositories_come_before_the_built_in_one_and_last_without_consent(stranger, tmp_path):
    assert pull(str(stranger.root)).pulled.consent is None
    pull(str(stranger.root), name="ours", consent=True)
    assert [repository.name for repository in repositories()] == ["user", "ours", "built-in", "theirs"]
    assert find("program:add").repository == "ours"
    assert find("theirs:program:add").repository == "theirs"


def test_without_consent_nothing_hides_what_was_there(stranger, tmp_path):
    stranger.component("program", "bench", uid="0" * 16, entry={"command": ["true"]})
    pull(str(stranger.root))
    assert find("program:bench").repository == "built-in"


def test_names_and_uids_that_others_have_are_told(stranger):
    stranger.component("program", "bench", uid="0" * 16, entry={"command": ["true"]})
    stranger.component("program", "mine", uid=find("program:bench").uid, entry={"command": ["true"]})
    named, same = pull(str(stranger.root), consent=True).problems
    assert named == "program:bench is another component in 'built-in'; ask for theirs:program:bench"
    assert same.startswith("program:mine has the uid")
    with pytest.raises(ComponentError, match="ambiguous"):
        find("program:bench")
    assert find("theirs:program:bench").uid == "0" * 16


def test_consent_is_asked_by_place_whatever_the_repository_is_called(stranger, monkeypatch):
    pulled = pull(str(stranger.root)).pulled
    monkeypatch.setenv("HOLDFAST_REPO", str(pulled.root))
    component = find("program:add")
    assert component.repository == "theirs"
    with pytest.raises(ComponentError, match="consent"):
        require_consent(component)


def test_a_zip_with_one_wrapping_folder(stranger, tmp_path):
    shutil.copytree(stranger.root, tmp_path / "wrap" / "inner-1.0")
    contents = pull(str(zipped(tmp_path / "wrap", tmp_path / "a.zip")))
    assert contents.pulled.hash == hash_tree(stranger.root)
    assert contents.pulled.name == "a"


LINK = stat.S_IFLNK | 0o777
PIPE = stat.S_IFIFO | 0o644


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(("../evil.txt", "x", 0o644), id="path up"),
        pytest.param(("/evil.txt", "x", 0o644), id="absolute path"),
        pytest.param(("program/add/link", "/etc/passwd", LINK), id="link out"),
        pytest.param(("program/add/pipe", "", PIPE), id="pipe"),
    ],
)
def test_archives_that_reach_out_are_refused_whole(stranger, tmp_path, extra):
    archive = zipped(stranger.root, tmp_path / "evil.zip", [extra])
    with pytest.raises(DataError, match="do not trust it"):
        pull(str(archive))
    assert not (tmp_path / "evil.txt").exists()
    assert not list(repos().glob("evil/*"))
    assert [c for c in list_components("program") if c.name == "add"] == []


def test_a_bomb_is_stopped_while_it_unpacks(stranger, tmp_path):
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("program/add/zeros", bytes(3_000_000))
    (tmp_path / "staging").mkdir()
    with pytest.raises(DataError, match="more than 1000000 bytes"):
        origins.bring(str(archive), tmp_path / "staging", most_bytes=1_000_000)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../repo", ".", "nowhere"])
def test_links_of_a_folder_that_lead_out_or_to_folders(stranger, target):
    (stranger.root / "program" / "add" / "link").symlink_to(target)
    with pytest.raises(DataError, match="the link"):
        pull(str(stranger.root))


def test_a_link_to_a_file_inside_becomes_a_file(stranger):
    (stranger.root / "program" / "add" / "other.py").symlink_to("main.py")
    root = pull(str(stranger.root)).pulled.root
    assert (root / "program" / "add" / "other.py").is_file()
    assert not (root / "program" / "add" / "other.py").is_symlink()


def test_a_pipe_in_a_folder(stranger):
    os.mkfifo(stranger.root / "program" / "add" / "pipe")
    with pytest.raises(DataError, match="the device or pipe"):
        pull(str(stranger.root))


def test_compiled_files_that_no_hash_covers_are_left_out(stranger):
    cache = stranger.root / "program" / "add" / "__pycache__"
    cache.mkdir()
    (cache / "main.cpython-311.pyc").write_bytes(b"evil")
    root = pull(str(stranger.root)).pulled.root
    assert not list(root.rglob("__pycache__"))


@pytest.mark.skipif(GIT is None, reason="git is not installed")
def test_git_without_hooks_and_with_the_commit(stranger, tmp_path):
    git("init", "-q", at=stranger.root)
    git("add", "-A", at=stranger.root)
    git("commit", "-qm", "first", at=stranger.root)
    address = stranger.root.as_uri()
    pulled = pull(address, name="by-git").pulled
    head = subprocess.run(
        [GIT, "rev-parse", "HEAD"], cwd=stranger.root, capture_output=True, text=True, check=True
    )
    assert pulled.revision == head.stdout.strip()
    assert not list(pulled.root.rglob(".git"))
    with pytest.raises(UsageError, match="expected a git repository"):
        pull(str((tmp_path / "nothing").as_uri()), name="nothing")
    assert find_pulled("nothing") is None


@pytest.mark.parametrize(
    ("origin", "options", "message"),
    [
        ("nowhere", {}, "a folder, a .zip or .tar archive, or a git address"),
        ("ext::sh -c true", {}, "a folder, a .zip or .tar archive, or a git address"),
        (".", {"digest": "sha256:12"}, "64 hex digits"),
        (".", {"name": "Built In"}, "lower-case letters"),
        (".", {"name": "built-in"}, "lower-case letters"),
    ],
)
def test_calls_that_cannot_be_carried_out(stranger, origin, options, message):
    with pytest.raises(UsageError, match=message):
        pull(origin, **options)


def test_a_folder_without_components(tmp_path, stranger):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="a repository of"):
        pull(str(tmp_path / "empty"))
    assert find_pulled("empty") is None


def test_a_damaged_description_is_a_problem_and_harms_nobody(stranger):
    pulled = pull(str(stranger.root)).pulled
    (pulled.folder / "repository.json").write_text("{")
    assert any("repository.json" in str(problem) for problem in scan().problems)
    assert find("program:bench").repository == "built-in"
    pull(str(stranger.root / "."), name="again")
    assert [c.repository for c in search("add", kind="program") if c.name == "add"] == ["again"]


def test_remove_a_pulled_repository(stranger):
    pulled = pull(str(stranger.root), consent=True).pulled
    with pytest.raises(UsageError, match="holdfast remove theirs"):
        remove("program:add")
    assert remove("theirs") == pulled.root
    assert not pulled.folder.exists()
    with pytest.raises(UsageError, match="a pulled repository of none"):
        remove("theirs")


def test_what_was_read_is_json(stranger):
    data = json.loads(json.dumps(pull(str(stranger.root)).to_json()))
    assert data["may_run_code"] == ["program:add"]
    assert data["consent"] is False


def test_a_pull_that_is_killed_leaves_what_was(stranger, monkeypatch):
    before = pull(str(stranger.root), consent=True).pulled
    stranger.double()
    child = os.fork()
    if child == 0:  # as late as can be: everything is in place but the description
        monkeypatch.setattr("holdfast.hub.pulled.Pulled.save", lambda self: os._exit(9))
        pull("theirs", consent=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert find_pulled("theirs") == before
    assert run("program:add", {"a": 1}).records[0].value == 2
    after = pull("theirs")
    assert after.added == ["program:double 1.0.0"]
    assert {path.name for path in before.folder.iterdir() if path.is_dir()} == {
        before.hash,
        after.pulled.hash,
    }


def test_a_package_without_consent_is_not_installed(stranger):
    generate = {"uses": "program:add", "with": {"a": 1}}
    stranger.component("package", "made", generate=generate, provides={"sum": "sum.txt"})
    pull(str(stranger.root))
    with pytest.raises(ComponentError, match=r"package:made .* must not run yet"):
        install("package:made")
    pull("theirs", consent=True)
    assert install("package:made").provides["sum"].read_text() == "2"


def test_a_full_disk_leaves_nothing(stranger, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("holdfast.hub.origins.shutil.copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        pull(str(stranger.root))
    assert find_pulled("theirs") is None
    assert list(repos().glob("theirs/*")) == []


def test_what_is_shown_before_consent_cannot_steer_the_terminal(stranger):
    stranger.double(title="Double\x1b[2K\x1b[1A")
    contents = pull(str(stranger.root))
    assert [component.id for component in contents.components] == ["program:add"]
    assert "title: expected printable characters" in contents.problems[0]
