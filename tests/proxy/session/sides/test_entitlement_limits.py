"""How many documents roles show in an hour, and what a broken glass shows and leaves on record."""

from typing import Any

import pytest
from bson import Int64, decode

from sealwire.policies.errors import Reason
from sealwire.policies.questions import QuestionBounds
from sealwire.policies.questions.conditions import DISTURBED
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.effects import Audit, Count, Counter, Effect, ToClient, ToServer
from sealwire.proxy.session.revealing.documents_read import pseudonym
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.framing import request_id_of
from tests.proxy.session.playbook import Expected, Playbook, audit, client, error, pause, server, to_client
from tests.proxy.session.role_world import (
    FIND,
    NHS,
    STORED,
    asked,
    batch,
    first,
    is_denied,
    session_as,
    shown,
)
from tests.proxy.session.sides.test_ask_values import (
    ASKING,
    AT,
    BATCH,
    BEGINNING,
    TIME,
    TRANSACTION,
    either,
    told,
)
from tests.proxy.session.world import POLICY_TEXT, body_of, command, reply, sealed, session_of, written
from tests.support.policies import policy_of
from tests.support.rows import rows

RESEARCH = {**FIND, "comment": "purpose=research"}


def test_who_breaks_the_glass_is_on_record_before_the_command_goes_out() -> None:
    talk, glass = session_as("CN=clerk"), "patient unconscious"
    effects = asked(talk, {**FIND, "comment": {"sealwire": {"breakGlass": glass}}})
    record = Audit("break-glass", "clinic.patients", "find", glass=glass, role="clerk,emergency")
    assert effects.index(record) < next(i for i, each in enumerate(effects) if isinstance(each, ToServer))
    assert Count(Counter.GLASS_BROKEN) in effects
    assert first(body_of(written(talk.server_data(reply(batch(STORED))), ToClient)))["nhs_number"] == NHS


@rows("comment", None, "breakGlass=", "breakGlass=  ", {"sealwire": {"breakGlass": "  "}})
def test_the_glass_stays_whole_without_a_reason_and_for_the_next_command(comment: Any) -> None:
    talk = session_as("CN=clerk")
    shown(talk, {**FIND, "comment": "breakGlass=fire"}, batch(STORED))
    assert first(shown(talk, {**FIND, "comment": comment}, batch(STORED), 2))["nhs_number"] == "****5919"


def test_no_more_documents_than_the_limit_are_shown_in_an_hour() -> None:
    talk = session_as("CN=researcher")
    shown(talk, RESEARCH, batch(*[STORED] * 3))
    assert is_denied(shown(talk, RESEARCH, batch(*[STORED] * 3), 2))
    assert not is_denied(shown(talk, RESEARCH, batch(*[STORED] * 2), 3))
    refused = shown(talk, RESEARCH, batch(), 4)
    assert "more documents in this hour" in refused["errmsg"]
    for _ in range(3600):
        talk.shared.reads.next_second()
    assert not is_denied(shown(talk, RESEARCH, batch(STORED), 5))


def test_documents_that_another_process_has_shown_count() -> None:
    talk = session_as("CN=researcher")
    talk.shared.reads.elsewhere = {pseudonym("documents", "CN=researcher"): 3}
    assert is_denied(shown(talk, RESEARCH, batch(*[STORED] * 3)))
    assert not is_denied(shown(talk, RESEARCH, batch(*[STORED] * 2), 2))
    assert "more documents in this hour" in shown(talk, RESEARCH, batch(), 3)["errmsg"]


def test_documents_count_as_those_of_who_asked_whatever_login_is_sent_before_the_reply() -> None:
    talk = session_as("CN=researcher", login_required=True)
    start = {"saslStart": 1, "mechanism": "PLAIN", "payload": b"x", "$db": "admin"}
    talk.client_data(command(start, 50))
    talk.server_data(reply({"ok": 1.0, "done": True}, 50))
    question = written(asked(talk, RESEARCH), ToServer)
    users = {"authenticatedUsers": [{"user": "ann", "db": "admin"}]}
    talk.server_data(reply({"ok": 1.0, "authInfo": users}, request_id_of(question)))
    talk.client_data(command(start, 51))
    talk.server_data(reply(batch(*[STORED] * 3)))
    assert talk.shared.reads.of_last_hour("ann@admin") == 3


