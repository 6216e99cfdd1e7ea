"""Whether the server has values in a form in which this proxy would not find them.

An application that had stored values before the class was encrypted gets no error: its filters find nothing,
and a unique index takes a value for the second time. So each deterministic path is asked for one value of its
declared type before the policy counts. A collection that is only observed is asked for encrypted values, for
the same reason. Nothing of a document is read: the answer says whether there is one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import bson

from sealwire.crypto.envelope import MARKER
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, Mode, PolicySet, ValueType, covered_fields, matches
from sealwire.proxy.server.config.settings import AccessControl, Config
from sealwire.proxy.server.errors import PlaintextStored, ServerError, StartReason, UpstreamUnavailable
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.probe import ProbeProtocol, document_of, open_probe
from sealwire.proxy.server.upstream import Upstream
from sealwire.wire.errors import ProtocolError

_ONE_MS: Final = 1500
"""The server ends a question after this; without an index on the path it reads the collection."""
_ALL_S: Final = 10.0
_ANSWER_S: Final = 2.5
_MOST_NAMES: Final = 100
_SHOWN: Final = 5

_TYPES: Final = {ValueType.LONG: ["int", "long"], ValueType.DOUBLE: ["int", "long", "double"]}
"""Where a class stores values of other types as its own."""

_HINT: Final = (
    "look with a user who may read these collections: sealwire serve --check --uri-file FILE; "
    "a proxy looks by itself with frontier.uri_file"
)

_MAGIC: Final = MARKER[1:]
_IS_ENVELOPE: Final = {
    "$type": "binData",
    "$bitsAllSet": bson.Binary(_MAGIC),
    "$bitsAllClear": bson.Binary(bytes(255 - each for each in _MAGIC)),
}

_LISTING: Final = {"listCollections": 1, "nameOnly": True, "filter": {"type": "collection"}}

Command = dict[str, Any]
Ask = Callable[[str, Command], Awaitable[Mapping[str, Any]]]
"""Runs a command on a database; a reply that is an error counts as any other."""

_FAILURES: Final = (OSError, ProtocolError, bson.errors.BSONError, ValueError, ServerError)


async def stored_findings(
    config: Config, policy: PolicySet, keyring: Keyring, upstreams: Sequence[Upstream], uri: str | None
) -> list[Finding]:
    """What could not be asked. `uri` names the server and a user; without it nobody logs in.

    Raises PlaintextStored. Cost: one bounded question for each path, _ALL_S in all
    """
    judged = [*_judged(policy, keyring), *_observed(policy, keyring)]
    left = dict.fromkeys(each.place for each in judged)
    if not config.probe or not judged or not upstreams:
        _require_known(judged, left, "upstream.probe is false")
        return []
    if uri is None and config.access_control is AccessControl.REQUIRED:
        problem = "the proxy has no user of its own"
        _require_known(judged, left, problem)
        return [_unasked(problem, list(left))]
    problem = "the server did not answer in time"
    try:
        async with asyncio.timeout(_ALL_S), _asking(upstreams, uri) as ask:
            for each in judged:
                names = await _names(ask, each.namespace)
                answers = [await _holds(ask, name, each) for name in names or ()]
                if names is None or None in answers:
                    problem = "the server refuses the question, or did not answer it in time"
                else:
                    del left[each.place]
    except _FAILURES as error:
        if isinstance(error, PlaintextStored):
            raise
    _require_known(judged, left, problem)
    return [_unasked(problem, list(left))] if left else []


def _require_known(judged: Sequence["_Judged"], left: Mapping[str, None], problem: str) -> None:
    """Raises PlaintextStored if nobody knows what must be known before the policy counts."""
    places = [each.place for each in judged if each.must_be_known and each.place in left]
    if places:
        raise PlaintextStored(
            StartReason.PLAINTEXT_STORED,
            f"{', '.join(places[:_SHOWN])}: only observed, of a class with a key, and whether encrypted "
            f"values are stored was not found out: {problem}",
            f"{_HINT}; or try the policy with a keyring that lacks the class",
        )


@dataclass(frozen=True, slots=True)
class _Judged:
    """What must not be stored at a path."""

    namespace: str
    """Or a pattern of some."""
    path: str
    condition: Mapping[str, Any]
    """By which the server finds it; empty where it cannot be told from what may be stored."""
    problem: str
    hint: str
    must_be_known: bool = False
    """Whether the policy cannot count before the server has said so."""

    @property
    def place(self) -> str:
        return f"{self.namespace} {self.path}"


def _judged(policy: PolicySet, keyring: Keyring) -> list[_Judged]:
    """Plaintext, of what holds ciphertext only."""
    skipped = {*keyring.partly_plaintext, *keyring.pending_classes}
    return [
        _Judged(
            name,
            path,
            _of_type(each),
            f"holds values in clear that no filter would find: class {each.name} is encrypted",
            f"begin in clear: sealwire keys create --plaintext {each.name}, with a new keyring, then "
            "sealwire migrate encrypt; or say `accept_plaintext: true` for the class "
            "(docs/operations/migration.md)",
        )
        for name, path, each in policy.fields
        if each.mode is Mode.DETERMINISTIC and each.name not in skipped and not each.accepts_plaintext
    ]


def _of_type(field_class: FieldClass) -> dict[str, Any]:
    value_type = field_class.value_type
    if value_type is None or value_type is ValueType.BIN_DATA:
        return {}  # by its type, ciphertext is the same
    return {"$type": _TYPES.get(value_type, [value_type.value])}


def _observed(policy: PolicySet, keyring: Keyring) -> list[_Judged]:
    """Ciphertext, of what is only observed. An application's own binary that begins alike counts as well."""
    keyed = {key.class_name for key in keyring.listed}.difference(keyring.plaintext_classes)
    return [
        _Judged(
            name,
            path,
            _IS_ENVELOPE,
            "holds encrypted values, and the policy only observes it: they would be neither found nor read",
            "take it out of `observe`, and `mode: observe` out of the policy; to leave Sealwire: sealwire "
            "migrate decrypt (docs/operations/migration.md)",
            each.name in keyed,
        )
        for name, tree in policy.observed_trees
        for path, each in covered_fields(tree)
    ]


