"""Replies in which ciphertext that was copied past Sealwire may be: only protected documents are opened."""

from typing import Any

import pytest
from bson import Int64

from sealwire.policies.planning.plan import BY_NAMESPACE, CLOSED, WHOLE, Openings, as_text, from_text
from sealwire.proxy.session.effects import ToClient
from sealwire.proxy.session.revealing import cursors
from sealwire.proxy.session.revealing.at_paths import AtPaths
from sealwire.proxy.session.revealing.reveal import reveal
from sealwire.wire import kinds
from sealwire.wire.long_message import LONG_BYTES
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.playbook import Playbook, client, pause, server, to_client, to_server
from tests.proxy.session.sides.test_look_up import asked, told
from tests.proxy.session.world import KEYRING, POLICY, body_of, command, reply, sealed, session, value_bytes
from tests.wire.corpus import document, element

NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)
Z = Openings({b"z": Openings({b"nhs": WHOLE, b"a": Openings({b"b": WHOLE})}), b"y": WHOLE})


def shown(document: Any, openings: Openings = Z) -> Any:
    message = reply({"cursor": {"firstBatch": [document], "id": Int64(0), "ns": "a.b"}, "ok": 1.0})
    parsed = parse_op_msg(message)
    at_paths = AtPaths(message, parsed.body, openings, POLICY, KEYRING.open_envelope)
    revealed, _ = reveal(message, parsed, at_paths.open_envelope)
    return body_of(revealed)["cursor"]["firstBatch"][0]


def test_envelopes_are_opened_at_the_paths_and_below_them_through_arrays() -> None:
    stored = {
        "first": SEALED,
        "z": [{"nhs": SEALED, "other": SEALED}, [{"nhs": [SEALED, {"deep": SEALED}], "a": [{"b": SEALED}]}]],
        "y": {"anything": [SEALED], "5": {"x": SEALED}},
        "nhs": SEALED,
        "z.nhs": SEALED,
        "5": {"z": {"nhs": SEALED}},
        "last": {"z": {"nhs": SEALED}},
    }
    found = shown(stored)
    opened = {
        "z": [{"nhs": NHS, "other": SEALED}, [{"nhs": [NHS, {"deep": NHS}], "a": [{"b": NHS}]}]],
        "y": {"anything": [NHS], "5": {"x": NHS}},
    }
    assert found == {**stored, **opened}


def test_what_counts_for_a_document_does_not_for_an_array() -> None:
    single = Openings({b"a": Openings({b"z": WHOLE}, single=True)})
    assert from_text(as_text(single)).below[b"a"].single
    for value, opened in (({"z": SEALED}, {"z": NHS}), ([{"z": SEALED}], [{"z": SEALED}])):
        assert shown({"a": value}, single) == {"a": opened}


def test_a_field_that_is_there_twice_is_not_opened() -> None:
    once = element(kinds.OBJECT, b"z", document(element(kinds.BIN_DATA, b"nhs", value_bytes(SEALED)[1])))
    for fields, opened in ((once, 1), (once + once, 0)):
        batch = document(element(kinds.OBJECT, b"0", document(fields)))
        cursor = document(element(kinds.ARRAY, b"firstBatch", batch))
        message = reply(document(element(kinds.OBJECT, b"cursor", cursor)))
        parsed = parse_op_msg(message)
        at_paths = AtPaths(message, parsed.body, Z, POLICY, KEYRING.open_envelope)
        _, met = reveal(message, parsed, at_paths.open_envelope)
        assert met - at_paths.kept == opened


@pytest.mark.parametrize("place", ["errmsg", "keyValue", "value", "values"])
def test_nothing_outside_of_documents_is_opened(place: str) -> None:
    message = reply({"ok": 0.0, place: {"z": {"nhs": SEALED}}})
    parsed = parse_op_msg(message)
    at_paths = AtPaths(
        message, parsed.body, Z if place != "values" else CLOSED, POLICY, KEYRING.open_envelope
    )
    assert reveal(message, parsed, at_paths.open_envelope)[0] == message
    assert at_paths.kept == 1


def test_events_are_opened_if_their_collection_is_protected() -> None:
    for names, is_opened in (
        ({"db": "clinic", "coll": "patients"}, True),
        ({"db": "clinic", "coll": "copy"}, False),
        ({"db": "clinic"}, False),
        ("clinic.patients", False),
        (None, False),
    ):
        event = {"fullDocument": {"nhs_number": SEALED}, "ns": names}
        expected = {"nhs_number": NHS if is_opened else SEALED}
        assert shown(event, BY_NAMESPACE)["fullDocument"] == expected
    assert shown({"fullDocument": SEALED}, BY_NAMESPACE) == {"fullDocument": SEALED}


