"""What is given bytes, and what has to hold whatever they are. Whoever breaks it raises something else.

Documented errors are caught where they may come, and nowhere else: a session never raises.
"""

import struct
from collections.abc import Callable, Mapping
from enum import Flag
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON

from sealwire.proxy.session.effects import Close, Effect, NeedKeys, ToClient, ToServer
from sealwire.proxy.session.session import Session
from sealwire.wire.compressors import COMPRESSOR_NAMES, compressor_named
from sealwire.wire.errors import ProtocolError
from sealwire.wire.framing import Framer, OpCode
from sealwire.wire.op_compressed import compressor_of, inflate
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.op_query import parse_op_query, parse_op_reply
from sealwire.wire.raw_bson import elements, validate
from tests.fuzz.script import Act, Call, calls_of
from tests.proxy.session.world import command, reply, session, written

MAX_MESSAGE_BYTES = 1 << 16
COMPRESSORS = tuple(map(compressor_named, COMPRESSOR_NAMES))


class Broken(Exception):
    """What was given bytes did what it must not do."""


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def framing(data: bytes) -> None:
    """How a stream is cut never shows: neither in the messages nor in the error."""
    size, stream = 1 + data[0] if data else 1, data[1:]
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    whole, pieces = Framer(MAX_MESSAGE_BYTES), Framer(MAX_MESSAGE_BYTES, long_messages=True)
    one, other = _fed(whole, [stream]), _fed(pieces, chunks)
    demand(one[1] == other[1], "another error")
    demand(one[0] == other[0] or one[1] is not None, "other messages")
    demand(stream.startswith(b"".join(other[0])), "bytes that were not sent")
    demand(
        other[1] is not None or len(b"".join(other[0])) + pieces.pending_bytes == len(stream), "lost bytes"
    )


def _fed(framer: Framer, chunks: list[bytes]) -> tuple[list[bytes], tuple[str, int] | None]:
    messages: list[bytes] = []
    for chunk in chunks:
        try:
            messages += framer.feed(chunk)
        except ProtocolError as error:
            return messages, (error.reason.value, error.offset)
    return messages, None


def op_msg(data: bytes) -> None:
    """The parts of a message lie in it, one behind the other."""
    for parse in (parse_op_query, parse_op_reply):
        try:
            parse(data)
        except ProtocolError:
            continue
    try:
        parsed = parse_op_msg(data)
    except ProtocolError:
        return
    demand(20 < parsed.body < parsed.end <= len(data), "a body outside")
    for each in parsed.sequences:
        demand(20 < each.start < each.documents <= each.end <= parsed.end, "a sequence outside")
        at = each.documents
        while at < each.end:
            at += struct.unpack_from("<i", data, at)[0]
        demand(at == each.end, "a document across the end")


def compressed(data: bytes) -> None:
    """What comes out of a compressed message is as long as it says and within the limit, in a session too."""
    message = struct.pack("<iiii", 16 + len(data), 7, 0, OpCode.COMPRESSED) + data
    try:
        content = inflate(message, compressor_of(message, COMPRESSORS), MAX_MESSAGE_BYTES)
    except ProtocolError:
        content = b""
    else:
        demand(16 <= len(content) <= MAX_MESSAGE_BYTES, "more than the limit")
        demand(struct.unpack_from("<i", content)[0] == len(content), "another length")
        demand(struct.unpack_from("<i", data, 4)[0] == len(content) - 16, "another length than announced")
    talk = session(
        max_message_bytes=MAX_MESSAGE_BYTES, compress_to_clients=COMPRESSORS, compress_to_server=COMPRESSORS
    )
    names = [each.name for each in COMPRESSORS]
    talk.client_data(command({"hello": 1, "compression": names, "$db": "admin"}, 6))
    talk.server_data(reply({"ok": 1.0, "compression": names}, 6))
    effects = talk.client_data(message)
    demand(bool(content) or isinstance(effects[-1], Close), "a broken message was taken")
    for side in (ToServer, ToClient):
        _demand_whole(written(effects, side))
    if not any(isinstance(each, Close) for each in effects):
        talk.server_data(struct.pack("<iiii", 16 + len(data), 8, 7, OpCode.COMPRESSED) + data)


def bson_walk(data: bytes) -> None:
    """What is well-formed can be walked, and BSON of the driver's can be read."""
    try:
        end = validate(data, 0, len(data))
    except ProtocolError:
        return
    document = data[:end]
    demand(5 <= end <= len(data), "an end outside")
    last = 4
    for each in elements(document, 0):
        demand(last <= each.start < each.value <= each.end < end, "an element outside")
        last = each.end
    demand(last == end - 1, "bytes that nobody walked")
    try:
        bson.decode(document, _LENIENT)
    except InvalidBSON as error:
        raise Broken("the driver cannot read it") from error


_LENIENT = CodecOptions[dict[str, Any]](
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)


class Chosen(Flag):
    """What a session is set to, by the first byte of its script."""

    LOGIN = 1
    COMPRESSION = 2


def a_session(data: bytes) -> None:
    """Whatever both peers say in whatever order, a session raises nothing and ends once, for good."""
    chosen = Chosen(data[0] & 3 if data else 0)
    offered = COMPRESSORS if Chosen.COMPRESSION in chosen else ()
    talk = session(
        login_required=Chosen.LOGIN in chosen,
        max_message_bytes=MAX_MESSAGE_BYTES,
        compress_to_clients=offered,
        compress_to_server=offered,
    )
    ended = is_asked = False
    for call in calls_of(data[1:]):
        if call.act is Act.KEYS_LOADED and not is_asked:
            continue  # the shell answers NeedKeys, and says nothing of keys unasked
        effects = _called(talk, call)
        is_asked = (is_asked and call.act is not Act.KEYS_LOADED) or any(
            isinstance(each, NeedKeys) for each in effects
        )
        demand(not ended or effects == [], "effects after the end")
        closes = [place for place, each in enumerate(effects) if isinstance(each, Close)]
        demand(
            len(closes) <= 1 and all(place == len(effects) - 1 for place in closes), "an end before the end"
        )
        ended = ended or bool(closes)
        for side in (ToServer, ToClient):
            _demand_whole(written(effects, side))
    talk.unanswered()


def _called(talk: Session, call: Call) -> list[Effect]:
    match call.act:
        case Act.CLIENT:
            return talk.client_data(call.data)
        case Act.SERVER:
            return talk.server_data(call.data)
        case Act.CLIENT_EOF:
            return talk.client_eof()
        case Act.SERVER_EOF:
            return talk.server_eof()
        case Act.DRAIN:
            return talk.drain()
        case Act.KEYS_LOADED:
            return talk.keys_loaded()
        case Act.TICK:
            return [*talk.tick(0.0), *talk.tick(1e6)]
        case Act.SETTINGS:
            talk.settings_changed()
            talk.move_began()
            return []
        case Act.MOVED:
            return talk.frontier_moved()


def _demand_whole(data: bytes) -> None:
    """Only whole messages leave, each as long as it says."""
    at = 0
    while at < len(data):
        demand(len(data) - at >= 16, "less than a header left")
        size = struct.unpack_from("<i", data, at)[0]
        demand(16 <= size <= len(data) - at, "a part of a message left")
        at += size


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "framing": framing,
    "op_msg": op_msg,
    "compressed": compressed,
    "bson": bson_walk,
    "session": a_session,
}