async def _names(ask: Ask, pattern: str) -> list[str] | None:
    """The collections that a pattern matches now, a few; a name stands for itself. None: nobody says."""
    if "*" not in pattern:
        return [pattern]
    database = pattern.partition(".")[0]
    databases = [database]
    if "*" in database:
        listed = _named((await ask("admin", {"listDatabases": 1, "nameOnly": True})).get("databases"))
        if listed is None:
            return None
        databases = [name for name in listed if matches(f"{database}.x", f"{name}.x")]
    found: list[str] = []
    for name in databases:
        listed = _named(_batch(await ask(name, _LISTING)))
        if listed is None:
            return None
        found += [
            each for each in (f"{name}.{collection}" for collection in listed) if matches(pattern, each)
        ]
    return found if len(found) <= _MOST_NAMES else None


def _named(listed: object) -> list[str] | None:
    """The names in an answer; None where it is none."""
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        return None
    return [str(each.get("name")) for each in listed]


def _batch(reply: Mapping[str, Any]) -> list[Any] | None:
    """All that a cursor has; None for an error, and for what goes on."""
    cursor = reply.get("cursor")
    if reply.get("ok") != 1 or not isinstance(cursor, Mapping) or cursor.get("id"):
        return None
    batch = cursor.get("firstBatch")
    return batch if isinstance(batch, list) else None


async def _holds(ask: Ask, namespace: str, judged: _Judged) -> bool | None:
    """False, or None where the server does not say. Raises PlaintextStored."""
    if not judged.condition:
        return None
    database, _, collection = namespace.partition(".")
    reply = await ask(
        database,
        {
            "find": collection,
            "filter": {judged.path: judged.condition},
            "projection": {"_id": 0, "sealwire": 1},
            "limit": 1,
            "singleBatch": True,
            "maxTimeMS": _ONE_MS,
        },
    )
    found = _batch(reply)
    if found is None:
        return None
    if found:
        problem = f"{namespace} {judged.path} {judged.problem}"
        raise PlaintextStored(StartReason.PLAINTEXT_STORED, problem, judged.hint)
    return False


@asynccontextmanager
async def _asking(upstreams: Sequence[Upstream], uri: str | None) -> AsyncIterator[Ask]:
    """Somebody to ask: the server of `uri`, or the first member that answers. Raises one of _FAILURES."""
    if uri is not None:
        from pymongo import AsyncMongoClient  # noqa: PLC0415 - see frontiers.store
        from pymongo.errors import OperationFailure, PyMongoError  # noqa: PLC0415

        wait_ms = int(_ANSWER_S * 1000)
        client: AsyncMongoClient[Command] = AsyncMongoClient(
            uri,
            appname="sealwire-check",
            serverSelectionTimeoutMS=wait_ms,
            connectTimeoutMS=wait_ms,
            socketTimeoutMS=wait_ms,
        )

        async def by_driver(database: str, command: Command) -> Mapping[str, Any]:
            try:
                return await client[database].command(command)
            except OperationFailure as failure:
                return failure.details or {}
            except PyMongoError:
                raise ConnectionError from None

        try:
            yield by_driver
        finally:
            await client.close()
        return
    probe = await _first(upstreams)
    try:

        async def by_probe(database: str, command: Command) -> Mapping[str, Any]:
            whole = {**command, "$readPreference": {"mode": "primaryPreferred"}, "$db": database}
            return document_of(await probe.ask(whole, _ANSWER_S))

        yield by_probe
    finally:
        probe.close()


async def _first(upstreams: Sequence[Upstream]) -> ProbeProtocol:
    """A connection to the first member that takes one. Raises UpstreamUnavailable, IndexError for none."""
    for upstream in upstreams[:-1]:
        with suppress(UpstreamUnavailable):
            return await open_probe(upstream)
    return await open_probe(upstreams[-1])


def _unasked(problem: str, paths: Sequence[str]) -> Finding:
    shown = ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
    text = f"whether values in clear are stored was not found out: {problem} ({shown})"
    return Finding("stored plaintext was not looked for", text, _HINT, {"paths": len(paths)})
