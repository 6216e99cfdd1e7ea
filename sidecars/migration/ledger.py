"""Where jobs are written down: the collection `sealwire.jobs` of the server whose data they move.

Each document holds the job as bytes and a tag that only a holder of the keyring can make, so that an edit by
anybody else is noticed. An older copy of the same document is genuine and passes: work is repeated, which
changes nothing. What others wish of a running job (pause, abort) stands beside it with a tag of its own.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from enum import Enum
from typing import Any, Protocol

from bson.binary import Binary
from bson.codec_options import CodecOptions
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import KeyDestroyed, KeyRetired, KeysError
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import JobTaken, MigrationReason, Missing, Unsound, Unusable
from sealwire.sidecars.migration.job import Job, Standing, now, parse, serialize

DATABASE, COLLECTION = "sealwire", "jobs"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_JOB_DOMAIN = b"sealwire migration job 1"
_WISH_DOMAIN = b"sealwire migration wish 1"
_DECODED = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC)

Stored = Mapping[str, Any]


def own_collection(client: Client, name: str, **more: Any) -> Collection[dict[str, Any]]:
    """A collection of Sealwire's own database on the server. Writes wait for a majority."""
    database: Database[Any] = client.get_database(DATABASE)
    return database.get_collection(name, _DECODED, write_concern=WriteConcern("majority"), **more)


class Wish(Enum):
    """What somebody wants of a job that may be running elsewhere."""

    RUN = "run"
    PAUSE = "pause"
    ABORT = "abort"


class Notes(Protocol):
    """What a runner needs of a ledger."""

    def save(self, job: Job) -> Wish:
        """Write the job down; what is wished of it. Raises JobTaken."""


class Ledger:
    """The jobs of one server, under one keyring."""

    def __init__(self, client: Client, keyring: Keyring) -> None:
        """Raises UnknownKey where the keyring has no active key at all."""
        self._jobs = own_collection(client, COLLECTION)
        self._keyring = keyring
        self._cipher = any_active(keyring)

    def create(self, job: Job) -> None:
        """Write a new job down. Raises Unusable TAKEN where one that is not over moves the same."""
        mine = {(move.namespace, move.path) for move in job.moves}
        for other in self.jobs():
            theirs = {(move.namespace, move.path) for move in other.moves}
            if not other.standing.is_over and mine & theirs:
                text = f"job {other.name} moves the same paths, and is not over"
                hint = f"sealwire migrate resume POLICY {other.name}, or sealwire migrate abort {other.name}"
                raise Unusable(MigrationReason.TAKEN, text, hint)
        try:
            self._jobs.insert_one({"_id": job.name, **self._signed(job), **self._wished(job.name, Wish.RUN)})
        except DuplicateKeyError:
            text = f"there is a job {job.name} already"
            raise Unusable(MigrationReason.TAKEN, text, "try again") from None

    def jobs(self) -> list[Job]:
        """All of them, the newest first, but for those of keys that open nothing any more. Raises Unsound.

        A writer of such a document could delete a job as well.
        """
        found = [self._job(each) for each in self._jobs.find({}) if not self._has_ended_key(each)]
        return sorted(found, key=lambda job: job.created, reverse=True)

    def load(self, name: str) -> tuple[Job, Wish]:
        """A job, and what is wished of it. Raises Missing, Unsound."""
        found = self._jobs.find_one({"_id": name})
        if found is None:
            text = f"the server has no job {name}"
            raise Missing(MigrationReason.MISSING, text, "sealwire migrate status names them")
        return self._job(found), self._wish(found)

    def save(self, job: Job) -> Wish:
        """Write the job down; what is wished of it.

        Raises:  JobTaken where its revision is not the next one; Unsound
        """
        found = self._jobs.find_one_and_update(
            {"_id": job.name, "revision": job.revision - 1},
            {"$set": self._signed(job)},
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            text = f"another process carries job {job.name} on, or it was removed"
            raise JobTaken(MigrationReason.TAKEN, text, "what this one moved is moved; see migrate status")
        return self._wish(found)

    def resume(self, job: Job) -> Job:
        """The job as it runs from now on, whatever was wished of it before. Raises as `save` and `ask`."""
        job = job.stopped(Standing.RUNNING, now())
        self.ask(job.name, Wish.RUN)
        self.save(job)
        return job

    def ask(self, name: str, wish: Wish) -> None:
        """Wish something of a job; whoever runs it sees that after the batch. Raises Missing."""
        changed = self._jobs.update_one({"_id": name}, {"$set": self._wished(name, wish)})
        if not changed.matched_count:
            raise Missing(MigrationReason.MISSING, f"the server has no job {name}")

    def _signed(self, job: Job) -> dict[str, Any]:
        body = serialize(job)
        return {"revision": job.revision, "body": Binary(body), "tag": _tag(self._cipher, _JOB_DOMAIN, body)}

    def _wished(self, name: str, wish: Wish) -> dict[str, Any]:
        tag = _tag(self._cipher, _WISH_DOMAIN, _wish_bytes(name, wish.value))
        return {"wish": wish.value, "wish_tag": tag}

    def _job(self, found: Stored) -> Job:
        body = bytes(found.get("body") or b"")
        self._verify(found.get("tag"), _JOB_DOMAIN, body, str(found["_id"]))
        job = parse(body)
        if job.name != found["_id"] or job.revision != found.get("revision"):
            raise _tampered(str(found["_id"]))
        return job

    def _has_ended_key(self, found: Stored) -> bool:
        """Whether the key of its tag is retired or destroyed, which says nothing of the document."""
        try:
            class_id, version, _ = found["tag"]
            self._keyring.cipher_by_id(class_id, version)
        except (KeyRetired, KeyDestroyed):
            return True
        except (KeysError, KeyError, ValueError, TypeError):
            return False
        return False

    def _wish(self, found: Stored) -> Wish:
        name, wish = str(found["_id"]), str(found.get("wish"))
        self._verify(found.get("wish_tag"), _WISH_DOMAIN, _wish_bytes(name, wish), name)
        return Wish(wish)

    def _verify(self, tag: Any, domain: bytes, data: bytes, name: str) -> None:
        try:
            class_id, version, given = tag
            cipher = self._keyring.cipher_by_id(class_id, version)
            is_ours = hmac.compare_digest(cipher.tag(domain, data), bytes(given))
        except (KeysError, ValueError, TypeError):
            is_ours = False
        if not is_ours:
            raise _tampered(name)


def _tag(cipher: ValueCipher, domain: bytes, data: bytes) -> list[Any]:
    return [cipher.class_id, cipher.key_version, Binary(cipher.tag(domain, data))]


def _wish_bytes(name: str, wish: str) -> bytes:
    return f"{name}\0{wish}".encode()


def _tampered(name: str) -> Unsound:
    # whoever may write there chose it
    name = name if _NAME.fullmatch(name) else "of a strange name"
    text = f"the document of job {name} was not written with this keyring, or was changed"
    hint = "remove it from sealwire.jobs and begin a new job: what is moved stays moved"
    return Unsound(MigrationReason.DAMAGED, text, hint)


def any_active(keyring: Keyring) -> ValueCipher:
    """The active key of the first class that has one. Raises UnknownKey where none has."""
    names: Iterable[str] = keyring.class_names
    for name in names:
        try:
            return keyring.cipher_for(name)
        except KeysError:
            continue
    return keyring.cipher_for("")
