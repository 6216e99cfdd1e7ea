"""Conditions that ciphertext cannot answer: the server is asked for its values before the command is sent."""

from typing import Any

import pytest
from bson import Binary, Int64, Regex, Timestamp, decode

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.frontier.frontier import BEFORE_ALL, Frontier, Window
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.policies.questions import QuestionBounds
from sealwire.proxy.session.effects import Audit, Close, CloseReason, Counter, ToServer
from sealwire.proxy.session.requests import MAX_AWAITED
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.op_msg import MORE_TO_COME
from tests.proxy.session.playbook import (
    Playbook,
    audit,
    client,
    close,
    error,
    keys_loaded,
    need_keys,
    pause,
    server,
    to_client,
    to_server,
)
from tests.proxy.session.role_world import ROLES_TEXT, session_as
from tests.proxy.session.world import (
    POLICY_TEXT,
    class_id_of,
    command,
    data_key,
    reply,
    sealed,
    session_of,
)
from tests.support.policies import policy_of
from tests.support.rows import rows

ASKING = policy_of(
    POLICY_TEXT.replace(
        b"nhs: {mode: deterministic, type: string}", b"nhs: {mode: deterministic, type: string, ask: true}"
    )
)
BATCH = 2000


@pytest.fixture
def play() -> Playbook:
    return Playbook(session_of(SessionSettings(ASKING, login_required=False)))


UNASKED, UNANSWERED = (
    audit("refused", "clinic.patients", "find", "question", "nhs_number"),
    error(238, "NotImplemented", 70),
)
"""Of a condition that is refused."""
KILL = {"killCursors": "patients", "cursors": [Int64(5)], "$db": "clinic"}
CURSOR_KILLED = to_server(command(KILL, 2, flags=MORE_TO_COME))


def find(condition: Any, name: str = "nhs_number", **more: Any) -> dict[str, Any]:
    return {"find": "patients", "filter": {name: condition}, **more, "$db": "clinic"}


def asked(request_id: int, path: str = "nhs_number", **more: Any) -> bytes:
    pipeline: list[dict[str, Any]] = [{"$group": {"_id": f"${path}"}}]
    if "." in path:
        prefix, index = path.split(".", maxsplit=1)[0], "__sealwire1"
        pipeline[0]["$group"][index] = {"$max": f"${index}"}
        pipeline.insert(0, {"$unwind": {"path": f"${prefix}", "includeArrayIndex": index}})
    body = {
        "aggregate": "patients",
        "pipeline": pipeline,
        "cursor": {"batchSize": BATCH},
        "allowDiskUse": True,
    }
    return command({**body, "$db": "clinic", **more}, request_id)


def further(cursor_id: int, request_id: int, **more: Any) -> bytes:
    body = {"getMore": Int64(cursor_id), "collection": "patients", "batchSize": BATCH, "$db": "clinic"}
    return command({**body, **more}, request_id)


def told(response_to: int, *values: Any, cursor_id: int = 0, batch: str = "firstBatch") -> bytes:
    documents = [each if isinstance(each, dict) else {"_id": each} for each in values]
    cursor = {"id": Int64(cursor_id), "ns": "clinic.patients", batch: documents}
    return reply({"cursor": cursor, "ok": 1.0}, response_to)


def either(*values: str) -> dict[str, Any]:
    return {"$in": sorted((sealed("nhs", each) for each in values), key=lambda form: (len(form), form))}


def asks(
    play: Playbook, body: dict[str, Any], question: bytes, answer: bytes, request_id: int = 70
) -> Playbook:
    """The command waits until the server has answered this question."""
    play >> client(command(body, request_id)) << pause(True) << to_server(question)
    return play >> server(answer) << pause(False)


def test_the_values_that_satisfy_a_condition_are_sent_in_its_place(play: Playbook) -> None:
    play >> client(command(find({"$regex": "^94"}), 70)) << pause(True) << to_server(asked(1))
    values = [sealed("nhs", each) for each in ("943", "944", "12")]
    play >> server(told(1, *values, None)) << pause(False)
    play << to_server(command(find(either("943", "944")), 70))
    answer = reply({"ok": 1.0, "is": sealed("nhs", "943")}, 70)
    play >> server(answer) << to_client(reply({"ok": 1.0, "is": "943"}, 70))
    assert play.count(Counter.VALUE_QUESTIONS) == 1
    assert play.count(Counter.VALUES_DECRYPTED) == 4


def ask_again(play: Playbook, condition: Any, *stored: Any, found: tuple[str, ...]) -> int:
    """Ask, be told these values, and carry the command out; returns how many values were opened."""
    play >> client(command(find(condition), 70)) << pause(True)
    number = play.count(Counter.VALUE_QUESTIONS)
    before = play.count(Counter.VALUES_DECRYPTED)
    play << to_server(asked(number)) >> server(told(number, *stored)) << pause(False)
    opened = play.count(Counter.VALUES_DECRYPTED) - before
    play << to_server(command(find(either(*found)), 70)) >> server(reply({"ok": 1.0}, 70))
    play << to_client(reply({"ok": 1.0}, 70))
    return opened


