"""Part `core`: Sealwire's core against libmongocrypt, in process, one thread, no sockets."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bson import decode, encode
from bson.raw_bson import RawBSONDocument
from pymongocrypt.binding import lib, libmongocrypt_version
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.synchronous.auto_encrypter import AutoEncrypter
from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.synchronous.state_machine import MongoCryptCallback

from bench.dataset import COVERED, DATABASE, GROUP, WIDE_FIELDS, Document, documents, wide_documents
from bench.recording import (
    bytes_to_client,
    bytes_to_server,
    load_bench_policy,
    make_keyring,
    make_session,
)
from bench.report.extents import Extent
from bench.report.figures import Case, Metric, Results, Sample, take_slices
from bench.routes.processes import Answer, Talker, serve
from bench.routes.routes import SEALWIRE, native_libmongocrypt
from bench.workloads import BATCH, BODY, REQUEST_ID, insert_request, message
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.effects import Effect, ToClient, ToServer
from sealwire.wire.op_msg import parse_op_msg, sequence_documents
from sealwire.wire.raw_bson import int32_at
from tools.debian_programs import library_environment

PART = "core"
PYMONGOCRYPT, NATIVE = "pymongocrypt", "pymongocrypt-openssl"
DECRYPT_100, ENCRYPT_1000, DECRYPT_WIDE = "decrypt-100", "encrypt-1000", "decrypt-1500-fields"
VALUES = {
    DECRYPT_100: GROUP * len(COVERED),
    ENCRYPT_1000: BATCH * len(COVERED),
    DECRYPT_WIDE: len(WIDE_FIELDS),
}
"""How many values each work has that both libraries do."""
ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic"
Work = Callable[[], float]
"""Does one piece of work and gives the seconds that it took."""


class Worker(Talker):
    """One library's process; a context manager."""

    def __init__(self, library: str, pool: int, environment: Mapping[str, str] | None = None) -> None:
        super().__init__([sys.executable, "-m", "bench.parts.core", library, str(pool)], environment)
        ready = self.ask({"do": "tell"})
        self.works: list[str] = ready["works"]
        self.libmongocrypt: str = ready["libmongocrypt"]

    def run(self, work: str, seconds: float) -> Sample:
        """Works a second, over a slice."""
        answer = self.ask({"do": "run", "work": work, "seconds": seconds})
        per_second = answer["count"] / answer["seconds"]
        return {Metric.OPERATIONS: per_second, Metric.P50: 1e6 / per_second}


def measure_core(extent: Extent, results: Results) -> dict[str, str]:
    """All works of all libraries in turns; adds to `results`, gives the versions of libmongocrypt."""
    native, pool = native_libmongocrypt(), extent.core_pool
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(Worker(name, pool)) for name in (SEALWIRE, PYMONGOCRYPT))
        others = {PYMONGOCRYPT: theirs}
        if native is None:
            results.not_measured[f"{PART} {NATIVE}"] = "apt does not give libmongocrypt0"
        else:
            environment = {**library_environment(native), "PYMONGOCRYPT_LIB": str(native)}
            others[NATIVE] = stack.enter_context(Worker(PYMONGOCRYPT, pool, environment))
        for work in ours.works:
            workers = {SEALWIRE: ours} | (others if work in VALUES else {})
            runs = {name: partial(worker.run, work) for name, worker in workers.items()}
            results.series += take_slices(Case(PART, work), runs, extent.core_slice_s, extent.core_rounds)
        return {name: worker.libmongocrypt for name, worker in others.items()}


@dataclass(frozen=True, slots=True)
class Inputs:
    """The same documents for every library."""

    replies: list[list[Document]]
    batches: list[list[Document]]
    wide: list[Document]


