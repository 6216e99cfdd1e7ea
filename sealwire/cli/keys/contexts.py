"""`sealwire keys contexts` and `rewrap-contexts`: how many contexts have keys, and who wraps them."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import bson
import click
from bson.binary import Binary, UuidRepresentation

from sealwire.cli.options.common import Decorator, declare, settings
from sealwire.cli.options.keys import (
    KekOptions,
    contexts_option,
    kek_options,
    keyring_option,
    open_keyring_store,
)
from sealwire.cli.output import Manner, manner_options
from sealwire.crypto import selftest
from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.resolver import Resolver, wrapping_cipher
from sealwire.keys.contexts.store import ContextRow, ContextStore, every_row
from sealwire.keys.errors import KeysReason, UnknownKey
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import parse_place
from sealwire.keys.providers import Providers
from sealwire.policies.planning.contexts import context_of, database_context
from sealwire.wire.raw_bson import find_element

# -------------------------- options that name one context of a class, and the store of the keys of contexts

_TYPES = ("string", "int", "objectId", "uuid", "database")
_FROM_STDIN = "-"


@dataclass(frozen=True, slots=True)
class ClassOfContexts:
    """A class, its keyring and its store, opened when they are asked for."""

    class_name: str
    keyring: str
    kek: KekOptions
    contexts: str

    @contextmanager
    def opened(self) -> "Iterator[OpenClass]":
        """Raises what opening a keyring and a store raises."""
        selftest.run()
        providers = Providers()
        loaded = load_keyring(open_keyring_store(self.keyring, providers), self.kek.open(providers))
        place = parse_place(self.contexts)
        with closing(providers.context_store(place, create=False)) as store:
            yield OpenClass(self.class_name, loaded, store, Resolver(store))


@dataclass(frozen=True, slots=True)
class OpenClass:
    """The same, open. Holds keys."""

    class_name: str
    keyring: Keyring
    store: ContextStore
    resolver: Resolver

    def __repr__(self) -> str:
        return f"OpenClass({self.class_name!r})"

    @property
    def class_id(self) -> int:
        """The number that stands for the class."""
        return self.keyring.cipher_for(self.class_name).class_id

    def tag_key(self) -> bytes:
        """What makes tags and receipts. Raises UnknownKey CONTEXT_UNKNOWN."""
        tag_key = self.resolver.tag_key(self.keyring, self.class_name)
        if tag_key is None:
            raise self._unknown("has no contexts")
        return tag_key

    def row_of(self, context: bytes) -> ContextRow:
        """Raises UnknownKey CONTEXT_UNKNOWN, which does not show the context."""
        row = self.resolver.row_of(self.keyring, self.class_name, context)
        if row is None:
            raise self._unknown("has no key for this context")
        return row

    def _unknown(self, what: str) -> UnknownKey:
        return UnknownKey(
            KeysReason.CONTEXT_UNKNOWN,
            f"class {self.class_name} {what} in {self.store}",
            "check the store, the value and its --type: 5 and '5' are two contexts",
        )


def class_options() -> Decorator:
    """Gives the command `subject: ClassOfContexts`."""
    taken = settings(
        "subject",
        ClassOfContexts,
        click.argument("class_name", metavar="CLASS"),
        keyring_option,
        contexts_option("The store of the keys of contexts, as keys.contexts names it.", required=True),
    )
    return declare(kek_options, taken)


context_argument = click.argument("context", metavar="[CONTEXT|-]", required=False)
type_option = click.option(
    "--type",
    "context_type",
    type=click.Choice(_TYPES),
    default="string",
    show_default=True,
    help="The type of the context's field; `database` for a class with a key for each database.",
)


def read_context(text: str | None, context_type: str) -> bytes:
    """The context that was named; `-` reads a line from stdin. Raises click.UsageError, without the value."""
    if text == _FROM_STDIN:
        text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise click.UsageError("name a context, or - to read it from stdin")
    if context_type == "database":
        return database_context(text)
    try:
        document = bson.encode({"": _value(text, context_type)})
    except (ValueError, bson.errors.BSONError, OverflowError):
        raise click.UsageError(f"the context is no {context_type}") from None
    element = find_element(document, 0, b"")
    context = None if element is None else context_of(document, element)
    if context is None:
        raise click.UsageError(f"no context has the type {context_type}")
    return context


def _value(text: str, context_type: str) -> object:
    """Raises ValueError, BSONError."""
    if context_type == "int":
        return bson.Int64(int(text))
    if context_type == "objectId":
        return bson.ObjectId(text)
    if context_type == "uuid":
        return Binary.from_uuid(uuid.UUID(text), UuidRepresentation.STANDARD)
    return text


@click.command()
@class_options()
@context_argument
@type_option
@click.option("--readmit", is_flag=True, help="Let a context whose key was destroyed have another one.")
@manner_options
def contexts(
    subject: ClassOfContexts, context: str | None, context_type: str, manner: Manner, *, readmit: bool
) -> None:
    """Count the contexts of CLASS; with --readmit, let a destroyed CONTEXT be written to again.

    \b
    Examples:
      sealwire keys contexts notes --contexts contexts.db --keyring keyring.json --json
      sealwire keys contexts notes patient-17 --readmit --contexts contexts.db --keyring keyring.json
    """
    if readmit:
        named = read_context(context, context_type)
        with subject.opened() as opened:
            row = opened.row_of(named)
            if not manner.dry_run:
                shredding.readmit(opened.store, row)
        manner.answer("the context gets a new key with its next value", {"former_key_id": row.key_id.hex()})
        return
    with subject.opened() as opened:
        count = opened.store.count(opened.class_id)
    versions = {str(version): number for version, number in count.wrapped_by.items()}
    document = {
        "class": opened.class_name,
        "live": count.live,
        "announced": count.announced,
        "destroyed": count.destroyed,
        "wrapped_by_version": versions,
    }
    by = ", ".join(f"{number} by version {version}" for version, number in versions.items()) or "none"
    text = f"{count.live} contexts, {count.announced} to be destroyed; {count.destroyed} destroyed"
    manner.answer(f"{opened.class_name}: {text}\nkeys wrapped: {by}", document)


@click.command(name="rewrap-contexts")
@class_options()
@manner_options
def rewrap_contexts(subject: ClassOfContexts, manner: Manner) -> None:
    """Wrap the keys of all contexts of CLASS with the class's active key. No data is touched.

    Do so after `sealwire keys rotate CLASS`, before the older version is retired. It may be repeated.

    \b
    Examples:
      sealwire keys rewrap-contexts notes --contexts contexts.db --keyring keyring.json
    """
    with subject.opened() as opened:
        if manner.dry_run:
            active = wrapping_cipher(opened.keyring, opened.class_name).key_version
            rows = every_row(opened.store, opened.class_id)
            done = sum(not row.is_destroyed and row.wrap_version != active for row in rows)
        else:
            done = sum(shredding.rewrap(opened.store, opened.keyring, opened.class_name))
    verb = "would be wrapped" if manner.dry_run else "wrapped"
    manner.answer(f"{opened.store}: {done} keys {verb} anew", {"class": opened.class_name, "keys": done})