def test_what_satisfies_nothing_is_opened_once(play: Playbook) -> None:
    stored = [sealed("nhs", each) for each in ("7", "3", "4")]
    more = sealed("nhs", "2")
    assert ask_again(play, {"$gt": "5"}, *stored, found=("7",)) == 3
    assert ask_again(play, {"$gt": "5"}, *stored, more, found=("7",)) == 2
    assert ask_again(play, {"$lt": "5"}, *stored, found=("3", "4")) == 3
    assert ask_again(play, {"$gte": "3"}, *stored, found=("7", "3", "4")) == 3
    assert ask_again(play, {"$gt": "5"}, *stored, found=("7",)) == 1
    assert play.count(Counter.QUESTION_VALUES) == 16


def test_what_satisfies_nothing_is_opened_again_under_other_keys_and_another_policy(play: Playbook) -> None:
    stored, shared = [sealed("nhs", each) for each in ("7", "3", "4")], play.session.shared
    assert ask_again(play, {"$gt": "5"}, *stored, found=("7",)) == 3
    shared.use_keyring(Keyring(KEYRING_KEYS))
    assert ask_again(play, {"$gt": "5"}, *stored, found=("7",)) == 3
    shared.use_settings(SessionSettings(ASKING, login_required=False))
    assert ask_again(play, {"$gt": "5"}, *stored, found=("7",)) == 3


def test_bounds_count_values_that_are_not_opened_again(play: Playbook) -> None:
    stored = [sealed("nhs", each) for each in ("1", "3", "4")]
    assert ask_again(play, {"$gt": "5"}, *stored, found=()) == 3
    bounds = QuestionBounds(values=2)
    play.session.shared.settings = SessionSettings(ASKING, login_required=False, questions=bounds)
    asks(play, find({"$gt": "5"}), asked(2), told(2, *stored))
    play << audit("refused", "clinic.patients", "find", "question-size", "nhs_number")
    play << error(238, "NotImplemented", 70)


def test_between_two_bounds_values_are_opened_once(play: Playbook) -> None:
    """Each value satisfies one of the bounds, which counts only if some document has several values."""
    between, stored = {"$gt": "3", "$lt": "5"}, [sealed("nhs", each) for each in ("7", "2", "4")]
    assert ask_again(play, between, *stored, found=("4",)) == 3
    assert ask_again(play, between, *stored, found=("4",)) == 1
    asks(play, find(between), asked(3), told(3, *stored, [sealed("nhs", "1"), sealed("nhs", "9")]))
    both = {**either("7", "4", "9"), "$not": {"$nin": either("2", "4", "1")["$in"]}}
    play << to_server(command(find(both), 70)) >> server(reply({"ok": 1.0}, 70))
    play << to_client(reply({"ok": 1.0}, 70))
    assert play.count(Counter.VALUES_DECRYPTED) == 3 + 1 + 5
    assert play.count(Counter.QUESTION_VALUES) == 3 + 3 + 5


def test_documents_with_several_values_are_judged_each_time(play: Playbook) -> None:
    """That a path has several values counts for the answer, whatever these are."""
    array = [sealed("nhs", "1"), sealed("nhs", "9")]
    for number in (1, 2):
        play >> client(command(find({"$gt": "5", "$lt": "6"}, "tags"), 70)) << pause(True)
        play << to_server(asked(number, "tags")) >> server(told(number, array)) << pause(False)
        both = {**either("9"), "$not": {"$nin": either("1")["$in"]}}
        play << to_server(command(find(both, "tags"), 70)) >> server(reply({"ok": 1.0}, 70))
        play << to_client(reply({"ok": 1.0}, 70))
    assert play.count(Counter.VALUES_DECRYPTED) == 4


def none_outside(path: str, *values: str) -> dict[str, Any]:
    """That no value which the path leads to is another one."""
    listed = sorted((sealed("nhs", each) for each in values), key=bytes)
    unlisted = {"$nin": [*listed, None], "$not": {"$type": 4}}
    found = [{path: {"$elemMatch": unlisted}}, {path: {"$exists": True, **unlisted}}]
    if "." in path:
        above, name = path.split(".")
        found.append({above: {"$elemMatch": {name: {"$exists": True, **unlisted}}}})
    return {"$nor": [{"$and": [{"$or": found}]}]}


@pytest.mark.parametrize("path", ["nhs_number", "contact.email"])
def test_below_a_negation_the_values_that_do_not_satisfy_it_are_sent(play: Playbook, path: str) -> None:
    query = {path: {"$not": Regex("^94")}, "x": {"$gt": 1}}
    play >> client(command({"find": "patients", "filter": query, "$db": "clinic"}, 70)) << pause(True)
    play << to_server(asked(1, path))
    play >> server(told(1, *[sealed("nhs", each) for each in ("943", "944", "12")], None)) << pause(False)
    sent = {path: {"$nin": []}, "$and": [none_outside(path, "12")], "x": {"$gt": 1}}
    play << to_server(command({"find": "patients", "filter": sent, "$db": "clinic"}, 70))


