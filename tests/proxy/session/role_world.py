"""Sessions whose policy has roles. A client is who its certificate says, so that no login is needed."""

from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.session.effects import Effect, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.proxy.session.world import (
    KEYRING,
    OWN_ADDRESS,
    POLICY_TEXT,
    body_of,
    command,
    reply,
    sealed,
    written,
)

ROLES_TEXT = b"""
plain: [clinic.wards]
roles:
  clinician:
    certificates: ["CN=doctor"]
    classes: {"*": {read: clear, filter: true, write: true}}
  clerk:
    certificates: ["CN=clerk", "CN=clerk,*"]
    classes:
      nhs: {read: {mask: last4}, filter: true}
      born: {read: {mask: year}}
      visits: {read: clear}
      smoker: {read: denied}
      "*": {read: ciphertext}
  writer:
    certificates: ["CN=writer"]
    classes: {nhs: {write: true}}
  researcher:
    certificates: ["CN=researcher"]
    purposes: [research]
    documents_per_hour: 5
    classes: {"*": {read: clear}}
  emergency:
    certificates: ["CN=clerk"]
    break_glass: true
    classes: {"*": {read: clear}}
"""
POLICY = load_policy(POLICY_TEXT + ROLES_TEXT, "policy.yaml")

NHS = "9434765919"
BORN = DatetimeMS(-624_758_400_000)
FIND: dict[str, Any] = {"find": "patients", "filter": {}}
STORED: dict[str, Any] = {
    "_id": 1,
    "nhs_number": sealed("nhs", NHS),
    "born": sealed("born", BORN),
    "visits": sealed("visits", 7),
}
"""A document of clinic.patients as the server has it."""


def session_as(
    certificate: str, policy: PolicySet = POLICY, keyring: Keyring = KEYRING, **settings: Any
) -> Session:
    """A session of the client with this certificate, before a server without access control."""
    settings.setdefault("login_required", False)
    talk = Session(Shared(SessionSettings(policy, **settings), keyring), Topology(OWN_ADDRESS))
    if certificate:
        talk.certified(certificate)
    return talk


def asked(talk: Session, body: dict[str, Any], request_id: int = 1, **parts: Any) -> list[Effect]:
    """What a command leads to; in the database clinic unless it says another."""
    return talk.client_data(command(body | {"$db": body.get("$db", "clinic")}, request_id, **parts))


def shown(talk: Session, body: dict[str, Any], answer: dict[str, Any], request_id: int = 1) -> dict[str, Any]:
    """What the client sees as the reply to a command that the server answers so."""
    effects = asked(talk, body, request_id)
    if not written(effects, ToServer):
        return body_of(written(effects, ToClient))
    return body_of(written(talk.server_data(reply(answer, request_id)), ToClient))


def batch(
    *documents: dict[str, Any], cursor_id: int = 0, namespace: str = "clinic.patients"
) -> dict[str, Any]:
    """A reply with a first batch."""
    cursor = {"firstBatch": list(documents), "id": Int64(cursor_id), "ns": namespace}
    return {"cursor": cursor, "ok": 1.0}


def first(body: dict[str, Any]) -> dict[str, Any]:
    """The first document of a batch that the client sees."""
    document: dict[str, Any] = body["cursor"]["firstBatch"][0]
    return document


def is_denied(body: dict[str, Any]) -> bool:
    """Whether the client sees an error for want of a role."""
    return body.get("code") == 13 and str(body.get("errmsg", "")).endswith("[role]")
