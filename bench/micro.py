"""The core alone, in this process: no sockets, no event loop. Beside it the floors that it stands on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import bson

from bench.dataset import COVERED, GROUP
from bench.recording import Recorded, insert_request, make_session
from sealwire.keys.keyring import Keyring
from sealwire.proxy.session.effects import Effect, ToClient, ToServer
from sealwire.wire.op_msg import parse_op_msg

INSERTED = 1_000


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
    """Plan and apply for a big insert, reveal for a reply of 100 documents. Cost: about 5 s at 30 repeats."""
    insert = insert_request(INSERTED)
    find = recorded.requests["find 100"]
    reply = next(canned.reply for canned in recorded.encrypted if canned.needle == b"batchSize")
    values = GROUP * len(COVERED)
    cipher = keyring.cipher_for("nhs_number")
    envelope = cipher.encrypt_deterministically(2, b"\x0b\0\0\0" + b"9434765919\0")
    session = make_session(keyring)

    def encrypt() -> float:
        own = make_session(keyring)
        return _timed(lambda: _expect(own.client_data(insert), ToServer))

    def reveal() -> float:
        session.client_data(find)
        return _timed(lambda: _expect(session.server_data(reply), ToClient))

    def bare_decrypt() -> float:
        return _timed(lambda: [cipher.decrypt(envelope) for _ in range(values)])

    def driver_decode() -> float:
        return _timed(lambda: bson.decode(reply[parse_op_msg(reply).body :]))

    works = (
        (f"insert of {INSERTED:,}: plan and apply", encrypt, INSERTED * len(COVERED)),
        (f"reply of {GROUP}: find and reveal", reveal, values),
        (f"floor: {values} bare AES-SIV decryptions", bare_decrypt, values),
        ("floor: bson.decode of that reply, encrypted", driver_decode, 0),
    )
    return [_measure(name, work, count, repeats) for name, work, count in works]


def _measure(name: str, work: Callable[[], float], values: int, repeats: int) -> MicroFigure:
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