def test_a_question_looks_at_the_documents_that_another_condition_says(play: Playbook) -> None:
    query = {"nhs_number": Regex("^94"), "x": 1, "contact.email": "a"}
    play >> client(command({"find": "patients", "filter": query, "$db": "clinic"}, 70)) << pause(True)
    others = {"$and": [{"x": 1}, {"contact.email": sealed("nhs", "a")}]}
    stages = [{"$match": others}, {"$group": {"_id": "$nhs_number"}}]
    play << to_server(asked(1, pipeline=stages)) >> server(told(1, sealed("nhs", "943"))) << pause(False)
    sent = {**query, "nhs_number": {"$in": [sealed("nhs", "943")]}, "contact.email": sealed("nhs", "a")}
    play << to_server(command({"find": "patients", "filter": sent, "$db": "clinic"}, 70))


def test_an_expression_looks_a_value_up_among_those_that_satisfy_it(play: Playbook) -> None:
    """What it finds below a negation are those that do not, null and missing values among them."""
    expressions = [{"$gt": ["$nhs_number", "5"]}, {"$not": [{"$lt": ["5", "$contact.email"]}]}]
    query = {"$expr": {"$and": expressions}}
    play >> client(command({"find": "patients", "filter": query, "$db": "clinic"}, 70)) << pause(True)
    play << to_server(asked(1)) >> server(told(1, sealed("nhs", "4"), sealed("nhs", "6"))) << pause(False)
    play << pause(True) << to_server(asked(2, "contact.email"))
    play >> server(told(2, sealed("nhs", "4"), sealed("nhs", "6"))) << pause(False)
    sent = {
        "$and": [_among("nhs_number", "6", []), {"$not": [{"$not": [_among("contact.email", "4", None)]}]}]
    }
    play << to_server(command({"find": "patients", "filter": {"$expr": sent}, "$db": "clinic"}, 70))


def _among(path: str, *listed: Any) -> dict[str, Any]:
    value = {"$cond": [{"$isArray": [f"${path}"]}, [], {"$ifNull": [f"${path}", None]}]}
    return {"$in": [value, {"$literal": [sealed("nhs", listed[0]), *listed[1:]]}]}


def test_an_item_that_does_not_satisfy_a_condition_is_listed(play: Playbook) -> None:
    """Null does not satisfy it either, nor does an array in the array."""
    query = {"tags": {"$elemMatch": {"$not": {"$gt": "5"}}}}
    play >> client(command({"find": "patients", "filter": query, "$db": "clinic"}, 70)) << pause(True)
    array = [sealed("nhs", each) for each in ("9", "1", "2")]
    play << to_server(asked(1, "tags")) >> server(told(1, array)) << pause(False)
    listed = sorted((sealed("nhs", each) for each in ("1", "2")), key=bytes)
    sent = {"tags": {"$elemMatch": {"$not": {"$nin": [*listed, None], "$not": {"$type": 4}}}}}
    play << to_server(command({"find": "patients", "filter": sent, "$db": "clinic"}, 70))


def test_operations_of_bulk_write_ask_about_their_collections(play: Playbook) -> None:
    operation = {"delete": 0, "filter": {"nhs_number": {"$gt": "5"}}}
    body = {"bulkWrite": 1, "ops": [operation], "nsInfo": [{"ns": "clinic.patients"}], **LSID, "$db": "admin"}
    asks(play, body, command_of(asked(1), {**LSID, **LOCAL}), told(1, sealed("nhs", "7"), sealed("nhs", "3")))
    sent = {**body, "ops": [{**operation, "filter": {"nhs_number": either("7")}}]}
    answer = reply({"ok": 1.0, "nDeleted": 0}, 70)
    play << to_server(command(sent, 70)) >> server(answer) << to_client(answer)


def test_each_negation_of_a_filter_has_a_place_of_its_own(play: Playbook) -> None:
    query = {"nhs_number": {"$not": Regex("^9"), "$ne": "1"}, "tags": {"$nin": ["1", Regex("^9")]}}
    query |= {"contact.email": {"$not": {"$gt": "5"}}}
    play >> client(command({"find": "patients", "filter": query, "$db": "clinic"}, 70)) << pause(True)
    for number, path in enumerate(("nhs_number", "tags", "contact.email"), start=1):
        play << to_server(asked(number, path))
        play >> server(told(number, sealed("nhs", "2"), sealed("nhs", "9"))) << pause(False)
        if number < 3:
            play << pause(True)
    sent = {
        "nhs_number": {"$ne": sealed("nhs", "1")},
        "$and": [none_outside("nhs_number", "2")],
        "tags": {"$nin": [sealed("nhs", "1")]},
        "$or": [none_outside("tags", "2")],
        "contact.email": {"$nin": []},
        "$nor": none_outside("contact.email", "2")["$nor"],
    }
    play << to_server(command({"find": "patients", "filter": sent, "$db": "clinic"}, 70))


def test_below_two_negations_some_value_has_to_be_another_one(play: Playbook) -> None:
    query = {"$nor": [{"nhs_number": {"$gt": "5"}}]}
    play >> client(command({"find": "patients", "filter": query, "$db": "clinic"}, 70)) << pause(True)
    play << to_server(asked(1))
    play >> server(told(1, sealed("nhs", "4"), sealed("nhs", "6"))) << pause(False)
    inside = none_outside("nhs_number", "4")["$nor"]
    sent = {"$nor": [{"nhs_number": {"$nin": []}, "$and": inside}]}
    play << to_server(command({"find": "patients", "filter": sent, "$db": "clinic"}, 70))


