"""The life of a session: states, waiting for keys, drain, ends of stream, replies to nobody."""

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from bson import Int64
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.compression import MAX_STEP_BYTES
from sealwire.proxy.session.effects import CloseReason, Counter, Effect, LongToServer, ToClient, ToServer
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.proxy.session.sides.server_side import MAX_ASKED_KEYS
from sealwire.proxy.session.states import IllegalTransition
from sealwire.wire.framing import request_id_of
from tests.proxy.session.compressing import steps
from tests.proxy.session.playbook import (
    Input,
    Playbook,
    audit,
    client,
    client_eof,
    close,
    drain,
    error,
    keys_loaded,
    need_keys,
    server,
    server_eof,
    tick,
    to_client,
    to_server,
    use_keyring,
)
from tests.proxy.session.world import (
    KEYRING,
    POLICY,
    POLICY_TEXT,
    body_of,
    class_id_of,
    command,
    data_key,
    load_keys,
    opened,
    reply,
    sealed,
    session,
    session_of,
    use_settings,
)
from tests.support.policies import policy_of
from tests.support.rows import rows

FIND = {"find": "patients", "$db": "clinic"}
NHS_ID = class_id_of("nhs")
ROTATED = Keyring(
    [*map(data_key, POLICY.class_names[1:]), data_key("nhs", 2), data_key("nhs", 1, KeyState.DECRYPT_ONLY)]
)
NEW = {"a": sealed("nhs", "x", version=2)}
PLAIN = {"a": "x"}
HELLO = {"hello": 1, "$db": "admin"}
MORE_TO_COME = 2


def asked(play: Playbook, *ids: int) -> Playbook:
    """Commands under these ids are on their way."""
    for request_id in ids:
        play >> client(command(FIND, request_id)) << to_server(command(FIND, request_id))
    return play


