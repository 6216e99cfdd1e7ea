"""Messages of the wire protocol as the bench needs them: made, read one at a time, told apart in a file."""

import socket
from collections.abc import Iterator, Mapping

from bson import encode

from sealwire.wire.op_msg import build_op_msg

REQUEST_ID = 7
BODY = 21
"""Where the document of a message with one section begins."""


def message(body: Mapping[str, object], response_to: int = 0) -> bytes:
    """A command, or a reply, as one message."""
    return build_op_msg(REQUEST_ID, response_to, encode(body))


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send, and read the one answer. Raises EOFError when the other side closes."""
    connection.sendall(request)
    return read_message(connection)


def read_message(connection: socket.socket) -> bytes:
    """One whole message, where no other can follow. Raises EOFError when the other side closes."""
    held = bytearray()
    while len(held) < 4 or len(held) < int.from_bytes(held[:4], "little"):
        data = connection.recv(1 << 18)
        if not data:
            raise EOFError("the server closed the connection")
        held += data
    return bytes(held)


def split_messages(data: bytes) -> Iterator[bytes]:
    """The messages that lie one after another."""
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        yield data[position : position + length]
        position += length
