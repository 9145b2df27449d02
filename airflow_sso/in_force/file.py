"""The mapping file as it lies on this machine, read at one moment.

What must stay true: its hash is that of the bytes that are parsed, and a file that is replaced while it is
read is read again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from airflow_sso import yaml_document
from airflow_sso.yaml_document import Document

#: What changes when the file does; asking for it reads nothing.
Fingerprint = tuple[object, ...]

_TRIES = 5


@dataclass(frozen=True)
class File:
    """``content`` is ``None`` where the file could not be read, and ``broken`` says why."""

    path: Path
    fingerprint: Fingerprint
    content: bytes | None
    broken: Document | None = None

    @cached_property
    def hash(self) -> str | None:
        """SHA-256 of the bytes, in hex."""
        return None if self.content is None else hashlib.sha256(self.content).hexdigest()

    @property
    def document(self) -> Document:
        """Parsed anew each time: whoever understands it notes faults in it."""
        if self.content is None:
            assert self.broken is not None  # noqa: S101 (one of the two is there)
            return self.broken
        return yaml_document.decode(self.content, str(self.path))

    @property
    def text(self) -> str:
        """Of a file that has been understood."""
        return (self.content or b"").decode("utf-8-sig")


def read(path: Path) -> File:
    """The file, whole; one that cannot be read has a document with that fault."""
    before = fingerprint(path)
    for _ in range(_TRIES):
        try:
            content = yaml_document.content_of(path)
        except OSError as cause:
            return File(path, before, None, yaml_document.unreadable(path, cause))
        after = fingerprint(path)
        if after == before:
            break
        before = after
    return File(path, before, content)


def fingerprint(path: Path) -> Fingerprint:
    """What :attr:`File.fingerprint` is now."""
    try:
        stat = path.stat()
    except OSError as cause:
        return (type(cause).__name__,)
    # The inode too: a Kubernetes ConfigMap swaps a symlink, and its files share one second.
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