class TestAnotherKeyring:
    def test_a_new_keyring_counts_for_the_next_reply(self, play: Playbook) -> None:
        play >> use_keyring(ROTATED)
        asked(play, 1) >> server(reply(NEW)) << to_client(reply(PLAIN))

    def test_a_keyring_that_is_given_up_opens_nothing_more(self, play: Playbook) -> None:
        old = sealed("nhs", "x")
        asked(play, 1) >> server(reply({"a": old})) << to_client(reply(PLAIN))
        play >> use_keyring(Keyring([]))
        asked(play, 2) >> server(reply({"a": old}, 2)) << need_keys((NHS_ID, 1))
        play >> keys_loaded(None)
        play << audit("undecryptable", "clinic.patients", "find", "UnknownKey")
        play << error(211, "KeyNotFound", 2)

    def test_a_session_that_waits_still_gets_its_answer(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> use_keyring(KEYRING)
        play >> keys_loaded(ROTATED) << to_client(reply(PLAIN))


class TestWaitingForKeys:
    def test_a_new_key_is_asked_for_and_the_reply_then_decrypted(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        assert not play.session.idle
        play >> keys_loaded(ROTATED) << to_client(reply(PLAIN))
        assert play.session.idle

    def test_what_arrives_meanwhile_is_held_and_handled_in_order(self, play: Playbook) -> None:
        asked(play, 1, 2) >> server(reply(NEW, 1), reply(PLAIN, 2)) << need_keys((NHS_ID, 2))
        play >> client(command(FIND, 3), command(FIND, 4))
        play >> keys_loaded(ROTATED)
        play << to_client(reply(PLAIN, 1)) << to_client(reply(PLAIN, 2))
        play << to_server(command(FIND, 3)) << to_server(command(FIND, 4))

    @pytest.mark.parametrize("keyring", [None, KEYRING])
    def test_without_the_key_the_reply_is_withheld_and_the_connection_lives_on(
        self, play: Playbook, keyring: Keyring | None
    ) -> None:
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> keys_loaded(keyring)
        play << audit("undecryptable", "clinic.patients", "find", "UnknownKey") << error(211, "KeyNotFound")
        assert play.count(Counter.DECRYPTION_FAILURES, "UnknownKey") == 1
        asked(play, 2) >> server(reply(PLAIN, 2)) << to_client(reply(PLAIN, 2))

    def test_a_key_is_asked_for_once(self, play: Playbook) -> None:
        asked(play, 1, 2) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> keys_loaded(None) << audit("undecryptable", "clinic.patients", "find", "UnknownKey")
        play << error(211, "KeyNotFound")
        play >> server(reply(NEW, 2)) << audit("undecryptable", "clinic.patients", "find", "UnknownKey")
        play << error(211, "KeyNotFound", 2)

    def test_no_more_keys_are_asked_for_than_the_limit(self, play: Playbook) -> None:
        def answered(number: int) -> Playbook:
            """A reply under a key that nobody has."""
            return asked(play, number) >> server(reply({"a": sealed("nhs", "x", number + 1)}, number))

        def withheld(number: int) -> None:
            play << audit("undecryptable", "clinic.patients", "find", "UnknownKey")
            play << error(211, "KeyNotFound", number)

        for number in range(1, MAX_ASKED_KEYS + 1):
            answered(number) << need_keys((NHS_ID, number + 1))
            play >> keys_loaded(None)
            withheld(number)
        answered(MAX_ASKED_KEYS + 1)
        withheld(MAX_ASKED_KEYS + 1)

    def test_each_unknown_key_of_a_reply_is_asked_for(self, play: Playbook) -> None:
        both = {"a": sealed("nhs", "x", version=2), "b": sealed("visits", 1, version=2)}
        asked(play, 1) >> server(reply(both), reply(PLAIN, 9)) << need_keys((NHS_ID, 2))
        play >> keys_loaded(ROTATED) << need_keys((class_id_of("visits"), 2))
        complete = Keyring([data_key("nhs", 2), data_key("visits", 2)])
        play >> keys_loaded(complete) << to_client(reply({"a": "x", "b": 1}))
        play << close(CloseReason.SERVER_PROTOCOL)  # the held reply answers nobody

    def test_a_destroyed_key_is_not_asked_for(self) -> None:
        play = Playbook(session(Keyring([data_key("nhs", 2, KeyState.DESTROYED)])))
        asked(play, 1) >> server(reply(NEW))
        play << audit("undecryptable", "clinic.patients", "find", "KeyDestroyed") << error(211, "KeyNotFound")
        play.finish()

    def test_waiting_ends_with_the_time(self, play: Playbook) -> None:
        play >> tick(100.0)
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> tick(500.0) >> tick(509.9)
        play >> tick(510.0) << close(CloseReason.KEYS_UNAVAILABLE)
        play >> keys_loaded(ROTATED) >> tick(600.0)

    def test_the_time_counts_anew_for_each_wait(self, play: Playbook) -> None:
        asked(play, 1, 2) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> tick(0.0) >> tick(9.0)
        play >> keys_loaded(ROTATED) << to_client(reply(PLAIN))
        other = {"b": sealed("visits", 1, version=2)}
        play >> server(reply(other, 2)) << need_keys((class_id_of("visits"), 2))
        play >> tick(20.0) >> tick(29.0)
        play >> tick(30.0) << close(CloseReason.KEYS_UNAVAILABLE)

    def test_keys_that_nobody_asked_for_are_a_bug_and_change_nothing(self, play: Playbook) -> None:
        with pytest.raises(IllegalTransition):
            play.session.keys_loaded()
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))

    def test_a_broken_frame_closes_while_waiting(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> server(bytes(16))
        play << close(CloseReason.SERVER_PROTOCOL, f"message-length at byte {len(reply(NEW))}")

    def test_tls_at_a_plaintext_listener_is_named(self, play: Playbook) -> None:
        play >> client(b"\x16\x03\x01\x02\x00" + bytes(16)) << close(CloseReason.CLIENT_TLS, "tls at byte 0")

    def test_a_stream_goes_on_after_the_wait(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(NEW, 1, 50, flags=MORE_TO_COME)) << need_keys((NHS_ID, 2))
        play >> keys_loaded(ROTATED) << to_client(reply(PLAIN, 1, 50, flags=MORE_TO_COME))
        play >> server(reply(NEW, 50, 51)) << to_client(reply(PLAIN, 50, 51))


class TestUnreadableReplies:
    def test_one_bad_envelope_withholds_the_whole_reply(self, play: Playbook) -> None:
        bad = bytearray(sealed("nhs", "x"))
        bad[-1] ^= 1
        answer = {"good": sealed("nhs", "x"), "bad": Binary(bytes(bad), 0x80)}
        asked(play, 1) >> server(reply(answer))
        play << audit("undecryptable", "clinic.patients", "find", "DecryptionFailed")
        play << error(1, "InternalError")
        assert play.session.idle

    def test_in_a_stream_it_ends_the_connection(self, play: Playbook) -> None:
        forged = {"a": Binary(b"SW" + bytes(40), 0x80)}
        asked(play, 1) >> server(reply(forged, 1, 50, flags=MORE_TO_COME))
        play << audit("undecryptable", "clinic.patients", "find", "InvalidEnvelope")
        play << error(1, "InternalError") << close(CloseReason.SERVER_PROTOCOL, "InvalidEnvelope")

    def test_the_audit_names_no_namespace_of_a_command_that_names_none(self) -> None:
        play = Playbook(session(reveal=Reveal.EVERYWHERE))
        unknown = command({"usersInfo": "943 476 5919", "$db": "other"})
        play >> client(unknown) << to_server(unknown)
        play >> server(reply({"a": Binary(b"SW", 0x80)}))
        play << audit("undecryptable", "", "usersInfo", "InvalidEnvelope") << error(1, "InternalError")

    def test_a_covered_field_without_a_key_is_an_error(self) -> None:
        play = Playbook(session(Keyring([])))
        play >> client(command({**FIND, "filter": {"nhs_number": "x"}}))
        play << audit("refused", "clinic.patients", "find", "UnknownKey") << error(211, "KeyNotFound")
        unacknowledged = command(
            {"insert": "patients", "$db": "clinic", "documents": [{"nhs_number": "x"}]}, flags=MORE_TO_COME
        )
        play >> client(unacknowledged) << audit("refused", "clinic.patients", "insert", "UnknownKey")
        play << close(CloseReason.REFUSED_UNACKNOWLEDGED, "UnknownKey")
        assert play.count(Counter.REFUSALS, "UnknownKey") == 2
        play.finish()


class TestDrain:
    def test_an_idle_session_closes_at_once(self, play: Playbook) -> None:
        play >> drain() << close(CloseReason.DRAINED)
        play >> drain()

    def test_a_busy_session_closes_after_its_last_reply(self, play: Playbook) -> None:
        asked(play, 1, 2) >> drain()
        play >> server(reply(PLAIN, 2)) << to_client(reply(PLAIN, 2))
        play >> server(reply(PLAIN, 1)) << to_client(reply(PLAIN, 1)) << close(CloseReason.DRAINED)

    def test_a_command_that_comes_in_time_is_still_answered(self, play: Playbook) -> None:
        asked(play, 1) >> drain()
        asked(play, 2) >> server(reply(PLAIN, 1)) << to_client(reply(PLAIN, 1))
        play >> server(reply(PLAIN, 2)) << to_client(reply(PLAIN, 2)) << close(CloseReason.DRAINED)

    def test_an_unreadable_reply_is_the_last_too(self, play: Playbook) -> None:
        asked(play, 1) >> drain()
        play >> server(reply({"a": Binary(b"SW", 0x80)}))
        play << audit("undecryptable", "clinic.patients", "find", "InvalidEnvelope")
        play << error(1, "InternalError") << close(CloseReason.DRAINED)

    def test_a_monitor_with_its_hello_open_is_idle(self, play: Playbook) -> None:
        play >> client(command(HELLO)) << to_server(command(HELLO))
        play >> drain() << close(CloseReason.DRAINED)

    def test_waiting_for_keys_is_busy(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> drain()
        play >> keys_loaded(ROTATED) << to_client(reply(PLAIN)) << close(CloseReason.DRAINED)


class TestEnds:
    @rows("end, reason", (client_eof(), CloseReason.CLIENT_EOF), (server_eof(), CloseReason.SERVER_EOF))
    def test_an_end_of_stream_closes_once(self, play: Playbook, end: Input, reason: CloseReason) -> None:
        asked(play, 1) >> end << close(reason)
        play >> end >> client_eof() >> server_eof()

    def test_nothing_follows_a_close(self, play: Playbook) -> None:
        asked(play, 1) >> client_eof() << close(CloseReason.CLIENT_EOF)
        play >> client(command(FIND, 2)) >> server(reply(PLAIN)) >> drain() >> tick(1.0)
        play >> keys_loaded(KEYRING)

    def test_a_message_cut_off_by_the_end_is_dropped(self, play: Playbook) -> None:
        play >> client(command(FIND)[:-1])
        play >> client_eof() << close(CloseReason.CLIENT_EOF)

    def test_what_follows_a_closing_message_in_the_same_chunk_is_dropped(self, play: Playbook) -> None:
        compressed = bytearray(command(FIND))
        compressed[12:16] = (2012).to_bytes(4, "little")
        play >> client(command(FIND, 1), bytes(compressed), command(FIND, 2))
        play << to_server(command(FIND, 1)) << close(CloseReason.CLIENT_PROTOCOL, "opcode at byte 12")
        assert play.count(Counter.PROTOCOL_ERRORS, "opcode") == 1

    def test_what_is_held_is_dropped_at_the_end(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(NEW)) << need_keys((NHS_ID, 2))
        play >> client(command(FIND, 2))
        play >> client_eof() << close(CloseReason.CLIENT_EOF)
        play >> keys_loaded(ROTATED)


class TestSilence:
    def test_a_client_that_sends_no_whole_message_is_closed(self, play: Playbook) -> None:
        play >> tick(100.0) >> client(command(FIND, 1)[:-1]) >> tick(109.9)
        assert play.session.is_silent
        play >> tick(110.0) << close(CloseReason.CLIENT_SILENT)
        play >> tick(500.0)

    def test_one_that_has_said_something_may_be_silent(self, play: Playbook) -> None:
        play >> tick(100.0) >> tick(105.0)
        asked(play, 1)
        play >> tick(110.0) >> tick(9_000.0)


class TestReplies:
    @pytest.mark.parametrize("response_to", [0, 2, -1])
    def test_a_reply_that_nobody_awaits_closes(self, play: Playbook, response_to: int) -> None:
        (
            asked(play, 1)
            >> server(reply(PLAIN, response_to))
            << close(CloseReason.SERVER_PROTOCOL, "response-to at byte 8")
        )

    def test_a_second_reply_closes(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(PLAIN), reply(PLAIN)) << to_client(reply(PLAIN))
        play << close(CloseReason.SERVER_PROTOCOL)

    def test_a_request_id_that_is_still_awaited_closes(self, play: Playbook) -> None:
        (
            asked(play, 1)
            >> client(command(FIND, 1))
            << close(CloseReason.CLIENT_PROTOCOL, "request-id at byte 4")
        )

    def test_a_request_id_may_come_again_after_its_reply(self, play: Playbook) -> None:
        asked(play, 1) >> server(reply(PLAIN)) << to_client(reply(PLAIN))
        asked(play, 1)

    def test_a_refused_command_leaves_its_request_id_free(self, play: Playbook) -> None:
        play >> client(command({**FIND, "sort": {"nhs_number": 1}}))
        play << audit("refused", "clinic.patients", "find", "sort", "nhs_number")
        play << error(238, "NotImplemented")
        asked(play, 1)


def test_a_session_streams_until_the_last_reply_of_an_exhaust_cursor() -> None:
    talk = session_of(SessionSettings(POLICY, login_required=False), KEYRING)
    talk.client_data(command({"find": "patients", "filter": {}, "$db": "clinic"}, 1))
    assert not talk.is_streaming
    talk.server_data(reply({"ok": 1.0}, 1, 50, flags=MORE_TO_COME))
    assert talk.is_streaming
    talk.server_data(reply({"ok": 1.0}, 50, 51))
    assert not talk.is_streaming


def test_the_next_command_has_all_its_searches_for_contexts() -> None:
    side = session_of(SessionSettings(POLICY, login_required=False), KEYRING)._client
    assert side._searches == 0
    side._searches = 3
    side.message(command({"ping": 1, "$db": "admin"}, 1))
    assert side._searches == 0


_RANGED = policy_of(
    b"version: 1\nclasses:\n  visits: {mode: deterministic, type: int, range: {from: 0, to: 20000}}\n"
    b"collections:\n  clinic.patients: {visits: visits}\n"
)


@pytest.mark.parametrize("awaits_keys", [False, True])
def test_what_many_ranges_of_one_read_become_is_not_in_memory_at_once(*, awaits_keys: bool) -> None:
    talk = session_of(SessionSettings(_RANGED, login_required=False), Keyring([data_key("visits")]))
    ranged = {"find": "patients", "filter": {"visits": {"$gte": 0}}, "$db": "clinic"}
    read = b"".join(command(ranged, number) for number in range(1, 9))
    if awaits_keys:
        talk.client_data(command(FIND, 20))
        talk.server_data(reply({"a": sealed("visits", 1, version=2)}, 20))
        assert talk.client_data(read) == []
        effects = load_keys(talk, None)
    else:
        effects = talk.client_data(read)
    found = steps(talk, effects)
    sent = [[each for each in step if isinstance(each, ToServer | LongToServer)] for step in found]
    assert max(map(len, sent)) <= 2
    whole = [
        b"".join(each.pieces) if isinstance(each, LongToServer) else each.data
        for step in sent
        for each in step
    ]
    assert [request_id_of(data) for data in whole] == list(range(1, 9))
    assert min(map(len, whole)) > MAX_STEP_BYTES // 2


WARM_UP, ROUNDS = 50, 1_000
# What the interpreter itself keeps differs a little from one moment to the next.
TOLERATED_BLOCKS = ROUNDS // 4

FIND_CLOSED = {"find": "patients", "filter": {"nhs_number": "943 476 5919"}, "$db": "clinic"}
INSERT = {
    "insert": "patients",
    "documents": [{"nhs_number": "1", "ward": 3}, {"nhs_number": "2"}],
    "$db": "clinic",
}
UPDATE = {
    "update": "patients",
    "updates": [{"q": {"nhs_number": "1"}, "u": {"$set": {"nhs_number": "2"}}, "upsert": True}],
    "$db": "clinic",
}
PIPELINE = {
    "aggregate": "patients",
    "pipeline": [{"$match": {"nhs_number": {"$in": ["1", "2"]}}}, {"$sort": {"ward": 1}}],
    "cursor": {},
    "$db": "clinic",
}
REFUSED = {"find": "patients", "filter": {"nhs_number": {"$regex": "^94"}}, "$db": "clinic"}
ELSEWHERE = {"ping": 1, "$db": "admin"}
CLEAR = {"ok": 1.0}
TAMPERED = sealed("nhs", "x")[:-1] + b"\0"


def exchange(core: Session, body: dict[str, Any], answer: dict[str, Any]) -> None:
    assert isinstance(core.client_data(command(body))[-1], ToServer)
    assert any(isinstance(effect, ToClient) for effect in core.server_data(reply(answer)))


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (FIND_CLOSED, {"cursor": {"firstBatch": [{"nhs_number": sealed("nhs", "943 476 5919")}]}, "ok": 1.0}),
        (FIND_CLOSED, {"cursor": {"firstBatch": [{"nhs_number": Binary(TAMPERED, SUBTYPE)}]}, "ok": 1.0}),
        (INSERT, CLEAR),
        (UPDATE, CLEAR),
        (PIPELINE, CLEAR),
        (ELSEWHERE, CLEAR),
    ],
    ids=["find", "undecryptable", "insert", "update", "pipeline", "elsewhere"],
)
def test_an_answered_command(body: dict[str, Any], answer: dict[str, Any]) -> None:
    core = session()
    assert_nothing_grows(lambda: exchange(core, body, answer))


