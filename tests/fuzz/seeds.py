"""Writes the corpora: small, of messages of our own, and of what is known to be wrong.

python -m tests.fuzz.seeds
"""

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sealwire.wire.compressors import Compressor
from sealwire.wire.op_compressed import compress
from tests.compressed_messages import NUMBERS, packed
from tests.faults.conversation import TURNS
from tests.fuzz.script import MOST_BYTES, Act, Call, calls_of, written_script
from tests.fuzz.targets import COMPRESSORS
from tests.proxy.session.test_malformed import FLAGS, FRAMES, OPCODES, SECTIONS, SHAPES
from tests.proxy.session.world import command, reply, sealed
from tests.wire.corpus import INVALID, VALID
from tests.wire.test_op_compressed import BROKEN

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CRASHERS = HERE / "crashers"
_LONGEST = 2_000
_PLAIN, _LOGIN, _COMPRESSION = b"\0", b"\1", b"\2"
"""The first byte of a script; of a stream, one less than the size of its chunks."""


def seeds() -> Mapping[str, Iterator[bytes]]:
    """The inputs of each target."""
    return {
        "framing": _streams(),
        "op_msg": _messages(),
        "compressed": _compressed(),
        "bson": _documents(),
        "session": _scripts(),
    }


def _messages() -> Iterator[bytes]:
    for turn in TURNS:
        yield from (part for part in (turn.asked, turn.answer) if part)
    for table in (OPCODES, SECTIONS, FLAGS):
        yield from table.values()


def _compressed() -> Iterator[bytes]:
    """What lies behind the header of compressed messages."""
    for turn in TURNS:
        for number in NUMBERS.values():
            yield packed(turn.asked, number)[16:]
    for message, _ in BROKEN.values():
        yield message[16:]


def _after_handshake(calls: list[Call], compressor: Compressor) -> list[Call]:
    """The calls after a handshake that offers this compressor, their messages compressed where that pays."""
    offer = command({"hello": 1, "compression": [compressor.name], "$db": "admin"})
    answer = reply({"ok": 1.0, "compression": [compressor.name]})
    padded = command({"insert": "wards", "documents": [{"x": "y" * 400}], "$db": "clinic"}, 99)
    done = reply({"n": 1, "ok": 1.0, "x": "y" * 400}, 99)
    more = [Call(Act.CLIENT, compress(padded, compressor)), Call(Act.SERVER, compress(done, compressor))]
    return [Call(Act.CLIENT, offer), Call(Act.SERVER, answer), *calls[2:], *more]


def _streams() -> Iterator[bytes]:
    yield b"\xff" + b"".join(turn.asked for turn in TURNS)
    yield b"\x06" + b"".join(turn.answer for turn in TURNS)
    for frame in FRAMES.values():
        yield b"\xff" + TURNS[0].asked + frame


def _documents() -> Iterator[bytes]:
    yield from VALID.values()
    yield from (data for data, _ in INVALID.values())


def _scripts() -> Iterator[bytes]:
    calls = [
        call
        for turn in TURNS
        for call in (Call(Act.CLIENT, turn.asked), Call(Act.SERVER, turn.answer))
        if call.data
    ]
    yield _PLAIN + written_script(calls)
    yield _LOGIN + written_script(calls)
    yield from (_COMPRESSION + written_script(_after_handshake(calls, each)) for each in COMPRESSORS)
    yield _PLAIN + written_script([call for call in calls if call.act is Act.CLIENT])
    for place in range(2, len(calls), 3):
        told = Call(list(Act)[2 + place % (len(Act) - 2)])
        yield _PLAIN + written_script([*calls[:place], told, *calls[place:]])
    unknown = {"_id": 1, "nhs_number": sealed("nhs", "x", version=2)}
    find = Call(Act.CLIENT, command({"find": "patients", "$db": "clinic"}))
    answer = Call(Act.SERVER, reply({"cursor": {"id": 0, "ns": "clinic.patients", "firstBatch": [unknown]}}))
    yield _PLAIN + written_script([find, answer, Call(Act.KEYS_LOADED)])
    yield _PLAIN + written_script([find, answer, Call(Act.TICK), find, answer])
    for number, body in enumerate(_BODIES):
        asked = Call(Act.CLIENT, command({**body, "$db": "clinic"}, number))
        answers = Call(Act.SERVER, reply({"ok": 1.0, "value": unknown, "n": 1}, number))
        yield _PLAIN + written_script([asked, answers])
    for table in (SECTIONS, SHAPES):
        for message in table.values():
            yield _PLAIN + written_script([Call(Act.CLIENT, message)])


