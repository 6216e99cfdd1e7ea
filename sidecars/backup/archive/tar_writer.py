"""Writes a dump as a tar: members with their checksums, the manifest last."""

import hashlib
import tarfile
from dataclasses import replace
from datetime import datetime

from sealwire.sidecars.backup.sealed.manifest import MANIFEST_MEMBER, Manifest, Member, serialize
from sealwire.sidecars.backup.sealed.writer import SealedWriter

_FILE_MODE = 0o600


class TarWriter:
    """Members in the order in which they are added. tarfile makes the headers; nothing is buffered here.

    Format:  POSIX.1-2001 (pax), which every tar reads, with names and sizes of any length
    """

    def __init__(self, sink: SealedWriter, created: datetime) -> None:
        self._sink = sink
        self._created = int(created.timestamp())
        self._members: list[Member] = []

    def add(self, path: str, data: bytes, documents: int | None = None, namespace: str | None = None) -> None:
        """One file. Raises what the sink raises."""
        self._write(path, data)
        digest = hashlib.sha256(data).hexdigest()
        self._members.append(Member(path, len(data), digest, documents, namespace))

    def finish(self, manifest: Manifest) -> Manifest:
        """Add the manifest with the members that there are, end the tar, commit it; returns it."""
        complete = replace(manifest, members=tuple(self._members))
        self._write(MANIFEST_MEMBER, serialize(complete))
        end = 2 * tarfile.BLOCKSIZE
        self._sink.write(bytes(end + -(self._sink.tell() + end) % tarfile.RECORDSIZE))
        self._sink.commit(complete)
        return complete

    def _write(self, path: str, data: bytes) -> None:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mtime, entry.mode = len(data), self._created, _FILE_MODE
        self._sink.write(entry.tobuf(tarfile.PAX_FORMAT))
        self._sink.write(data)
        self._sink.write(bytes(-len(data) % tarfile.BLOCKSIZE))
