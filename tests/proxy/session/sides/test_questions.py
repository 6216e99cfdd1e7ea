"""A name that the policy does not know: the server is asked before a command on it is planned."""

from typing import Any

import pytest
from bson import Binary, Int64, encode

from sealwire.policies.commands.views import MAX_NAMES, UNREADABLE, View
from sealwire.proxy.session import replies
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import (
    Audit,
    Close,
    CloseReason,
    Done,
    Effect,
    PauseClient,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.requests import MAX_AWAITED
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.sides import questions
from sealwire.proxy.session.states import State
from sealwire.wire.framing import LONG_BYTES, request_id_of
from sealwire.wire.op_msg import MORE_TO_COME, build_op_msg, parse_op_msg
from tests.proxy.session.playbook import (
    Playbook,
    audit,
    client,
    close,
    drain,
    error,
    pause,
    server,
    to_client,
    to_server,
)
from tests.proxy.session.world import body_of, command, legacy_query, legacy_reply, reply, sealed, session
from tests.support.rows import rows
from tests.wire.corpus import document, element

NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)


def find(name: str = "shown", query: Any = None, database: str = "clinic") -> dict[str, Any]:
    return {"find": name, "filter": {"nhs_number": NHS} if query is None else query, "$db": database}


def asked(
    name: str | list[str], request_id: int, *, names_only: bool = False, database: str = "clinic", **api: Any
) -> bytes:
    sought = name if isinstance(name, str) else {"$in": name}
    body: dict[str, Any] = {"listCollections": 1, "filter": {"name": sought}}
    body["cursor"] = {"batchSize": MAX_NAMES}
    body["$readPreference"] = {"mode": "primaryPreferred"}
    if names_only:
        body |= {"nameOnly": True, "authorizedCollections": True}
    return command({**body, **api, "$db": database}, request_id)


def told(*listed: dict[str, Any], response_to: int, cursor_id: int = 0) -> bytes:
    cursor = {"id": Int64(cursor_id), "ns": "clinic.$cmd.listCollections", "firstBatch": list(listed)}
    return reply({"cursor": cursor, "ok": 1.0}, response_to)


def view(name: str = "shown", on: str = "patients", *stages: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "type": "view", "options": {"viewOn": on, "pipeline": list(stages)}}


DENIED = {"ok": 0.0, "errmsg": "not authorized", "code": 13, "codeName": "Unauthorized"}


def test_a_command_on_a_view_of_a_protected_collection_is_covered(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    definition = view("shown", "patients", {"$match": {"nhs_number": {"$ne": SEALED}}}, {"$unset": "visits"})
    play >> server(told(definition, response_to=1)) << pause(False)
    play << to_server(command(find(query={"nhs_number": SEALED}), 70))
    play >> server(reply({"ok": 1.0, "is": SEALED}, 70)) << to_client(reply({"ok": 1.0, "is": NHS}, 70))


def test_every_command_is_asked_for_anew(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(response_to=1)) << pause(False) << to_server(command(find(), 70))
    play >> client(command(find(), 71)) << pause(True) << to_server(asked("shown", 2))
    play >> server(told(view(), response_to=2)) << pause(False)
    play << to_server(command(find(query={"nhs_number": SEALED}), 71))


def test_an_answer_is_for_the_command_that_asked_and_not_for_the_next_one(play: Playbook) -> None:
    play >> client(command(find(), 70), command(find(), 71)) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(response_to=1)) << pause(False) << to_server(command(find(), 70))
    play << pause(True) << to_server(asked("shown", 2))
    play >> server(told(view(), response_to=2)) << pause(False)
    play << to_server(command(find(query={"nhs_number": SEALED}), 71))


def test_all_names_of_a_command_are_asked_for_at_once(play: Playbook) -> None:
    stages = [
        {"$lookup": {"from": "other", "pipeline": [{"$match": {"nhs_number": NHS}}], "as": "x"}},
        {"$unionWith": "third"},
    ]
    message = command({"aggregate": "shown", "pipeline": stages, "cursor": {}, "$db": "clinic"}, 70)
    play >> client(message) << pause(True) << to_server(asked(["shown", "other", "third"], 1))
    play >> server(told({"name": "other", "type": "collection"}, response_to=1)) << pause(False)
    play << to_server(message)


