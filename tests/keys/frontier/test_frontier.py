"""Where values stand, and how a frontier goes on."""

import struct
from datetime import UTC, datetime
from functools import cmp_to_key

import pytest
from bson import encode
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import binary
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    BEFORE_ALL,
    ClassVersion,
    Form,
    Frontier,
    StoredForm,
    Uses,
    Window,
    pending_version_of,
    position_of,
    position_of_plaintext,
    version_of,
)
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.wire import kinds

BEGINNING = Frontier(7, 1, 2)
ENVELOPES = st.binary(min_size=30, max_size=80)


@given(ENVELOPES, ENVELOPES)
def test_positions_have_the_order_in_which_the_server_sorts_binaries(first: bytes, second: bytes) -> None:
    before = (len(first), first) < (len(second), second)
    assert (position_of(first) < position_of(second)) is before
    assert BEFORE_ALL < position_of(first) < AFTER_ALL


@given(st.lists(ENVELOPES, min_size=3, max_size=3, unique=True))
def test_the_form_goes_by_the_window(envelopes: list[bytes]) -> None:
    low, middle, high = sorted(map(position_of, envelopes))
    opened = Frontier(7, 1, 2, 5, Window(middle, high))
    assert [opened.form(each) for each in (low, middle, high)] == [Form.NEW, Form.MOVING, Form.OLD]
    closed = opened.moving().closed()
    assert [closed.form(each) for each in (low, middle, high)] == [Form.NEW, Form.NEW, Form.OLD]


def test_a_move_begins_with_everything_old_and_ends_with_everything_new() -> None:
    place = position_of(bytes(30))
    assert BEGINNING.form(place) is Form.OLD
    assert not BEGINNING.has_begun
    opened = BEGINNING.opened(AFTER_ALL)
    assert opened.has_begun
    over = opened.moving().closed()
    assert (over.form(place), over.is_over, over.generation) == (Form.NEW, True, 4)
    assert not BEGINNING.is_over


def test_a_window_is_withdrawn_only_before_it_moves() -> None:
    opened = BEGINNING.opened(b"\0")
    back = opened.withdrawn()
    assert (back.window, back.generation) == (BEGINNING.window, 3)
    with pytest.raises(ValueError, match="withdrawn"):
        opened.moving().withdrawn()
    with pytest.raises(ValueError, match="withdrawn"):
        back.withdrawn()


def test_no_step_is_left_out() -> None:
    opened = BEGINNING.opened(b"\0")
    with pytest.raises(ValueError, match="window"):
        opened.opened(b"\1")
    with pytest.raises(ValueError, match="window"):
        BEGINNING.opened(BEFORE_ALL)
    with pytest.raises(ValueError, match="window"):
        opened.closed()
    with pytest.raises(ValueError, match="moves"):
        opened.moving().moving()


@pytest.mark.parametrize(
    "wrong",
    [
        (0, 1, 2),
        (7, 0, 2),
        (7, 2, 2),
        (7, 3, 2),
        (2**32, 1, 2),
        (7, 1, 2, 0),
        (7, 1, 2, 1, Window(b"", b""), True),
    ],
)
def test_numbers_that_no_frontier_has(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"range|later|moves"):
        Frontier(*wrong)  # type: ignore[arg-type]


def test_a_window_does_not_end_before_it_starts() -> None:
    with pytest.raises(ValueError, match="ends"):
        Window(b"b", b"a")


def test_what_meets_a_window() -> None:
    window, nothing = Window(b"b", b"d"), Window(b"b", b"b")
    assert [window.meets([each]) for each in (b"a", b"b", b"c", b"d")] == [False, True, True, False]
    assert (window.meets(None), window.meets([])) == (True, False)
    assert not nothing.meets(None)
    assert not nothing.meets([b"b"])


# What a version of a class makes of a value, and the order in which plaintext moves.

NOW = datetime(2026, 11, 26, tzinfo=UTC)
CIPHER = ValueCipher(bytes(range(64)), 7, 2)


