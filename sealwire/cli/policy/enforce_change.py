"""What `sealwire policy enforce` does to one collection: decide, count what is in the way, carry out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from bson import encode
from pymongo.errors import PyMongoError

from sealwire.cli.policy.enforce_survey import Target
from sealwire.policies.file.schema import leaves
from sealwire.sidecars.direct import Client, failure
from sealwire.sidecars.enforcement.validators import (
    SchemaTooLarge,
    Validation,
    combine,
    covering_schema,
    take_apart,
)


class Outcome(Enum):
    """What became of a collection, or before it is carried out what would become of it."""

    INSTALLED = "installed"
    CREATED = "created"
    REPLACED = "replaced"
    """An older validator of ours gave way to one that fits the policy or the options."""
    ALREADY = "already"
    REMOVED = "removed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for; None keeps what the collection has, or strict and error."""

    level: str | None = None
    action: str | None = None
    create: bool = False
    allow_existing: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One collection's outcome, and the command that brings it about where one is needed."""

    namespace: str
    outcome: Outcome
    reason: str = ""
    plaintext: Mapping[str, int] = field(default_factory=dict)
    """Documents that the validator would reject, by covered path; those without any are left out."""
    command: Mapping[str, Any] | None = field(default=None, repr=False)


def plan_removal(target: Target) -> Change:
    """Take our validator away and leave what was there before it. Asks the server nothing."""
    if not target.exists:
        return Change(target.namespace, Outcome.SKIPPED, "does not exist")
    former = take_apart(target.validation.validator)
    if former is None:
        return Change(target.namespace, Outcome.SKIPPED, "has no validator of Sealwire's")
    return Change(target.namespace, Outcome.REMOVED, command=_coll_mod(target, former))


def plan_install(client: Client, target: Target, options: Options) -> Change:
    """Decide how the collection gets its validator, after counting the documents that it would reject.

    Cost: one scan of the collection; one more for each covered path where there are such documents.
    """
    if not target.exists and not options.create:
        return Change(target.namespace, Outcome.SKIPPED, "does not exist; --create makes it")
    if target.kind != "collection":
        return Change(target.namespace, Outcome.SKIPPED, f"a {target.kind} takes no validator")
    try:
        schema = covering_schema(target.tree)
    except SchemaTooLarge:
        return Change(target.namespace, Outcome.FAILED, "its covered paths are too deep for one validator")
    ours = take_apart(target.validation.validator)
    wanted = _wanted(target, schema, ours or target.validation, options)
    if not target.exists:
        return Change(target.namespace, Outcome.CREATED, command=_create(target, wanted))
    if ours is not None and _same(wanted, target.validation):
        return Change(target.namespace, Outcome.ALREADY, _weakness(wanted))
    try:
        plaintext = count_plaintext(client, target)
    except PyMongoError as error:
        return Change(target.namespace, Outcome.FAILED, f"cannot be counted: {failure(error)}")
    if plaintext and not options.allow_existing and (wanted.level, wanted.action) == ("strict", "error"):
        return Change(
            target.namespace,
            Outcome.FAILED,
            "holds plaintext, so later updates would fail; encrypt it first, or --allow-existing",
            plaintext,
        )
    outcome = Outcome.INSTALLED if ours is None else Outcome.REPLACED
    return Change(target.namespace, outcome, _weakness(wanted), plaintext, _coll_mod(target, wanted))


def count_plaintext(client: Client, target: Target) -> dict[str, int]:
    """How many documents the validator would reject, by covered path. Raises PyMongoError."""
    collection = client.get_database(_database(target.namespace)).get_collection(
        _collection(target.namespace)
    )

    def rejected(only: str | None) -> int:
        return collection.count_documents({"$nor": [{"$jsonSchema": covering_schema(target.tree, only)}]})

    if not rejected(None):
        return {}
    counts = {leaf.path: rejected(leaf.path) for leaf in leaves(target.tree)}
    return {path: count for path, count in counts.items() if count}


def carry_out(client: Client, change: Change) -> Change:
    """Run the change's command. What the server refuses becomes a failed outcome; nothing is tried again."""
    if change.command is None:
        return change
    try:
        client.get_database(_database(change.namespace)).command(dict(change.command))
    except PyMongoError as error:
        return replace(change, outcome=Outcome.FAILED, reason=failure(error))
    return change


def _wanted(target: Target, schema: dict[str, Any], former: Validation, options: Options) -> Validation:
    now = target.validation
    # a collection with a validator goes on as its owner chose: ours must not make theirs stricter
    level = now.level if now.validator else None
    action = now.action if now.validator else None
    return Validation(
        combine(schema, former),
        options.level or level or "strict",
        options.action or action or "error",
    )


def _same(wanted: Validation, now: Validation) -> bool:
    if wanted.validator is None or now.validator is None:
        return False
    level, action = now.level or "strict", now.action or "error"
    same_rules = encode(wanted.validator) == encode(now.validator)
    return same_rules and (wanted.level, wanted.action) == (level, action)


def _weakness(wanted: Validation) -> str:
    if wanted.level == "off" or wanted.action == "warn":
        return f"does not reject: level {wanted.level}, action {wanted.action}"
    return (
        "lets documents that hold plaintext be updated: level moderate" if wanted.level == "moderate" else ""
    )


def _coll_mod(target: Target, wanted: Validation) -> dict[str, Any]:
    return {"collMod": _collection(target.namespace), **_settings(wanted)}


def _create(target: Target, wanted: Validation) -> dict[str, Any]:
    return {"create": _collection(target.namespace), **_settings(wanted)}


def _settings(wanted: Validation) -> dict[str, Any]:
    return {
        "validator": wanted.validator or {},
        "validationLevel": wanted.level or "strict",
        "validationAction": wanted.action or "error",
    }


def _database(namespace: str) -> str:
    return namespace.partition(".")[0]


def _collection(namespace: str) -> str:
    return namespace.partition(".")[2]
