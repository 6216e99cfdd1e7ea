"""What all sessions of one process share: settings, keys, and what is remembered under them.

The proxy owns it, and nobody else replaces settings or keyring. It has the clock: it gives up a keyring that
is too old (`proxy.server.key_feed`). Nothing else here ages. What sessions remember depends on the policy or
on the keys alone, and goes with them. All sessions of a process run in one thread.
"""

import hmac
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from functools import lru_cache
from os import urandom
from typing import Final, NamedTuple, final

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import binary
from sealwire.keys.contexts.cache import ContextCache, Opener
from sealwire.keys.keyring.keyring import Keyring, OpenEnvelope
from sealwire.policies.commands.command import Target
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.plan import Openings
from sealwire.policies.questions import USUAL_BOUNDS, QuestionBounds
from sealwire.policies.questions.asked import ValuesQuestion
from sealwire.policies.questions.conditions import SortOrder
from sealwire.proxy.session.auditing.commands import CommandAuditor
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope, Reveal
from sealwire.proxy.session.effects import Count
from sealwire.proxy.session.login.identities import Identities
from sealwire.proxy.session.moving.moves import Moves
from sealwire.proxy.session.requests import CommandCounts, Request
from sealwire.proxy.session.revealing.cursors import OpenCursors
from sealwire.proxy.session.revealing.documents_read import HourlyCount, ReplyDocuments
from sealwire.proxy.session.revealing.plaintext import PlaintextWatch
from sealwire.proxy.session.watch import CommandWatch
from sealwire.wire.compressors import Compressor
from sealwire.wire.framing import MAX_MESSAGE_BYTES

MAX_KEPT_VALUES: Final = 73_100
"""Two centuries of days under one key: about 12 MB in all."""


def _encrypted(cipher: ValueCipher, kind: int, value: bytes) -> bytes:
    return binary(cipher.encrypt_deterministically(kind, value))


@final
class Grids:
    """Ciphertexts of the values of ranges.

    Ranges over the same years are asked again and again, and each value costs an AES-SIV call. These are
    ciphertexts of whole grids, which say nothing about what is stored; see the threat model.
    """

    __slots__ = ("_clear", "encrypted")

    def __init__(self) -> None:
        kept = lru_cache(MAX_KEPT_VALUES)(_encrypted)
        self.encrypted: Callable[[ValueCipher, int, bytes], bytes] = kept
        """From a cipher, a BSON type and a value to a BSON Binary."""
        self._clear = kept.cache_clear

    def clear(self) -> None:
        """Forget all of them, and with them the ciphers under which they lie."""
        self._clear()


MAX_REJECTED_BYTES: Final = 32_000_000
"""For all questions together, some 150,000 values."""
_REJECTED_BYTES: Final = 120
"""A value takes so much beside the bytes of its document: the object, and its place in a set."""
_QUESTION_BYTES: Final = 500
"""A question takes so much without any."""
_LEFT_BYTES: Final = 40
MOST_LEFT: Final = 200
"""So many documents of a reply that is kept are judged again."""
_ANY_ORDER: Final = SortOrder(is_descending=False, enough=None, among=None)
"""Documents of answers for an order have a count, so they are kept apart."""


class KnownBatch(NamedTuple):
    """A whole reply, so that not even its documents need be looked at one by one."""

    rejected: int
    """How many of its documents do not satisfy the question."""
    left: tuple[int, ...]
    """Where in it the others begin."""


@final
class Verdicts:
    """What is known of the answers to one question."""

    __slots__ = ("batches", "bytes", "documents")

    def __init__(self) -> None:
        self.documents: Final[set[bytes]] = set()
        """Those whose one value does not satisfy it."""
        self.batches: Final[dict[bytes, KnownBatch]] = {}
        """By `Rejected.digest_of`. A batch is the same again for as long as nobody stores another value."""
        self.bytes = _QUESTION_BYTES