def test_every_command_is_asked_for_anew(play: Playbook) -> None:
    for number in (0, 2):
        play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1 + number // 2))
        play >> server(told(1 + number // 2)) << pause(False) << to_server(command(find({"$in": []}), 70))
        play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))


def test_what_the_waiting_command_says_goes_with_its_question(play: Playbook) -> None:
    options: dict[str, Any] = {
        "lsid": {"id": Binary(bytes(16), 4)},
        "readConcern": {"level": "majority"},
        "maxTimeMS": 500,
        "$readPreference": {"mode": "secondary"},
        "apiVersion": "1",
    }
    kept = {name: options[name] for name in ("lsid", "$readPreference", "apiVersion")}
    play >> client(command(find({"$gt": "5"}, **options), 70)) << pause(True)
    play << to_server(command_of(asked(1), options))
    play >> server(told(1, sealed("nhs", "7"), cursor_id=5)) << to_server(command_of(further(5, 2), kept))
    play >> server(told(2, sealed("nhs", "8"), batch="nextBatch")) << pause(False)
    play << to_server(command(find(either("7", "8"), **options), 70))


def test_the_second_step_is_explained(play: Playbook) -> None:
    inner = {"find": "patients", "filter": {"nhs_number": {"$gt": "5"}}, "maxTimeMS": 9, "limit": 1}
    outer = {"verbosity": "queryPlanner", "$db": "clinic", "maxTimeMS": 500}
    play >> client(command({"explain": inner, **outer}, 70)) << pause(True)
    play << to_server(asked(1, maxTimeMS=500))
    play >> server(told(1, sealed("nhs", "7"), sealed("nhs", "3"))) << pause(False)
    play << to_server(command({"explain": {**inner, "filter": {"nhs_number": either("7")}}, **outer}, 70))


def command_of(message: bytes, options: dict[str, Any]) -> bytes:
    """With these elements behind its own, in the order of the client's command."""
    body = decode(message[21:])
    return command({**body, **options}, int.from_bytes(message[4:8], "little"))


def test_paths_are_followed_through_arrays(play: Playbook) -> None:
    condition = {"$gt": "a", "$lt": "b"}
    play >> client(command(find(condition, "contact.email"), 70)) << pause(True)
    play << to_server(asked(1, "contact.email"))
    values = [sealed("nhs", each) for each in ("a1", "z", "A")]
    single = [{"_id": each, "__sealwire1": None} for each in values]
    play >> server(told(1, *single)) << pause(False)
    play << to_server(command(find(either("a1"), "contact.email"), 70))
    play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
    play >> client(command(find(condition, "contact.email"), 71)) << pause(True)
    play << to_server(asked(2, "contact.email"))
    several = [{"_id": each, "__sealwire1": Int64(1)} for each in values]
    play >> server(told(2, *several)) << pause(False)
    both = {**either("a1", "z"), "$not": {"$nin": either("a1", "A")["$in"]}}
    play << to_server(command(find(both, "contact.email"), 71))


def test_values_in_arrays_are_judged(play: Playbook) -> None:
    play >> client(command(find({"$gt": "5"}, "tags"), 70)) << pause(True) << to_server(asked(1, "tags"))
    array = [sealed("nhs", "6"), [sealed("nhs", "9")], None, sealed("nhs", "1")]
    play >> server(told(1, array, Binary(b"xx", 5), {"_id": {"a": 1}})) << pause(False)
    play << to_server(command(find(either("6", "9"), "tags"), 70))


def test_a_server_learns_nothing_about_values_in_clear_of_its_choice(play: Playbook) -> None:
    """Neither the operand nor the ciphertext of what it guesses."""
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    play >> server(told(1, "4", "6", ["7"])) << pause(False) << to_server(command(find({"$in": []}), 70))


def test_a_server_learns_nothing_about_values_of_other_classes(play: Playbook) -> None:
    asks(play, find({"$gt": "5"}), asked(1), told(1, sealed("secret", "7"))) << UNASKED << UNANSWERED


def test_values_of_a_class_in_clear_are_judged() -> None:
    keys = [data_key(name, is_plaintext=name == "nhs") for name in ASKING.class_names]
    play = Playbook(session_of(SessionSettings(ASKING, login_required=False), Keyring(keys)))
    asks(play, find(Regex("^9")), asked(1), told(1, "94", "5")) << to_server(command(find(Regex("^9")), 70))


COLLATION: dict[str, Any] = {"collation": {"locale": "en", "strength": 2}}


def test_a_collation_goes_with_the_question_and_the_command(play: Playbook) -> None:
    play >> client(command(find("zoe", **COLLATION), 70)) << pause(True)
    play << to_server(command_of(asked(1), COLLATION))
    stored = [sealed("nhs", each) for each in ("Zoe", "ZOË", "ZOE", "Anna")]
    play >> server(told(1, *stored)) << pause(False)
    play << to_server(command(find(either("Zoe", "ZOE"), **COLLATION), 70))


@pytest.mark.parametrize("condition", ["zoe", Regex("^z")])
def test_values_in_clear_are_not_listed_under_a_collation(condition: Any) -> None:
    keys = [data_key(name, is_plaintext=name == "nhs") for name in ASKING.class_names]
    play = Playbook(session_of(SessionSettings(ASKING, login_required=False), Keyring(keys)))
    asks(play, find(condition, **COLLATION), command_of(asked(1), COLLATION), told(1, "zoe"))
    play << UNASKED << UNANSWERED


