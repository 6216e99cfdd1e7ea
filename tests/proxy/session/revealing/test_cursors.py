"""Cursors on views, joins and change streams: whatever connection reads them on, their replies are opened."""

from typing import Any

import pytest
from bson import Int64, encode

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.session.revealing import cursors
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.playbook import Playbook, audit, client, error, pause, server, to_client, to_server
from tests.proxy.session.sides.test_questions import asked, told, view
from tests.proxy.session.world import (
    KEYRING,
    POLICY,
    body_of,
    command,
    data_key,
    reply,
    sealed,
    session,
    session_of,
    use_settings,
)

NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)
CURSOR = 4711


def batch(name: str, namespace: str, value: Any, cursor_id: int = CURSOR, response_to: int = 1) -> bytes:
    cursor = {"id": Int64(cursor_id), "ns": namespace, name: [{"nhs": value}]}
    return reply({"cursor": cursor, "ok": 1.0}, response_to)


def get_more(collection: str, number: int = 2, cursor_id: int = CURSOR, database: str = "clinic") -> bytes:
    return command({"getMore": Int64(cursor_id), "collection": collection, "$db": database}, number)


def marked(keyring: Keyring = KEYRING) -> str:
    """The collection's name that a reply on the view `shown` gives a driver, in its first batch."""
    play = Playbook(session(keyring))
    play >> client(command({"find": "shown", "$db": "clinic"})) << pause(True) << to_server(asked("shown", 1))
    found = command({"find": "shown", "$db": "clinic"})
    play >> server(told(view(), response_to=1)) << pause(False) << to_server(found)
    (answer, _) = play.session.server_data(batch("firstBatch", "clinic.shown", SEALED))
    cursor = body_of(answer.data)["cursor"]  # type: ignore[union-attr]
    assert cursor["firstBatch"] == [{"nhs": NHS}]
    database, _, collection = cursor["ns"].partition(".")
    assert database == "clinic"
    assert collection.startswith("shown.$sealwire.")
    return str(collection)


def test_another_connection_opens_what_the_cursor_yields() -> None:
    collection = marked()
    play = Playbook(session())
    play >> client(get_more(collection)) << to_server(get_more("shown"))
    play >> server(batch("nextBatch", "clinic.shown", SEALED, response_to=2))
    play << to_client(batch("nextBatch", f"clinic.{collection}", NHS, response_to=2))
    play >> client(get_more(collection, 3)) << to_server(get_more("shown", 3))
    play >> server(batch("nextBatch", "clinic.shown", SEALED, 0, 3))
    play << to_client(batch("nextBatch", "clinic.shown", NHS, 0, 3))
    play.finish()


@pytest.mark.parametrize(
    ("change", "cursor_id", "database"),
    [
        (lambda name: name[:-1] + ("0" if name[-1] != "0" else "1"), CURSOR, "clinic"),
        (lambda name: name, CURSOR + 1, "clinic"),
        (lambda name: name, CURSOR, "elsewhere"),
        (lambda name: name.replace("shown", "wards"), CURSOR, "clinic"),
        (lambda name: name + "zz", CURSOR, "clinic"),
        (lambda name: name[:-32], CURSOR, "clinic"),
        (lambda _: "shown", CURSOR, "clinic"),
    ],
)
def test_a_mark_fits_its_own_cursor_and_no_other(change: Any, cursor_id: int, database: str) -> None:
    collection = change(marked())
    play = Playbook(session())
    play >> client(get_more(collection, 2, cursor_id, database))
    plain = collection.partition(".$sealwire.")[0]
    play << to_server(get_more(plain, 2, cursor_id, database))
    answer = batch("nextBatch", f"{database}.{plain}", SEALED, cursor_id, 2)
    play >> server(answer) << to_client(answer)
    play.finish()


def test_a_mark_under_a_key_that_is_not_there_is_told() -> None:
    other = Keyring([data_key("nhs", 2), *(data_key(name) for name in POLICY.class_names if name != "nhs")])
    play = Playbook(session(other))
    (
        play
        >> client(get_more(marked()))
        << audit("refused", "clinic.shown", "getMore", "shape")
        << error(2, "BadValue", 2)
    )
    play.finish()


def test_the_server_ends_a_cursor_by_its_own_name() -> None:
    def kill(collection: str) -> bytes:
        return command({"killCursors": collection, "cursors": [Int64(CURSOR)], "$db": "clinic"}, 2)

    play = Playbook(session())
    play >> client(kill(marked())) << to_server(kill("shown"))


def test_a_cursor_of_a_protected_collection_needs_no_mark(play: Playbook) -> None:
    find = command({"find": "patients", "$db": "clinic"})
    play >> client(find) << to_server(find)
    play >> server(batch("firstBatch", "clinic.patients", SEALED))
    play << to_client(batch("firstBatch", "clinic.patients", NHS))
    play >> client(get_more("patients")) << to_server(get_more("patients"))
    play >> server(batch("nextBatch", "clinic.patients", SEALED, response_to=2))
    play << to_client(batch("nextBatch", "clinic.patients", NHS, response_to=2))


