"""The core alone, in this process: no sockets, no event loop. Beside it the floors that it stands on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import bson

from bench.dataset import COVERED, GROUP
from bench.recording import Recorded, insert_request, make_session
from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.keyring import Keyring
from sealwire.proxy.session.effects import Effect, ToClient, ToServer
from sealwire.wire.op_msg import parse_op_msg

INSERTED = 1_000
Work = Callable[[], float]
"""Does one piece of work and gives the seconds that it took."""


@dataclass(frozen=True, slots=True)
class MicroFigure:
    """One piece of work: median, extremes, and how many values it encrypted or decrypted."""

    name: str
    median_s: float
    lowest_s: float
    highest_s: float
    values: int
    repeats: int


def measure_micro(recorded: Recorded, keyring: Keyring, *, repeats: int) -> list[MicroFigure]:
    """Plan and apply for requests, reveal for replies, and the floors. Cost: about 4 s at 30 repeats.

    `repeats` counts those of the works that take milliseconds; the short ones are done 50 times as often.
    """
    big, small = repeats, 50 * repeats
    values = GROUP * len(COVERED)
    insert = insert_request(INSERTED)
    _, reveal_100 = _conversation(recorded, keyring, "find 100")
    find_one, reveal_one = _conversation(recorded, keyring, "find one")
    find_free, pass_free = _conversation(recorded, keyring, "unprotected find")
    reply = recorded.encrypted_reply("find 100")
    cipher = keyring.cipher_for("nhs_number")
    envelope = cipher.encrypt_deterministically(2, b"\x0b\0\0\0" + b"9434765919\0")

    def encrypt() -> float:
        session = make_session(keyring)
        return _timed(lambda: _expect(session.client_data(insert), ToServer))

    return [
        _measure(f"insert of {INSERTED:,}: plan and apply", encrypt, INSERTED * len(COVERED), big),
        _measure(f"reply of {GROUP}: find and reveal", reveal_100, values, big),
        _measure("find one: plan and apply", find_one, 1, small),
        _measure("reply of 1: find and reveal", reveal_one, len(COVERED), small),
        _measure("unprotected find: plan", find_free, 0, small),
        _measure("unprotected reply", pass_free, 0, small),
        _measure(f"floor: {values} bare decryptions", _decryptions(cipher, envelope, values), values, big),
        _measure("floor: bson.decode of the reply of 100", _decoding(reply), 0, big),
    ]


def _conversation(recorded: Recorded, keyring: Keyring, name: str) -> tuple[Work, Work]:
    """The two halves of one operation; each does the other untimed, since a session pairs them."""
    session = make_session(keyring)
    request, reply = recorded.requests[name], recorded.encrypted_reply(name)

    def ask() -> float:
        taken = _timed(lambda: _expect(session.client_data(request), ToServer))
        session.server_data(reply)
        return taken

    def answer() -> float:
        session.client_data(request)
        return _timed(lambda: _expect(session.server_data(reply), ToClient))

    return ask, answer


def _decryptions(cipher: ValueCipher, envelope: bytes, count: int) -> Work:
    return lambda: _timed(lambda: [cipher.decrypt(envelope) for _ in range(count)])


def _decoding(reply: bytes) -> Work:
    body = reply[parse_op_msg(reply).body :]
    return lambda: _timed(lambda: bson.decode(body))


def _measure(name: str, work: Work, values: int, repeats: int) -> MicroFigure:
    for _ in range(3):
        work()
    times = [work() for _ in range(repeats)]
    return MicroFigure(name, median(times), min(times), max(times), values, repeats)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _expect(effects: Sequence[Effect], kind: type[ToClient | ToServer]) -> None:
    if not any(isinstance(effect, kind) for effect in effects):
        raise RuntimeError(f"the core did not answer with {kind.__name__}")
