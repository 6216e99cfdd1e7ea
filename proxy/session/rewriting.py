"""Carry out a plan: put envelopes where it says, correct the lengths, keep every other byte.

Owns `apply_plan`, the only place that puts envelopes into a message.

May not import: proxy.session.sides, proxy.session.conversation, proxy.session.login or
proxy.session.revealing.
"""

from collections.abc import Iterable, Sequence
from typing import Final, final

from bson import encode

from sealwire.crypto.cipher import SealedGroup, SealedTogether, ValueCipher
from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import SUBTYPE, binary
from sealwire.keys.contexts.cache import ContextCache, ContextsMissing, ContextWanted
from sealwire.keys.errors import KeysReason, UnknownKey
from sealwire.keys.frontier.frontier import StoredForm
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import FieldClass, Mode
from sealwire.policies.planning.plan import (
    Compared,
    FormPlace,
    ListPlace,
    Plan,
    RangeEdit,
    Replacement,
    ValueEdit,
)
from sealwire.policies.questions.asked import ValuesQuestion
from sealwire.policies.questions.conditions import HeldValue
from sealwire.proxy.session.auditing.subjects import SentTally
from sealwire.proxy.session.moving.forms import Forms
from sealwire.proxy.session.ranking import Valid, array_of, items_from, ranked
from sealwire.proxy.session.shared import Shared
from sealwire.wire import kinds
from sealwire.wire.op_msg import has_no_checksum, refresh_checksum
from sealwire.wire.raw_bson import Edit, elements, enclosed, int32_at, resized, splice_in_pieces

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
                wanted[ContextWanted(name, each.context[0], True)] = None
    return wanted


def require(cache: ContextCache, wanted: Iterable[ContextWanted]) -> None:
    """Have the keys of these contexts at hand. Raises ContextsMissing, Refusal(TOO_LARGE)."""
    missing = cache.missing(wanted)
    if len(missing) > MAX_CONTEXTS:
        raise Refusal(Reason.TOO_LARGE, rule=f"a command with more than {MAX_CONTEXTS} new contexts")
    if missing:
        raise ContextsMissing(missing)


def _store_of(shared: Shared) -> ContextCache:
    if shared.contexts is None:
        raise UnknownKey(KeysReason.CONTEXTS, "no store of context keys is given", "set keys.contexts")
    return shared.contexts


def _wanted(planned: ValueEdit) -> ContextWanted:
    context = planned.context
    if context is None:
        raise TypeError("a value without a context")
    return ContextWanted(planned.field_class.name, *context)


# maxBsonObjectSize of every MongoDB server, and the 16 KiB more that it allows a command around a document.
# Whether a document in between is too large, only the server can tell, and it does.
MAX_COMMAND_BYTES: Final = 16 * 1024 * 1024 + 16 * 1024

# An edit's first parent is the message; the one directly below it may be a document sequence, which is as
# large as the message allows. Everything below that is a document.
_ABOVE_DOCUMENTS: Final = 2

_MIN_TOGETHER: Final = 16
"""Fewer values are sealed each by itself: they may all be of different classes, and lists take time too."""

MAX_MORE_BYTES: Final = 1 << 20
"""One command has so many bytes of older forms, some 20,000. Later values are looked for in one form."""

# The operator that takes a list, and those beside which it would be in its document twice.
_LISTING: Final = {
    b"$eq": (b"$in", frozenset(b"$in $gt $gte $lt $lte".split())),
    b"$ne": (b"$nin", frozenset({b"$nin"})),
}
_NO_OPERATOR: Final = (b"$in", frozenset[bytes]())

# `{$not: {$type: 4}}`: a `$pull` of a value leaves an array that holds it, a `$pull` by `$in` does not.
_NO_ARRAY: Final = b"\x03$not\0\x10\0\0\0\x10$type\0\4\0\0\0\0"