@final
class Rejected:
    """Documents of answers whose one value does not satisfy a question: they need not be opened again.

    An authentic envelope has one value forever, so the verdict is the same each time. Only this one is kept:
    a value that satisfies a question is opened each time, under the keys that count then. What is held are
    ciphertexts and keyed digests, of which one is in place of the question.
    """

    __slots__ = ("_bytes", "_key", "_verdicts")

    def __init__(self) -> None:
        self._key: Final = urandom(32)
        self._verdicts: dict[bytes, Verdicts] = {}
        """By the digest of the question; those asked last are at the end."""
        self._bytes = 0

    def of(self, question: ValuesQuestion) -> Verdicts:
        """Those that are known for a question, to add to before anything else is asked. Cost: O(operands)."""
        # where a value is stored changes nothing about it, nor does how much of an order is wanted
        order = None if question.order is None else _ANY_ORDER
        asked = replace(question, namespace="", path="", order=order, among=b"", needs_newest=False)
        # not of the question's own `repr`, which shows no operands
        digest = self.digest_of(repr(astuple(asked)).encode())
        known = self._verdicts.pop(digest, None)
        if known is None:
            known = Verdicts()
            self._has_room(_QUESTION_BYTES, known)
            self._bytes += _QUESTION_BYTES
        self._verdicts[digest] = known
        return known

    def digest_of(self, data: bytes) -> bytes:
        """What stands for these bytes here. Cost: 1 us a KiB."""
        return hmac.digest(self._key, data, "sha256")

    def add(self, known: Verdicts, document: bytes) -> None:
        """Keep a document, if need be in the place of those of questions that were asked before.

        One that is kept already counts once. It is judged again where each operator has a list of its own.
        """
        if document not in known.documents and self._takes(known, len(document) + _REJECTED_BYTES):
            known.documents.add(document)

    def add_batch(self, known: Verdicts, digest: bytes, batch: KnownBatch) -> None:
        """Keep a reply, if few of its documents have to be judged again."""
        size = 2 * _REJECTED_BYTES + _LEFT_BYTES * len(batch.left)
        if digest not in known.batches and len(batch.left) <= MOST_LEFT and self._takes(known, size):
            known.batches[digest] = batch

    def _takes(self, known: Verdicts, size: int) -> bool:
        if not self._has_room(size, known):
            return False
        known.bytes += size
        self._bytes += size
        return True

    def _has_room(self, size: int, known: Verdicts) -> bool:
        """Forget whole questions if need be, and never the one at hand."""
        while self._verdicts and self._bytes + size > MAX_REJECTED_BYTES:
            oldest = next(iter(self._verdicts))
            if self._verdicts[oldest] is known:
                break
            self._bytes -= self._verdicts.pop(oldest).bytes
        return self._bytes + size <= MAX_REJECTED_BYTES

    def clear(self) -> None:
        """Other keys or another policy count."""
        self._verdicts.clear()
        self._bytes = 0


# ----------------------------- the memory of commands that pass: what to count, and what their replies need

# Names come from clients; an application that reads collections without end must not make this grow.
_MAX_REMEMBERED: Final = 4096
# A namespace of 255 bytes, which no server has longer, and what is around it.
_LONGEST_TARGET: Final = 512

_MAX_AT_PATHS: Final = 65_536
"""Servers have fewer cursors open. Of one that is forgotten only its mark says where it is opened."""
_MAX_READ: Final = 4096
"""Cursors of clients with roles."""


