"""What one session opens never counts for another, though the keyring that counts is the same."""

from typing import Any

import bson

from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Done, Effect
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.proxy.session.world import (
    KEYRING,
    OWN_ADDRESS,
    POLICY_TEXT,
    command,
    reply,
    sealed,
    sealed_randomly,
)

POLICY = load_policy(POLICY_TEXT, "policy.yaml")
FIND: dict[str, Any] = {"find": "patients", "$db": "clinic"}


def pair() -> tuple[Session, Session]:
    audit = CommandAudit(CommandScope.ALL)
    shared = Shared(SessionSettings(POLICY, login_required=False, audit=audit), KEYRING)
    return Session(shared, Topology(OWN_ADDRESS)), Session(shared, Topology(OWN_ADDRESS))


def batch(*documents: Any) -> dict[str, Any]:
    return {
        "cursor": {"firstBatch": list(documents), "id": bson.Int64(0), "ns": "clinic.patients"},
        "ok": 1.0,
    }


def read(effects: list[Effect]) -> list[dict[str, int]]:
    return [each.result.read for each in effects if isinstance(each, Done)]


def test_replies_between_the_parts_of_a_long_one_do_not_count_for_it() -> None:
    long, short = pair()
    long.client_data(command(FIND))
    documents = [{"nhs_number": sealed("nhs", f"{n}"), "filling": "x" * 900} for n in range(2000)]
    message = reply(batch(*documents))
    effects: list[Effect] = []
    told: list[dict[str, int]] = []
    for start in range(0, len(message), 100_000):
        effects += long.server_data(message[start : start + 100_000])
        short.client_data(command(FIND))
        told += read(short.server_data(reply(batch({"notes": sealed_randomly("secret", "n")}))))
    assert read(effects) == [{"nhs": 2000}]
    assert told == [{"secret": 1}] * len(told)
    assert len(told) > 10


def test_what_a_reply_that_failed_had_opened_counts_for_nobody() -> None:
    first, second = pair()
    broken = sealed("nhs", "1")
    broken = bson.Binary(broken[:-1] + bytes((broken[-1] ^ 1,)), broken.subtype)
    first.client_data(command(FIND))
    first.server_data(reply(batch({"nhs_number": sealed("nhs", "2"), "notes": broken})))
    second.client_data(command({"ping": 1, "$db": "admin"}))
    assert read(second.server_data(reply({"ok": 1}))) == [{}]
    second.client_data(command(FIND))
    assert read(second.server_data(reply(batch({"nhs_number": sealed("nhs", "3")})))) == [{"nhs": 1}]


def test_who_reads_on_with_anothers_cursor_does_not_say_its_purpose() -> None:
    ann, bob = pair()
    for each, user in ((ann, "ann@admin"), (bob, "bob@admin")):
        each._conversation.know_users((user,))
    ann.client_data(command(FIND | {"comment": "purpose=direct-care"}))
    cursor = {"firstBatch": [], "id": bson.Int64(7), "ns": "clinic.patients"}
    ann.server_data(reply({"cursor": cursor, "ok": 1.0}))
    more = {"getMore": bson.Int64(7), "collection": "patients", "$db": "clinic"}
    answer = {"cursor": {"nextBatch": [], "id": bson.Int64(7), "ns": "clinic.patients"}, "ok": 1.0}
    purposes = []
    for each in (bob, ann, bob):
        each.client_data(command(more))
        purposes += [
            done.record.purpose for done in each.server_data(reply(answer)) if isinstance(done, Done)
        ]
    assert purposes == ["", "direct-care", ""]
