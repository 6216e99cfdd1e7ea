"""Values whose class has a key for each context: which keys a command needs, and encrypting with them."""

import os
from collections.abc import Iterable
from typing import Final

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import KEY_BYTES, KEY_ID_BYTES, MAX_ID
from sealwire.keys.contexts.cache import ContextCache, ContextsMissing, ContextWanted
from sealwire.keys.errors import KeysReason, UnknownKey
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import Mode
from sealwire.policies.planning.plan import RangeEdit, ValueEdit
from sealwire.proxy.session.moving.forms import Forms

MAX_CONTEXTS: Final = 10_000
"""So many contexts may be new to the process in one command. A search for more would take seconds, and could
drive the first of them out of the cache before the last is there."""


def wanted_by(
    planned: Iterable[ValueEdit | RangeEdit], forms: Forms | None = None
) -> dict[ContextWanted, None]:
    """The contexts of some edits that need keys, each once: none in clear. Raises UnknownKey. Cost: O(edits).

    While a class moves, a context that is only compared with gets a key as well. Where the class is taken in,
    its value could else be moved, under a key that is made for it, after nobody had one and before the
    command is sent. Where the class is put back, its value would stand nowhere: another session could make
    the key, and store it in clear or not, while the command waits.
    """
    wanted: dict[ContextWanted, None] = {}
    for each in planned:
        if isinstance(each, ValueEdit) and each.context is not None:
            name = each.field_class.name
            if forms is None or forms.is_settled(name):
                wanted[_wanted(each)] = None
            elif forms.is_moving(name):
                wanted[ContextWanted(name, each.context.value, True)] = None
    return wanted


def require(cache: ContextCache, wanted: Iterable[ContextWanted]) -> None:
    """Have the keys of these contexts at hand. Raises ContextsMissing, Refusal(TOO_LARGE)."""
    missing = cache.missing(wanted)
    if len(missing) > MAX_CONTEXTS:
        raise Refusal(Reason.TOO_LARGE, rule=f"a command with more than {MAX_CONTEXTS} new contexts")
    if missing:
        raise ContextsMissing(missing)


def encrypted_in_context(planned: ValueEdit, value: bytes, cache: ContextCache | None) -> bytes:
    """The envelope of a planned value, under the key of its context.

    A value that is compared, in a context that nothing is stored under, gets an envelope that equals none.
    Raises ContextsMissing, ContextShredded, UnsupportedValue; UnknownKey where the process has no store.
    """
    cipher = _cipher_for(planned, cache)
    if cipher is None:
        # with the class id left out as well: nothing needs it, and no store is asked for the key
        cipher = ContextCipher(os.urandom(KEY_BYTES), MAX_ID, os.urandom(KEY_ID_BYTES))
    return _encrypted(planned, value, cipher)


def envelope_in_context(planned: ValueEdit, value: bytes, cache: ContextCache | None) -> bytes | None:
    """As `encrypted_in_context`; None for a value that is compared in a context whose key was destroyed."""
    cipher = _cipher_for(planned, cache)
    return None if cipher is None else _encrypted(planned, value, cipher)


def _cipher_for(planned: ValueEdit, cache: ContextCache | None) -> ContextCipher | None:
    if cache is None:
        raise UnknownKey(KeysReason.CONTEXTS, "no store of context keys is given", "set keys.contexts")
    return cache.cipher_for(_wanted(planned))


def _encrypted(planned: ValueEdit, value: bytes, cipher: ContextCipher) -> bytes:
    if planned.field_class.mode is Mode.DETERMINISTIC:
        return cipher.encrypt_deterministically(planned.kind, value)
    return cipher.encrypt_randomly(planned.kind, value)


def _wanted(planned: ValueEdit) -> ContextWanted:
    context = planned.context
    if context is None:
        raise TypeError("a value without a context")
    return ContextWanted(planned.field_class.name, context.value, context.is_stored)