@final
class PassingCommands:
    """Targets of which the planner has said that their commands pass; shared by all sessions of a policy.

    Only what rests on the policy alone is remembered, and a policy never changes. What the server has said of
    a name counts once, for one command, and is no reason to remember anything.
    """

    __slots__ = ("_known", "planned")

    def __init__(self, planned: frozenset[bytes] = frozenset()) -> None:
        self.planned = planned
        """Names of collections whose commands are most likely planned: not looked for here."""
        self._known: dict[Target, tuple[Request, Count]] = {}

    def get(self, target: Target) -> tuple[Request, Count] | None:
        """What a command on this target is awaited and counted as, when it may pass. Cost: O(1)."""
        return self._known.get(target)

    def remember(self, target: Target, request: Request, count: Count) -> None:
        """The planner let a command on `target` pass untouched, and asked nobody for it."""
        if len(target) > _LONGEST_TARGET:
            return
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[target] = request, count


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What configuration and policy say to sessions."""

    policy: PolicySet
    max_message_bytes: int = MAX_MESSAGE_BYTES
    key_wait_s: float = 10.0
    first_message_s: float = 10.0
    """How long a client may take for its first message; drivers send it at once."""
    login_required: bool = True
    """Whether the server has access control: before a login only handshake and authentication pass."""
    reveal: Reveal = Reveal.PROTECTED
    former: tuple[PolicySet, ...] = ()
    """Policies that counted before this one: cursors that were opened under them are still read."""
    workers: int = 1
    """How many processes share what roles limit: each grants its part."""
    identities: Identities = field(default_factory=dict)
    """As whom clients are logged in that have shown a certificate."""
    questions: QuestionBounds = USUAL_BOUNDS
    """What answering a question about stored values may take."""
    audit: CommandAudit | None = None
    """Which commands are on record; None: those that are refused, and no other."""
    compress_to_clients: tuple[Compressor, ...] = ()
    """What clients are offered."""
    compress_to_server: tuple[Compressor, ...] = ()
    """What the server is offered, in the order of preference."""

    @property
    def audits_passing(self) -> bool:
        """Whether commands on what the policy does not cover are on record too, or may be."""
        if self.audit is None or self.audit.scope is CommandScope.REFUSED:
            return False
        return self.audit.scope is CommandScope.ALL or self.reveal is Reveal.EVERYWHERE

    @property
    def policies(self) -> tuple[PolicySet, ...]:
        """The policy that counts, and those that did."""
        return (self.policy, *self.former)


@final
class Shared:
    """What all sessions of one process share; see the module."""

    __slots__ = (
        "at_paths",
        "auditor",
        "comparisons",
        "contexts",
        "counts",
        "grids",
        "keyring",
        "moves",
        "open_envelope",
        "passing",
        "plaintext",
        "probe_mark",
        "read_cursors",
        "reads",
        "rejected",
        "settings",
        "watch",
    )

    def __init__(
        self, settings: SessionSettings, keyring: Keyring, contexts: ContextCache | None = None
    ) -> None:
        self.settings = settings
        self.keyring = keyring
        self.contexts = contexts
        """The keys of contexts that are at hand; None where the process has no store of them."""
        self.open_envelope = self._opener(keyring)
        """Opens an envelope with what is at hand."""
        self.passing = PassingCommands(settings.policy.collection_names)
        """Which commands need not be planned again."""
        self.counts = CommandCounts(settings.policy)
        """Under what commands are counted."""
        self.grids = Grids()
        self.rejected = Rejected()
        """What need not be judged again."""
        self.moves = Moves()
        """Classes that move to another key, as far as this process knows."""
        self.plaintext = PlaintextWatch()
        """In which replies plaintext is looked for."""
        self.at_paths = OpenCursors[Openings](_MAX_AT_PATHS)
        """Which cursors on protected collections are opened at some paths only. Their marks say it too, but a
        client may leave the mark out."""
        self.reads = HourlyCount()
        """How many documents clients were shown whose roles have a limit."""
        self.comparisons = HourlyCount("comparisons")
        """How many constants they had compared with stored values."""
        self.read_cursors = OpenCursors[ReplyDocuments](_MAX_READ)
        """What the open cursors of clients with roles show."""
        self.probe_mark = b""
        """What is in a hello by which this proxy looks for servers; empty: nothing is looked for."""
        self.watch: CommandWatch | None = None
        """Takes notes of commands while somebody asks."""
        self.auditor = CommandAuditor()
        """What is remembered of commands that are on record."""

    def __repr__(self) -> str:
        return f"Shared({self.keyring!r})"

    def use_settings(self, settings: SessionSettings) -> None:
        """Another policy or other rules count from the next command on. Tell each session afterwards."""
        self.settings = settings
        self.passing = PassingCommands(settings.policy.collection_names)
        self.counts = CommandCounts(settings.policy)
        self.plaintext.forget()
        self.auditor.forget()
        self.rejected.clear()

    def use_keyring(self, keyring: Keyring) -> None:
        """Another keyring counts from the next message on."""
        self.keyring = keyring
        self.open_envelope = self._opener(keyring)
        self.grids.clear()
        self.rejected.clear()
        if self.contexts is not None:
            # what wraps them may have been destroyed
            self.contexts.clear()

    def _opener(self, keyring: Keyring) -> OpenEnvelope:
        return (
            keyring.open_envelope if self.contexts is None else Opener(keyring, self.contexts).open_envelope
        )