@final
class Settled:
    """Documents of a long command that were encrypted while the planner looked at later ones.

    An edit takes several times the room of the value that it replaces, and is needed only until its document
    is written. So a long command is not kept as its edits but as its written documents; nothing of them is
    sent before the plan stands. `take` is a `plan.Settler`.
    """

    __slots__ = ("_forms", "_shared", "_size", "_tally", "contexts", "edits", "is_short")

    def __init__(self, shared: Shared, forms: Forms | None = None, tally: SentTally | None = None) -> None:
        self._shared = shared
        self._forms = forms
        self._tally = tally
        self._size = 0
        self.is_short = False
        """Whether keys of contexts are missing, so that no edit is worth making."""
        self.edits: list[Edit] = []
        """In place of some documents as they came, the same as they are sent."""
        self.contexts: dict[ContextWanted, None] = {}
        """The contexts of the values in them."""

    def take(
        self,
        message: bytes,
        planned: list[ValueEdit | RangeEdit],
        replacements: list[Replacement],
        start: int,
        end: int,
        parents: tuple[int, ...],
    ) -> None:
        """Carry out edits of the documents from `start` to `end`. Raises as `apply_plan`."""
        cache = self._shared.contexts
        if cache is not None:
            wanted = wanted_by(planned, self._forms)
            self.contexts |= wanted
            self.is_short = self.is_short or bool(cache.missing(wanted))
            if self.is_short:
                return  # `apply_plan` asks for all of them at once, and the command comes again
        if self._tally is not None:
            self._tally.note(message, planned)
        edits = _edits(message, planned, replacements, self._shared, self._forms)
        lengths = resized(message, edits)
        for parent in parents:
            # their other content may change yet
            lengths.pop(parent, None)
        data = b"".join(splice_in_pieces(message, edits, lengths, start, end))
        _check_documents(edits, lengths, len(parents), len(data))
        self._size += len(data)
        if self._size > self._shared.settings.max_message_bytes:
            raise Refusal(Reason.TOO_LARGE)
        self.edits.append(Edit(start, end, data, parents))


def apply_plan(
    plan: Plan, shared: Shared, settled: Settled | None = None, forms: Forms | None = None
) -> list[bytes]:
    """The message of `plan` with its covered values encrypted, in one piece; a long one in several.

    `settled` has made edits of what the plan handed over; `forms` chooses the form of each value while a
    class moves or is in clear. Returns the very same bytes when nothing has to change.
    Raises: UnknownKey; ContextsMissing, ContextShredded; WindowMet, FrontierLost; Refusal(TOO_LARGE) when a
    document or the message outgrows what the server accepts.
    Cost: O(message) and one AES-SIV call a value, or a few for all values of a header.
    """
    message = plan.buf
    if shared.watch is not None:
        shared.watch.planned(plan.values)
    if shared.contexts is not None:
        wanted = wanted_by(plan.edits, forms)
        require(shared.contexts, wanted if settled is None else settled.contexts | wanted)
        if settled is not None and settled.is_short:
            raise RuntimeError("documents were left as they came, and no key is missing any more")
    made = () if settled is None else settled.edits
    if not plan.edits and not plan.replacements and not made:
        return [message]
    edits = _edits(message, plan.edits, plan.replacements, shared, forms)
    edits += made
    if not edits:
        return [message]
    lengths = resized(message, edits)
    size = lengths.get(0, len(message))
    if size > shared.settings.max_message_bytes:
        raise Refusal(Reason.TOO_LARGE)
    _check_documents(edits, lengths, _ABOVE_DOCUMENTS, size)
    pieces = splice_in_pieces(message, edits, lengths, 0, len(message))
    return pieces if has_no_checksum(pieces[0]) else [refresh_checksum(b"".join(pieces))]


def cipher_of(
    question: ValuesQuestion, planned: Iterable[ValueEdit | RangeEdit], shared: Shared
) -> ContextCipher | None:
    """The cipher of a question's context; None if it is about none, or nothing is stored under that one.

    The keys of `planned`, the edits of all conditions that go with the question, have to be at hand as well.
    Raises ContextsMissing, UnknownKey, Refusal(TOO_LARGE); Refusal(QUESTION) where values may be in clear.
    """
    if shared.contexts is None and not question.context:
        return None
    cache, wanted = _store_of(shared), wanted_by(planned, forms_of(shared))
    own = ContextWanted(question.class_name, question.context, False)
    if question.context:
        if own.class_name in shared.moves.classes or own.class_name in shared.keyring.partly_plaintext:
            raise _unsettled(question.path)
        wanted[own] = None
    require(cache, wanted)
    return cache.cipher_for(own) if question.context else None


def forms_of(shared: Shared) -> Forms | None:
    """The forms of one command's values; None while each has the envelope under the active key."""
    moves, keyring = shared.moves, shared.keyring
    return Forms(moves, keyring) if moves.classes or keyring.plaintext_classes else None


