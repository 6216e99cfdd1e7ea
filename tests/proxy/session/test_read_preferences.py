"""Hedged and mirrored reads: what asks for them passes as it is, and what is read by them is ciphertext.

A mongos hedges a read by sending it to two members, a primary mirrors it by sending it to secondaries too.
Both send on what Sealwire has sent them, so that nobody gets anything but what is looked at here.
"""

from typing import Any

import pytest

from sealwire.crypto.envelope import MARKER
from sealwire.proxy.session.effects import ToClient, ToServer
from tests.proxy.session.world import body_of, command, reply, session

PLAIN = "9434765919"


def sent_by(asked: dict[str, Any]) -> bytes:
    """What a server gets of a command."""
    (message,) = (
        each.data for each in session().client_data(command(asked, 1)) if isinstance(each, ToServer)
    )
    return message


@pytest.mark.parametrize("hedge", [{"enabled": True}, {"enabled": False}, {}])
@pytest.mark.parametrize("mode", ["nearest", "secondaryPreferred"])
@pytest.mark.parametrize(
    "asked",
    [
        {"find": "patients", "filter": {"nhs_number": PLAIN}},
        {"distinct": "patients", "key": "ward", "query": {"nhs_number": PLAIN}},
        {"count": "patients", "query": {"nhs_number": {"$in": [PLAIN]}}},
        {"aggregate": "patients", "pipeline": [{"$match": {"nhs_number": PLAIN}}], "cursor": {}},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_a_hedged_read_keeps_its_option_and_searches_by_ciphertext(
    asked: dict[str, Any], mode: str, hedge: dict[str, Any]
) -> None:
    preference = {"mode": mode, "hedge": hedge, "tags": [{"dc": "east"}], "maxStalenessSeconds": 120}
    message = sent_by({**asked, "$db": "clinic", "$readPreference": preference})
    assert PLAIN.encode() not in message
    assert MARKER in message
    sent = body_of(message)
    assert sent["$readPreference"] == preference
    assert list(sent) == [*asked, "$db", "$readPreference"]


@pytest.mark.parametrize(
    "asked",
    [
        {"setParameter": 1, "mirrorReads": {"samplingRate": 0.25, "maxTimeMS": 500}},
        {"getParameter": 1, "mirrorReads": 1},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_how_a_primary_mirrors_is_set_and_asked_through_sealwire(asked: dict[str, Any]) -> None:
    here = session()
    message = command({**asked, "$db": "admin"}, 1)
    assert [each for each in here.client_data(message) if isinstance(each, ToServer)] == [ToServer(message)]
    answer = reply({"was": {"samplingRate": 0.01}, "mirrorReads": {"samplingRate": 0.25}, "ok": 1.0}, 1)
    assert [each for each in here.server_data(answer) if isinstance(each, ToClient)] == [ToClient(answer)]
