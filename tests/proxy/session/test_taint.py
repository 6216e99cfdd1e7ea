"""The taint test's commands through a whole session with keys: no marker is in what is written to the server.

What the planner decides is carried out here by the session itself, which also asks the server about names.
"""

import struct
from dataclasses import replace
from datetime import UTC, datetime

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import Mode, Subjects
from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Audit, Begun, Done, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.header import request_id_of
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.commands import Case, draw_case
from tests.policies.taint.outcome import message_of
from tests.policies.taint.values import MARK, children, shown
from tests.policies.taint.world import PLAIN, POLICY, PROTECTED, VIEWS
from tests.proxy.session.test_shared_names import Catalogue, Right
from tests.proxy.session.world import OWN_ADDRESS, body_of, material, reply, written

EXAMPLES = 3_000
_CREATED = datetime(2026, 1, 1, tzinfo=UTC)
KEYRING = Keyring(
    DataKey(name, number, 1, KeyState.ACTIVE, _CREATED, material(number, 1))
    for number, name in enumerate(POLICY.class_names, start=1)
)
CATALOGUE = Catalogue({**VIEWS, **dict.fromkeys((*PLAIN, *PROTECTED))})
_MOST_QUESTIONS = 20


IDENTIFYING = next(name for name, each in POLICY.classes.items() if each.mode is Mode.DETERMINISTIC)
AUDITED = replace(POLICY, subjects=Subjects(IDENTIFYING))
AUDIT = CommandAudit(CommandScope.ALL, PseudonymKey(bytes(32)).name_of)


def sent(case: Case) -> tuple[bytes, bytes, str]:
    """What a session writes to the server for one command, and to the client before any reply to it.

    And what it tells the audit log, of a reply as well that says what the command has said.
    """
    shared = Shared(SessionSettings(AUDITED, login_required=False, audit=AUDIT), KEYRING)
    talk = Session(shared, Topology(OWN_ADDRESS, {}))
    effects = talk.client_data(message_of(case))
    to_server = to_client = b""
    told = ""
    for _ in range(_MOST_QUESTIONS):
        data = written(effects, ToServer)
        to_server += data
        told += " ".join(repr(each) for each in effects if isinstance(each, Audit | Begun | Done))
        to_client += written(effects, ToClient)
        question = body_of(data) if data else {}
        if "listCollections" not in question:
            if data:
                echo = reply({"cursor": {"firstBatch": [question], "id": 1}, "ok": 1}, request_id_of(data))
                told += " ".join(
                    repr(each) for each in talk.server_data(echo) if isinstance(each, Audit | Done)
                )
            return to_server, to_client, told
        answer = CATALOGUE.answer(question, Right.ALL, set())
        effects = talk.server_data(reply(answer, struct.unpack_from("<i", data, 4)[0]))
    raise AssertionError("a session that never stops asking")


def test_no_marker_is_written_to_the_server() -> None:
    seed = chosen_seed(1) * 10**9
    passed = recorded = 0
    for number in range(seed, seed + EXAMPLES):
        case = draw_case(number)
        to_server, to_client, told = sent(case)
        recorded += "CommandRecord" in told
        # an error names no value either
        assert MARK not in told.encode() or MARK in case_names(case), f"case {number}: {shown(case.whole)}"
        assert MARK not in to_server, f"case {number}: {shown(case.whole)} {shown(case.sequences)}"
        # an error names no value either
        assert MARK not in to_client or MARK in case_names(case), f"case {number}: {shown(case.whole)}"
        passed += bool(to_server) and not to_client
    assert passed > EXAMPLES / 10
    assert recorded > EXAMPLES / 10


def case_names(case: Case) -> bytes:
    """The names in a command, which an error may name where they are unknown."""
    return f"{_names(case.whole)} {_names(case.sequences)}".encode()


def _names(value: object) -> str:
    return " ".join(f"{name} {_names(inner)}" for name, inner in children(value))