def rewritten_part(
    message: bytes,
    part: tuple[int, int],
    planned: list[ValueEdit | RangeEdit],
    replacements: list[Replacement],
    parents: tuple[int, ...],
    shared: Shared,
) -> bytes:
    """Some elements of a message with their covered values encrypted; `parents`: the lengths around them.

    Raises and costs as `apply_plan`.
    """
    forms = forms_of(shared)
    if shared.contexts is not None:
        require(shared.contexts, wanted_by(planned, forms))
    edits = _edits(message, planned, replacements, shared, forms)
    lengths = resized(message, edits)
    for parent in parents:
        lengths.pop(parent, None)
    return b"".join(splice_in_pieces(message, edits, lengths, *part))


def _edits(
    message: bytes,
    planned: list[ValueEdit | RangeEdit],
    replacements: list[Replacement],
    shared: Shared,
    forms: Forms | None,
) -> list[Edit]:
    keyring = shared.keyring
    sealed = _sealed_together(message, planned, keyring, forms)
    several = None
    if forms is not None or keyring.older:
        several = _SeveralForms(message, keyring, forms)
    edits: list[Edit] = []
    for index, each in enumerate(planned):
        if isinstance(each, RangeEdit):
            edits.append(_edit_of_range(message, each, shared, forms))
            continue
        envelope = b"" if sealed is None else sealed[index]
        if envelope:
            edits.append(_put_envelope(each, envelope))
            continue
        edit = None if several is None else several.edit(each)
        if edit is None:
            edit = _edit(message, each, shared, forms)
        if edit is not None:
            edits.append(edit)
    if several is not None:
        edits += several.appended()
    if replacements:
        edits += [Edit(put.element.start, put.element.end, put.data, put.parents) for put in replacements]
    return edits


def _sealed_together(
    message: bytes, planned: list[ValueEdit | RangeEdit], keyring: Keyring, forms: Forms | None
) -> list[bytes] | None:
    """For each edit its envelope, or b"" if it is to be made by itself; None if all of them are.

    Together are made those of one valid form: of deterministic classes that do not move and have one key, of
    values that are stored, or looked for by it alone. Raises UnknownKey, UnsupportedValue.
    """
    if len(planned) < _MIN_TOGETHER or not keyring.has_batches:
        return None
    batch = SealedTogether(len(planned))
    groups: dict[str, SealedGroup] = {}
    for index, each in enumerate(planned):
        field_class = each.field_class
        if (
            isinstance(each, ValueEdit)
            and field_class.mode is Mode.DETERMINISTIC
            and field_class.per is None
            and (each.place is FormPlace.ALONE or (forms is None and not keyring.older))
            and (forms is None or forms.is_settled(field_class.name))
        ):
            value = message[each.element.value : each.element.end] if each.value is None else each.value
            group = groups.get(field_class.name)
            if group is None or group.cipher.bson_type != each.kind:
                cipher = keyring.cipher_for(field_class.name).of_type(each.kind)
                group = groups[field_class.name] = batch.group(cipher)
            group.add(index, value)
    return batch.envelopes()


@final
class _SeveralForms:
    """The edits of one message whose values are looked for in more forms than the valid one.

    What a move left behind under an older key is found by them, as long as the keyring has that key.
    """

    __slots__ = ("_forms", "_items", "_keyring", "_left", "_message")

    def __init__(self, message: bytes, keyring: Keyring, forms: Forms | None) -> None:
        self._message = message
        self._keyring = keyring
        self._forms = forms
        self._left = MAX_MORE_BYTES
        self._items: dict[tuple[int, ...], list[StoredForm]] = {}

    def edit(self, planned: ValueEdit) -> Edit | None:
        """The edit of one value with all its forms; None if it has one form here.

        Raises as `apply_plan`. Cost: one AES-SIV call a form.
        """
        if planned.place is FormPlace.ALONE:
            return None
        ciphers = self._ciphers(planned)
        if not ciphers or self._left <= 0:
            return None
        element, message = planned.element, self._message
        operator, beside = _LISTING.get(element.name, _NO_OPERATOR)
        if beside and any(other.name in beside for other in elements(message, planned.parents[-1])):
            return None
        forms = self._of(planned, ciphers)
        if planned.place is FormPlace.ITEM:
            self._items.setdefault(planned.parents, []).extend(forms[1:])
        if planned.place is FormPlace.ITEM or len(forms) == 1:
            return _put(message, planned, *forms[0])
        listed = b"\x04%b\0%b" % (operator, array_of(forms))
        if beside:
            return Edit(element.start, element.end, listed, planned.parents)
        if planned.place is FormPlace.ELEMENT:
            listed += _NO_ARRAY
        return _put(message, planned, kinds.OBJECT, enclosed(listed))

    def appended(self) -> list[Edit]:
        """The edits that append to lists, after all others."""
        found = []
        for parents, forms in self._items.items():
            start = parents[-1]
            end = start + int32_at(self._message, start) - 1
            count = sum(1 for _ in elements(self._message, start))
            found.append(Edit(end, end, items_from(forms, count), parents))
        return found

    def _ciphers(self, planned: ValueEdit) -> Sequence[ValueCipher]:
        """The ciphers that make the other forms of a value; none if it can have no other."""
        field_class = planned.field_class
        can_be_stored = planned.value is not None or field_class.stores(planned.kind)
        if field_class.mode is not Mode.DETERMINISTIC or field_class.per is not None or not can_be_stored:
            return ()
        if self._forms is None or self._forms.is_settled(field_class.name):
            return self._keyring.older.get(field_class.name, ())
        return self._forms.other_ciphers(field_class.name)

    def _of(self, planned: ValueEdit, ciphers: Iterable[ValueCipher]) -> list[StoredForm]:
        """The valid form, then each other one."""
        name, kind, forms = planned.field_class.name, planned.kind, self._forms
        value = _value_of(self._message, planned)
        if forms is None or forms.is_settled(name):
            valid = _envelope(self._keyring.cipher_for(name), kind, value)
        else:
            valid = forms.valid(name, kind, value)
        found = [valid]
        for cipher in ciphers:
            other = _envelope(cipher, kind, value)
            if other not in found:
                found.append(other)
                self._left -= len(other.data)
        return found


