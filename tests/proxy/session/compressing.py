"""A session that has agreed on compression, and what a test of one says and reads."""

from typing import Any

from bson import Int64

from sealwire.proxy.session.effects import Effect, GoOn, ToClient, ToServer
from sealwire.proxy.session.session import Session
from sealwire.wire.compressors import Compressor, compressor_named
from tests.proxy.session.playbook import to_server
from tests.proxy.session.world import command, reply, sealed, session

SNAPPY, ZLIB, ZSTD = (compressor_named(name) for name in ("snappy", "zlib", "zstd"))
ALL = (SNAPPY, ZLIB, ZSTD)
TEXT = "some text that is long enough to be worth it; " * 10
NHS, SEALED = "943 476 5919", sealed("nhs", "943 476 5919")
FIND: dict[str, Any] = {"find": "patients", "filter": {"nhs_number": NHS}, "comment": TEXT, "$db": "clinic"}
STORED: dict[str, Any] = {**FIND, "filter": {"nhs_number": SEALED}}
HELLO: dict[str, Any] = {"hello": 1, "client": {"driver": {"name": "x"}}, "$db": "admin"}
EXHAUST_ALLOWED, MORE_TO_COME = 1 << 16, 2


def batch(value: Any) -> dict[str, Any]:
    return {
        "cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": [{"n": value, "t": TEXT}]},
        "ok": 1.0,
    }


def talking(
    clients: tuple[Compressor, ...] = (),
    upstream: tuple[Compressor, ...] = (),
    names: tuple[str, ...] = ("zstd", "zlib", "snappy"),
    **settings: Any,
) -> Session:
    """A session after a handshake that has agreed to as much as it can."""
    talk = session(compress_to_clients=clients, compress_to_server=upstream, **settings)
    talk.client_data(command({**HELLO, "compression": list(names)}, 90))
    talk.server_data(reply({"ok": 1.0, "compression": [each.name for each in upstream]}, 90))
    return talk


def data_of(effects: list[Effect], kind: type[ToClient | ToServer]) -> list[bytes]:
    return [effect.data for effect in effects if isinstance(effect, kind)]


def to_server_compressed(message: bytes, compressor: Compressor) -> Any:
    return to_server(packed_as(message, compressor))


def packed_as(message: bytes, compressor: Compressor) -> bytes:
    """The same as Sealwire compresses it, whose levels are its own."""
    content = compressor.compress(message[16:])
    return (
        (25 + len(content)).to_bytes(4, "little")
        + message[4:12]
        + (2012).to_bytes(4, "little")
        + message[12:16]
        + (len(message) - 16).to_bytes(4, "little")
        + bytes([compressor.number])
        + content
    )


def steps(talk: Session, effects: list[Effect]) -> list[list[Effect]]:
    """The effects of each step, until the session asks for no other."""
    found = [effects]
    while wanted := [each for each in found[-1] if isinstance(each, GoOn)]:
        found.append([more for each in wanted for more in talk.go_on(from_client=each.from_client)])
    return found