def inputs(pool: int) -> Inputs:
    """`pool` replies of 100 documents, and as many values in the other two works."""
    patients, arrivals, wide = documents(21), documents(22), wide_documents(23)
    values = pool * VALUES[DECRYPT_100]
    return Inputs(
        [list(islice(patients, GROUP)) for _ in range(pool)],
        [list(islice(arrivals, BATCH)) for _ in range(max(1, values // VALUES[ENCRYPT_1000]))],
        list(islice(wide, max(2, values // VALUES[DECRYPT_WIDE]))),
    )


def sealwire_works(made: Inputs) -> Mapping[str, Work]:
    """Plan and apply for requests, find and reveal for replies; the session core as one connection has it."""
    with TemporaryDirectory() as folder:
        keyring = make_keyring(Path(folder), generate_encoded_kek())
    replies = [encrypted_reply(keyring, "cohorts", each) for each in made.replies]
    singles = [encrypted_reply(keyring, "patients", each[:1]) for each in made.replies]
    wide = [encrypted_reply(keyring, "wide", [each]) for each in made.wide]
    group = _find("cohorts", {"group": 1})
    for request, reply, found in (
        (group, replies[0], made.replies[0]),
        (_find("wide", {}), wide[0], made.wide[:1]),
    ):
        session = make_session(keyring, load_bench_policy())
        session.client_data(request)
        require_documents(_bytes_for(session.server_data(reply), ToClient)[BODY:], found)
    numbers = [
        _find("patients", {"nhs_number": each["nhs_number"]}) for found in made.replies for each in found
    ]
    ping = _answer({"ping": 1, "$db": "admin"})
    pinging, ponging = _conversation(keyring, [ping], [_answer({"ok": 1.0})])
    ask, answer = _conversation(keyring, numbers, singles)
    batches = [insert_request(each) for each in made.batches]
    return {
        DECRYPT_100: _conversation(keyring, [group], replies)[1],
        ENCRYPT_1000: _conversation(keyring, batches, [_answer({"n": BATCH, "ok": 1.0})])[0],
        DECRYPT_WIDE: _conversation(keyring, [_find("wide", {})], wide)[1],
        "find-one: request": ask,
        "find-one: reply": answer,
        "ping: request": pinging,
        "ping: reply": ponging,
        "floor: 400 bare decryptions": _bare_decryptions(keyring, made.replies[0]),
        "floor: bson.decode of 100": _decoding(replies[0]),
    }


def pymongocrypt_works(made: Inputs) -> Mapping[str, Work]:
    """libmongocrypt through pymongocrypt's own classes, without what pymongo adds around them."""
    options = {"local": {"key": os.urandom(96)}}
    vault = KeyVault()
    explicit = ExplicitEncrypter(
        vault, MongoCryptOptions(options, bypass_encryption=True, key_expiration_ms=0)
    )
    key = explicit.create_data_key("local")
    automatic = AutoEncrypter(vault, MongoCryptOptions(options, bypass_encryption=True, key_expiration_ms=0))

    def encrypt(value: bytes) -> bytes:
        done: bytes = explicit.encrypt(value, ALGORITHM, key)
        return done

    def encrypted(document: Document, names: Sequence[str]) -> Document:
        return document | {name: decode(encrypt(encode({"v": document[name]})))["v"] for name in names}

    replies = [_reply([encrypted(each, COVERED) for each in found]) for found in made.replies]
    wide = [_reply([encrypted(each, WIDE_FIELDS)]) for each in made.wide]
    require_documents(automatic.decrypt(replies[0][BODY:]), made.replies[0])
    require_documents(automatic.decrypt(wide[0][BODY:]), made.wide[:1])
    batches = [[encode({"v": each[name]}) for each in batch for name in COVERED] for batch in made.batches]
    return {
        DECRYPT_100: _calling(automatic.decrypt, [reply[BODY:] for reply in replies]),
        ENCRYPT_1000: _calling(lambda values: [encrypt(value) for value in values], batches),
        DECRYPT_WIDE: _calling(automatic.decrypt, [reply[BODY:] for reply in wide]),
    }


def require_documents(reply: bytes, expected: Sequence[Document]) -> None:
    """A decrypted reply holds these documents, whatever their `_id` is.

    Raises:  ValueError where it does not: then there is no point in knowing how fast it came
    """
    found = decode(reply)["cursor"]["firstBatch"]
    if [{name: each[name] for name in each if name != "_id"} for each in found] != list(expected):
        raise ValueError("a reply was not decrypted into what had been encrypted")


def libmongocrypt() -> str:
    """Version of the library that this process has loaded, and whose cryptography it uses."""
    crypto = (
        "its own OpenSSL" if lib.mongocrypt_is_crypto_available() else "callbacks to Python's cryptography"
    )
    return f"{libmongocrypt_version()}, {crypto}"


class UnexpectedRequest(RuntimeError):
    """libmongocrypt asks for what the works here do not need: then it does not do what is to be measured."""

    def __init__(self, what: str) -> None:
        super().__init__(f"libmongocrypt asks for {what}")


class KeyVault(MongoCryptCallback):  # type: ignore[misc]  # pymongocrypt has no types
    """The key vault's collection, in memory."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []

    def insert_data_key(self, data_key: Any) -> bytes:
        raw = bytes(data_key)
        self._keys.append(raw)
        return bytes(decode(raw)["_id"])

    def fetch_keys(self, filter: Any) -> Iterator[bytes]:  # noqa: A002 - the interface's name
        del filter
        yield from self._keys

    def bson_encode(self, doc: Document) -> bytes:
        return encode(doc)

    def kms_request(self, kms_context: Any) -> None:
        del kms_context
        raise UnexpectedRequest("a key service, and the key is local")

    def collection_info(self, database: Any, filter: Any) -> None:  # noqa: A002 - the interface's name
        del database, filter
        raise UnexpectedRequest("a collection's schema, and nothing is encrypted automatically")

    def mark_command(self, database: Any, cmd: Any) -> None:
        del database, cmd
        raise UnexpectedRequest("a command's marking, and nothing is encrypted automatically")

    def close(self) -> None:
        """Nothing is open."""


def encrypted_reply(keyring: Keyring, collection: str, contents: list[Document]) -> bytes:
    """A server's reply that holds `contents` as Sealwire stores them."""
    session = make_session(keyring, load_bench_policy())
    raw: list[bytes] = []
    for start in range(0, len(contents), BATCH):
        request = insert_request(contents[start : start + BATCH], collection)
        sent = _bytes_for(session.client_data(request), ToServer)
        session.server_data(_answer({"n": BATCH, "ok": 1.0}))
        sequence = parse_op_msg(sent).sequences[0]
        raw += [sent[at : at + int32_at(sent, at)] for at in sequence_documents(sent, sequence)]
    return _reply([RawBSONDocument(each) for each in raw])


def _conversation(keyring: Keyring, requests: list[bytes], replies: list[bytes]) -> tuple[Work, Work]:
    """The two halves of an operation; each does the other untimed, since a session pairs them."""
    session = make_session(keyring, load_bench_policy())
    asked, answered = cycle(requests), cycle(replies)

    def ask() -> float:
        request = next(asked)
        taken = _timed(lambda: _bytes_for(session.client_data(request), ToServer))
        session.server_data(next(answered))
        return taken

    def answer() -> float:
        session.client_data(next(asked))
        reply = next(answered)
        return _timed(lambda: _bytes_for(session.server_data(reply), ToClient))

    return ask, answer


def _bare_decryptions(keyring: Keyring, found: list[Document]) -> Work:
    cipher = keyring.cipher_for("nhs_number")
    values = [encode({"": each["nhs_number"]})[6:-1] for each in found for _ in COVERED]
    envelopes = [cipher.encrypt_deterministically(2, value) for value in values]
    return lambda: _timed(lambda: [cipher.decrypt(each) for each in envelopes])


def _decoding(reply: bytes) -> Work:
    body = reply[parse_op_msg(reply).body :]
    return lambda: _timed(lambda: decode(body))


def _calling(call: Callable[[Any], object], turns: Sequence[Any]) -> Work:
    each = cycle(turns)

    def work() -> float:
        argument = next(each)
        return _timed(lambda: call(argument))

    return work


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _bytes_for(effects: Sequence[Effect], kind: type[ToClient | ToServer]) -> bytes:
    data = bytes_to_client(effects) if kind is ToClient else bytes_to_server(effects)
    if not data:
        raise RuntimeError(f"the core did not answer with {kind.__name__}")
    return data


def _find(collection: str, where: Document) -> bytes:
    return _answer({"find": collection, "filter": where, "$db": DATABASE})


def _reply(contents: Sequence[Any]) -> bytes:
    return _answer({"cursor": {"firstBatch": contents, "id": 0, "ns": f"{DATABASE}.cohorts"}, "ok": 1.0})


def _answer(body: Document) -> bytes:
    return message(body, REQUEST_ID)


WORKS_OF = {"sealwire": sealwire_works, "pymongocrypt": pymongocrypt_works}


def run(work: Work, seconds: float) -> tuple[int, float]:
    """Do `work` again and again until it has taken `seconds`; how often, and how long. At least twice."""
    count, taken = 0, 0.0
    while taken < seconds or count < 2:
        taken += work()
        count += 1
    return count, taken


def main(arguments: Sequence[str]) -> None:
    """Prepare the works of one library, then serve lines until the input ends."""
    library, pool = arguments
    works: Mapping[str, Work] = WORKS_OF[library](inputs(int(pool)))

    def tell() -> Answer:
        return {"works": list(works), "libmongocrypt": libmongocrypt()}

    def work(work: str, seconds: float) -> Answer:
        count, taken = run(works[work], seconds)
        return {"count": count, "seconds": taken}

    serve(sys.stdin, sys.stdout, {"tell": tell, "run": work})


if __name__ == "__main__":
    main(sys.argv[1:])