def _envelope(cipher: ValueCipher, kind: int, value: bytes) -> StoredForm:
    return StoredForm(kinds.BIN_DATA, binary(cipher.encrypt_deterministically(kind, value)))


def _value_of(message: bytes, planned: ValueEdit) -> bytes:
    return message[planned.element.value : planned.element.end] if planned.value is None else planned.value


def _edit(message: bytes, planned: ValueEdit, shared: Shared, forms: Forms | None) -> Edit | None:
    """A value in the form that is valid where it stands; None where that is what the message has."""
    field_class = planned.field_class
    if forms is not None:
        if field_class.mode is Mode.RANDOM:
            forms.random_cipher(field_class.name)  # nobody stores these in clear
        elif not forms.is_settled(field_class.name):
            return _edit_of_form(message, planned, shared, forms)
    value = _value_of(message, planned)
    if field_class.per is None:
        return _put_envelope(planned, _encrypted(planned, value, shared.keyring.cipher_for(field_class.name)))
    return _put_envelope(planned, _in_context(planned, value, shared) or _stand_in(planned, value, shared))


def _encrypted(planned: ValueEdit, value: bytes, cipher: ValueCipher | ContextCipher) -> bytes:
    if planned.field_class.mode is Mode.DETERMINISTIC:
        return cipher.encrypt_deterministically(planned.kind, value)
    return cipher.encrypt_randomly(planned.kind, value)


def _in_context(planned: ValueEdit, value: bytes, shared: Shared) -> bytes:
    """The envelope of a value under its context's key; empty where it is compared, and nothing is stored
    under the context. Raises UnknownKey, ContextsMissing, ContextShredded, UnsupportedValue.
    """
    cipher = _store_of(shared).cipher_for(_wanted(planned))
    return b"" if cipher is None else _encrypted(planned, value, cipher)


def _stand_in(planned: ValueEdit, value: bytes, shared: Shared) -> bytes:
    """An envelope in place of one under a context for which nothing is stored: it equals no other."""
    class_id = shared.keyring.cipher_for(planned.field_class.name).class_id
    return _store_of(shared).stand_in(class_id).encrypt_randomly(planned.kind, value)


def _edit_of_form(message: bytes, planned: ValueEdit, shared: Shared, forms: Forms) -> Edit | None:
    """As `_edit`, of a deterministic class that moves or is in clear."""
    field_class, element = planned.field_class, planned.element
    name, value = field_class.name, _value_of(message, planned)
    is_of_class = planned.value is not None or field_class.stores(planned.kind)
    envelope, form = b"", None
    if field_class.per is None:
        form = forms.valid(name, planned.kind, value, is_of_class=is_of_class)
    elif forms.leaves_envelopes(name):
        envelope = _in_context(planned, value, shared)
        if envelope:
            form = forms.clear_form(name, planned.kind, value, envelope, is_of_class=is_of_class)
    else:
        form = forms.clear_form(name, planned.kind, value, is_of_class=is_of_class)
    if form is None:
        # under the key of its context; if nothing is stored under that, its value stands nowhere
        envelope = envelope or _in_context(planned, value, shared) or _stand_in(planned, value, shared)
        return _put_envelope(planned, envelope)
    if form.kind == element.kind and form.data == message[element.value : element.end]:
        return None
    return _put(message, planned, form.kind, form.data)


