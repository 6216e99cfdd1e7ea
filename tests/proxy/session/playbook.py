"""Script a whole conversation and check every effect of it, in order.

    play >> client(message) << to_server(message) >> server(answer) << to_client(answer)

`>>` gives the session an input; it is an error when an effect of the input before was not expected. `<<`
names the next effect: what is written, needed, closed and audited, in the order of the session. Counts come
in any order and are summed in `counts`. Call `finish` at the end; the `play` fixture does.
"""

import difflib
import struct
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.effects import (
    Audit,
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    NeedKeys,
    PauseClient,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.requests import split_label
from sealwire.proxy.session.session import Session
from tests.proxy.session.world import body_of, decoded, load_keys, opened, sections


@dataclass(frozen=True, slots=True)
class Input:
    """One call of a session's method."""

    name: str
    call: Callable[[Session], list[Effect]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the next effect has to be. `difference` is empty when it is."""

    name: str
    difference: Callable[[Effect], str] = field(repr=False)


class Playbook:
    """One session and what happened to it so far."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.counts: Tally[tuple[Counter, str]] = Tally()
        self._steps: list[str] = []
        self._unexpected: list[Effect] = []

    def __rshift__(self, given: Input) -> "Playbook":
        self.finish()
        self._steps.append(f">> {given.name}")
        for effect in given.call(self.session):
            if isinstance(effect, Count):
                self.counts[effect.counter, effect.label] += effect.amount
            else:
                self._unexpected.append(effect)
        return self

    def __lshift__(self, expected: Expected) -> "Playbook":
        if not self._unexpected:
            self._fail(f"expected {expected.name}, and nothing happened")
        effect = self._unexpected.pop(0)
        difference = expected.difference(effect)
        if difference:
            self._fail(f"expected {expected.name}, and it was\n{difference}")
        self._steps.append(f"<< {expected.name}")
        return self

    def finish(self) -> None:
        """Fail when something happened that no step expected."""
        if self._unexpected:
            self._fail("not expected:\n" + "\n".join(describe(effect) for effect in self._unexpected))

    def count(self, counter: Counter, label: str = "") -> int:
        """The sum of a counter so far; `label` of a command is its name, whatever the collection."""
        return sum(
            amount
            for (counted, said), amount in self.counts.items()
            if counted is counter and label in (said, split_label(said)[0])
        )

    def _fail(self, problem: str) -> None:
        story = "\n".join(self._steps)
        raise AssertionError(f"{problem}\nafter\n{story}")


def client(*messages: bytes) -> Input:
    """Bytes from the client, in one chunk."""
    data = b"".join(messages)
    return Input(f"client({_title(data)})", lambda session: session.client_data(data))


def server(*messages: bytes) -> Input:
    """Bytes from the server, in one chunk."""
    data = b"".join(messages)
    return Input(f"server({_title(data)})", lambda session: session.server_data(data))


def client_eof() -> Input:
    """The client closes."""
    return Input("client_eof", lambda session: session.client_eof())


def server_eof() -> Input:
    """The server closes."""
    return Input("server_eof", lambda session: session.server_eof())


def keys_loaded(keyring: Keyring | None) -> Input:
    """The shell has loaded the keyring, or could not."""
    return Input("keys_loaded", lambda session: load_keys(session, keyring))


def use_keyring(keyring: Keyring) -> Input:
    """The shell has another keyring for all sessions."""

    def use(session: Session) -> list[Effect]:
        session.shared.use_keyring(keyring)
        return []

    return Input("use_keyring", use)


def tick(now_s: float) -> Input:
    """The clock."""
    return Input(f"tick({now_s})", lambda session: session.tick(now_s))


def drain() -> Input:
    """The process is asked to stop."""
    return Input("drain", lambda session: session.drain())


def to_server(data: bytes) -> Expected:
    """Exactly these bytes are written to the server."""
    return _is(ToServer(data))


def to_client(data: bytes) -> Expected:
    """Exactly these bytes are written to the client."""
    return _is(ToClient(data))


def need_keys(*keys: tuple[int, int]) -> Expected:
    """The shell is asked for these (class id, version) pairs."""
    return _is(NeedKeys(keys))


def pause(paused: bool) -> Expected:
    """The client is read no more, or again."""
    return _is(PauseClient(paused))


def close(reason: CloseReason, detail: str | None = None) -> Expected:
    """The session ends; without `detail`, whatever it says about it."""

    def difference(effect: Effect) -> str:
        same = isinstance(effect, Close) and effect.reason is reason and detail in (None, effect.detail)
        return "" if same else describe(effect)

    return Expected(f"close({reason.value}, {detail})", difference)


def audit(event: str, namespace: str, name: str, reason: str, path: str = "", purpose: str = "") -> Expected:
    """A line for the audit, whoever has sent the command."""
    wanted = Audit(event, namespace, name, reason, path, purpose)

    def difference(effect: Effect) -> str:
        found = replace(effect, users=None) if isinstance(effect, Audit) else effect
        return "" if found == wanted else _diff(describe(wanted), describe(effect))

    return Expected(describe(wanted).splitlines()[0], difference)


def error(code: int, code_name: str, response_to: int = 1) -> Expected:
    """A command error of the proxy's own: the four fields and no more, in an OP_MSG to `response_to`."""

    def difference(effect: Effect) -> str:
        if not isinstance(effect, ToClient):
            return describe(effect)
        size, _, answers, op_code, flags = struct.unpack_from("<iiiiI", effect.data)
        if (size, answers, op_code, flags) != (len(effect.data), response_to, 2013, 0):
            return describe(effect)
        body = body_of(effect.data)
        shape = {"ok": 0.0, "errmsg": body.get("errmsg"), "code": code, "codeName": code_name}
        return "" if body == shape and isinstance(body["errmsg"], str) else describe(effect)

    return Expected(f"error({code}, {code_name})", difference)


def to_server_opened(name: str, documents: dict[str, Any] | list[dict[str, Any]]) -> Expected:
    """A message to the server whose section `name` holds these documents once its envelopes are decrypted.

    For what is encrypted in random mode, whose bytes no test can know.
    """
    wanted = documents if isinstance(documents, list) else [documents]

    def difference(effect: Effect) -> str:
        if not isinstance(effect, ToServer):
            return describe(effect)
        found = [opened(decoded(item)) for item in dict(sections(effect.data))[name]]
        return "" if found == wanted else _diff(str(wanted), str(found))

    return Expected(f"to_server_opened({name!r})", difference)


def _is(wanted: Effect) -> Expected:
    def difference(effect: Effect) -> str:
        return "" if effect == wanted else _diff(describe(wanted), describe(effect))

    return Expected(describe(wanted).splitlines()[0], difference)


def _diff(wanted: str, found: str) -> str:
    lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "expected", "found", lineterm="")
    return "\n".join(lines)


def describe(effect: Effect) -> str:
    """An effect in lines that a diff can tell apart: messages by header, section and document."""
    if isinstance(effect, ToServer | ToClient):
        return f"{type(effect).__name__} {_title(effect.data)}\n" + "\n".join(_lines(effect.data))
    return repr(effect)


def _title(data: bytes) -> str:
    if len(data) < 16:
        return data.hex()
    size, request_id, response_to, op_code = struct.unpack_from("<iiii", data)
    return f"op {op_code}, id {request_id}, to {response_to}, {size} of {len(data)} bytes"


def _lines(data: bytes) -> list[str]:
    if len(data) > 20 and struct.unpack_from("<i", data, 12)[0] == 2013:
        try:
            parts = sections(data)
            return [
                f"  {name or 'body'}: {decoded(item)}" for name, documents in parts for item in documents
            ] + [f"  {data.hex()}"]
        except Exception as broken:  # noqa: BLE001 - a picture for people: any bytes must give one
            return [f"  {type(broken).__name__}: {data.hex()}"]
    return [f"  {data.hex()}"]