def test_each_worker_grants_its_share_of_the_limit() -> None:
    talk = session_as("CN=researcher", workers=2)
    assert is_denied(shown(talk, RESEARCH, batch(*[STORED] * 3)))
    assert not is_denied(shown(talk, RESEARCH, batch(*[STORED] * 2), 2))


def aggregated(*pipeline: dict[str, Any]) -> dict[str, Any]:
    return {"aggregate": "patients", "pipeline": pipeline, "cursor": {}, "comment": "purpose=research"}


PUSHED = aggregated({"$group": {"_id": None, "all": {"$push": "$$ROOT"}}})


def test_documents_gathered_into_one_count_each() -> None:
    talk = session_as("CN=researcher")
    assert is_denied(shown(talk, PUSHED, batch({"all": [STORED] * 6})))
    assert is_denied(shown(talk, PUSHED, batch({"all": [sealed("nhs", NHS)] * 6}), 2))
    assert is_denied(shown(talk, PUSHED, batch({"all": [True] * 6}), 3))
    assert not is_denied(shown(talk, PUSHED, batch({"all": [STORED] * 5}), 4))


@rows("body", RESEARCH, aggregated({"$match": {"_id": 1}}, {"$project": {"relatives": 1}}))
def test_one_document_is_one_however_many_values_it_has(body: dict[str, Any]) -> None:
    talk = session_as("CN=researcher")
    person = {"relatives": [sealed("nhs", NHS)] * 12}
    assert not is_denied(shown(talk, body, batch(*[person] * 5)))
    assert is_denied(shown(talk, body, batch(person), 2))


@pytest.mark.parametrize(
    ("body", "is_shown"),
    [(RESEARCH, True), (PUSHED, False), (None, False)],
    ids=["find", "gathered", "elsewhere"],
)
def test_later_batches_count_as_the_first_one_does(body: dict[str, Any] | None, is_shown: bool) -> None:
    """A cursor that another process opened may gather."""
    talk = session_as("CN=researcher")
    if body is not None:
        shown(talk, body, batch(cursor_id=7))
    more = {"getMore": Int64(7), "collection": "patients", "comment": "purpose=research"}
    reading = {"nextBatch": [{"all": [sealed("nhs", NHS)] * 6}], "id": Int64(7), "ns": "clinic.patients"}
    answer = shown(talk, more, {"cursor": reading, "ok": 1.0}, 2)
    assert is_denied(answer) is not is_shown


COMPARING = policy_of(
    POLICY_TEXT
    + b"""
roles:
  clerk:
    certificates: ["CN=c"]
    comparisons_per_hour: 4
    classes: {"*": {read: {mask: last4}, filter: true}}
"""
)


def test_no_more_constants_than_the_limit_are_compared_in_an_hour() -> None:
    talk = session_as("CN=c", COMPARING)
    three = {"find": "patients", "filter": {"nhs_number": {"$in": ["1", "2", "3"]}}}
    one = {"count": "patients", "query": {"$expr": {"$eq": ["$nhs_number", NHS]}}}
    assert written(asked(talk, three), ToServer)
    refused = shown(talk, three, batch(), 2)
    assert "more comparisons in this hour" in refused["errmsg"]
    assert is_denied(refused)
    assert written(asked(talk, one, 3), ToServer)
    assert is_denied(shown(talk, one, batch(), 4))
    assert written(asked(talk, {"find": "patients", "filter": {"nhs_number": None}}, 5), ToServer)
    for _ in range(3600):
        talk.shared.comparisons.next_second()
    assert written(asked(talk, three, 6), ToServer)