def test_a_value_that_is_not_known_under_a_collation_is_refused(play: Playbook) -> None:
    play >> client(command(find("strasse", **COLLATION), 70)) << pause(True)
    play << to_server(command_of(asked(1), COLLATION))
    play >> server(told(1, sealed("nhs", "Straße"))) << pause(False)
    play << UNASKED << UNANSWERED


def test_null_has_no_form_while_a_class_moves_from_plaintext() -> None:
    """It satisfies what is negated, and is let in as null."""
    keys = [data_key(name, is_plaintext=name == "nhs") for name in ASKING.class_names]
    keys.append(data_key("nhs", 2, KeyState.PENDING))
    session = session_of(SessionSettings(ASKING, login_required=False), Keyring(keys))
    session.shared.moves.follow("nhs", Frontier(class_id_of("nhs"), 1, 2, 2, Window(BEFORE_ALL, BEFORE_ALL)))
    play = Playbook(session)
    play >> client(command(find({"$not": {"$gt": "5"}}), 70)) << pause(True) << to_server(asked(1))
    effects = play.session.server_data(told(1, None, [None, "4"], "6"))
    sent = [decode(each.data[21:]) for each in effects if isinstance(each, ToServer)]
    assert [each.get("find") for each in sent] == ["patients"]
    assert "'4'" in repr(sent)
    assert "'6'" not in repr(sent)


def test_arrays_without_end_close_the_session(play: Playbook) -> None:
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    nested: Any = "7"
    for _ in range(300):
        nested = [nested]
    play >> server(told(1, nested)) << close(CloseReason.SERVER_PROTOCOL)


def test_a_reply_with_more_than_was_asked_for_is_not_read_on(play: Playbook) -> None:
    """Values that nobody counts, as null, would hold up everybody else."""
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    play >> server(told(1, *[None] * BATCH, cursor_id=5)) << to_server(further(5, 2))
    play >> server(told(2, *[None] * (BATCH + 1), batch="nextBatch")) << pause(False)
    play << UNASKED << UNANSWERED


def test_a_key_that_is_missed_is_loaded_first(play: Playbook) -> None:
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    values = told(1, sealed("nhs", "7", version=2))
    play >> server(values) << need_keys((1, 2))
    newer = Keyring(
        [
            *(data_key(name) for name in ASKING.class_names if name != "nhs"),
            data_key("nhs", 1, KeyState.DECRYPT_ONLY),
            data_key("nhs", 2),
        ]
    )
    play >> keys_loaded(newer) << pause(False)
    play << to_server(command(find({"$in": [sealed("nhs", "7", version=2)]}), 70))


def test_a_value_that_does_not_open_is_never_passed_over(play: Playbook) -> None:
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    broken = bytearray(sealed("nhs", "7"))
    broken[-1] ^= 1
    play >> server(told(1, Binary(bytes(broken), SUBTYPE), cursor_id=5))
    play << CURSOR_KILLED << pause(False)
    play << UNASKED << UNANSWERED


def test_a_value_of_a_destroyed_key_satisfies_nothing(play: Playbook) -> None:
    keyring = Keyring([*KEYRING_KEYS, data_key("nhs", 2, KeyState.DESTROYED)])
    play = Playbook(session_of(SessionSettings(ASKING, login_required=False), keyring))
    asks(play, find({"$gt": "5"}), asked(1), told(1, sealed("nhs", "7", version=2), sealed("nhs", "8")))
    play << to_server(command(find(either("8")), 70))


KEYRING_KEYS = [data_key(name) for name in ASKING.class_names]


def in_motion() -> Session:
    """A session whose class moves to another key."""
    keys = Keyring([*KEYRING_KEYS, data_key("nhs", 2, KeyState.PENDING)])
    return session_of(SessionSettings(ASKING, login_required=False), keys)


def test_a_pattern_that_takes_too_long_is_refused_and_its_cursor_closed(play: Playbook) -> None:
    play >> client(command(find({"$regex": "(a+)+$"}), 70)) << pause(True) << to_server(asked(1))
    play >> server(told(1, sealed("nhs", "a" * 60 + "b"), cursor_id=5))
    play << CURSOR_KILLED << pause(False)
    play << UNASKED << UNANSWERED


def test_an_error_of_the_server_is_the_clients(play: Playbook) -> None:
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    failed = {
        "ok": 0.0,
        "errmsg": "operation exceeded time limit",
        "code": 50,
        "codeName": "MaxTimeMSExpired",
    }
    play >> server(reply(failed, 1)) << pause(False)
    play << audit("refused", "clinic.patients", "find", "ValuesUnknown") << error(50, "MaxTimeMSExpired", 70)