def test_the_question_speaks_the_api_of_the_command(play: Playbook) -> None:
    message = command({**find(), "apiVersion": "1", "apiStrict": True}, 70)
    play >> client(message) << pause(True) << to_server(asked("shown", 1, apiVersion="1", apiStrict=True))


def test_a_command_that_leads_to_names_without_end_is_refused(play: Playbook) -> None:
    stages = [{"$unionWith": f"n{number}"} for number in range(MAX_NAMES + 1)]
    message = command({"aggregate": "patients", "pipeline": stages, "cursor": {}, "$db": "clinic"}, 70)
    play >> client(message)
    play << audit("refused", "clinic.patients", "aggregate", "too-large")
    play << error(10334, "BSONObjectTooLarge", 70)


def joining(count: int, request_id: int = 70, **more: Any) -> bytes:
    """A command that leads to `count` names that nobody knows."""
    stages = [*({"$unionWith": f"n{number}"} for number in range(count)), {"$count": "n"}]
    body = {"aggregate": "patients", "pipeline": stages, "cursor": {}, "$db": "clinic", **more}
    return command(body, request_id)


FOUND = command(find(), 70)


@pytest.mark.parametrize(
    ("message", "names", "answers"),
    [
        (FOUND, "shown", (told(response_to=1),)),
        (FOUND, "shown", (told({"name": "shown", "type": "collection"}, response_to=1),)),
        (FOUND, "shown", (reply(DENIED, 1), told({"name": "shown", "type": "collection"}, response_to=2))),
        (joining(MAX_NAMES), [f"n{number}" for number in range(MAX_NAMES)], (told(response_to=1),)),
    ],
    ids=["no such name", "a collection", "a collection that the user may read", "as many as the limit"],
)
def test_anything_else_is_read_as_it_is(
    play: Playbook, message: bytes, names: str | list[str], answers: tuple[bytes, ...]
) -> None:
    play >> client(message) << pause(True) << to_server(asked(names, 1))
    if len(answers) > 1:
        play >> server(answers[0]) << to_server(asked(names, 2, names_only=True))
    play >> server(answers[-1]) << pause(False) << to_server(message)


def test_what_was_learned_for_a_command_that_leads_too_far_is_forgotten(play: Playbook) -> None:
    names = [f"n{number}" for number in range(MAX_NAMES)]
    for number, question in ((70, 1), (71, 3)):
        play >> client(joining(MAX_NAMES, number)) << pause(True) << to_server(asked(names, question))
        play >> server(told(view("n0", "one more"), response_to=question)) << pause(False)
        play << audit("refused", "clinic.patients", "aggregate", "too-large")
        play << error(10334, "BSONObjectTooLarge", number)


@pytest.mark.parametrize("more", [0, 1])
def test_only_of_a_long_command_the_names_are_asked_for_one_by_one(play: Playbook, more: int) -> None:
    padding = LONG_BYTES - len(joining(2, comment="")) + more
    message = joining(2, comment="x" * padding)
    assert len(message) == LONG_BYTES + more
    question = asked("n0", 1) if more else asked(["n0", "n1"], 1)
    play >> client(message) << pause(True) << to_server(question)


def test_where_no_further_reply_can_be_awaited_no_question_is_asked(play: Playbook) -> None:
    for number in range(1, MAX_AWAITED + 1):
        message = command({"ping": 1, "$db": "admin"}, number)
        play >> client(message) << to_server(message)
    play >> client(command(find(), MAX_AWAITED + 1))
    play << close(CloseReason.CLIENT_PROTOCOL, "request-id at byte 4")