def test_a_command_with_more_constants_than_the_limit_is_refused() -> None:
    days = [str(number) for number in range(5)]
    body = {"find": "patients", "filter": {"nhs_number": {"$nin": days}}}
    assert is_denied(shown(session_as("CN=c", COMPARING), body, batch()))


def test_each_worker_grants_its_share_of_the_comparisons() -> None:
    talk = session_as("CN=c", COMPARING, workers=2)
    body = {"find": "patients", "filter": {"nhs_number": {"$in": ["1", "2", "3"]}}}
    assert is_denied(shown(talk, body, batch()))


def test_of_a_long_reply_documents_are_counted_too() -> None:
    answer = batch(*[{**STORED, "pad": "x" * 300_000}] * 6)
    assert is_denied(shown(session_as("CN=researcher"), RESEARCH, answer))


def test_a_glass_that_is_broken_for_what_may_hold_copies_is_on_record() -> None:
    find = {"find": "copies", "$db": "other", "comment": "breakGlass=fire"}
    everywhere = asked(session_as("CN=clerk", reveal=Reveal.EVERYWHERE), find)
    assert [each.event for each in everywhere if isinstance(each, Audit)] == ["break-glass"]
    assert not any(isinstance(each, Audit) for each in asked(session_as("CN=clerk"), find))
    listed = asked(session_as("CN=clerk"), {"listCollections": 1, "comment": "breakGlass=fire"})
    assert [each.event for each in listed if isinstance(each, Audit)] == ["break-glass"]


GLASS = policy_of(
    POLICY_TEXT
    + b"""
roles:
  clerk: {certificates: ["CN=c"], documents_per_hour: 4, classes: {"*": {read: ciphertext}}}
  glass: {certificates: ["CN=c"], break_glass: true, documents_per_hour: 2, classes: {"*": {read: clear}}}
"""
)


def test_documents_by_broken_glass_are_counted_apart() -> None:
    talk = session_as("CN=c", GLASS)
    glass = {**FIND, "comment": "breakGlass=fire"}
    assert not is_denied(shown(talk, FIND, batch(*[STORED] * 4)))
    assert not is_denied(shown(talk, glass, batch(*[STORED] * 2), 2))
    assert is_denied(shown(talk, glass, batch(STORED), 3))
    assert is_denied(shown(talk, FIND, batch(STORED), 4))


# A command that is sorted by stored values: the server is asked for them, and compares their ranks.


RANK, LAST = "__sealwire_rank0", DISTURBED.decode()


@pytest.fixture
def play() -> Playbook:
    return Playbook(session_of(SessionSettings(ASKING, login_required=False)))


def grouped(response_to: int, values: str) -> bytes:
    """The server's answer: each of these values is somewhere."""
    return told(response_to, *(sealed("nhs", each) for each in values))


def counted(response_to: int, **values: int) -> bytes:
    """The same, with how many documents have each."""
    documents = [{"_id": sealed("nhs", each), "__sealwire": amount} for each, amount in values.items()]
    return told(response_to, *documents)


def sorted_page(*values: str) -> list[dict[str, Any]]:
    """The first documents by these values: one document has each."""
    forms = [sealed("nhs", each) for each in values]
    chosen = {"$in": sorted(forms, key=bytes)}
    no_array = {"$not": [{"$or": [{"$isArray": ["$nhs_number"]}]}]}
    found = {"$indexOfArray": [{"$literal": forms}, "$nhs_number"]}
    rank = {"$arrayElemAt": [{"$literal": [*range(len(forms)), 0]}, found]}
    last = [{"$limit": 1}, {"$project": {RANK: {"$literal": LAST}}}]
    return [
        {"$match": {"nhs_number": chosen}},
        {"$match": {"$expr": no_array}},
        {"$addFields": {RANK: rank}},
        {"$sort": {RANK: 1, "_id": -1}},
        {"$limit": Int64(2)},
        {"$unionWith": {"coll": "patients", "pipeline": last}},
        {"$limit": Int64(2)},
        {"$match": {"$expr": {"$gte": [{"$toInt": {"$max": f"${RANK}"}}, 0]}}},
        {"$unset": [RANK]},
    ]


