"""What a collection's files are called: as mongodump calls them, and in parts where they are long.

    clinic/patients.metadata.json              options and indexes
    clinic/patients.bson                       the documents, where they fit into one part
    clinic/patients.bson.parts/00000001.bson   else the same bytes in parts, to be read one after another

A tar member says its size before its content, and nobody knows a collection's size before its end; ADR 13.
Names are escaped as Go's url.PathEscape does, cut where a file system would not take them.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote

from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason

BUCKETS = "system.buckets."
"""Where a time-series collection's documents really are; mongodump writes these."""

DATA = ".bson"
METADATA = ".metadata.json"
PARTS = ".bson.parts"

_GZIP = ".gz"
_PART = re.compile(r"[0-9]{8}\.bson", re.ASCII)
_PLAIN = "$&+=:@-_.~"
_LONGEST = 238
_KEPT = 208


class Content(Enum):
    """What a file of a dump holds."""

    METADATA = "metadata"
    DOCUMENTS = "documents"


@dataclass(frozen=True, slots=True)
class FileName:
    """A path inside a dump, taken apart."""

    database: str
    stem: str
    """The collection's name, escaped."""
    content: Content
    part: int | None = None
    """Its number, from 1; None for a file that is whole."""

    @property
    def collection(self) -> str:
        """What the stem says. A cut name cannot be told from it; the metadata has it in full."""
        return unquote(self.stem)


def stem(collection: str) -> str:
    """The file name of a collection without its ending: at most 238 bytes of ASCII."""
    escaped = quote(collection, safe=_PLAIN)
    if len(escaped) <= _LONGEST:
        return escaped
    # SHA-1 only keeps names apart here, in the way that mongorestore expects
    digest = hashlib.sha1(collection.encode(), usedforsecurity=False).digest()
    return f"{escaped[:_KEPT]}%24{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def metadata_path(database: str, collection: str) -> str:
    """Where the options and indexes of a collection or view stand."""
    return f"{database}/{stem(collection)}{METADATA}"


def data_path(database: str, collection: str) -> str:
    """Where the documents of a collection stand that fit into one part."""
    return f"{database}/{stem(collection)}{DATA}"


def part_path(database: str, collection: str, number: int) -> str:
    """Where part `number`, from 1, of a longer collection stands."""
    return f"{database}/{stem(collection)}{PARTS}/{number:08d}{DATA}"


def split_path(path: str) -> FileName | None:
    """Take apart `database/file`; None for what is no file of a collection, such as the oplog.

    Raises:  BackupDamaged ARCHIVE for a path that leaves the dump's folder
    """
    pieces = path.split("/")
    if any(piece in ("", ".", "..") or "\0" in piece for piece in pieces):
        text = "a file of the dump lies outside of it"
        raise BackupDamaged(BackupReason.ARCHIVE, text, "do not restore it")
    if len(pieces) == 3 and pieces[1].endswith(PARTS) and _PART.fullmatch(pieces[2]):
        number = int(pieces[2].removesuffix(DATA))
        return FileName(pieces[0], pieces[1].removesuffix(PARTS), Content.DOCUMENTS, number)
    if len(pieces) != 2:
        return None
    database, name = pieces
    name = name.removesuffix(_GZIP)
    for ending, content in ((METADATA, Content.METADATA), (DATA, Content.DOCUMENTS)):
        if name.endswith(ending) and name != ending:
            return FileName(database, name.removesuffix(ending), content)
    return None
