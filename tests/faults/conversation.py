"""A conversation with every kind of message, as turns: what the client says, and what the server answers.

Each value that the policy covers has the marker in it, and nothing else has: whatever goes to the server can
be searched for it.
"""

from dataclasses import dataclass

from sealwire.proxy.session.effects import Effect, ToClient, ToServer
from sealwire.proxy.session.session import Session
from tests.proxy.session.world import command, legacy_query, legacy_reply, reply, sealed, session, written

MARKER = "marker-9d4e7c"
CLINIC = {"$db": "clinic"}
STORED = {"_id": 1, "nhs_number": sealed("nhs", MARKER), "visits": sealed("visits", 7), "ward": "A"}
CURSOR = {"cursor": {"id": 77, "ns": "clinic.patients", "firstBatch": [STORED]}, "ok": 1.0}
MORE = {"cursor": {"id": 0, "ns": "clinic.patients", "nextBatch": [STORED]}, "ok": 1.0}
HELLO = {"isWritablePrimary": True, "hosts": ["a:1"], "primary": "a:1", "me": "a:1", "ok": 1.0}


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the client's and the answer to it; empty where there is none."""

    name: str
    asked: bytes
    answer: bytes = b""


def _turn(name: str, number: int, body: dict[str, object], answer: dict[str, object]) -> Turn:
    return Turn(name, command({**body, **CLINIC}, number), reply(answer, number, 9000 + number))


TURNS = (
    Turn("a legacy hello", legacy_query({"isMaster": 1}, 1), legacy_reply(HELLO, 1)),
    Turn("hello", command({"hello": 1, "$db": "admin"}, 2), reply(HELLO, 2, 9002)),
    Turn(
        "an insert in two sections",
        command(
            {"insert": "patients", **CLINIC},
            3,
            after={"documents": [{"_id": 1, "nhs_number": MARKER, "notes": {"deep": MARKER}}, {"_id": 2}]},
        ),
        reply({"n": 2, "ok": 1.0}, 3, 9003, flags=1),
    ),
    Turn(
        "an insert without an answer",
        command({"insert": "patients", "documents": [{"nhs_number": MARKER}], **CLINIC}, 4, flags=2),
    ),
    _turn("a find", 5, {"find": "patients", "filter": {"nhs_number": MARKER}}, CURSOR),
    _turn("a getMore", 6, {"getMore": 77, "collection": "patients"}, MORE),
    _turn(
        "an update",
        7,
        {"update": "patients", "updates": [{"q": {"nhs_number": MARKER}, "u": {"$set": {"visits": 8}}}]},
        {"n": 1, "nModified": 1, "ok": 1.0},
    ),
    Turn("a refused find", command({"find": "patients", "filter": {"notes": MARKER}, **CLINIC}, 8)),
    _turn("a ping", 9, {"ping": 1}, {"ok": 1.0}),
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What has been written to each side so far."""

    server: bytes = b""
    client: bytes = b""

    def and_then(self, effects: list[Effect]) -> "Heard":
        """With what these effects write."""
        return Heard(self.server + written(effects, ToServer), self.client + written(effects, ToClient))


def talked(turns: tuple[Turn, ...]) -> tuple[Session, Heard]:
    """A session in which these turns have been."""
    talk, heard = session(), Heard()
    for turn in turns:
        heard = heard.and_then(talk.client_data(turn.asked))
        heard = heard.and_then(talk.server_data(turn.answer))
    return talk, heard