def test_a_list_of_collections_keeps_its_name_and_is_read_on_by_any_connection(play: Playbook) -> None:
    listing = command({"listCollections": 1, "cursor": {"batchSize": 1}, "$db": "clinic"})
    play >> client(listing) << to_server(listing)
    play >> server(batch("firstBatch", "clinic.$cmd.listCollections", SEALED))
    play << to_client(batch("firstBatch", "clinic.$cmd.listCollections", NHS))
    other = Playbook(session())
    message = get_more("$cmd.listCollections")
    other >> client(message) << to_server(message)
    other >> server(batch("nextBatch", "clinic.$cmd.listCollections", SEALED, response_to=2))
    other << to_client(batch("nextBatch", "clinic.$cmd.listCollections", NHS, response_to=2))
    other.finish()


def test_a_list_of_collections_is_not_opened_where_none_is_protected(play: Playbook) -> None:
    message = get_more("$cmd.listCollections", database="elsewhere")
    play >> client(message) << to_server(message)
    answer = batch("nextBatch", "elsewhere.$cmd.listCollections", SEALED, response_to=2)
    play >> server(answer) << to_client(answer)


def test_a_cursor_of_an_unprotected_collection_yields_what_is_there(play: Playbook) -> None:
    play >> client(get_more("wards")) << to_server(get_more("wards"))
    answer = batch("nextBatch", "clinic.wards", SEALED, response_to=2)
    play >> server(answer) << to_client(answer)


def test_a_cursor_on_a_view_is_read_on_when_the_policy_no_longer_knows_its_database() -> None:
    elsewhere = load_policy(
        b"version: 1\nclasses: {nhs: {mode: deterministic, type: string}}\n"
        b"collections: {other.people: {nhs_number: nhs}}\n",
        "policy.yaml",
    )
    collection = marked()
    live = session_of(settings(POLICY))
    use_settings(live, settings(elsewhere, POLICY))
    play = Playbook(live)
    play >> client(get_more(collection)) << to_server(get_more("shown"))
    play >> server(batch("nextBatch", "clinic.shown", SEALED, response_to=2))
    play << to_client(batch("nextBatch", f"clinic.{collection}", NHS, response_to=2))
    play.finish()


def settings(policy: PolicySet, *former: PolicySet) -> SessionSettings:
    return SessionSettings(policy, login_required=False, former=former)


def test_a_cursor_that_was_opened_under_a_former_policy_is_read_on() -> None:
    narrower = load_policy(
        b"version: 1\nclasses: {nhs: {mode: deterministic, type: string}}\n"
        b"collections: {other.people: {nhs_number: nhs}}\n",
        "policy.yaml",
    )
    live = session_of(settings(POLICY))
    use_settings(live, settings(narrower, POLICY))
    play = Playbook(live)
    play >> client(get_more("patients")) << to_server(get_more("patients"))
    play >> server(batch("nextBatch", "clinic.patients", SEALED, response_to=2))
    play << to_client(batch("nextBatch", "clinic.patients", NHS, response_to=2))
    find = command({"find": "patients", "filter": {"nhs_number": NHS}, "$db": "clinic"}, 3)
    play >> client(find) << to_server(find)
    answer = batch("firstBatch", "clinic.patients", SEALED, 0, 3)
    play >> server(answer) << to_client(answer)
    play.finish()


@pytest.mark.parametrize(
    "body",
    [
        {"ok": 0.0, "code": 13},
        {"cursor": 5},
        {"cursor": {"ns": "clinic.shown"}},
        {"cursor": {"id": 5, "ns": "clinic.shown"}},
        {"cursor": {"id": Int64(5)}},
        {"cursor": {"id": Int64(5), "ns": 7}},
        {"cursor": {"id": Int64(0), "ns": "clinic.shown"}},
    ],
)
def test_a_reply_without_an_open_cursor_is_not_marked(body: Any) -> None:
    message = reply(body)
    assert cursors.mark(message, parse_op_msg(message).body, KEYRING, "nhs") is message


def test_a_get_more_is_named_for_a_log_without_its_mark() -> None:
    message = get_more(marked())
    assert cursors.namespace_of(message, parse_op_msg(message).body) == "clinic.shown"
    message = command({"getMore": Int64(1), "collection": "a\nb", "$db": "clinic"})
    assert cursors.namespace_of(message, parse_op_msg(message).body) == "clinic.a?b"


@pytest.mark.parametrize("body", [{"$db": 5}, {}])
def test_a_get_more_without_a_database_is_refused_and_names_no_cursor(play: Playbook, body: Any) -> None:
    play >> client(command({"getMore": Int64(CURSOR), "collection": "patients", **body}))
    play << audit("refused", "", "getMore", "shape") << error(2, "BadValue")


def test_open_cursors_are_not_remembered_without_end() -> None:
    known = cursors.OpenCursors[str](2)
    for number in (1, 2, 3, 2):
        body = {"cursor": {"firstBatch": [], "id": Int64(number), "ns": "a.b"}}
        known.note(encode(body), 0, f"cursor {number}")
    found = [known.of_get_more(encode({"getMore": Int64(number)}), 0) for number in range(4)]
    assert found == [None, None, "cursor 2", "cursor 3"]
    known.forget()
    assert known.of_get_more(encode({"getMore": Int64(3)}), 0) is None


@pytest.mark.parametrize("body", [{}, {"cursor": 5}, {"cursor": {}}, {"cursor": {"id": 5}}])
def test_a_reply_without_a_cursor_is_nothing_to_remember(body: dict[str, Any]) -> None:
    known = cursors.OpenCursors[str](2)
    known.note(encode(body), 0, "cursor")
    assert known.of_get_more(encode({"getMore": Int64(5)}), 0) is None
