"""What clients of a session send while a class moves, and what becomes of it."""

from typing import Any

from bson import Int64

from sealwire.proxy.session.effects import Effect, PauseClient, ToServer
from sealwire.proxy.session.session import Session
from tests.proxy.session.world import body_of, command, written


def sent(session: Session, body: dict[str, Any], request_id: int = 1, **options: Any) -> list[Effect]:
    return session.client_data(command({**body, "$db": "clinic"}, request_id, **options))


def find(value: str, **more: Any) -> dict[str, Any]:
    return {"find": "patients", "filter": {"nhs_number": value}, **more}


def insert(*values: str) -> dict[str, Any]:
    return {"insert": "patients", "documents": [{"nhs_number": value} for value in values]}


def asked(effects: list[Effect]) -> dict[str, Any]:
    return body_of(written(effects, ToServer))


def waits(effects: list[Effect]) -> bool:
    return effects == [PauseClient(True)]


def acknowledged(session: Session) -> int | None:
    uses = session.shared.moves.classes["nhs"]
    assert uses is not None
    return uses.acknowledged()


def cursor(number: int, batch: str = "firstBatch") -> dict[str, Any]:
    return {"cursor": {"id": Int64(number), "ns": "clinic.patients", batch: []}, "ok": 1.0}
