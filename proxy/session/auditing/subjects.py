"""Whose documents a reply shows: their identifiers, or the values that lead to them, as pseudonyms.

Only where documents come as the collection has them: elsewhere a path says nothing of where a value comes
from, and the documents count as nobody's. Source of the paths: `policies.file.schema`.
"""

from typing import Final, final

from sealwire.crypto.envelope import BINARY_HEAD, is_envelope
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.contexts.cache import ContextKeysMissing
from sealwire.keys.errors import KeyDestroyed, UnknownKey
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, PolicySet, identifiers
from sealwire.policies.file.stored import StoredValues
from sealwire.proxy.session.auditing.gathered import Gathered
from sealwire.proxy.session.auditing.settings import IDENTIFIER, Pseudonym
from sealwire.proxy.session.revealing.plaintext import is_encrypted
from sealwire.proxy.session.revealing.reveal import OpenEnvelope
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import Cursor

# Names of collections come from the server and from clients, with patterns in a policy without end.
_MAX_KNOWN: Final = 1024
# No server has a longer one.
_LONGEST_NAMESPACE: Final = 255

_UNREADABLE: Final = (
    *(BsonError, InvalidEnvelope, DecryptionFailed, KeyDestroyed, UnknownKey, ContextKeysMissing),
)

_LINKING: Final = FieldClass("link", Mode.DETERMINISTIC, None)
"""Stands at the end of a path that is walked like that of a class: through arrays, to each value."""


@final
class SubjectPaths:
    """Where the documents of one collection say whose they are."""

    __slots__ = ("_tree", "domain", "identifiers", "link")

    def __init__(self, paths: list[str], domain: str, *, is_link: bool = False) -> None:
        self._tree = _tree(paths)
        names = [path.encode("utf-8", "surrogateescape") for path in paths]
        self.domain = domain
        """What their values are, as a Pseudonym takes it."""
        self.link = names[0] if is_link else b""
        """The one path, where it leads to another collection; empty where there are identifiers."""
        self.identifiers = frozenset() if is_link else frozenset(names)

    def look(
        self,
        buf: bytes,
        start: int,
        pseudonym: Pseudonym,
        open_envelope: OpenEnvelope | None,
        found: dict[str, None],
    ) -> bool:
        """Add whose the document at `start` is; False: it does not say. Cost: O(elements on the way)."""
        said = False
        try:
            walk = StoredValues(buf, self._tree, start)
            while walk.next_value():
                kind, value = walk.kind, buf[walk.value : walk.end]
                if is_envelope(kind, value):
                    if open_envelope is None:
                        continue
                    kind, value = open_envelope(value, BINARY_HEAD, len(value))
                found[pseudonym(self.domain, kind, value)] = None
                said = True
        except _UNREADABLE:  # what is wrong with a reply, others say
            return said
        return said

    def says(self, buf: bytes, start: int) -> bool:
        """Whether the document at `start` says whose it is, in clear. Cost: O(elements on the way)."""
        try:
            return StoredValues(buf, self._tree, start).next_value()
        except BsonError:
            return False


@final
class SubjectPolicy:
    """The paths of each collection, by one policy."""

    __slots__ = ("_known", "policy")

    def __init__(self, policy: PolicySet) -> None:
        self.policy = policy
        self._known: dict[str, SubjectPaths | None] = {}

    def paths_of(self, namespace: str) -> SubjectPaths | None:
        """Where its documents say whose they are; None: nowhere. Cost: one look-up, after the first time."""
        if namespace in self._known:
            return self._known[namespace]
        if len(namespace) > _LONGEST_NAMESPACE:
            return _paths_of(self.policy, namespace)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        found = self._known[namespace] = _paths_of(self.policy, namespace)
        return found