@rows(
    "lie",
    reply({"ok": 1.0}, 1),
    reply({"cursor": {"id": 0, "firstBatch": []}, "ok": 1.0}, 1),
    reply({"cursor": {"id": Int64(0), "firstBatch": {}}, "ok": 1.0}, 1),
    reply({"cursor": {"id": Int64(0), "firstBatch": [5]}, "ok": 1.0}, 1),
    reply({"cursor": {"id": Int64(0), "firstBatch": [{"id": "7"}]}, "ok": 1.0}, 1),
    reply({"cursor": {"id": Int64(0), "firstBatch": []}, "ok": 1.0}, 1, flags=MORE_TO_COME),
    told(2),
)
def test_a_server_that_lies_ends_the_session(play: Playbook, lie: bytes) -> None:
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    play >> server(lie) << close(CloseReason.SERVER_PROTOCOL)


def test_the_next_commands_wait(play: Playbook) -> None:
    ping = command({"ping": 1, "$db": "admin"}, 71)
    play >> client(command(find({"$gt": "5"}), 70), ping) << pause(True) << to_server(asked(1))
    play >> server(told(1)) << pause(False) << to_server(command(find({"$in": []}), 70)) << to_server(ping)


@rows(
    "certificate, field, reason",
    ("CN=clerk", "nhs_number", Reason.RANGE),  # sees it masked, and may compare it
    ("CN=clerk", "visits", Reason.ROLE),  # sees it in clear, and may not compare it
    ("CN=writer", "nhs_number", Reason.RANGE),
    ("CN=nobody", "nhs_number", Reason.ROLE),
)
def test_who_may_not_see_and_compare_a_value_does_not_ask(
    certificate: str, field: str, reason: Reason
) -> None:
    text = (POLICY_TEXT + ROLES_TEXT).replace(b"type: string}", b"type: string, ask: true}", 1)
    policy = load_policy(text.replace(b"type: int}", b"type: int, ask: true}", 1), "policy.yaml")
    talk = session_as(certificate, policy)
    effects = talk.client_data(command(find({"$gt": "5"}, field), 70))
    refused = next(each for each in effects if isinstance(each, Audit))
    assert refused.reason == reason.value
    assert not any(isinstance(each, ToServer) for each in effects)
    doctor = Playbook(session_as("CN=doctor", policy))
    doctor >> client(command(find({"$gt": "5"}, field), 70)) << pause(True) << to_server(asked(1, field))


def test_a_question_counts_as_comparisons_whether_it_is_answered_or_not() -> None:
    roles = b"""
roles:
  curious:
    certificates: ["CN=curious"]
    comparisons_per_hour: 4
    classes: {"*": {read: clear, filter: true}}
"""
    policy = load_policy((POLICY_TEXT + roles).replace(b"type: string}", b"type: string, ask: true}", 1), "p")
    talk = session_as("CN=curious", policy)
    talk.client_data(command(find({"$gt": "5", "$regex": "^(a+)+$"}), 70))
    talk.server_data(told(1, sealed("nhs", "a" * 60 + "b")))  # is refused, which says something of the value
    talk.client_data(command(find({"$gt": "5", "$lt": "6"}), 71))
    talk.server_data(told(3, sealed("nhs", "51")))
    effects = talk.client_data(command(find({"$gt": "5"}), 72))
    refused = next(each for each in effects if isinstance(each, Audit))
    assert refused.reason == Reason.ROLE.value
    assert not any(isinstance(each, ToServer) for each in effects)


def test_a_question_for_which_there_is_no_room_holds_up_no_window() -> None:
    session = in_motion()
    moves = session.shared.moves
    start = Window(BEFORE_ALL, BEFORE_ALL)
    moves.follow("nhs", Frontier(class_id_of("nhs"), 1, 2, 2, start))
    for request_id in range(1000, 1000 + MAX_AWAITED):
        session.client_data(command({"ping": 1, "$db": "admin"}, request_id))
    assert any(isinstance(each, Close) for each in session.client_data(command(find({"$gt": "5"}), 70)))
    uses = moves.classes["nhs"]
    assert uses is not None
    assert uses.is_idle


def test_a_move_that_begins_while_the_server_answers_waits_for_the_question() -> None:
    """A value that moved meanwhile could be in no batch: before it has moved, and after."""
    session = in_motion()
    moves = session.shared.moves
    moves.is_leased = True
    play = Playbook(session)
    play >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    assert session.relies_on_lease
    moves.follow("nhs", Frontier(class_id_of("nhs"), 1, 2, 2, Window(BEFORE_ALL, BEFORE_ALL)))
    session.move_began()
    uses = moves.classes["nhs"]
    assert uses is not None
    assert not uses.is_idle
    more = {"getMore": Int64(9), "collection": "patients", "batchSize": BATCH, "$db": "clinic"}
    play >> server(told(1, cursor_id=9)) << to_server(command(more, 2))
    assert not uses.is_idle
    refused = Binary(b"SW1", SUBTYPE)
    play >> server(told(2, refused, batch="nextBatch")) << pause(False)
    play << UNASKED << UNANSWERED
    assert uses.is_idle


# ------------------------------------------------------------------------------------ writes and transactions

LSID = {"lsid": {"id": Binary(bytes(16), 4)}}
TRANSACTION: dict[str, Any] = {**LSID, "txnNumber": Int64(5), "autocommit": False}
BEGINNING: dict[str, Any] = {"startTransaction": True, "readConcern": {"level": "snapshot"}}
LOCAL = {"readConcern": {"level": "local"}}


