"""Which trace a command belongs to is read from its comment, and nothing else of that is."""

from itertools import count
from typing import Any

import pytest

from sealwire.crypto.envelope import MARKER
from sealwire.proxy.session.effects import ToClient, ToServer
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.watch import CommandNote, CommandWatch, TraceParent, trace_parent_in
from tests.proxy.session.world import body_of, command, encoded, reply, sealed, session
from tests.support.rows import rows

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
FOUND = TraceParent(int(TRACE, 16), int(SPAN, 16), is_sampled=True)


def said(comment: Any) -> TraceParent | None:
    return trace_parent_in(encoded({"find": "patients", "comment": comment}), 0)


@rows(
    "comment",
    PARENT,
    f"traceparent={PARENT}",
    f"purpose=direct-care; traceparent='{PARENT}'",
    {"traceparent": PARENT, "sealwire": {"purpose": "direct-care"}},
)
def test_a_string_or_a_document_says_it(comment: Any) -> None:
    assert said(comment) == FOUND


def test_a_trace_that_the_client_does_not_keep_is_known_as_such() -> None:
    parent = said(f"00-{TRACE}-{SPAN}-00")
    assert parent is not None
    assert not parent.is_sampled


@rows(
    "comment",
    "943 476 5919",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"x00-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-01a",
    " " * 2000 + PARENT,
    {"traceparent": 5},
    {"other": PARENT},
    5,
    None,
)
def test_anything_else_is_no_trace(comment: Any) -> None:
    assert said(comment) is None


def test_a_command_without_a_comment_has_none() -> None:
    assert trace_parent_in(encoded({"find": "patients"}), 0) is None


NUMBER = "943 476 5919"
FIND = {"find": "patients", "filter": {"nhs_number": NUMBER}, "$db": "clinic"}


def watched(*, reads_parents: bool = False, login_required: bool = False) -> tuple[Session, CommandWatch]:
    ticks = count(1)
    conversation = session(login_required=login_required)
    watch = CommandWatch(lambda: float(next(ticks)), reads_parents=reads_parents)
    conversation.shared.watch = watch
    return conversation, watch


def noted(watch: CommandWatch) -> CommandNote:
    note = watch.taken()
    assert note is not None
    return note


def test_a_command_on_a_covered_field_is_noted_with_its_parts() -> None:
    conversation, watch = watched()
    conversation.client_data(command(FIND))
    assert watch.taken() == CommandNote("find", "clinic.patients", 1.0, 1.0, 1, None)
    assert watch.taken() is None


def test_a_command_that_passes_is_noted_too_the_second_time_as_well() -> None:
    conversation, watch = watched()
    for request_id in (1, 2):
        conversation.client_data(command({"find": "wards", "$db": "elsewhere"}, request_id))
        note = noted(watch)
        assert (note.command, note.namespace, note.values) == ("find", "elsewhere.wards", 0)
        conversation.server_data(reply({"ok": 1.0}, request_id))


def test_a_refused_command_is_noted_with_its_reason() -> None:
    conversation, watch = watched()
    conversation.client_data(command({**FIND, "filter": {"nhs_number": {"$gt": NUMBER}}}))
    note = noted(watch)
    assert (note.command, note.reason) == ("find", "range")
    assert NUMBER not in repr(note)


def test_opened_envelopes_are_counted() -> None:
    conversation, watch = watched()
    conversation.client_data(command(FIND))
    watch.clear()
    found = {"_id": 1, "nhs_number": sealed("nhs", NUMBER)}
    conversation.server_data(
        reply({"cursor": {"id": 0, "ns": "clinic.patients", "firstBatch": [found]}, "ok": 1.0})
    )
    assert watch.opened == 1


def test_a_trace_is_looked_for_where_traces_are_kept() -> None:
    for reads_parents, parent in ((False, None), (True, FOUND)):
        conversation, watch = watched(reads_parents=reads_parents)
        conversation.client_data(command({**FIND, "comment": PARENT}))
        note = noted(watch)
        assert note.parent == parent


def test_before_a_login_no_trace_is_continued() -> None:
    conversation, watch = watched(reads_parents=True, login_required=True)
    for body in ({"ping": 1, "$db": "admin"}, FIND):
        conversation.client_data(command({**body, "comment": PARENT}))
        note = noted(watch)
        assert note.parent is None


def test_a_handshake_and_a_login_are_not_noted() -> None:
    conversation, watch = watched()
    conversation.client_data(command({"hello": 1, "$db": "admin"}))
    conversation.client_data(
        command({"saslStart": 1, "mechanism": "PLAIN", "payload": b"x", "$db": "admin"}, 2)
    )
    assert watch.taken() is None


def test_a_name_that_nobody_knows_is_not_noted() -> None:
    conversation, watch = watched()
    conversation.client_data(command({"9434765919": 1, "$db": "clinic"}))
    note = noted(watch)
    assert (note.command, note.namespace) == ("other", "")
    assert note.reason == "unknown-command"


# Hedged and mirrored reads: what asks for them passes as it is, and what is read by them is ciphertext.


PLAIN = "9434765919"


def sent_by(asked: dict[str, Any]) -> bytes:
    """What a server gets of a command."""
    (message,) = (
        each.data for each in session().client_data(command(asked, 1)) if isinstance(each, ToServer)
    )
    return message


@pytest.mark.parametrize("hedge", [{"enabled": True}, {"enabled": False}, {}])
@pytest.mark.parametrize("mode", ["nearest", "secondaryPreferred"])
@rows(
    "asked",
    {"find": "patients", "filter": {"nhs_number": PLAIN}},
    {"distinct": "patients", "key": "ward", "query": {"nhs_number": PLAIN}},
    {"count": "patients", "query": {"nhs_number": {"$in": [PLAIN]}}},
    {"aggregate": "patients", "pipeline": [{"$match": {"nhs_number": PLAIN}}], "cursor": {}},
    ids=lambda asked: next(iter(asked)),
)
def test_a_hedged_read_keeps_its_option_and_searches_by_ciphertext(
    asked: dict[str, Any], mode: str, hedge: dict[str, Any]
) -> None:
    preference = {"mode": mode, "hedge": hedge, "tags": [{"dc": "east"}], "maxStalenessSeconds": 120}
    message = sent_by({**asked, "$db": "clinic", "$readPreference": preference})
    assert PLAIN.encode() not in message
    assert MARKER in message
    sent = body_of(message)
    assert sent["$readPreference"] == preference
    assert list(sent) == [*asked, "$db", "$readPreference"]


@rows(
    "asked",
    {"setParameter": 1, "mirrorReads": {"samplingRate": 0.25, "maxTimeMS": 500}},
    {"getParameter": 1, "mirrorReads": 1},
    ids=lambda asked: next(iter(asked)),
)
def test_how_a_primary_mirrors_is_set_and_asked_through_sealwire(asked: dict[str, Any]) -> None:
    here = session()
    message = command({**asked, "$db": "admin"}, 1)
    assert [each for each in here.client_data(message) if isinstance(each, ToServer)] == [ToServer(message)]
    answer = reply({"was": {"samplingRate": 0.01}, "mirrorReads": {"samplingRate": 0.25}, "ok": 1.0}, 1)
    assert [each for each in here.server_data(answer) if isinstance(each, ToClient)] == [ToClient(answer)]