def _paths_of(policy: PolicySet, namespace: str) -> SubjectPaths | None:
    subjects = policy.subjects
    if subjects is None:
        return None
    node = policy.covered(namespace)
    if node is not None:
        paths = identifiers(subjects, node)
        if paths:
            return SubjectPaths(list(paths), IDENTIFIER)
    link = subjects.link_of(namespace)
    if link is None:
        return None
    return SubjectPaths([link.source.path], str(link.target), is_link=True)


def _tree(paths: list[str], path: str = "") -> PathNode:
    """The tree of some paths, none of which leads through another."""
    if "" in paths:
        return PathNode(path, leaf=_LINKING)
    heads: dict[str, list[str]] = {}
    for each in paths:
        head, _, rest = each.partition(".")
        heads.setdefault(head, []).append(rest)
    children = {
        head.encode("utf-8", "surrogateescape"): _tree(rests, f"{path}.{head}" if path else head)
        for head, rests in heads.items()
    }
    return PathNode(path, children)


@final
class InClear:
    """Classes whose values may rightly be stored in clear, in the documents of one collection."""

    __slots__ = ("_classes", "_tree")

    def __init__(self, tree: PathNode, classes: frozenset[str]) -> None:
        self._tree = tree
        self._classes = classes

    def count(self, buf: bytes, start: int, found: dict[str, int]) -> None:
        """Add the values in clear of the document at `start`, as the server sent it, by their class."""
        try:
            walk = StoredValues(buf, self._tree, start)
            while walk.next_value():
                name = walk.leaf.name
                if name in self._classes and not (
                    walk.kind == kinds.BIN_DATA and is_encrypted(buf, walk.value)
                ):
                    found[name] = found.get(name, 0) + 1
        except BsonError:  # what is wrong with a reply, others say
            return


@final
class DocumentsShown:
    """The documents of one reply: how many, and whose."""

    __slots__ = (
        "_clear",
        "_open",
        "_paths",
        "_pseudonym",
        "documents",
        "gathered",
        "read",
        "subjects",
        "unknown",
    )

    def __init__(
        self,
        paths: SubjectPaths | None,
        pseudonym: Pseudonym | None,
        open_envelope: OpenEnvelope,
        clear: InClear | None,
        gathered: Gathered | None = None,
    ) -> None:
        """`open_envelope` opens identifiers in documents as the server sent them. `gathered`: what counts
        documents that do not come as the collection has them."""
        self.gathered = gathered
        self._clear = clear
        self.read: dict[str, int] = {}
        """By class, how many values there were that rightly are in clear."""
        self._open = open_envelope
        self._paths = paths
        self._pseudonym = pseudonym
        self.documents = 0
        self.subjects: dict[str, None] = {}
        self.unknown = 0

    def batch(self, buf: bytes, start: int) -> None:
        """The documents in the array at `start`. Raises BsonError. Cost: O(documents)."""
        cursor = Cursor(buf, start)
        while cursor.advance():
            if cursor.kind == kinds.OBJECT:
                self.document(buf, cursor.value)

    def values(self, buf: bytes, start: int) -> None:
        """The distinct values in the array at `start`, each for a document. Raises BsonError."""
        if self.gathered is not None:
            self.gathered.look(buf, start)
        cursor = Cursor(buf, start)
        while cursor.advance():
            self.not_looked_at()

    def document(self, buf: bytes, start: int) -> None:
        """One more."""
        self.documents += 1
        if self.gathered is not None:
            self.gathered.look(buf, start)
        if self._clear is not None:
            self._clear.count(buf, start, self.read)
        if self._pseudonym is not None and (
            self._paths is None
            or not self._paths.look(buf, start, self._pseudonym, self._open, self.subjects)
        ):
            self.unknown += 1

    def part(self, buf: bytes, depth: int) -> None:
        """Some elements of a container in a long document, `depth` levels below it."""
        if self.gathered is not None:
            self.gathered.run(buf, depth)

    def not_looked_at(self) -> None:
        """One that is not looked at: it is too long, or no document."""
        self.documents += 1
        self.unknown += self._pseudonym is not None
