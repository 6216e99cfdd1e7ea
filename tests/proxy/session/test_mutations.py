"""Valid messages after random damage, and noise: nothing raises, and what passes on is well-formed."""

from bson import Code, Int64
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sealwire.proxy.session.effects import Close, NeedKeys, ToClient, ToServer
from tests.proxy.session.verdicts import assert_parses
from tests.proxy.session.world import (
    command,
    legacy_query,
    reply,
    sealed,
    sealed_randomly,
    session,
    written,
)
from tests.wire.corpus import int32

PING = command({"ping": 1, "$db": "admin"}, 70)
LATER = command({"ping": 1, "$db": "admin"}, 71)
FIND = command({"find": "patients", "$db": "clinic"}, 70)
SEALED = sealed("nhs", "x")
INSERT = {"insert": "patients", "$db": "clinic"}
_EXPRESSION = {"$expr": {"$eq": ["$nhs_number", "x"]}}
_UPDATE = {"q": {"tags": "x"}, "u": {"$set": {"tags.$[]": "y"}}}
VALID_MESSAGES = [
    command(INSERT, after={"documents": [{"_id": 1, "nhs_number": "x"}]}),
    command({**INSERT, "documents": [{"nhs_number": "x", "tags": ["a", ["b"]], "contact": {"email": "y"}}]}),
    command(
        INSERT,
        after={"documents": [{"notes": {"a": 1}, "u": Code("1", {"a": 1})}, {"visits": 3}]},
        flags=1,
    ),
    command({"find": "patients", "filter": {"$or": [{"nhs_number": {"$in": ["x", "y"]}}]}, "$db": "clinic"}),
    command({"update": "patients", "$db": "clinic"}, first={"updates": [_UPDATE]}, flags=2),
    command({"aggregate": "patients", "pipeline": [{"$match": _EXPRESSION}], "cursor": {}, "$db": "clinic"}),
    command(
        {"bulkWrite": 1, "$db": "admin"},
        first={"nsInfo": [{"ns": "clinic.patients"}, {"ns": "clinic.wards"}]},
        after={"ops": [{"insert": 0, "document": {"nhs_number": "x"}}, {"insert": 1, "document": {"a": 1}}]},
    ),
    command({"getMore": Int64(5), "collection": "patients", "$db": "clinic"}),
    command({"hello": 1, "compression": ["zlib"], "speculativeAuthenticate": {"saslStart": 1}}),
    legacy_query({"isMaster": 1, "compression": ["zlib"]}),
    command({"ping": 1, "$db": "admin"}),
]  # fmt: skip
VALID_REPLIES = [
    reply({"cursor": {"firstBatch": [{"a": SEALED, "b": [sealed("visits", 1)]}], "id": 0}, "ok": 1.0}, 70),
    reply({"a": sealed_randomly("secret", {"x": 1}), "ok": 1.0}, 70, flags=1),
    reply({"ok": 1.0, "hosts": ["a:1"], "me": "a:1"}, 70),
]


@st.composite
def mutated(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    """A valid message with some bytes flipped, inserted, deleted or overwritten; often of a right length."""
    data = bytearray(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case 2:
                del data[at : at + draw(st.integers(1, 4))]
            case _:
                data[at : at + 4] = draw(
                    st.sampled_from([int32(-1), int32(0), int32(5), int32(2**31 - 1), b"\0"])
                )
        if len(data) < 24:
            break
    if draw(st.integers(0, 3)):
        data[0:4] = int32(len(data))
    return bytes(data)


@settings(max_examples=500)
@given(mutated(VALID_MESSAGES))
def test_a_mutated_message_never_raises_and_what_passes_is_well_formed(message: bytes) -> None:
    talk = session()
    effects = talk.client_data(PING) + talk.client_data(message) + talk.client_data(LATER) + talk.client_eof()
    event("passed" if len(written(effects, ToServer)) > len(PING + LATER) else "stopped")
    assert_parses(written(effects, ToServer))
    assert sum(isinstance(effect, Close) for effect in effects) == 1
    assert isinstance(effects[-1], Close)


@settings(max_examples=500)
@given(
    mutated(VALID_REPLIES),
    st.sampled_from([FIND, command({"hello": 1}, 70), legacy_query({"isMaster": 1}, 70)]),
)
def test_a_mutated_reply_never_raises_and_what_passes_is_well_formed(message: bytes, asked: bytes) -> None:
    talk = session()
    talk.client_data(asked)
    effects = talk.server_data(message)
    if any(isinstance(effect, NeedKeys) for effect in effects):
        effects += talk.keys_loaded()
    effects += talk.server_eof()
    event("passed" if written(effects, ToClient) else "stopped")
    assert not any(isinstance(effect, ToServer) for effect in effects)
    assert sum(isinstance(effect, Close) for effect in effects) == 1
    assert isinstance(effects[-1], Close)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_noise_never_raises(data: bytes) -> None:
    for feed in (session().client_data, session().server_data):
        effects = feed(data)
        assert not any(isinstance(effect, ToServer | ToClient) for effect in effects)