def or_without_value(page: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with the documents that have no value before them."""
    chosen, found = page[0]["$match"]["nhs_number"], page[2]["$addFields"][RANK]["$arrayElemAt"]
    chosen["$in"].append(None)
    found[0] = {"$literal": [*range(1, len(chosen["$in"])), 0]}
    return page


ANYTHING = Expected("anything", lambda effect: "" if isinstance(effect, ToServer) else f"{effect}")
"""A message to the server, whatever it is."""
UNORDERED = audit("refused", "clinic.patients", "find", Reason.QUESTION.value, "nhs_number")


def sends(wanted: dict[str, Any]) -> Expected:
    """A command to the server, whatever the indexes of its arrays are."""

    def difference(effect: Effect) -> str:
        found = decode(effect.data[21:]) if isinstance(effect, ToServer) else effect
        return "" if found == wanted else f"{found}"

    return Expected(f"sends({wanted})", difference)


def page(**more: Any) -> dict[str, Any]:
    query = {"contact.email": "x", "nhs_number": {"$gt": "1"}}
    sort = {"nhs_number": 1, "_id": -1}
    return {"find": "patients", "filter": query, "sort": sort, "limit": 2, **more, "$db": "clinic"}


VALUES = {"_id": "$nhs_number"}
COUNTED = {**VALUES, "__sealwire": {"$sum": 1}}
"""How the server is asked for values, and for how many documents have each."""


def ask_for_page(
    play: Playbook, sent: dict[str, Any] | None = None, group: dict[str, Any] = VALUES, **more: Any
) -> None:
    """Up to the server's answer to the question, which has `more`; `sent` is what the command has."""
    match = {"contact.email": sealed("nhs", "x"), "nhs_number": {"$nin": []}}
    question = {
        "aggregate": "patients",
        "pipeline": [{"$match": match}, {"$group": group}],
        "cursor": {"batchSize": BATCH},
        "allowDiskUse": True,
        **more,
        "$db": "clinic",
    }
    play >> client(command(page(**(sent or {})), 70)) << pause(True) << sends(question)


def test_documents_are_sorted_by_the_ranks_of_their_values(play: Playbook) -> None:
    ask_for_page(play)
    match = {"$match": {"contact.email": sealed("nhs", "x"), "nhs_number": either("2", "3")}}
    pipeline = [match, *sorted_page("2", "3")]
    sent = {"aggregate": "patients", "cursor": {}, "pipeline": pipeline, "$db": "clinic"}
    play >> server(grouped(1, "3204")) << pause(False) << sends(sent)
    answer = {"cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": []}, "ok": 1.0}
    play >> server(reply(answer, 70)) << to_client(reply(answer, 70))
    assert play.count(Counter.COMMANDS, "find") == 1
    assert play.count(Counter.VALUE_QUESTIONS) == 1


def test_the_first_values_stand_in_the_filter_if_that_names_no_others(play: Playbook) -> None:
    """An index may lead to them there, and nowhere behind it. It may also lack documents without a value."""
    question = {"aggregate": "patients", "pipeline": [{"$match": {}}, {"$group": VALUES}]}
    asked = {**question, "cursor": {"batchSize": BATCH}, "allowDiskUse": True, "$db": "clinic"}
    play >> client(command({**page(), "filter": {}}, 70)) << pause(True) << sends(asked)
    pipeline = or_without_value(sorted_page("2", "3"))
    sent = {"aggregate": "patients", "cursor": {}, "pipeline": pipeline, "$db": "clinic"}
    play >> server(grouped(1, "324")) << pause(False) << sends(sent)


def told_arrays(*values: Any) -> bytes:
    return told(1, *({"_id": each} for each in values))


