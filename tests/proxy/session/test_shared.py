"""What sessions share: what is remembered goes with what it rests on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from random import Random
from typing import Any

import pytest
from bson import Binary, Int64

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.policies.questions.asked import AskedOperator, ValuesQuestion
from sealwire.policies.questions.conditions import Asks
from sealwire.proxy.session import shared
from sealwire.proxy.session.effects import Audit, Count, Counter, Effect, PauseClient, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.requests import Request, RequestKind
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import (
    Grids,
    KnownBatch,
    PassingCommands,
    Rejected,
    SessionSettings,
    Shared,
)
from tests.policies.support import target
from tests.proxy.session.world import (
    BATCHING,
    KEYRING,
    OWN_ADDRESS,
    POLICY,
    POLICY_TEXT,
    body_of,
    command,
    data_key,
    envelope,
    reply,
    sealed,
    session,
    value_bytes,
)

SETTINGS = SessionSettings(POLICY, login_required=False)
FIND = command({"find": "beds", "$db": "stats"})
TARGET = target("find", "beds", "stats")


def sessions(shared: Shared) -> tuple[Session, Session]:
    return Session(shared, Topology(OWN_ADDRESS)), Session(shared, Topology(OWN_ADDRESS))


def test_what_one_session_has_planned_another_need_not() -> None:
    shared = Shared(SETTINGS, KEYRING)
    one, _ = sessions(shared)
    assert shared.passing.get(TARGET) is None
    one.client_data(FIND)
    assert shared.passing.get(TARGET) is not None


@pytest.mark.parametrize("amount", [1, 100])
def test_a_short_reply_and_a_long_one_are_opened_alike(amount: int) -> None:
    def answer(value: Any, response_to: int = 1) -> bytes:
        batch = [{"nhs_number": value, "n": index} for index in range(amount)]
        cursor = {"firstBatch": batch, "id": Int64(0), "ns": "clinic.patients"}
        return reply({"cursor": cursor, "ok": 1.0}, response_to)

    one, _ = sessions(Shared(SETTINGS, BATCHING))
    one.client_data(command({"find": "patients", "$db": "clinic"}))
    effects = one.server_data(answer(sealed("nhs", "ann")))
    assert [each.data for each in effects if isinstance(each, ToClient)] == [answer("ann")]
    one.client_data(command({"find": "patients", "$db": "clinic"}, 2))
    forged = Binary(sealed("nhs", "ann")[:-1] + b"?", SUBTYPE)
    effects = one.server_data(answer(forged, 2))
    assert [body_of(each.data)["ok"] for each in effects if isinstance(each, ToClient)] == [0.0]


def test_another_policy_forgets_what_was_planned() -> None:
    shared = Shared(SETTINGS, KEYRING)
    sessions(shared)[0].client_data(FIND)
    shared.use_settings(SessionSettings(load_policy(POLICY_TEXT, "policy.yaml"), login_required=False))
    assert shared.passing.get(TARGET) is None


def test_another_keyring_forgets_the_ciphertexts_and_keeps_what_was_planned() -> None:
    shared = Shared(SETTINGS, KEYRING)
    sessions(shared)[0].client_data(FIND)
    kind, value = value_bytes(5)
    first = shared.grids.encrypted(KEYRING.cipher_for("visits"), kind, value)
    assert shared.grids.encrypted(KEYRING.cipher_for("visits"), kind, value) is first
    shared.use_keyring(Keyring([data_key("visits")]))
    assert shared.grids.encrypted(KEYRING.cipher_for("visits"), kind, value) is not first
    assert shared.passing.get(TARGET) is not None


def test_a_grid_holds_binaries_and_tells_ciphers_and_types_apart() -> None:
    grids = Grids()
    cipher = KEYRING.cipher_for("visits")
    kind, value = value_bytes(5)
    sealed = envelope("visits", 5)
    assert grids.encrypted(cipher, kind, value) == len(sealed).to_bytes(4, "little") + b"\x80" + sealed
    other = Keyring([data_key("visits", 2)]).cipher_for("visits")
    found = {grids.encrypted(each, number, value) for each in (cipher, other) for number in (kind, 0x01)}
    assert len(found) == 4


def test_what_is_shared_shows_no_key() -> None:
    assert repr(Shared(SETTINGS, KEYRING)) == f"Shared({KEYRING!r})"


PASSED = target("find", "wards", "stats")
KEPT = Request(RequestKind.COMMAND, "find", "stats.wards"), Count(Counter.COMMANDS, label="find")


def test_what_is_remembered_is_found_by_all_three_names() -> None:
    passing = PassingCommands()
    assert passing.get(PASSED) is None
    passing.remember(PASSED, *KEPT)
    assert passing.get(PASSED) == KEPT
    assert passing.get(target("find", "wards", "other")) is None


@pytest.mark.plain_core(reason="replaces a constant")
def test_names_without_end_do_not_make_it_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.proxy.session.shared._MAX_REMEMBERED", 2)
    passing = PassingCommands()
    for number in range(5):
        passing.remember(target("find", f"{number}", "stats"), *KEPT)
    assert passing.get(target("find", "0", "stats")) is None
    assert passing.get(target("find", "4", "stats")) == KEPT


def test_a_name_that_no_server_has_is_not_remembered() -> None:
    passing = PassingCommands()
    passing.remember(target("find", "w" * 1000, "stats"), *KEPT)
    assert passing.get(target("find", "w" * 1000, "stats")) is None
    passing.remember(target("find", "w" * 200, "s" * 54), *KEPT)
    assert passing.get(target("find", "w" * 200, "s" * 54)) == KEPT


NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)
NAMES = ("ann", "bob", "cat", "dan")
SEED = int(os.environ.get("SEALWIRE_SEED", "1"))

Definition = tuple[str, list[dict[str, Any]]]
"""What a view reads, and its pipeline."""


class Right(Enum):
    """What a user may see of names."""

    ALL = auto()
    OWN = auto()
    """Names that it may read, and whether they are views."""
    NONE = auto()


@dataclass(slots=True)
class Catalogue:
    """The server's names: None for a collection, a definition for a view; absent names do not exist."""

    names: dict[str, Definition | None] = field(default_factory=dict)

    def shows_numbers_at(self, name: str, depth: int = 0) -> str:
        """The path at which a name shows NHS numbers; empty when it shows none."""
        if name == "patients":
            return "nhs_number"
        definition = self.names.get(name)
        if definition is None or depth > len(NAMES):
            return ""
        shown = self.shows_numbers_at(definition[0], depth + 1)
        renamed = definition[1] and shown == "nhs_number"
        return "number" if renamed else shown

    def answer(self, question: dict[str, Any], right: Right, may_read: set[str]) -> dict[str, Any]:
        """The reply to `listCollections`."""
        names_only = question.get("nameOnly", False)
        if right is Right.NONE or (right is Right.OWN and not names_only):
            return {"ok": 0.0, "errmsg": "not authorized", "code": 13, "codeName": "Unauthorized"}
        sought = question["filter"]["name"]
        wanted = [sought] if isinstance(sought, str) else sought["$in"]
        visible = [name for name in wanted if name in self.names]
        if names_only:
            visible = [name for name in visible if name in may_read]
        listed = [self._listed(name, names_only=names_only) for name in visible]
        return {
            "cursor": {"id": Int64(0), "ns": "clinic.$cmd.listCollections", "firstBatch": listed},
            "ok": 1.0,
        }

    def _listed(self, name: str, *, names_only: bool) -> dict[str, Any]:
        definition = self.names[name]
        if definition is None:
            return {"name": name, "type": "collection"}
        options = {} if names_only else {"options": {"viewOn": definition[0], "pipeline": definition[1]}}
        return {"name": name, "type": "view", **options}