def test_a_refused_command() -> None:
    core = session()
    assert any(isinstance(effect, ToClient) for effect in core.client_data(command(REFUSED)))
    assert_nothing_grows(lambda: core.client_data(command(REFUSED)))


def test_what_stays_is_noticed() -> None:
    kept: list[bytes] = []
    with pytest.raises(AssertionError):
        assert_nothing_grows(lambda: kept.append(command(ELSEWHERE)))


def test_a_session() -> None:
    assert_nothing_grows(lambda: exchange(session(), ELSEWHERE, CLEAR))


def assert_nothing_grows(step: Callable[[], object]) -> None:
    for _ in range(WARM_UP):
        step()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(ROUNDS):
        step()
    gc.collect()
    assert sys.getallocatedblocks() - before < TOLERATED_BLOCKS


NHS = "943 476 5919"
FIND_WARDS = {"find": "wards", "filter": {"bed": NHS}, "$db": "clinic"}
FIND_AGAIN = {"find": "patients", "filter": {"nhs_number": NHS}, "$db": "clinic"}
MORE = {"getMore": Int64(5), "collection": "patients", "$db": "clinic"}


def settings(text: bytes, *former: SessionSettings) -> SessionSettings:
    policies = tuple(each.policy for each in former)
    policy = load_policy(text, "policy.yaml")
    return SessionSettings(policy, login_required=False, former=policies)