def _edit_of_range(message: bytes, planned: RangeEdit, shared: Shared, forms: Forms | None) -> Edit:
    """A range, or a list of values that the server has said it holds, each in the forms that it may have."""
    field_class, keyring = planned.field_class, shared.keyring
    name = field_class.name
    if forms is not None and not forms.is_settled(name):
        if field_class.per is not None:
            raise _unsettled(planned.node.path)
        if field_class.mode is Mode.DETERMINISTIC:
            return _range_of_form(message, planned, forms)
    if forms is not None and field_class.mode is Mode.RANDOM:
        forms.random_cipher(name)
    cipher = keyring.cipher_for(name)
    # of random classes, and under the key of a context, a value has the form that it was found in alone
    has_another = field_class.mode is Mode.DETERMINISTIC and field_class.per is None
    valid = (lambda kind, value: _envelope(cipher, kind, value)) if has_another else None
    if planned.outside is not None:
        return _outside(planned, [_asked_forms(valid, each) for each in planned.outside.lists])
    if not isinstance(planned.listed, tuple):
        items = sorted(shared.grids.encrypted(cipher, kind, value) for kind, value in planned.values())
        return _listed(planned, [(kinds.BIN_DATA, item) for item in items])
    if planned.ranks is not None:
        return ranked(planned, planned.ranks, valid)
    return _listed(planned, _asked_forms(valid, planned.listed))


def _range_of_form(message: bytes, planned: RangeEdit, forms: Forms) -> Edit:
    """As `_edit_of_range`, of a deterministic class that moves or is in clear."""
    field_class = planned.field_class
    name = field_class.name
    if planned.outside is not None:
        return _outside(planned, [_moving_forms(forms, field_class, each) for each in planned.outside.lists])
    if planned.ranks is not None:
        return ranked(planned, planned.ranks, lambda kind, value: forms.listed(name, [(kind, value)])[0])
    if forms.passes_range(name):
        # the operators themselves: what lies off the grid, written before anybody declared one, is found
        data = b"".join(message[part.start : part.end] for part in planned.conditions)
        return Edit(planned.element.start, planned.element.end, data, planned.parents)
    if isinstance(planned.listed, tuple):
        return _listed(planned, _moving_forms(forms, field_class, planned.listed))
    return _listed(planned, forms.listed(name, planned.values()))


def _asked_forms(valid: Valid | None, listed: Iterable[HeldValue]) -> list[StoredForm]:
    """Every form of stored values: as they were found, and the `valid` one, if they may have another."""
    found = set[StoredForm]() if valid is None else {valid(*held.value) for held in listed}
    return sorted(found.union(StoredForm(*held.stored) for held in listed))


def _moving_forms(forms: Forms, field_class: FieldClass, listed: Sequence[HeldValue]) -> list[StoredForm]:
    """The same while the class moves, or is in clear: also what a move has left behind.

    What is in clear and of another type than the class's, as null, has no other form.
    """
    moved = [held.value for held in listed if held.value[0] == field_class.kind or held.value != held.stored]
    found = forms.listed(field_class.name, moved)
    return sorted({*found, *(StoredForm(*held.stored) for held in listed)})


def _outside(planned: RangeEdit, lists: Sequence[Sequence[StoredForm]]) -> Edit:
    """The condition that some value at a path is outside of each list, or its negation (`plan.Outside`).

    An array has a value outside if an item is; so each array that the path may lead through is looked at as
    one. Nothing that is missing is outside, nor is null, nor an array in an array.
    """
    outside, element = planned.outside, planned.element
    if outside is None:
        raise TypeError("a list has taken the condition's place")
    body = enclosed(
        b"\x04$and\0" + array_of([(kinds.OBJECT, _some_outside(outside.path, each)) for each in lists])
    )
    if (outside.name == b"$nor") is not outside.is_negated:
        body = enclosed(b"\x04$nor\0" + array_of([(kinds.OBJECT, body)]))
    data = b"\x04%b\0%b" % (outside.name, array_of([(kinds.OBJECT, body)]))
    return Edit(element.start, element.end, data, planned.parents)