def test_an_array_stands_where_its_least_value_does(play: Playbook) -> None:
    """Null in it does not satisfy the condition, and stands before all; the empty one does not satisfy."""
    ask_for_page(play)
    forms: list[list[Any]] = [[sealed("nhs", "9"), sealed("nhs", "2")], [sealed("nhs", "3"), None]]
    pipeline = sorted_page("2", "3")
    del pipeline[:2]
    found = {"$indexOfArray": [{"$literal": forms[::-1]}, "$nhs_number"]}
    pipeline[0] = {"$addFields": {RANK: {"$arrayElemAt": [{"$literal": [[0], [1], -1]}, found]}}}
    pipeline.insert(1, {"$match": {RANK: {"$gte": 0}}})
    match = {"contact.email": sealed("nhs", "x"), "nhs_number": {"$nin": []}}
    chosen = {"$match": {"nhs_number": {"$in": sorted(forms, key=lambda each: bytes(each[0]))}}}
    stages = [{"$match": match}, chosen, *pipeline]
    play >> server(told_arrays(*forms, [sealed("nhs", "0")], [], sealed("nhs", "4"))) << pause(False)
    play << sends({"aggregate": "patients", "cursor": {}, "pipeline": stages, "$db": "clinic"})


@pytest.mark.parametrize("odd", [[["x"]], ["x"], [sealed("nhs", "2"), [sealed("nhs", "3")]], [5]])
def test_an_array_with_what_cannot_be_judged_is_not_sorted(play: Playbook, odd: list[Any]) -> None:
    ask_for_page(play)
    play >> server(told_arrays(sealed("nhs", "2"), odd)) << pause(False)
    play << UNORDERED << error(238, "NotImplemented", 70)


def test_a_collation_goes_with_a_question_about_an_order(play: Playbook) -> None:
    simple = {"collation": {"locale": "simple"}}
    ask_for_page(play, simple, **simple)


def test_a_sort_that_others_disturb_is_tried_again_by_the_driver(play: Playbook) -> None:
    ask_for_page(play)
    play >> server(grouped(1, "23")) << pause(False) << ANYTHING
    said = {"ok": 0.0, "errmsg": f"Failed to parse number '{LAST}' in $convert", "code": 241}
    play >> server(reply({**said, "codeName": "ConversionFailure"}, 70))
    play << Expected("on record", lambda effect: "" if isinstance(effect, Audit) else "something else")
    play << error(262, "ExceededTimeLimit", 70)
    assert play.count(Counter.DECRYPTION_FAILURES, "SortDisturbed") == 0
    assert play.count(Counter.REFUSALS, "SortDisturbed") == 1


FIND_ALL = command({"find": "patients", "sort": {"nhs_number": 1}, "$db": "clinic"}, 70)


@pytest.mark.parametrize("stored", [{"_id": "5"}, {"_id": ["5"]}])
def test_a_value_that_would_be_missing_from_an_order_is_refused(
    play: Playbook, stored: dict[str, Any]
) -> None:
    play >> client(FIND_ALL) << pause(True) << ANYTHING
    play >> server(told(1, stored)) << pause(False) << UNORDERED << error(238, "NotImplemented", 70)


def ranked_page(*values: str) -> list[dict[str, Any]]:
    """The stages of a page that nothing can disturb."""
    match = {"$match": {"contact.email": sealed("nhs", "x"), "nhs_number": either(*values)}}
    return [match, *sorted_page(*values)[:4], {"$unset": [RANK]}, {"$limit": 2}]


def test_a_page_in_a_transaction_is_read_where_its_question_was(play: Playbook) -> None:
    begun = {**TRANSACTION, **BEGINNING}
    ask_for_page(play, begun, **begun)
    sent = {"aggregate": "patients", "cursor": {}, "pipeline": ranked_page("2", "3")}
    play >> server(counted(1, **{"3": 1, "2": 1, "4": 1})) << pause(False)
    play << sends({**sent, **TRANSACTION, "$db": "clinic"})
    play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))