@pytest.mark.parametrize(
    "openings", [CLOSED, Z, Openings({b"": WHOLE}), Openings({b"a.,-\xff": Openings({b"": WHOLE})})]
)
def test_openings_survive_their_text(openings: Openings) -> None:
    text = as_text(openings)
    assert as_text(from_text(text)) == text
    assert set(text) <= set(b"0123456789abcdef.,!")
    assert from_text(as_text(BY_NAMESPACE)) is BY_NAMESPACE


JOIN = {"from": "patients", "localField": "none", "foreignField": "zz", "as": "z"}
CURSOR = 4711


def batch(name: str, namespace: str, *, is_opened: bool, response_to: int, cursor_id: int = CURSOR) -> bytes:
    documents = [{"copied": SEALED, "z": [{"nhs_number": NHS if is_opened else SEALED}]}]
    return reply(
        {"cursor": {"id": Int64(cursor_id), "ns": namespace, name: documents}, "ok": 1.0}, response_to
    )


def joined(on: str, *, long: bool = False) -> tuple[Playbook, str]:
    """A session after the first batch of a join, and the collection's name that it gave."""
    play = Playbook(session())
    aggregate = command({"aggregate": on, "pipeline": [{"$lookup": JOIN}], "cursor": {}, "$db": "clinic"})
    stages = [{"$lookup": {**JOIN, "from": "copy"}}] if on == "patients" else [{"$lookup": JOIN}]
    aggregate = command({"aggregate": on, "pipeline": stages, "cursor": {}, "$db": "clinic"})
    play >> client(aggregate) << pause(True) << to_server(asked("copy", 1))
    play >> server(told(response_to=1)) << pause(False) << to_server(aggregate)
    stored = {"nhs_number": SEALED, "z": [{"nhs_number": SEALED}], "copied": SEALED, "long": ""}
    stored["long"] = "x" * LONG_BYTES if long else ""
    first = {"id": Int64(CURSOR), "ns": f"clinic.{on}", "firstBatch": [stored]}
    (answer, _) = play.session.server_data(reply({"cursor": first, "ok": 1.0}))
    assert isinstance(answer, ToClient)
    cursor = body_of(answer.data)["cursor"]
    (document,) = cursor["firstBatch"]
    is_own = on == "patients"
    assert document["copied"] == SEALED
    assert document["nhs_number"] == (NHS if is_own else SEALED)
    assert document["z"] == [{"nhs_number": SEALED if is_own else NHS}]
    return play, cursor["ns"].partition(".")[2]


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("on", ["copy", "patients"])
def test_a_join_opens_the_protected_documents_alone(on: str, long: bool) -> None:
    joined(on, long=long)


def test_another_session_opens_no_more_than_the_first() -> None:
    _, collection = joined("copy")
    play = Playbook(session())
    more = {"getMore": Int64(CURSOR), "$db": "clinic"}
    play >> client(command({**more, "collection": collection}, 2))
    play << to_server(command({**more, "collection": "copy"}, 2))
    play >> server(batch("nextBatch", "clinic.copy", is_opened=False, response_to=2))
    play << to_client(batch("nextBatch", f"clinic.{collection}", is_opened=True, response_to=2))
    play.finish()


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.partition("-")[0],
        lambda name: name + ",.636f70696564",
        lambda name: name.partition("-")[0] + "-ns",
        lambda name: name.replace("-", ""),
        lambda _: "copy",
    ],
)
def test_nobody_changes_the_paths_of_a_cursor(change: Any) -> None:
    _, collection = joined("copy")
    play = Playbook(session())
    more = {"getMore": Int64(CURSOR), "$db": "clinic"}
    play >> client(command({**more, "collection": change(collection)}, 2))
    play << to_server(command({**more, "collection": "copy"}, 2))
    answer = batch("nextBatch", "clinic.copy", is_opened=False, response_to=2)
    play >> server(answer) << to_client(answer)
    play.finish()


def test_a_protected_name_without_the_mark_opens_no_more() -> None:
    play, collection = joined("patients")
    assert collection.startswith("patients.$sealwire.")
    more = command({"getMore": Int64(CURSOR), "collection": "patients", "$db": "clinic"}, 2)
    play >> client(more) << to_server(more)
    (answer, *_) = play.session.server_data(
        batch("nextBatch", "clinic.patients", is_opened=False, response_to=2)
    )
    assert isinstance(answer, ToClient)
    (document,) = body_of(answer.data)["cursor"]["nextBatch"]
    assert document == {"copied": SEALED, "z": [{"nhs_number": SEALED}]}


def test_a_mark_says_where_replies_are_opened() -> None:
    _, collection = joined("copy")
    message = command({"getMore": Int64(CURSOR), "collection": collection, "$db": "clinic"})
    _, opened, openings = cursors.unmark(message, parse_op_msg(message).body, b"getMore", KEYRING, [POLICY])
    assert opened is cursors.Opened.BY_MARK
    assert openings is not None
    assert as_text(openings) == b".7a"