def _some_outside(path: bytes, items: Sequence[tuple[int, bytes]]) -> bytes:
    """`{$or: [...]}`: a value that the path leads to is none of these items, nor null, nor an array."""
    unlisted = b"\x04$nin\0" + array_of([*items, (kinds.NULL, b"")]) + _NO_ARRAY
    present = enclosed(b"\x08$exists\0\1" + unlisted)
    found = [_condition(path, _condition(b"$elemMatch", enclosed(unlisted))), _condition(path, present)]
    end = path.find(b".")
    while end >= 0:
        rest = _condition(path[end + 1 :], present)
        found.append(_condition(path[:end], _condition(b"$elemMatch", rest)))
        end = path.find(b".", end + 1)
    return enclosed(b"\x04$or\0" + array_of([(kinds.OBJECT, each) for each in found]))


def _condition(name: bytes, document: bytes) -> bytes:
    """`{name: document}`."""
    return enclosed(b"\x03%b\0%b" % (name, document))


def _listed(planned: RangeEdit, items: Sequence[tuple[int, bytes]]) -> Edit:
    """`$in` with an item, as type and bytes, for each value of the range, in the order of their stored forms.

    In the order of the values the list would tell the server the order that the ciphertexts hide.
    """
    place, element = planned.place, planned.element
    if place is ListPlace.ITEM:
        # the server takes an array's items by their order, whatever their names are
        data = b"".join(b"%c%b\0%b" % (kind, element.name, item) for kind, item in items)
        return Edit(element.start, element.end, data, planned.parents)
    if planned.compared is not None:
        data = _compared(planned.node.path, planned.compared, items)
        return Edit(element.start, element.end, data, planned.parents)
    array = array_of(items)
    data = b"\x04$in\0" + array
    if place is ListPlace.BESIDE:
        # a document has one `$in`; that some value is in the list means the same
        data = b"\x03$not\0" + enclosed(b"\x04$nin\0" + array)
    elif place is ListPlace.UNEQUAL:
        data = b"\x04$nin\0" + array
    elif place is ListPlace.ITEM_OUTSIDE:
        array = array_of([*items, (kinds.NULL, b"")])
        data = b"\x03$not\0" + enclosed(b"\x04$nin\0" + array + _NO_ARRAY)
    elif place is ListPlace.VALUE:
        data = b"\x03%b\0%b" % (element.name, enclosed(data))
    return Edit(planned.element.start, planned.element.end, data, planned.parents)


def _compared(path: str, compared: Compared, items: Sequence[tuple[int, bytes]]) -> bytes:
    """An expression by `$in`. It looks an array up as an empty one, and a missing value as null."""
    field = f"${path}"
    value = encode({"$cond": [{"$isArray": [field]}, [], {"$ifNull": [field, None]}]})
    listed = enclosed(b"\x04$literal\0" + array_of([*items, *compared.others]))
    found = b"\x04$in\0" + array_of([(kinds.OBJECT, value), (kinds.OBJECT, listed)])
    if compared.is_negated:
        found = b"\x04$not\0" + array_of([(kinds.OBJECT, enclosed(found))])
    return found


def _put_envelope(planned: ValueEdit, envelope: bytes) -> Edit:
    """An envelope in place of an element's value."""
    element = planned.element
    return Edit(element.start, element.end, envelope, planned.parents, element.value, SUBTYPE)


def _unsettled(path: str) -> Refusal:
    """The refusal of a question about a class with contexts, of which values may be in clear."""
    rule = "a class with a key for each context, in clear or while it moves"
    return Refusal(Reason.QUESTION, path=path, rule=rule)


def _put(message: bytes, planned: ValueEdit, kind: int, data: bytes) -> Edit:
    """A value of this type in place of the element's own."""
    element = planned.element
    whole = b"%c%b%b" % (kind, message[element.start + 1 : element.value], data)  # the name with its NUL
    return Edit(element.start, element.end, whole, planned.parents)


def _check_documents(edits: list[Edit], lengths: dict[int, int], above: int, size: int) -> None:
    """Refuse a document that the server would refuse, so that the client hears why.

    `above`: how many of an edit's first parents are no documents; `size`: bytes of all documents together.
    """
    if size <= MAX_COMMAND_BYTES:
        return
    too_large = {offset for offset, length in lengths.items() if length > MAX_COMMAND_BYTES}
    if too_large and any(parent in too_large for edit in edits for parent in edit.parents[above:]):
        raise Refusal(Reason.TOO_LARGE)