def test_a_page_of_a_snapshot_is_read_at_the_time_of_its_question(play: Playbook) -> None:
    concern = {"readConcern": {"level": "snapshot"}}
    ask_for_page(play, concern, **concern)
    documents = [{"_id": sealed("nhs", each), "__sealwire": 1} for each in "234"]
    cursor = {"id": Int64(0), "ns": "clinic.patients", "firstBatch": documents, "atClusterTime": TIME}
    play >> server(reply({"cursor": cursor, "ok": 1.0}, 1)) << pause(False)
    sent = {"aggregate": "patients", "cursor": {}, "pipeline": ranked_page("2", "3"), **AT}
    play << sends({**sent, "$db": "clinic"})


def test_a_page_opens_again_what_it_sorts_and_nothing_else(play: Playbook) -> None:
    for number, opened in ((1, 4), (2, 6), (3, 8)):
        sent = {"skip": number}  # each page is another question
        play >> client(command(page(**sent), 70)) << pause(True) << ANYTHING
        play >> server(grouped(number, "2301" if number < 3 else "2310")) << pause(False) << ANYTHING
        play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
        assert play.count(Counter.VALUES_DECRYPTED) == opened


def test_of_a_page_far_behind_documents_are_counted(play: Playbook) -> None:
    ask_for_page(play, {"skip": 98, "limit": 3}, COUNTED)
    play >> server(counted(1, **{"2": 100, "3": 1, "4": 1})) << pause(False)
    match = {"contact.email": sealed("nhs", "x"), "nhs_number": either("2", "3")}
    stages: list[dict[str, Any]] = [{"$match": match}, *sorted_page("2", "3")]
    stages[5] = {"$limit": Int64(101)}
    stages[7:8] = [{"$skip": Int64(98)}, {"$limit": Int64(3)}]
    play << sends({"aggregate": "patients", "cursor": {}, "pipeline": stages, "$db": "clinic"})


def test_an_order_of_all_values_passes_over_none(play: Playbook) -> None:
    for number in (1, 2):
        play >> client(FIND_ALL) << pause(True) << ANYTHING
        play >> server(grouped(number, "32")) << pause(False) << ANYTHING
        play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
        assert play.count(Counter.VALUES_DECRYPTED) == 2 * number


@rows("bounds", QuestionBounds(values=2), QuestionBounds(matches=2), QuestionBounds(bytes=99))
def test_an_order_is_bounded_as_other_questions_are(bounds: QuestionBounds) -> None:
    play = Playbook(session_of(SessionSettings(ASKING, login_required=False, questions=bounds)))
    ask_for_page(play)
    play >> server(grouped(1, "324")) << pause(False)
    play << audit("refused", "clinic.patients", "find", Reason.QUESTION_SIZE.value, "nhs_number")
    play << Expected("an error", lambda effect: "" if not isinstance(effect, ToServer) else "something else")


def test_an_explained_pipeline_is_asked_for_and_an_explained_find_refused(play: Playbook) -> None:
    play >> client(command({"explain": page(), "verbosity": "queryPlanner", "$db": "clinic"}, 70))
    play << audit("refused", "", "other", Reason.SORT.value)
    play << error(238, "NotImplemented", 70)
    sort = {"$sort": {"nhs_number": 1}}
    explained = {"aggregate": "patients", "pipeline": [sort, {"$limit": 1}], "cursor": {}}
    question = {"aggregate": "patients", "pipeline": [{"$group": VALUES}], "cursor": {"batchSize": BATCH}}
    play >> client(command({"explain": explained, "$db": "clinic"}, 71)) << pause(True)
    play << sends({**question, "allowDiskUse": True, "$db": "clinic"})
    stages = or_without_value(sorted_page("2"))
    stages[3] = {"$sort": {RANK: 1}}
    stages[4] = stages[6] = {"$limit": Int64(1)}
    play >> server(grouped(2, "32")) << pause(False)
    play << sends({"explain": {**explained, "pipeline": stages}, "$db": "clinic"})