def update(condition: Any, *others: dict[str, Any], **more: Any) -> dict[str, Any]:
    statements = [{"q": {"nhs_number": condition}, "u": {"$set": {"a": 1}}}, *others]
    return {"update": "patients", "updates": statements, **more, "$db": "clinic"}


def test_a_write_asks_for_what_was_written_last_and_keeps_its_number(play: Playbook) -> None:
    write = {"txnNumber": Int64(5), **LSID}
    play >> client(command(update({"$gt": "5"}, **write), 70)) << pause(True)
    play << to_server(command_of(asked(1), {**LSID, **LOCAL}))
    play >> server(told(1, sealed("nhs", "7"))) << pause(False)
    play << to_server(command(update(either("7"), **write), 70))


def test_a_question_for_a_statement_has_the_collation_of_the_statement(play: Playbook) -> None:
    def deletes(condition: Any) -> dict[str, Any]:
        statement = {"q": {"nhs_number": condition}, "limit": 0, **COLLATION}
        return {"delete": "patients", "deletes": [statement], "$db": "clinic"}

    play >> client(command(deletes("zoe"), 70)) << pause(True)
    play << to_server(command_of(asked(1), {**COLLATION, **LOCAL}))
    play >> server(told(1, sealed("nhs", "Zoe"), sealed("nhs", "zoë"))) << pause(False)
    play << to_server(command(deletes(either("Zoe")), 70))


def test_a_write_that_matches_nothing_is_sent_as_well(play: Playbook) -> None:
    """The server may have carried it out before, when a driver tries it again."""
    play >> client(command(update({"$gt": "5"}, **LSID), 70)) << pause(True)
    play << to_server(command_of(asked(1), {**LSID, **LOCAL}))
    play >> server(told(1)) << pause(False) << to_server(command(update({"$in": []}, **LSID), 70))


def test_statements_in_a_sequence_are_asked_for_one_by_one(play: Playbook) -> None:
    def deletes(*filters: dict[str, Any]) -> bytes:
        statements = [{"q": each, "limit": 0} for each in filters]
        body = {"delete": "patients", "$db": "clinic"}
        return command(body, 70, after={"deletes": statements})

    play >> client(deletes({"nhs_number": {"$gt": "5"}}, {"a": 1}, {"tags": {"$lt": "5"}})) << pause(True)
    play << to_server(command_of(asked(1), LOCAL))
    play >> server(told(1, sealed("nhs", "7"))) << pause(False) << pause(True)
    play << to_server(command_of(asked(2, "tags"), LOCAL))
    play >> server(told(2, sealed("nhs", "3"))) << pause(False)
    play << to_server(deletes({"nhs_number": either("7")}, {"a": 1}, {"tags": either("3")}))


def test_a_statement_that_is_refused_does_not_keep_others_from_asking(play: Playbook) -> None:
    refused = {"q": {"notes": {"$gt": "5"}}, "u": {"$set": {"a": 1}}}
    last = {"q": {"tags": {"$not": Regex("^9")}}, "u": {"$set": {"a": 1}}}
    body = update({"$gt": "5"}, refused, last, ordered=False)
    asks(play, body, command_of(asked(1), LOCAL), told(1, sealed("nhs", "7"))) << pause(True)
    play << to_server(command_of(asked(2, "tags"), LOCAL))
    play >> server(told(2, sealed("nhs", "3"))) << pause(False)
    play << audit("refused", "clinic.patients", "update", "range", "notes")
    kept = {"q": {"tags": {"$nin": []}, "$and": [none_outside("tags", "3")]}, "u": {"$set": {"a": 1}}}
    play << to_server(command(update(either("7"), kept, ordered=False), 70))


def test_the_question_begins_the_transaction_and_the_command_goes_on_with_it(play: Playbook) -> None:
    query = find({"$gt": "5"}, **TRANSACTION, **BEGINNING)
    play >> client(command(query, 70)) << pause(True)
    play << to_server(command_of(asked(1), {**TRANSACTION, **BEGINNING}))
    play >> server(told(1, sealed("nhs", "7"), cursor_id=5))
    play << to_server(command_of(further(5, 2), TRANSACTION))
    play >> server(told(2, batch="nextBatch")) << pause(False)
    play << to_server(command(find(either("7"), **TRANSACTION), 70))
    play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
    play >> client(command(find({"$lt": "5"}, **TRANSACTION), 71)) << pause(True)
    play << to_server(command_of(asked(3), TRANSACTION))
    play >> server(told(3)) << pause(False) << to_server(command(find({"$in": []}, **TRANSACTION), 71))


def test_a_command_that_begins_a_transaction_outside_of_one_is_left_to_the_server(play: Playbook) -> None:
    begins: dict[str, Any] = {**LSID, "startTransaction": True}
    asks(play, find({"$gt": "5"}, **begins), command_of(asked(1), LSID), told(1))
    play << to_server(command(find({"$in": []}, **begins), 70))


def test_of_several_questions_the_first_begins_it(play: Playbook) -> None:
    both = {"nhs_number": {"$gt": "5"}, "tags": {"$gt": "5"}}
    query = {"find": "patients", "filter": both, **TRANSACTION, **BEGINNING, "$db": "clinic"}
    asks(play, query, command_of(asked(1), {**TRANSACTION, **BEGINNING}), told(1)) << pause(True)
    play << to_server(command_of(asked(2, "tags"), TRANSACTION))
    play >> server(told(2)) << pause(False)
    sent: dict[str, Any] = {"nhs_number": {"$in": []}, "tags": {"$in": []}}
    play << to_server(command({"find": "patients", "filter": sent, **TRANSACTION, "$db": "clinic"}, 70))