@dataclass(slots=True)
class User:
    """One connection of one user through one instance."""

    session: Session
    right: Right
    may_read: set[str]
    number: int = 0


class World:
    """A run: steps in an order that the seed decides."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.catalogue = Catalogue()
        self.users = [self._user() for _ in range(4)]
        self.outcomes: set[str] = set()

    def _user(self) -> User:
        right = self.random.choice(list(Right))
        may_read = {name for name in NAMES if self.random.random() < 0.5}
        return User(session(), right, may_read)

    def change(self) -> None:
        """Somebody creates, drops or replaces a name, past every session."""
        name = self.random.choice(NAMES)
        if self.random.random() < 0.3:
            self.catalogue.names.pop(name, None)
        elif self.random.random() < 0.2 and self.catalogue.names.get(name, ()) is None:
            # only collections can be renamed; where a view was, there is one then
            del self.catalogue.names[name]
            self.catalogue.names[self.random.choice(NAMES)] = None
        elif self.random.random() < 0.4:
            self.catalogue.names[name] = None
        else:
            stages = [{"$project": {"number": "$nhs_number"}}] if self.random.random() < 0.5 else []
            on = self.random.choice([*NAMES, "patients"])
            self.catalogue.names[name] = (on, stages)

    def read(self, user: User) -> None:
        """One find with the number at the path where it may be shown, and all that follows from it."""
        name = self.random.choice(NAMES)
        path = self.random.choice(["nhs_number", "number"])
        user.number += 1000
        message = command({"find": name, "filter": {path: NHS}, "$db": "clinic"}, user.number)
        shown_at: list[str] = []
        effects = user.session.client_data(message)
        while (question := _question(effects)) is not None:
            # what happens before the server answers counts, what happens after it is concurrent
            for _ in range(self.random.randrange(3)):
                self.change()
            shown_at.append(self.catalogue.shows_numbers_at(name))
            answer = self.catalogue.answer(body_of(question), user.right, user.may_read)
            effects = user.session.server_data(reply(answer, _request_id(question)))
        self._judge(user, path, shown_at, effects, name)
        if any(isinstance(effect, ToServer) for effect in effects):
            user.session.server_data(reply({"ok": 1.0}, user.number))

    def _judge(self, user: User, path: str, shown_at: list[str], effects: list[Effect], name: str) -> None:
        sent = [effect.data for effect in effects if isinstance(effect, ToServer)]
        refused = [effect for effect in effects if isinstance(effect, Audit)]
        assert len(sent) + len(refused) == 1
        assert shown_at, "nobody was asked"
        if refused:
            self.outcomes.add(refused[0].reason)
            if refused[0].reason == Reason.UNSEEN.value:
                assert user.right is not Right.ALL
            return
        (value,) = body_of(sent[0])["filter"].values()
        # names may change between the questions about a view on a view: then either meaning is right
        if set(shown_at) == {path}:
            assert value == SEALED
        elif shown_at == [""]:
            assert value == NHS
        self.outcomes.add("sealed" if value == SEALED else "plain")
        if value == NHS and user.right is not Right.ALL:
            assert name in user.may_read


def _question(effects: list[Effect]) -> bytes | None:
    for effect in effects:
        if isinstance(effect, ToServer) and "listCollections" in body_of(effect.data):
            return effect.data
    assert not any(isinstance(effect, PauseClient) and effect.paused for effect in effects)
    return None


def _request_id(message: bytes) -> int:
    return int.from_bytes(message[4:8], "little")


def _worlds() -> Iterator[int]:
    yield from range(SEED * 1000, SEED * 1000 + 150)


@pytest.mark.parametrize("chunk", range(5))
def test_whatever_others_do_a_covered_constant_leaves_as_ciphertext(chunk: int) -> None:
    outcomes: set[str] = set()
    for seed in list(_worlds())[chunk::5]:
        world = World(seed)
        for _ in range(40):
            if world.random.random() < 0.3:
                world.change()
            else:
                world.read(world.random.choice(world.users))
        outcomes |= world.outcomes
    assert outcomes >= {"sealed", "plain", Reason.UNSEEN.value}, f"seed {SEED}"


def test_a_view_that_any_instance_makes_counts_for_the_next_command_of_every_other() -> None:
    catalogue = Catalogue({"ann": None})
    maker, reader = session(), session()
    find = command({"find": "ann", "filter": {"nhs_number": NHS}, "$db": "clinic"}, 70)

    def ask() -> bytes:
        _, pause, question = reader.client_data(find)
        assert pause == PauseClient(True)
        assert isinstance(question, ToServer)
        answer = reply(catalogue.answer(body_of(question.data), Right.ALL, set()), _request_id(question.data))
        effects = reader.server_data(answer)
        (sent,) = [effect.data for effect in effects if isinstance(effect, ToServer)]
        reader.server_data(reply({"ok": 1.0}, 70))
        return sent

    assert ask() == find
    create = command({"create": "ann", "viewOn": "patients", "pipeline": [], "$db": "clinic"}, 71)
    assert ToServer(create) in maker.client_data(create)
    catalogue.names["ann"] = ("patients", [])
    assert any(isinstance(effect, ToClient) for effect in maker.server_data(reply({"ok": 1.0}, 71)))
    assert body_of(ask())["filter"] == {"nhs_number": SEALED}


def asked_for(text: str, class_name: str = "nhs") -> ValuesQuestion:
    operator = AskedOperator(Asks.PATTERN, b"$regex", ((2, text.encode()), (2, b"")))
    return ValuesQuestion("clinic.patients", "nhs_number", class_name, (operator,))


def test_what_satisfies_nothing_is_known_by_class_and_condition() -> None:
    rejected = Rejected()
    rejected.add(rejected.of(asked_for("a")), b"one")
    assert rejected.of(asked_for("a")).documents == {b"one"}
    assert not rejected.of(asked_for("b")).documents
    assert not rejected.of(asked_for("a", "phone")).documents
    assert not rejected.of(replace(asked_for("a"), is_outside=True)).documents
    assert rejected.of(replace(asked_for("a"), path="name")).documents == {b"one"}
    rejected.clear()
    assert not rejected.of(asked_for("a")).documents


def test_a_reply_is_known_by_its_bytes_and_its_question_if_little_of_it_is_left() -> None:
    rejected = Rejected()
    known, digest = rejected.of(asked_for("a")), rejected.digest_of(b"reply")
    rejected.add_batch(known, digest, KnownBatch(7, (4, 80)))
    assert rejected.of(asked_for("a")).batches == {digest: KnownBatch(7, (4, 80))}
    assert not rejected.of(asked_for("b")).batches
    rejected.add_batch(known, rejected.digest_of(b"other"), KnownBatch(7, tuple(range(shared.MOST_LEFT + 1))))
    assert known.batches.keys() == {digest}
    assert Rejected().digest_of(b"reply") != digest


@pytest.mark.plain_core(reason="it lowers a constant")
def test_replies_take_room_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_REJECTED_BYTES", 3000)
    rejected = Rejected()
    rejected.add(rejected.of(asked_for("a")), b"one")
    known = rejected.of(asked_for("b"))
    for number in range(100):
        rejected.add_batch(known, b"%d" % number, KnownBatch(1, (4,)))
    assert 1 < len(known.batches) < 12
    assert not rejected.of(asked_for("a")).documents


@pytest.mark.plain_core(reason="it lowers a constant")
def test_questions_that_were_asked_long_ago_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_REJECTED_BYTES", 3000)
    rejected = Rejected()
    for text in "abc":
        rejected.add(rejected.of(asked_for(text)), b"x" * 300)
    rejected.of(asked_for("a"))
    for number in range(100):
        rejected.add(rejected.of(asked_for("d")), b"%0300d" % number)
    assert 1 < len(rejected.of(asked_for("d")).documents) < 7
    assert not rejected.of(asked_for("b")).documents
    for number in range(1000):
        rejected.of(asked_for(str(number)))
    assert not rejected.of(asked_for("d")).documents


@pytest.mark.plain_core(reason="it lowers a constant")
def test_a_document_that_is_judged_again_takes_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_REJECTED_BYTES", 3000)
    rejected = Rejected()
    rejected.add(rejected.of(asked_for("a")), b"one")
    for _ in range(100):
        rejected.add(rejected.of(asked_for("b")), b"x" * 300)
    assert rejected.of(asked_for("a")).documents == {b"one"}


def test_nothing_of_a_question_is_kept() -> None:
    rejected = Rejected()
    rejected.add(rejected.of(asked_for("surname")), b"one")
    held = [(digest, known.documents) for digest, known in rejected._verdicts.items()]
    assert held[0][1] == {b"one"}
    assert b"surname" not in repr(held).encode()
    assert "one" not in repr(rejected)