OLD = settings(POLICY_TEXT)
WIDER = settings(
    POLICY_TEXT.replace(b"collections:\n", b"collections:\n  clinic.wards:\n    bed: nhs\n"), OLD
)
WITHOUT = settings(POLICY_TEXT.replace(b"clinic.patients", b"clinic.doctors"), OLD)
OTHER_NAME = settings(POLICY_TEXT.replace(b"clinic.patients", b"other.patients"), OLD)


def sent(effects: list[Effect]) -> list[bytes]:
    return [effect.data for effect in effects if isinstance(effect, ToServer)]


def batch(name: str, number: int, cursor: int) -> bytes:
    inside = {"id": Int64(cursor), "ns": "clinic.patients", name: [{"nhs_number": sealed("nhs", NHS)}]}
    return reply({"cursor": inside, "ok": 1.0}, number)


def read(effects: list[Effect]) -> list[dict[str, Any]]:
    return [body_of(effect.data)["cursor"] for effect in effects if isinstance(effect, ToClient)]


def test_a_command_that_waits_for_an_answer_about_its_name_is_planned_by_the_new_policy() -> None:
    session = session_of(OLD)
    (question,) = sent(session.client_data(command(FIND_WARDS, 7)))
    assert NHS.encode() not in question
    use_settings(session, WIDER)
    entry = {"name": "wards", "type": "collection"}
    listed = {"id": Int64(0), "ns": "clinic.$cmd.listCollections", "firstBatch": [entry]}
    number = int.from_bytes(question[4:8], "little")
    (passed,) = sent(session.server_data(reply({"cursor": listed, "ok": 1.0}, number)))
    assert NHS.encode() not in passed
    assert opened(body_of(passed)["filter"]) == {"bed": NHS}


@pytest.mark.parametrize("new", [WIDER, WITHOUT, OTHER_NAME], ids=["wider", "without", "elsewhere"])
def test_replies_and_cursors_of_before_are_read(new: SessionSettings) -> None:
    session = session_of(OLD)
    session.client_data(command(FIND_AGAIN, 7))
    use_settings(session, new)
    (first,) = read(session.server_data(batch("firstBatch", 7, 5)))
    assert first["firstBatch"] == [{"nhs_number": NHS}]
    session.client_data(command(MORE, 8))
    (more,) = read(session.server_data(batch("nextBatch", 8, 0)))
    assert more["nextBatch"] == [{"nhs_number": NHS}]