_MATCH: dict[str, Any] = {"nhs_number": {"$in": ["x", "y"]}, "visits": 7}
_BODIES: list[dict[str, Any]] = [
    {
        "aggregate": "patients",
        "pipeline": [{"$match": _MATCH}, {"$group": {"_id": "$nhs_number"}}],
        "cursor": {},
    },
    {
        "aggregate": "patients",
        "pipeline": [
            {
                "$lookup": {
                    "from": "patients",
                    "localField": "tags",
                    "foreignField": "nhs_number",
                    "as": "same",
                }
            },
            {"$unwind": "$same"},
            {"$project": {"is": {"$eq": ["$nhs_number", "x"]}}},
        ],
        "cursor": {},
    },
    {
        "bulkWrite": 1,
        "ops": [{"insert": 0, "document": {"tags": ["x"]}}],
        "nsInfo": [{"ns": "clinic.patients"}],
    },
    {"findAndModify": "patients", "query": _MATCH, "update": {"$push": {"tags": "x"}}, "upsert": True},
    {"delete": "patients", "deletes": [{"q": _MATCH, "limit": 1}]},
    {"distinct": "patients", "key": "nhs_number", "query": _MATCH},
    {"count": "patients", "query": {"contact": {"email": "x"}}},
    {"createIndexes": "patients", "indexes": [{"key": {"nhs_number": 1}, "name": "n"}]},
    {
        "create": "patients",
        "validator": {"$jsonSchema": {"properties": {"nhs_number": {"bsonType": "string"}}}},
    },
    {"explain": {"find": "patients", "filter": _MATCH}, "verbosity": "queryPlanner"},
    {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"n,,n=user,r=nonce"},
    {"logout": 1},
    {"lookUp": "patients", "unknown": "x"},
]


def kept(target: str) -> list[bytes]:
    """What a target is tried with in `make test`: its corpus, and what was found once."""
    return [
        bytes.fromhex(line)
        for folder in (CORPUS, CRASHERS)
        if (file := folder / f"{target}.hex").exists()
        for line in file.read_text().splitlines()
        if not line.startswith("#")
    ]


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    for target, inputs in seeds().items():
        lines = dict.fromkeys(data.hex() for data in inputs if len(data) <= _LONGEST)
        (CORPUS / f"{target}.hex").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()


# Changes to a script that keep its frames whole, so that a fuzzer gets behind the first length.


Mutate = Callable[[bytes, int], bytes]
"""The fuzzer's own change of bytes: what to change, and how long it may become."""

_HEADER_BYTES = 16
_LENGTH = struct.Struct("<i")


def reframed(message: bytes) -> bytes:
    """A message whose header says how long it is."""
    return _LENGTH.pack(len(message)) + message[4:]


def mutated_script(script: bytes, most_bytes: int, seed: int, mutate: Mutate) -> bytes:
    """A change of one message, of the order of calls, or of any bytes."""
    chance = random.Random(seed)
    calls = list(calls_of(script))
    if not calls or chance.random() < 0.1:
        return mutate(script, most_bytes)
    change = chance.choice([_inside, _inside, _inside, _inside, _doubled, _left_out, _swapped, _told, _cut])
    return written_script(change(calls, chance, mutate))[:most_bytes]


def _inside(calls: list[Call], chance: random.Random, mutate: Mutate) -> list[Call]:
    """Bytes of one message, the length in its header corrected."""
    place = chance.randrange(len(calls))
    call = calls[place]
    room = min(len(call.data) + 64, MOST_BYTES)
    if len(call.data) < _HEADER_BYTES:
        return calls
    data = reframed(call.data[:4] + mutate(call.data[4:], room - 4)[: room - 4])
    return [*calls[:place], Call(call.act, data), *calls[place + 1 :]]


def _doubled(calls: list[Call], chance: random.Random, _: Mutate) -> list[Call]:
    place = chance.randrange(len(calls))
    return [*calls[:place], calls[place], *calls[place:]]


def _left_out(calls: list[Call], chance: random.Random, _: Mutate) -> list[Call]:
    place = chance.randrange(len(calls))
    return [*calls[:place], *calls[place + 1 :]]


def _swapped(calls: list[Call], chance: random.Random, _: Mutate) -> list[Call]:
    one, other = chance.randrange(len(calls)), chance.randrange(len(calls))
    calls[one], calls[other] = calls[other], calls[one]
    return calls


def _told(calls: list[Call], chance: random.Random, _: Mutate) -> list[Call]:
    """A call without bytes, somewhere."""
    place = chance.randrange(len(calls) + 1)
    return [*calls[:place], Call(chance.choice(list(Act)[2:])), *calls[place:]]


def _cut(calls: list[Call], chance: random.Random, _: Mutate) -> list[Call]:
    """One chunk as two."""
    place = chance.randrange(len(calls))
    call = calls[place]
    at = chance.randrange(len(call.data) + 1)
    parts = [Call(call.act, call.data[:at]), Call(call.act, call.data[at:])]
    return [*calls[:place], *parts, *calls[place + 1 :]]
