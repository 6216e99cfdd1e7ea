"""A name that the policy does not know: the server is asked before a command on it is planned."""

from typing import Any

import pytest
from bson import Int64

from sealwire.policies.views import LIFETIME_S
from sealwire.proxy.session.effects import CloseReason
from tests.proxy.session.playbook import (
    Playbook,
    audit,
    client,
    close,
    drain,
    error,
    pause,
    server,
    tick,
    to_client,
    to_server,
)
from tests.proxy.session.world import command, reply, sealed

NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)


def find(name: str = "shown", query: Any = None, database: str = "clinic") -> dict[str, Any]:
    return {"find": name, "filter": {"nhs_number": NHS} if query is None else query, "$db": database}


def asked(name: str, request_id: int, *, names_only: bool = False, database: str = "clinic") -> bytes:
    body: dict[str, Any] = {"listCollections": 1, "filter": {"name": name}}
    body["$readPreference"] = {"mode": "primaryPreferred"}
    if names_only:
        body |= {"nameOnly": True, "authorizedCollections": True}
    return command({**body, "$db": database}, request_id)


def told(*listed: dict[str, Any], response_to: int) -> bytes:
    cursor = {"id": Int64(0), "ns": "clinic.$cmd.listCollections", "firstBatch": list(listed)}
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
    play >> client(command(find(), 71)) << to_server(command(find(query={"nhs_number": SEALED}), 71))


@pytest.mark.parametrize("listed", [[], [{"name": "shown", "type": "collection"}]])
def test_anything_else_is_read_as_it_is(play: Playbook, listed: list[dict[str, Any]]) -> None:
    message = command(find(), 70)
    play >> client(message) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(*listed, response_to=1)) << pause(False) << to_server(message)


def test_what_is_learned_holds_for_other_sessions_until_its_time_is_over(play: Playbook) -> None:
    play >> tick(1000.0)
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(response_to=1)) << pause(False) << to_server(command(find(), 70))
    play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
    play >> tick(1000.0 + LIFETIME_S)
    play >> client(command(find(), 71)) << to_server(command(find(), 71))
    play >> tick(1000.5 + LIFETIME_S)
    play >> client(command(find(), 72)) << pause(True) << to_server(asked("shown", 2))


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
    play >> client(command(find(query={}), 71)) << to_server(command(find(query={}), 71))


def test_where_the_server_tells_nothing_the_command_gets_its_error(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(reply(DENIED, 1)) << to_server(asked("shown", 2, names_only=True))
    play >> server(reply(DENIED, 2)) << pause(False)
    play << audit("refused", "clinic.shown", "find", "NamespaceUnknown")
    play << error(13, "Unauthorized", 70)
    play >> client(command(find(), 71)) << pause(True) << to_server(asked("shown", 4))


def test_a_definition_that_cannot_be_followed_leaves_a_view_that_can_only_be_read(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    definition = view("shown", "patients", {"$sort": {"nhs_number": 1}})
    play >> server(told(definition, response_to=1)) << pause(False)
    play << audit("refused", "clinic.shown", "find", "compute") << error(238, "NotImplemented", 70)


def test_a_definition_that_changes_is_asked_for_again(play: Playbook) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(response_to=1)) << pause(False) << to_server(command(find(), 70))
    created = command({"create": "shown", "viewOn": "patients", "pipeline": [], "$db": "clinic"}, 71)
    play >> client(created) << to_server(created)
    play >> client(command(find(), 72)) << pause(True) << to_server(asked("shown", 2))
    play >> server(told(response_to=2)) << pause(False) << to_server(command(find(), 72))
    play >> server(reply({"ok": 1.0}, 71)) << to_client(reply({"ok": 1.0}, 71))
    play >> client(command(find(), 73)) << pause(True) << to_server(asked("shown", 3))


def test_a_pipeline_that_joins_an_unknown_name_asks_for_it(play: Playbook) -> None:
    def message(value: Any) -> bytes:
        inner = [{"$match": {"nhs_number": value}}]
        stage = {"$lookup": {"from": "shown", "pipeline": inner, "as": "x"}}
        return command({"aggregate": "patients", "pipeline": [stage], "cursor": {}, "$db": "clinic"}, 70)

    play >> client(message(NHS)) << pause(True) << to_server(asked("shown", 1))
    play >> server(told(view(), response_to=1)) << pause(False) << to_server(message(SEALED))


@pytest.mark.parametrize(
    "body",
    [
        find(database="open"),
        find("system.views"),
        {"insert": "shown", "documents": [{"_id": 1}], "$db": "clinic"},
        {"listIndexes": "shown", "$db": "clinic"},
    ],
)
def test_nobody_is_asked_where_no_view_can_matter(play: Playbook, body: dict[str, Any]) -> None:
    play >> client(command(body, 70)) << to_server(command(body, 70))


@pytest.mark.parametrize(
    "body",
    [
        {"ok": 1.0},
        {"ok": 1.0, "cursor": {"firstBatch": 5}},
        {"ok": 1.0, "cursor": {"firstBatch": [5]}},
        {"ok": 1.0, "cursor": {"firstBatch": [{"name": "shown", "type": 5}]}},
    ],
)
def test_an_answer_of_another_shape_ends_the_session(play: Playbook, body: dict[str, Any]) -> None:
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 1))
    play >> server(reply(body, 1)) << close(CloseReason.SERVER_PROTOCOL)


def test_our_question_does_not_take_the_number_of_the_clients_command(play: Playbook) -> None:
    message = command({"insert": "patients", "documents": [{"_id": 1}], "$db": "clinic"}, 1)
    play >> client(message) << to_server(message)
    play >> client(command(find(), 70)) << pause(True) << to_server(asked("shown", 2))