def string(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<i", len(content) + 1) + content + b"\0"


def test_a_key_stores_envelopes() -> None:
    envelope = CIPHER.encrypt_deterministically(kinds.STRING, string("a"))
    version = ClassVersion(CIPHER)
    assert version.stored(kinds.STRING, string("a")) == StoredForm(kinds.BIN_DATA, binary(envelope))
    assert version.position(kinds.STRING, string("a")) == position_of(envelope)


def test_plaintext_is_stored_as_it_is() -> None:
    version = ClassVersion(CIPHER, is_plaintext=True)
    assert version.stored(kinds.STRING, string("a")) == StoredForm(kinds.STRING, string("a"))
    assert version.position(kinds.STRING, string("a")) == position_of_plaintext(kinds.STRING, string("a"))


def bson_value(value: object) -> tuple[int, bytes]:
    document = encode({"": value})
    return document[4], document[6:-1]


@pytest.mark.parametrize(
    "values",
    [
        st.text(),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(2**31, 2**63 - 1),
        st.integers(-(2**63), -(2**31) - 1),
        st.floats(allow_nan=False).filter(lambda number: number != 0),
        st.binary(min_size=12, max_size=12).map(ObjectId),
        st.booleans(),
    ],
    ids=["string", "int", "long", "long below zero", "double", "objectId", "bool"],
)
def test_plaintext_stands_in_the_order_of_the_values(values: st.SearchStrategy[object]) -> None:
    @given(values, values)
    def in_order(one: object, other: object) -> None:
        (kind, first), (_, second) = bson_value(one), bson_value(other)
        low, high = position_of_plaintext(kind, first), position_of_plaintext(kind, second)
        ordered = (
            (one.encode(), other.encode())
            if isinstance(one, str) and isinstance(other, str)
            else (one, other)
        )
        assert (low < high) is (ordered[0] < ordered[1])  # type: ignore[operator]
        assert BEFORE_ALL < low < AFTER_ALL

    in_order()


def test_dates_stand_in_the_order_of_time() -> None:
    moments = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 1969, 1970, 2026, 9999)]
    places = [position_of_plaintext(*bson_value(moment)) for moment in moments]
    assert places == sorted(places)


@given(st.lists(st.tuples(st.binary(max_size=5), st.sampled_from([0, 4, 5, 128])), max_size=6))
def test_binaries_stand_by_length_then_subtype_then_bytes(values: list[tuple[bytes, int]]) -> None:
    def value(content: bytes, subtype: int) -> bytes:
        return struct.pack("<iB", len(content), subtype) + content

    def compared(one: tuple[bytes, int], other: tuple[bytes, int]) -> int:
        first, second = ((len(content), subtype, content) for content, subtype in (one, other))
        return (first > second) - (first < second)

    by_server = sorted(values, key=cmp_to_key(compared))
    by_place = sorted(values, key=lambda each: position_of_plaintext(kinds.BIN_DATA, value(*each)))
    assert by_place == by_server


def test_another_type_has_no_place() -> None:
    with pytest.raises(KeyError):
        position_of_plaintext(kinds.DECIMAL, bytes(16))


def test_a_keyring_says_which_version_is_plaintext() -> None:
    keyring = Keyring(
        [
            DataKey("in", 7, 1, KeyState.ACTIVE, NOW, bytes(range(64)), is_plaintext=True),
            DataKey("in", 7, 2, KeyState.PENDING, NOW, bytes(range(1, 65))),
            DataKey("out", 8, 1, KeyState.ACTIVE, NOW, bytes(range(2, 66))),
            DataKey("out", 8, 2, KeyState.PENDING, NOW, bytes(range(3, 67)), is_plaintext=True),
            DataKey("stays", 9, 1, KeyState.ACTIVE, NOW, bytes(range(4, 68))),
        ]
    )
    active = {name: version_of(keyring, name).is_plaintext for name in keyring.class_names}
    assert active == {"in": True, "out": False, "stays": False}
    pending = {name: pending_version_of(keyring, name) for name in keyring.class_names}
    assert {name: found.is_plaintext for name, found in pending.items() if found is not None} == {
        "in": False,
        "out": True,
    }
    assert keyring.plaintext_classes == ("in",)
    assert keyring.partly_plaintext == {"in", "out"}
    assert tuple(keyring.created) == ("out", "stays")


# What a proxy has under way, and what it may say to the job. The rules together are in `test_model`.

QUIET = Frontier(7, 1, 2)


def opened(generation: int, start: bytes, end: bytes) -> Frontier:
    return Frontier(7, 1, 2, generation, Window(start, end))


def test_a_use_is_turned_away_while_its_window_is_open() -> None:
    uses = Uses(opened(2, b"b", b"d"))
    assert uses.begin([b"c"]) is None
    assert uses.begin(None) is None
    assert uses.begin([b"a", b"d"]) is not None
    assert uses.begin([]) is not None


def test_an_older_frontier_changes_nothing() -> None:
    uses = Uses(opened(3, b"b", b"d"))
    uses.observe(opened(2, b"", AFTER_ALL))
    uses.observe(opened(3, b"", AFTER_ALL))
    assert uses.frontier == opened(3, b"b", b"d")


def test_what_is_under_way_keeps_a_window_from_moving_until_it_ends() -> None:
    uses = Uses(QUIET)
    named, wide, other = uses.begin([b"c"]), uses.begin(None), uses.begin([b"z"])
    assert None not in (named, wide, other)
    uses.observe(opened(2, b"b", b"d"))
    assert (uses.acknowledged(), uses.met()) == (None, (named, wide))
    assert named is not None
    assert wide is not None
    uses.end(named)
    uses.end(named)
    assert uses.acknowledged() is None
    uses.end(wide)
    assert uses.acknowledged() == 2
    assert not uses.is_idle


def test_what_is_adopted_may_use_any_value_even_in_an_open_window() -> None:
    uses = Uses(opened(2, b"b", b"d"))
    use = uses.adopt()
    assert uses.acknowledged() is None
    uses.end(use)
    assert (uses.acknowledged(), uses.is_idle) == (2, True)
