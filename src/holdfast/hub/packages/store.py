"""The store of installed packages: folders named by the hash of their content, and what is known of each."""

from __future__ import annotations

import json
import secrets
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from holdfast.core.paths import home, publish_folder, storage_errors, write_json
from holdfast.hub.cache import seal
from holdfast.hub.hashes import FileHashes

SCHEMA: Final = "holdfast.installed/1"


@dataclass(frozen=True)
class Receipt:
    """What was installed: ``hash`` names the folder, ``tree`` is the hash of all names and contents in it.

    Both are one but for private environments, whose files hold their own path: there ``hash`` is that of the
    distributions. ``origin`` says where the content came from.
    """

    component: str
    version: str
    hash: str
    tree: str
    license: str = ""
    simulated: bool = False
    origin: list[dict[str, Any]] = field(default_factory=list)
    time: str = ""


class Store:
    """``store/<hash>/`` and ``installed/<key>.json`` below the home folder, kept whole."""

    def __init__(self, hashes: FileHashes) -> None:
        self.root, self.hashes = home(), hashes

    def folder(self, digest: str) -> Path:
        """Where the content ``digest`` lies, if it does."""
        return self.root / "store" / digest

    def receipt(self, key: str) -> Receipt | None:
        """What the recipe ``key`` was installed as, whether or not it is still whole."""
        try:
            data = json.loads(self._receipt(key).read_text(encoding="utf-8"))
            return Receipt(**data["receipt"]) if data["schema"] == SCHEMA else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def whole(self, digest: str, tree: str) -> bool:
        """Whether the content ``digest`` is there, every file as it was when installed."""
        folder = self.folder(digest)
        try:
            return folder.is_dir() and self.hashes.path(folder) == tree
        except OSError:
            return False

    def add(self, key: str, staging: Path, receipt: Receipt) -> Path:
        """Turn ``staging`` into the content ``receipt.hash``, read-only, keep the receipt; return its folder.

        Content that another installer put there first is shared if it is whole, and moved to ``corrupt/`` if
        not. Raises StorageError.
        """
        target = self.folder(receipt.hash)
        if target.exists() and not self.whole(receipt.hash, receipt.tree):
            self.discard(receipt.hash)
        with storage_errors(target):
            seal(staging)
            publish_folder(staging, target)
            if staging.exists():
                shutil.rmtree(staging, ignore_errors=True)
        self.remember(key, receipt)
        return target

    def remember(self, key: str, receipt: Receipt) -> None:
        """Keep ``receipt`` as what the recipe ``key`` was installed as. Raises StorageError."""
        write_json(self._receipt(key), {"schema": SCHEMA, "key": key, "receipt": asdict(receipt)})

    def discard(self, digest: str) -> Path:
        """Move damaged content to ``corrupt/``, for whoever wants to know what happened to it."""
        aside = self.root / "corrupt" / f"{digest}-{secrets.token_hex(4)}"
        with storage_errors(aside), suppress(FileNotFoundError):
            aside.parent.mkdir(parents=True, exist_ok=True)
            self.folder(digest).rename(aside)
        return aside

    def publish_data(self, name: str, folder: Path) -> None:
        """Let data sets find ``folder`` under ``data/<name>`` of the home folder."""
        link = self.root / "data" / name
        if link.is_symlink() and link.readlink() == folder:
            return
        with storage_errors(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.root / "work" / f"link-{secrets.token_hex(4)}"
            fresh.parent.mkdir(parents=True, exist_ok=True)
            fresh.symlink_to(folder)
            fresh.replace(link)

    def _receipt(self, key: str) -> Path:
        return self.root / "installed" / f"{key}.json"