def test_what_the_client_sends_meanwhile_waits_in_its_order(play: Playbook) -> None:
    inserted = command({"insert": "other", "documents": [{"_id": 1}], "$db": "clinic"}, 71)
    play >> client(command(find(), 70), inserted) << pause(True) << to_server(asked("shown", 1))
    play >> drain()
    play >> server(told(view(), response_to=1)) << pause(False)
    play << to_server(command(find(query={"nhs_number": SEALED}), 70)) << to_server(inserted)
    play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
    play >> server(reply({"ok": 1.0}, 71)) << to_client(reply({"ok": 1.0}, 71)) << close(CloseReason.DRAINED)


def test_a_view_on_a_view_is_asked_for_as_well(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(view("shown", "inner"), response_to=1)) << pause(False)
    play << pause(True) << to_server(asked("inner", 2))
    play >> server(told(view("inner", "patients"), response_to=2)) << pause(False)
    play << to_server(command(find(query={"nhs_number": SEALED}), 70))


def test_a_user_who_may_not_see_the_definition_can_read_the_view_but_not_filter_it(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(reply(DENIED, 1)) << to_server(asked("shown", 2, names_only=True))
    play >> server(told({"name": "shown", "type": "view"}, response_to=2)) << pause(False)
    play << audit("refused", "clinic.shown", "find", "compute") << error(238, "NotImplemented", 70)
    play >> client(command(find(query={}), 71)) << pause(True) << to_server(asked("shown", 4))
    play >> server(reply(DENIED, 4)) << to_server(asked("shown", 5, names_only=True))
    play >> server(told({"name": "shown", "type": "view"}, response_to=5)) << pause(False)
    play << to_server(command(find(query={}), 71))


HALF = told({"name": "other", "type": "collection"}, response_to=1, cursor_id=7)


@pytest.mark.parametrize(
    "answers",
    [(reply(DENIED, 1), told(response_to=2)), (reply(DENIED, 1), reply(DENIED, 2)), (HALF,)],
    ids=["told of nothing", "denied", "half an answer"],
)
def test_a_name_of_which_a_user_is_told_nothing_may_be_a_view(
    play: Playbook, answers: tuple[bytes, ...]
) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    if len(answers) > 1:
        play >> server(answers[0]) << to_server(asked("shown", 2, names_only=True))
    play >> server(answers[-1]) << pause(False)
    play << audit("refused", "clinic.shown", "find", "unseen", "clinic.shown")
    play << error(13, "Unauthorized", 70)


def test_what_the_narrow_learn_opens_nothing_for_others(play: Playbook) -> None:
    other = Playbook(session())
    play >> client(command(find(query={}), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(reply(DENIED, 1)) << to_server(asked("shown", 2, names_only=True))
    play >> server(told(response_to=2)) << pause(False) << to_server(command(find(query={}), 70))
    other >> client(command(find(), 80)) << pause(True) << to_server(asked("shown", 1))
    other >> server(told(view(), response_to=1)) << pause(False)
    other << to_server(command(find(query={"nhs_number": SEALED}), 80))
    other.finish()


def test_where_the_server_fails_the_command_gets_its_error(play: Playbook) -> None:
    code, name = 11602, "InterruptedDueToReplStateChange"
    failed = {"ok": 0.0, "errmsg": "stepping down", "code": code, "codeName": name}
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(reply(failed, 1)) << pause(False)
    play << audit("refused", "clinic.shown", "find", "NamespaceUnknown") << error(code, name, 70)
    play >> client(command(find(), 71)) << pause(True) << to_server(asked("shown", 3))


NUMBERED = {"lsid": {"id": "a session"}, "txnNumber": Int64(4)}
IN_TRANSACTION = {**NUMBERED, "autocommit": False}
PASSES = "ExceededTimeLimit"


def unanswered(play: Playbook, body: dict[str, Any], failure: dict[str, Any]) -> dict[str, Any]:
    """What a client is told of `body` when the server answers the question about its name with `failure`."""
    play >> client(command(body, 70)) << pause(True) << to_server(asked("shown", 1))
    *_, answer = play.session.server_data(reply({"ok": 0.0, "errmsg": "at work", **failure}, 1))
    assert isinstance(answer, ToClient)
    return body_of(answer.data)


def update(**more: Any) -> dict[str, Any]:
    return {"update": "shown", "updates": [{"q": {}, "u": {"$set": {"x": 1}}}], **more, "$db": "clinic"}


@pytest.mark.parametrize(
    ("body", "labels"),
    [
        (find(), None),
        (update(), None),
        (update(**NUMBERED), ["RetryableWriteError"]),
        ({**find(), **IN_TRANSACTION}, ["TransientTransactionError"]),
        (update(**IN_TRANSACTION), ["TransientTransactionError"]),
    ],
    ids=["read", "write", "numbered write", "read in a transaction", "write in a transaction"],
)
@rows(
    "code, told_code, name",
    *((code, code, "Name") for code in sorted(replies.RETRYABLE)),
    *((code, 262, PASSES) for code in (43, 50, 112, 251)),
)
def test_an_error_that_passes_has_the_labels_of_the_command(
    play: Playbook, body: dict[str, Any], labels: list[str] | None, code: int, told_code: int, name: str
) -> None:
    said = unanswered(play, body, {"code": code, "codeName": "Name", "errorLabels": ["Other"]})
    own = ["Other"] if code == told_code else None
    assert (said["ok"], said["code"], said["codeName"]) == (0.0, told_code, name)
    assert said.get("errorLabels") == (labels or own)


@pytest.mark.parametrize("code", [18, 73, 322, 323, 391, 462])
def test_an_error_about_the_client_stays_as_it_is(play: Playbook, code: int) -> None:
    failure = {"code": code, "codeName": "Name", "errorLabels": ["Other"]}
    said = unanswered(play, {**find(), **IN_TRANSACTION}, failure)
    assert said == {"ok": 0.0, "errmsg": "at work", **failure}


@pytest.mark.parametrize("failure", [{"code": 26}, {"code": 11000}, {"code": Int64(6)}, {"code": "6"}, {}])
def test_an_error_that_would_mean_something_else_is_internal(play: Playbook, failure: dict[str, Any]) -> None:
    said = unanswered(play, {**find(), **IN_TRANSACTION}, failure)
    assert (said["code"], said["codeName"], said.get("errorLabels")) == (1, "InternalError", None)


def test_an_error_that_is_malformed_is_the_servers_fault(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    said = document(element(1, b"ok", bytes(8)), element(16, b"code", b"\6\0\0\0"), b"\x7f")
    play >> server(build_op_msg(9, 1, said)) << close(CloseReason.SERVER_PROTOCOL)


def test_a_definition_that_cannot_be_followed_leaves_a_view_that_can_only_be_read(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    definition = view("shown", "patients", {"$sort": {"nhs_number": 1}})
    play >> server(told(definition, response_to=1)) << pause(False)
    play << audit("refused", "clinic.shown", "find", "compute") << error(238, "NotImplemented", 70)


def test_a_pipeline_that_joins_an_unknown_name_asks_for_it(play: Playbook) -> None:
    def message(value: Any) -> bytes:
        inner = [{"$match": {"nhs_number": value}}]
        stage = {"$lookup": {"from": "shown", "pipeline": inner, "as": "x"}}
        return command({"aggregate": "patients", "pipeline": [stage], "cursor": {}, "$db": "clinic"}, 70)

    play >> client(message(NHS)) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(view(), response_to=1)) << pause(False) << to_server(message(SEALED))


@rows(
    "body",
    find(database="open"),
    find("system.views"),
    {"insert": "shown", "documents": [{"_id": 1}], "$db": "clinic"},
    {"listIndexes": "shown", "$db": "clinic"},
)
def test_nobody_is_asked_where_no_view_can_matter(play: Playbook, body: dict[str, Any]) -> None:
    play >> client(command(body, 70)) << to_server(command(body, 70))


@rows(
    "body",
    {"ok": 1.0},
    {"ok": 1.0, "cursor": {"firstBatch": 5}},
    {"ok": 1.0, "cursor": {"firstBatch": [5]}},
    {"ok": 1.0, "cursor": {"firstBatch": [{"type": "view"}]}},
    {"ok": 1.0, "cursor": {"firstBatch": [{"name": "shown", "type": 5}]}},
)
def test_an_answer_of_another_shape_ends_the_session(play: Playbook, body: dict[str, Any]) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(reply(body, 1)) << close(CloseReason.SERVER_PROTOCOL)


def test_our_question_does_not_take_the_number_of_the_clients_command(play: Playbook) -> None:
    message = command({"insert": "patients", "documents": [{"_id": 1}], "$db": "clinic"}, 1)
    play >> client(message) << to_server(message)
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 2))


def test_an_answer_that_more_would_follow_ends_the_session(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    more = build_op_msg(9, 1, encode({"ok": 1.0, "cursor": {"firstBatch": [], "id": Int64(0)}}), MORE_TO_COME)
    play >> server(more) << close(CloseReason.SERVER_PROTOCOL)


def test_a_definition_is_kept_as_the_server_wrote_it() -> None:
    stages: list[dict[str, Any]] = [{"$match": {"nhs_number": SEALED}}, {"$unset": "visits"}]
    message = told(view("shown", "patients", *stages), {"name": "other", "type": "collection"}, response_to=1)
    body = parse_op_msg(message).body
    learned = questions._names_in(message, body, names_only=False)
    assert learned == {"shown": View("patients", encode({"pipeline": stages})), "other": None}
    assert questions._names_in(message, body, names_only=True) == {"shown": UNREADABLE, "other": None}


@rows(
    "ok, code, is_denied",
    (0, 13, True),
    (0, 8000, True),
    (0, 12, False),
    (0, Int64(13), False),
    (1, 13, False),
)
def test_two_codes_say_that_the_user_may_not_look(ok: int, code: Any, is_denied: bool) -> None:
    message = reply({"ok": float(ok), "code": code})
    assert questions._is_denied(message, parse_op_msg(message).body) is is_denied


@rows(
    "options, told_of",
    ({"apiVersion": "1", "apiStrict": True, "apiDeprecationErrors": False}, None),
    ({"apiVersion": "12345678901"}, None),
    ({"apiVersion": "123456789012"}, {}),
    ({"apiVersion": 1, "apiStrict": 1, "api": "1"}, {}),
)
def test_of_the_api_what_a_server_may_ask_for_is_told(options: dict[str, Any], told_of: Any) -> None:
    assert questions.api_of(encode({"find": "a", **options}), 0) == (options if told_of is None else told_of)


ANN, BOB = {"user": "ann", "db": "admin"}, {"user": "bob", "db": "clinic"}
FIND = {"find": "patients", "filter": {}, "$db": "clinic"}
REFUSED = {"find": "patients", "filter": {"nhs_number": {"$regex": "9"}}, "$db": "clinic"}
START = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": Binary(b"n,,n=mallory,r=x"), "$db": "admin"}
MORE = {"saslContinue": 1, "conversationId": 1, "payload": Binary(b"p"), "$db": "admin"}
YES = {"conversationId": 1, "done": True, "payload": Binary(b""), "ok": 1.0}


class Wire:
    """A session whose server answers questions about users with what `users` says by then."""

    def __init__(self, **settings: Any) -> None:
        self.session: Session = session(**{"login_required": True, **settings})
        self.users: list[dict[str, str]] = [ANN]
        self.asked: list[dict[str, Any]] = []
        self.sent = 0

    def send(self, body: dict[str, Any]) -> list[Effect]:
        """What the session does at a command, the questions answered."""
        self.sent += 1
        return self._answered(self.session.client_data(command(body, self.sent)))

    def _answered(self, effects: list[Effect]) -> list[Effect]:
        for question in [each for each in effects if isinstance(each, ToServer)]:
            body = body_of(question.data)
            if "connectionStatus" not in body:
                continue
            self.asked.append(body)
            assert effects == [PauseClient(True), question]
            answer = {"authInfo": {"authenticatedUsers": self.users}, "ok": 1.0}
            first, *effects = self.session.server_data(reply(answer, request_id_of(question.data)))
            if self.users:
                assert first == Audit("login", "", "")
                first, *effects = effects
            assert first == PauseClient(False)
        return effects

    def log_in(self) -> None:
        for body in (START, MORE):
            self.send(body)
            self.session.server_data(reply(YES if body is MORE else {**YES, "done": False}, self.sent))

    @property
    def callers(self) -> tuple[str, ...]:
        return self.session.caller.users


@pytest.fixture
def wire() -> Wire:
    """After a login."""
    found = Wire()
    found.log_in()
    return found


def test_the_server_is_asked_once_and_before_the_first_command(wire: Wire) -> None:
    assert (wire.callers, wire.asked) == ((), [])
    for _ in range(3):
        assert any(isinstance(each, ToServer) for each in wire.send(FIND))
    assert wire.callers == ("ann@admin",)
    assert wire.asked == [{"connectionStatus": 1, "$db": "admin"}]


def test_an_answer_that_more_is_to_follow_ends_the_connection(wire: Wire) -> None:
    _, question = wire.session.client_data(command(FIND, 77))
    assert isinstance(question, ToServer)
    answer = {"authInfo": {"authenticatedUsers": [ANN]}, "ok": 1.0}
    lie = reply(answer, request_id_of(question.data), flags=MORE_TO_COME)
    (end,) = [each for each in wire.session.server_data(lie) if isinstance(each, Close)]
    assert end.reason is CloseReason.SERVER_PROTOCOL
    assert wire.callers == ()


def test_a_refusal_after_a_login_is_that_users(wire: Wire) -> None:
    assert any(isinstance(each, Audit) and each.reason == "pattern" for each in wire.send(REFUSED))
    assert wire.callers == ("ann@admin",)


def test_lines_are_about_who_sent_the_command_whatever_comes_in_the_same_bytes(wire: Wire) -> None:
    wire.send(REFUSED)
    together = [*(command(REFUSED, number) for number in range(50, 53)), command(START, 60)]
    effects = wire.session.client_data(b"".join(together))
    assert wire.callers == ()
    found = [each for each in effects if isinstance(each, Audit)]
    assert [each.users for each in found] == [("ann@admin",)] * 3


def test_a_refusal_before_any_login_is_nobodys() -> None:
    talk = session(login_required=False)
    (line,) = [each for each in talk.client_data(command(REFUSED)) if isinstance(each, Audit)]
    assert line.users == ()


def test_nobody_is_asked_where_the_server_asks_for_no_login() -> None:
    wire = Wire(login_required=False)
    wire.send(FIND)
    assert (wire.callers, wire.asked) == ((), [])


@pytest.mark.parametrize("step", [START, MORE, {"logout": 1, "$db": "admin"}])
def test_every_step_of_a_login_makes_the_users_unknown_again(wire: Wire, step: dict[str, Any]) -> None:
    wire.send(FIND)
    wire.send(step)
    assert wire.callers == ()


def test_a_command_that_overtakes_the_reply_to_a_login_is_asked_about_anew(wire: Wire) -> None:
    """The server handles both in order: its answer is about the second login, and not about the first."""
    wire.send(FIND)
    wire.send(START)
    wire.send(MORE)
    wire.users = [BOB]
    wire.send(FIND)
    assert wire.callers == ("bob@clinic",)
    assert len(wire.asked) == 2


@pytest.mark.parametrize("step", [START, {"logout": 1, "$db": "admin"}])
def test_a_command_is_on_record_as_its_senders_whatever_is_sent_before_its_reply(
    step: dict[str, Any],
) -> None:
    wire = Wire(audit=CommandAudit(CommandScope.PROTECTED, None))
    wire.log_in()
    wire.send(FIND)
    number = wire.sent
    wire.send(step)
    assert wire.callers == ()
    assert [each.users for each in wire.session.unanswered()] == [("ann@admin",)]
    answer = {"cursor": {"firstBatch": [], "id": 0, "ns": "clinic.patients"}, "ok": 1.0}
    done = [each for each in wire.session.server_data(reply(answer, number)) if isinstance(each, Done)]
    assert [each.record.users for each in done] == [("ann@admin",)]


@pytest.mark.parametrize("scope", [CommandScope.PROTECTED, CommandScope.REFUSED])
def test_a_withheld_reply_is_on_record_as_the_senders_of_its_command(scope: CommandScope) -> None:
    wire = Wire(audit=None if scope is CommandScope.REFUSED else CommandAudit(scope, None))
    wire.log_in()
    wire.send(FIND)
    number = wire.sent
    wire.send(START)
    assert wire.callers == ()
    forged = bytearray(sealed("nhs", "943"))
    forged[-1] ^= 1
    shown = {"nhs_number": Binary(bytes(forged), 0x80)}
    answer = {"cursor": {"firstBatch": [shown], "id": 0, "ns": "clinic.patients"}, "ok": 1.0}
    effects = wire.session.server_data(reply(answer, number))
    assert [each.users for each in effects if isinstance(each, Audit)] == [("ann@admin",)]
    done = [each.record.users for each in effects if isinstance(each, Done)]
    assert done == ([] if scope is CommandScope.REFUSED else [("ann@admin",)])


def test_what_is_awaited_for_everybody_is_nobodys_own(wire: Wire) -> None:
    wire.send({"find": "wards", "$db": "other"})
    request = wire.session._conversation.awaited.find(wire.sent)
    assert request is not None
    assert request.users is None


def test_a_login_that_begins_with_the_hello_counts() -> None:
    hello = {"hello": 1, "speculativeAuthenticate": {"saslStart": 1, "mechanism": "PLAIN"}}
    answer = {"ok": 1.0, "speculativeAuthenticate": {"done": True}}
    for is_legacy in (False, True):
        wire = Wire()
        wire.log_in()
        wire.send(FIND)
        if is_legacy:
            wire.session.client_data(legacy_query(hello, 77))
            wire.session.server_data(legacy_reply(answer, 77))
        else:
            wire.send({**hello, "$db": "admin"})
            wire.session.server_data(reply(answer, wire.sent))
        assert not wire.callers
        wire.users = [BOB]
        wire.send(FIND)
        assert wire.callers == ("bob@clinic",)


def test_another_hello_asks_nothing_anew(wire: Wire) -> None:
    wire.send(FIND)
    wire.send({"hello": 1, "$db": "admin"})
    wire.send(FIND)
    assert len(wire.asked) == 1


@rows(
    "answer",
    {"ok": 0.0, "code": 13, "errmsg": "no"},
    {"ok": 0.0, "code": 59, "errmsg": "no such command", "authInfo": {"authenticatedUsers": [BOB]}},
    {"ok": 1.0},
)
def test_where_the_server_does_not_say_the_command_goes_on_and_nobody_is_named(
    wire: Wire, answer: dict[str, Any]
) -> None:
    _, question = wire.session.client_data(command(FIND, 90))
    assert isinstance(question, ToServer)
    assert wire.session._states.messages is State.ASKING
    _, *others = wire.session.server_data(reply(answer, request_id_of(question.data)))
    assert any(isinstance(each, ToServer) for each in others)
    assert wire.callers == ()
    wire.send(FIND)
    assert wire.asked == []


def test_the_question_speaks_the_clients_api_and_is_not_strict_about_it(wire: Wire) -> None:
    wire.send({**FIND, "apiVersion": "1", "apiStrict": True})
    assert wire.asked == [{"connectionStatus": 1, "apiVersion": "1", "$db": "admin"}]


def test_the_clients_first_word_of_itself_counts() -> None:
    wire = Wire()
    for name in ("rounds", "other"):
        client = {"application": {"name": name}, "driver": {"name": "PyMongo", "version": "4.20"}}
        wire.send({"hello": 1, "client": client, "$db": "admin"})
    assert (wire.session.caller.application, wire.session.caller.driver) == ("rounds", "PyMongo 4.20")


def test_other_settings_ask_for_the_users_of_a_login_that_stays(wire: Wire) -> None:
    wire.send(FIND)
    wire.session.settings_changed()
    wire.send(FIND)
    assert (wire.callers, len(wire.asked)) == (("ann@admin",), 1)