def test_an_error_of_the_question_is_one_of_the_transaction(play: Playbook) -> None:
    query = find({"$gt": "5"}, **TRANSACTION, **BEGINNING)
    play >> client(command(query, 70)) << pause(True)
    play << to_server(command_of(asked(1), {**TRANSACTION, **BEGINNING}))
    labels = ["TransientTransactionError"]
    said = {"ok": 0.0, "errmsg": "x", "code": 251, "codeName": "NoSuchTransaction", "errorLabels": labels}
    play >> server(reply(said, 1)) << pause(False)
    play << audit("refused", "clinic.patients", "find", "ValuesUnknown")
    play << to_client(reply(said, 70, 2))
    again = find({"$gt": "5"}, **{**TRANSACTION, "txnNumber": Int64(6)}, **BEGINNING)
    play >> client(command(again, 71)) << pause(True)
    play << to_server(command_of(asked(3), {**TRANSACTION, "txnNumber": Int64(6), **BEGINNING}))


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_question_holds_up_windows_until_its_transaction_ends(is_refused: bool) -> None:
    session = in_motion()
    session.shared.moves.follow("nhs", Frontier(class_id_of("nhs"), 1, 2, 2, Window(BEFORE_ALL, BEFORE_ALL)))
    uses = session.shared.moves.classes["nhs"]
    assert uses is not None
    play = Playbook(session)
    query = find({"$regex": "(a+)+$"}, **TRANSACTION, **BEGINNING)
    play >> client(command(query, 70)) << pause(True)
    play << to_server(command_of(asked(1), {**TRANSACTION, **BEGINNING}))
    value = "a" * 60 + "b" if is_refused else "b"
    play >> server(told(1, sealed("nhs", value))) << pause(False)
    if is_refused:
        play << UNASKED << UNANSWERED
    else:
        play << to_server(command(find({"$in": []}, **TRANSACTION), 70))
        play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
    assert not uses.is_idle
    end = command({"abortTransaction": 1, **TRANSACTION, "$db": "admin"}, 71)
    play >> client(end) << to_server(end)
    play >> server(reply({"ok": 1.0}, 71)) << to_client(reply({"ok": 1.0}, 71))
    assert uses.is_idle


TIME = Timestamp(70, 3)
AT: dict[str, Any] = {"readConcern": {"level": "snapshot", "atClusterTime": TIME}}


def told_at(response_to: int, *values: Any) -> bytes:
    documents = [{"_id": each} for each in values]
    cursor = {"id": Int64(0), "ns": "clinic.patients", "firstBatch": documents, "atClusterTime": TIME}
    return reply({"cursor": cursor, "ok": 1.0}, response_to)


@pytest.mark.parametrize("concern", [{"level": "snapshot"}, {"level": "snapshot", "afterClusterTime": TIME}])
def test_the_command_reads_a_snapshot_at_the_time_of_its_question(
    play: Playbook, concern: dict[str, Any]
) -> None:
    both = {"nhs_number": {"$gt": "5"}, "tags": {"$gt": "5"}}
    query = {"find": "patients", "filter": both, "readConcern": concern, "$db": "clinic"}
    play >> client(command(query, 70)) << pause(True)
    play << to_server(command_of(asked(1), {"readConcern": concern}))
    play >> server(told_at(1, sealed("nhs", "7"))) << pause(False) << pause(True)
    play << to_server(command_of(asked(2, "tags"), AT))
    play >> server(told_at(2)) << pause(False)
    sent = {"nhs_number": either("7"), "tags": {"$in": []}}
    play << to_server(command({"find": "patients", "filter": sent, **AT, "$db": "clinic"}, 70))
    play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))


def test_a_client_that_names_the_time_has_it_in_both(play: Playbook) -> None:
    play >> client(command(find({"$gt": "5"}, **AT), 70)) << pause(True)
    play << to_server(command_of(asked(1), AT))
    play >> server(told(1)) << pause(False) << to_server(command(find({"$in": []}, **AT), 70))


def test_a_snapshot_without_a_time_is_refused(play: Playbook) -> None:
    concern: dict[str, Any] = {"readConcern": {"level": "snapshot"}}
    asks(play, find({"$gt": "5"}, **concern), command_of(asked(1), concern), told(1)) << UNASKED << UNANSWERED


def test_a_snapshot_from_before_a_value_moved_is_outdated(play: Playbook) -> None:
    session = in_motion()
    play = Playbook(session)
    concern: dict[str, Any] = {"readConcern": {"level": "snapshot"}}
    play >> client(command(find({"$gt": "5"}, **concern), 70)) << pause(True)
    play << to_server(command_of(asked(1), concern))
    session.shared.moves.mark_cursors(10.0)
    play >> server(told_at(1)) << pause(False)
    play << audit("refused", "clinic.patients", "find", "SnapshotOutdated")
    play << error(246, "SnapshotUnavailable", 70)
