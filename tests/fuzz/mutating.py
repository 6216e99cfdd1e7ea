"""Changes to a script that keep its frames whole, so that a fuzzer gets behind the first length."""

import random
import struct
from collections.abc import Callable

from tests.fuzz.script import MOST_BYTES, Act, Call, calls_of, written_script

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
