"""What is done to one covered collection: decide, count the plaintext that is in the way, carry out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from bson import encode
from pymongo.errors import PyMongoError

from sealwire.policies.file.schema import leaves
from sealwire.sidecars.covered import CoveredCollection, Validation
from sealwire.sidecars.direct import Client, failure
from sealwire.sidecars.enforcement.validators import (
    Headers,
    Rules,
    SchemaTooLarge,
    combine,
    covering_rules,
    enforces_versions,
    take_apart,
)

RIGHTS = "log in as a user that may list collections, find, and collMod (dbAdmin and read)"
"""The hint where the server denies something."""


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
    headers: Headers = field(default_factory=dict)
    """For the classes whose values have to be of the active version."""


@dataclass(frozen=True, slots=True)
class Change:
    """One collection's outcome, and the command that brings it about where one is needed."""

    namespace: str
    outcome: Outcome
    reason: str = ""
    plaintext: Mapping[str, int] = field(default_factory=dict)
    """Documents that the validator would reject, by covered path; those without any are left out."""
    command: Mapping[str, Any] | None = field(default=None, repr=False)


def plan_removal(found: CoveredCollection) -> Change:
    """Take our validator away and leave what was there before it. Asks the server nothing."""
    if not found.exists:
        return Change(found.namespace, Outcome.SKIPPED, "does not exist")
    former = take_apart(found.validation.validator)
    if former is None:
        return Change(found.namespace, Outcome.SKIPPED, "has no validator of Sealwire's")
    return Change(found.namespace, Outcome.REMOVED, command=_command("collMod", found, former))


def plan_install(client: Client, found: CoveredCollection, options: Options) -> Change:
    """Decide how the collection gets its validator, after counting the documents that it would reject.

    Cost: one scan of the collection; one more for each covered path where there are such documents.
    """
    if not found.exists and not options.create:
        return Change(found.namespace, Outcome.SKIPPED, "does not exist; --create makes it")
    if found.kind != "collection":
        return Change(found.namespace, Outcome.SKIPPED, f"a {found.kind} takes no validator")
    try:
        rules = covering_rules(found.tree, options.headers)
    except SchemaTooLarge:
        return Change(found.namespace, Outcome.FAILED, "its covered paths are too deep for one validator")
    ours = take_apart(found.validation.validator)
    wanted = _wanted(found, rules, ours or found.validation, options)
    if not found.exists:
        return Change(found.namespace, Outcome.CREATED, command=_command("create", found, wanted))
    if ours is not None and _same(wanted, found.validation):
        return Change(found.namespace, Outcome.ALREADY, _weakness(wanted))
    try:
        plaintext = count_plaintext(client, found, options.headers)
    except PyMongoError as error:
        return Change(found.namespace, Outcome.FAILED, f"cannot be counted: {failure(error)}")
    if plaintext and not options.allow_existing and (wanted.level, wanted.action) == ("strict", "error"):
        reason = "holds plaintext, so later updates would fail; encrypt it first, or --allow-existing"
        if options.headers:
            reason = (
                "holds values that are no envelopes of the active version, so later updates would fail; "
                "migrate encrypt or repair first, or --allow-existing"
            )
        return Change(found.namespace, Outcome.FAILED, reason, plaintext)
    outcome = Outcome.INSTALLED if ours is None else Outcome.REPLACED
    reason = _weakness(wanted)
    if not reason and enforces_versions(found.validation) and not enforces_versions(wanted):
        reason = "lets values of other versions pass from now on"
    return Change(found.namespace, outcome, reason, plaintext, _command("collMod", found, wanted))


def count_plaintext(client: Client, found: CoveredCollection, headers: Headers) -> dict[str, int]:
    """How many documents the validator would reject, by covered path. Raises PyMongoError."""
    database, _, name = found.namespace.partition(".")
    collection = client.get_database(database).get_collection(name)

    def rejected(only: str | None) -> int:
        schema, conditions = covering_rules(found.tree, headers, only)
        return collection.count_documents({"$or": [{"$nor": [{"$jsonSchema": schema}]}, *conditions]})

    if not rejected(None):
        return {}
    counts = {leaf.path: rejected(leaf.path) for leaf in leaves(found.tree)}
    return {path: count for path, count in counts.items() if count}


def carry_out(client: Client, change: Change) -> Change:
    """Run the change's command. What the server refuses becomes a failed outcome; nothing is tried again."""
    if change.command is None:
        return change
    try:
        client.get_database(change.namespace.partition(".")[0]).command(dict(change.command))
    except PyMongoError as error:
        return replace(change, outcome=Outcome.FAILED, reason=failure(error))
    return change


def _wanted(found: CoveredCollection, rules: Rules, former: Validation, options: Options) -> Validation:
    # a collection with a validator goes on as its owner chose: ours must not make theirs stricter
    kept = found.validation if found.validation.validator else Validation()
    schema, conditions = rules
    level, action = options.level or kept.level or "strict", options.action or kept.action or "error"
    return Validation(combine(schema, former, conditions), level, action)


def _same(wanted: Validation, now: Validation) -> bool:
    same_rules = encode(wanted.validator or {}) == encode(now.validator or {})
    return same_rules and (wanted.level, wanted.action) == (now.level or "strict", now.action or "error")


def _weakness(wanted: Validation) -> str:
    if wanted.level == "off" or wanted.action == "warn":
        return f"does not reject: level {wanted.level}, action {wanted.action}"
    moderate = "lets documents that hold plaintext be updated: level moderate"
    return moderate if wanted.level == "moderate" else ""


def _command(name: str, found: CoveredCollection, wanted: Validation) -> dict[str, Any]:
    return {
        name: found.namespace.partition(".")[2],
        "validator": wanted.validator or {},
        "validationLevel": wanted.level or "strict",
        "validationAction": wanted.action or "error",
    }
