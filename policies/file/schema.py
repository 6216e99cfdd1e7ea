"""The policy as frozen types: classes, and which paths of which collections they cover."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import RangeDomain
from sealwire.policies.roles.role import Roles
from sealwire.wire import kinds

# ----------------------------------------------------------------------------------- whose data documents are
#
# Every path of the class is an identifier. A document without one belongs to a person through a link: the
# value at one of its paths is that of a path of another collection, whose document has an identifier or a
# link.


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """A path of a collection."""

    namespace: str
    path: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.path}"


@dataclass(frozen=True, slots=True)
class Link:
    """Documents at `source` belong to whoever the document with the same value at `target` belongs to."""

    source: LinkEnd
    target: LinkEnd


@dataclass(frozen=True, slots=True)
class Subjects:
    """How a policy says whose data documents are."""

    class_name: str
    links: tuple[Link, ...] = ()
    """At most one from each collection; none leads back to its own."""

    def link_of(self, namespace: str) -> Link | None:
        """The link of the documents of a collection. Cost: O(links)."""
        return next((link for link in self.links if link.source.namespace == namespace), None)


# -------------------------------------------------------------------- classes, and their paths in collections

# Look-ups by namespace are remembered, patterns and misses included; an application that makes collections
# without end must not make this grow without end.
_MAX_REMEMBERED_NAMESPACES: Final = 4096
# No server has a longer one; a client may write 20 MB where a name belongs.
_LONGEST_NAMESPACE: Final = 255

SERVER_DATABASES: Final = frozenset({"admin", "config", "local"})
"""Databases that hold what every server keeps for itself."""

PER_DATABASE: Final = b"$database"
"""A class with this for `FieldClass.per` has a key for each database."""

BESIDE: Final = b"./"
"""What follows this in `FieldClass.per` is a path from the document that holds the value, however deep."""


class Mode(Enum):
    """How a class encrypts."""

    DETERMINISTIC = "deterministic"
    """Equal values give equal ciphertext: equality, joins, grouping and unique indexes work."""
    RANDOM = "random"
    """Equal values give different ciphertext: nothing can be searched, nothing can be compared."""


class ValueType(Enum):
    """The types that a deterministic class may declare, by their `$type` names.

    Decimal and documents are missing on purpose: equal values of these have several encodings, so equality
    of ciphertext would not be equality of values.
    """

    STRING = "string"
    INT = "int"
    LONG = "long"
    DOUBLE = "double"
    DATE = "date"
    OBJECT_ID = "objectId"
    BIN_DATA = "binData"
    BOOL = "bool"

    @property
    def kind(self) -> int:
        """The BSON type that values of this class are stored as."""
        return _KINDS[self]


_KINDS: Final = {
    ValueType.STRING: kinds.STRING,
    ValueType.INT: kinds.INT,
    ValueType.LONG: kinds.LONG,
    ValueType.DOUBLE: kinds.DOUBLE,
    ValueType.DATE: kinds.DATE,
    ValueType.OBJECT_ID: kinds.OBJECT_ID,
    ValueType.BIN_DATA: kinds.BIN_DATA,
    ValueType.BOOL: kinds.BOOL,
}


# Doubles are missing for -0.0 and NaN, binaries for the subtype of client-side encryption.
_ONE_ENCODING: Final = frozenset(
    {kinds.STRING, kinds.INT, kinds.LONG, kinds.DATE, kinds.OBJECT_ID, kinds.BOOL}
)


class Rotation(Enum):
    """How often a class gets a new key."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"

    @property
    def every(self) -> timedelta:
        """How old the key may become that encrypts."""
        return _ROTATED_EVERY[self]


_ROTATED_EVERY: Final = {
    Rotation.MONTHLY: timedelta(days=30),
    Rotation.QUARTERLY: timedelta(days=90),
    Rotation.YEARLY: timedelta(days=365),
}


@dataclass(frozen=True, slots=True)
class FieldClass:
    """One key and one equality domain. Fields of the same class compare equal, others never do."""

    name: str
    mode: Mode
    value_type: ValueType | None
    """Declared in deterministic mode; None in random mode, which takes any type."""
    domain: RangeDomain | None = None
    """The grid on which all values lie, when ranges are to work; then every path holds single values."""
    per: bytes | None = None
    """What each context is, where each has a key of its own: the path of a field of the same document that
    is stored in clear, behind BESIDE one of the same sub-document, or PER_DATABASE. None: the class has one
    key."""
    accepts_plaintext: bool = field(default=False, compare=False)
    """Whether values may be stored in clear that no filter finds: the operator knows of them."""
    rotation: Rotation | None = field(default=None, compare=False)
    """How often its key is rotated, which the calendar of keys reads. None: the policy does not say."""
    asks: bool = field(default=False, compare=False)
    """Whether the server is asked for the stored values that satisfy what ciphertext cannot answer."""

    kind: int = field(init=False, compare=False, repr=False)
    """The BSON type of `value_type`; 0, which no value has, without one."""
    _has_one_encoding: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", 0 if self.value_type is None else self.value_type.kind)
        object.__setattr__(self, "_has_one_encoding", self.kind in _ONE_ENCODING)

    def may_share_key(self, other: "FieldClass") -> bool:
        """Whether both classes make the same of each value under one key: type, grid, and no random nonce."""
        ours, theirs = ((each.mode, each.value_type, each.domain, each.per) for each in (self, other))
        return ours == theirs and self.mode is Mode.DETERMINISTIC and self.per is None

    def stores(self, kind: int) -> bool:
        """Whether every value of this BSON type is stored as it is: one encoding each, nothing to coerce."""
        return self._has_one_encoding and kind == self.kind


@dataclass(frozen=True, slots=True)
class PathNode:
    """One step of the covered paths of a document: a tree whose leaves name a class.

    Paths see through arrays as MongoDB's do, so a node stands for the value itself and for every element of
    it. An `opaque` node is a value that may hold ciphertext of unknown classes: it can be forwarded and
    nothing else, but for the children that it has: what is known of them holds.
    """

    path: str
    children: Mapping[bytes, "PathNode"] = field(default_factory=dict)
    leaf: FieldClass | None = None
    opaque: bool = False
    behind_number: "PathNode | None" = None
    """What a number in a path leads to, where a pipeline has changed this node; None: to the node itself.

    `{$unset: "phone"}` takes `phone` away and leaves the ciphertext at `5.phone` where it is.
    """
    absent: bool = False
    """Whether a stage has taken away what was here, so that no document has a value at this node.

    What is compared with it is covered all the same: a constant that was meant for it stays a secret. Where
    the node is opaque as well, a value in clear may be here, and nobody knows which of the two a constant is
    meant for: it is refused.
    """
    moved: bool = False
    """Whether a stage has put this here from elsewhere: one value may have become several, in an array."""
    _as_moved: "PathNode | None" = field(default=None, init=False, compare=False, repr=False)
    _as_absent: "PathNode | None" = field(default=None, init=False, compare=False, repr=False)
    pure: bool = field(default=False, compare=False, repr=False)
    """Whether everything at and below this node comes from documents of protected collections: a reply may be
    opened here whatever lies here. A leaf is exact, and may be opened without it."""
    within: "PathNode | None" = field(default=None, compare=False, repr=False)
    """What an opaque node is made of, where that is known: replies are opened by it, nothing is compared."""
    single: bool = field(default=False, compare=False, repr=False)
    """In such a tree: whether a node counts for a document, and not for those of an array."""
    _by_name: dict[bytes, "PathNode"] = field(init=False, compare=False, repr=False)
    """The children once more: a compiled core finds them here without a call. Saves 6 % of an insert."""
    covers: bool = field(init=False, compare=False, repr=False)
    """Whether any value at or below this node can be ciphertext."""
    reshaped: bool = field(init=False, compare=False, repr=False)
    """Whether a pipeline has changed this node or one below it, so that numbers lead elsewhere than names."""
    rearranged: bool = field(init=False, compare=False, repr=False)
    """Whether this node or one below it was moved."""
    is_ranged: bool = field(init=False, compare=False, repr=False)
    """Whether a class with a range lies here or below."""
    asks: bool = field(init=False, compare=False, repr=False)
    """Whether a class about whose stored values the server may be asked lies here or below."""
    shows: bool = field(init=False, compare=False, repr=False)
    """Whether ciphertext can be at or below this node where it is there: nothing absent counts below it."""
    holds_random: bool = field(init=False, compare=False, repr=False)
    """Whether a value at this node can hold ciphertext that does not compare equal to itself."""
    size: int = field(init=False, compare=False, repr=False)
    """Nodes of the tree; one that stands in it twice counts twice, as a walk would meet it."""
    depth: int = field(init=False, compare=False, repr=False)
    """Levels below this one."""

    def __post_init__(self) -> None:
        # counted once, from the children's counts: a pipeline can make trees that are too large to walk
        children, leaf, behind, size, depth = dict(self.children), self.leaf, self.behind_number, 1, 0
        covers, shown = leaf is not None or self.opaque, False
        reshaped, rearranged, random = behind is not None, self.moved, self.is_random
        ranged, asks = leaf is not None and leaf.domain is not None, leaf is not None and leaf.asks
        for child in children.values():
            covers, shown = covers or child.covers, shown or (child.shows and not child.absent)
            reshaped, rearranged = reshaped or child.reshaped, rearranged or child.rearranged
            random, ranged = random or child.holds_random, ranged or child.is_ranged
            asks, size, depth = asks or child.asks, size + child.size, max(depth, 1 + child.depth)
        object.__setattr__(self, "holds_random", random and not self.absent)
        if self.is_doubtful and shown:
            object.__setattr__(self, "absent", False)  # a stage has put ciphertext below it
        shown = shown or leaf is not None or self.opaque or (behind is not None and behind.shows)
        object.__setattr__(self, "_by_name", children)
        object.__setattr__(self, "children", MappingProxyType(children))
        object.__setattr__(self, "covers", covers or (behind is not None and behind.covers))
        object.__setattr__(self, "reshaped", reshaped)
        object.__setattr__(self, "rearranged", rearranged)
        object.__setattr__(self, "is_ranged", ranged)
        object.__setattr__(self, "asks", asks)
        object.__setattr__(self, "shows", shown)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "depth", depth)

    @property
    def is_random(self) -> bool:
        """Whether a value here is encrypted as a whole, or may be: to the server an array of it is none."""
        return self.opaque or (self.leaf is not None and self.leaf.mode is Mode.RANDOM)

    @property
    def is_gone(self) -> bool:
        """Whether no document has a value here."""
        return self.absent and not self.opaque

    @property
    def is_doubtful(self) -> bool:
        """Whether a value in clear may be here, or none, and constants may be meant for what was here."""
        return self.absent and self.opaque

    def mixed(self) -> "PathNode":
        """This node after something that may come from an unprotected document was put below it."""
        return replace(self, pure=False, within=None) if self.pure or self.within is not None else self

    def child(self, name: bytes) -> "PathNode | None":
        """The child of this name, if there is one. Cost: one look-up."""
        return self._by_name.get(name)

    def as_moved(self) -> "PathNode":
        """This node as it is once a stage has put it elsewhere: always the same one, so that walks know it.

        Cost: O(children) the first time, then O(1).
        """
        if self.moved:
            return self
        if self._as_moved is None:
            object.__setattr__(self, "_as_moved", replace(self, moved=True))
        return self._as_moved or self

    def as_absent(self) -> "PathNode":
        """This node once a stage has taken away what was here. As `as_moved`, of all that is below it."""
        if self.absent:
            return self
        if self._as_absent is None:
            below = self.children if not self.opaque else {n: c.as_absent() for n, c in self._by_name.items()}
            object.__setattr__(self, "_as_absent", replace(self, children=below, absent=True))
        return self._as_absent or self

    def changed(self, children: dict[bytes, "PathNode"]) -> "PathNode":
        """This node after a pipeline stage has put other fields in place of its own."""
        behind = self.behind_number or self
        # what was taken away may be there again, in part
        absent = self.is_doubtful
        return replace(self, children=children, behind_number=behind, absent=absent)


ContextField = tuple[str, bytes]
"""Where the field of a context is: the path of the document that has it, which is empty for a whole one, and
its path from there."""


def context_field(per: bytes, path: str) -> ContextField:
    """The field that says the context of a value at `path`, for a class with this `per`. Cost: O(path)."""
    if per.startswith(BESIDE):
        return path.rpartition(".")[0], per.removeprefix(BESIDE)
    return "", per


def whole_path(field: ContextField) -> bytes:
    """The path of a field of a context from the root."""
    place, path = field
    return b"%b.%b" % (place.encode(), path) if place else path


def context_fields(node: PathNode) -> dict[str, frozenset[bytes]]:
    """The fields whose values the keys of the classes below a node depend on, by place. Cost: O(its size)."""
    found: dict[str, frozenset[bytes]] = {}
    for covered, each in covered_fields(node):
        if each.per is not None and each.per != PER_DATABASE:
            place, path = context_field(each.per, covered)
            found[place] = found.get(place, frozenset()) | {path}
    return found


NOTHING: Final = PathNode("")
"""The tree of a collection or a stage output without covered fields."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A whole policy: immutable but for its memory of namespaces already looked up."""

    classes: Mapping[str, FieldClass]
    collections: dict[str, PathNode]
    """Covered paths by exact namespace."""
    patterns: tuple[tuple[str, PathNode], ...] = ()
    """Namespace patterns with `*`, in file order; an exact name goes first, then the first that matches."""
    plain: tuple[str, ...] = ()
    """Namespaces, or patterns of them, that hold nothing covered and are never views: none is asked about."""
    allowed_commands: frozenset[bytes] = frozenset()
    """Commands that the planner does not know and the operator lets pass unread."""
    subjects: Subjects | None = None
    """Whose data documents are, where the policy says so."""
    roles: Roles | None = None
    """Who may see, filter by and write what; None: everybody everything."""
    observed: frozenset[str] = frozenset()
    """Names among `collections` and `patterns` for which the file asks that nothing be done: commands are
    planned, and go as they came. Only `enforced` carries that out."""
    written: "PolicySet | None" = field(default=None, repr=False, compare=False)
    """The whole policy of the file, if this one is the part of it that is enforced."""
    _remembered: dict[str, PathNode | None] = field(default_factory=dict, repr=False, compare=False)
    has_contexts: bool = field(init=False, compare=False, repr=False)
    """Whether a class has a key for each context."""

    def __post_init__(self) -> None:
        has_contexts = any(each.per is not None for each in self.classes.values())
        object.__setattr__(self, "has_contexts", has_contexts)

    @property
    def enforced(self) -> "PolicySet":
        """The part of this policy that is carried out: observed collections are plain to it.

        Classes that only observed collections have need no key. Cost: O(paths).
        """
        if not self.observed:
            return self
        exact = {name: tree for name, tree in self.collections.items() if name not in self.observed}
        patterns = tuple(each for each in self.patterns if each[0] not in self.observed)
        kept = replace(self, collections=exact, patterns=patterns, observed=frozenset(), written=self)
        idle = self.used_classes - kept.used_classes
        classes = {name: each for name, each in self.classes.items() if name not in idle}
        return replace(kept, classes=classes, plain=(*self.plain, *sorted(self.observed)), _remembered={})

    @property
    def unprotected(self) -> tuple[str, ...]:
        """The names in the file that are only observed, sorted: of what is enforced as well."""
        return tuple(sorted((self.written or self).observed))

    @property
    def observed_trees(self) -> tuple[tuple[str, PathNode], ...]:
        """The same with their covered paths."""
        written = self.written or self
        trees = (*written.collections.items(), *written.patterns)
        return tuple(each for each in trees if each[0] in written.observed)

    def unlike(self, groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
        """The first one or two classes that must not have one key; `groups` are names of those that have.

        Names that are no class of this policy count for nothing. Cost: O(names).
        """
        for group in groups:
            present = [self.classes[name] for name in group if name in self.classes]
            for each in present:
                if not each.may_share_key(present[0]):
                    return tuple(dict.fromkeys((present[0].name, each.name)))
        return ()

    def covered(self, namespace: str) -> PathNode | None:
        """The covered paths of `database.collection`, or None when it is not protected. Cost: O(1) mostly."""
        exact = self.collections.get(namespace)
        if exact is not None or not self.patterns:
            return exact
        if namespace in self._remembered:
            return self._remembered[namespace]
        found = next((node for pattern, node in self.patterns if matches(pattern, namespace)), None)
        if self.written is not None and self.written.covered(namespace) is not found:
            found = None  # a name or pattern that is only observed goes first
        if len(namespace) > _LONGEST_NAMESPACE:
            return found
        if len(self._remembered) >= _MAX_REMEMBERED_NAMESPACES:
            self._remembered.clear()
        self._remembered[namespace] = found
        return found

    def declared(self, namespace: str) -> str:
        """The namespace or pattern of the policy that covers `namespace`; empty if none does."""
        if namespace in self.collections:
            return namespace
        if self.written is not None and self.covered(namespace) is None:
            return ""  # only observed: the pattern that matches as well does not protect it
        return next((pattern for pattern, _ in self.patterns if matches(pattern, namespace)), "")

    def names(self, namespace: str) -> bool:
        """Whether the policy names a collection itself, if not its database: `tenant_*.patients` does."""
        if namespace in self.collections:
            return True
        collection = namespace.partition(".")[2]
        return any(
            pattern.endswith(f".{collection}") and matches(pattern, namespace) for pattern, _ in self.patterns
        )

    def is_plain(self, namespace: str) -> bool:
        """Whether the policy declares a namespace plain. Cost: O(declarations)."""
        return any(namespace == name or matches(name, namespace) for name in self.plain)

    def in_reach(self, database: str | None) -> Iterator[PathNode]:
        """The covered paths of whatever is, or could be, protected in a database; with None, anywhere."""
        for name, node in (*self.collections.items(), *self.patterns):
            if database is None or fnmatchcase(database, name.partition(".")[0]):
                yield node

    def protects_database(self, database: str) -> bool:
        """Whether some collection of `database` is, or could be, protected."""
        return next(self.in_reach(database), None) is not None

    @property
    def collection_names(self) -> frozenset[bytes]:
        """The names of protected collections, without their databases and without patterns."""
        return frozenset(name.partition(".")[2].encode() for name in self.collections)

    @property
    def protects_anything(self) -> bool:
        """Whether the policy covers any collection at all."""
        return bool(self.collections or self.patterns)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Every class, in file order: each needs a key."""
        return tuple(self.classes)

    @property
    def used_classes(self) -> frozenset[str]:
        """The classes that have a path. Cost: O(paths)."""
        return frozenset(each.name for _, _, each in self.fields)

    @property
    def fields(self) -> Iterator[tuple[str, str, FieldClass]]:
        """Each collection or pattern with each of its covered paths, and the class there."""
        for namespace, tree in (*self.collections.items(), *self.patterns):
            for path, each in covered_fields(tree):
                yield namespace, path, each

    @property
    def covering(self) -> tuple[FieldClass, ...]:
        """The same themselves, in file order."""
        used = self.used_classes
        return tuple(each for name, each in self.classes.items() if name in used)


def belongs_to_server(namespace: str) -> bool:
    """Whether a collection is one of MongoDB's own, which no policy can protect."""
    database, _, collection = namespace.partition(".")
    return database in SERVER_DATABASES or collection.startswith("system.")


def matches(pattern: str, namespace: str) -> bool:
    """Whether `pattern` covers `namespace`; a `*` stays within the database or the collection part.

    The server's own collections match no pattern: `*.patients` is not meant to protect `admin.patients`.
    """
    if belongs_to_server(namespace):
        return False
    pattern_database, _, pattern_collection = pattern.partition(".")
    database, _, collection = namespace.partition(".")
    return fnmatchcase(database, pattern_database) and fnmatchcase(collection, pattern_collection)


def leaves(node: PathNode) -> Iterator[PathNode]:
    """Every covered path at or below a node."""
    if node.leaf is not None:
        yield node
    for child in node.children.values():
        yield from leaves(child)


def covered_fields(node: PathNode) -> Iterator[tuple[str, FieldClass]]:
    """The same paths, each with its class."""
    for each in leaves(node):
        if each.leaf is not None:
            yield each.path, each.leaf


# ----------------------------------------- dotted paths, followed as MongoDB would follow them through arrays

# A pipeline can double a tree with every stage ({a: "$$ROOT", b: "$$ROOT"}): past these bounds, which no
# application comes near, it is refused rather than followed.
_MAX_TREE_NODES: Final = 20_000
_MAX_TREE_DEPTH: Final = 100

_DOT: Final = ord(".")


# -------------------------------------------------- at which paths of a collection values identify a person
#
# Apart from `loader`, which reads the policy file: the session asks this, and knows no YAML.


def identifiers(subjects: Subjects, tree: PathNode) -> tuple[str, ...]:
    """The paths below `tree` whose values identify a person. Cost: O(paths)."""
    return tuple(path for path, each in covered_fields(tree) if each.name == subjects.class_name)


def is_transparent(part: bytes) -> bool:
    """Whether a part of a path addresses an array element: an index, or `$`, `$[]`, `$[id]` in an update.

    A document's field whose name is a number is taken for an index everywhere, in stored documents as well
    as in paths. So both sides of a comparison always agree; at worst a field is covered that need not be.
    """
    return part.isdigit() or part.startswith(b"$")


def has_dot(name: bytes) -> bool:
    """Whether a name reads like a path. A number is looked for at once, bytes by way of an exception."""
    return _DOT in name


def parts_of(path: bytes) -> list[bytes]:
    """The names along a path; nearly always it is one."""
    return path.split(b".") if has_dot(path) else [path]


def bounded(node: PathNode) -> PathNode:
    """`node` itself, a tree that a pipeline made. Raises Refusal(SHAPE) when it outgrows what is followed."""
    if node.size > _MAX_TREE_NODES or node.depth > _MAX_TREE_DEPTH:
        raise Refusal(Reason.SHAPE, rule="a pipeline that multiplies covered fields")
    return node


def is_below_scalars(node: PathNode, path: bytes) -> bool:
    """Whether a path leads into values of a deterministic class, which are scalars or arrays of them."""
    if not has_dot(path):
        return False
    current = node
    for part in parts_of(path):
        if current.leaf is not None and not is_transparent(part):
            return not current.is_random
        child = current.child(part)
        if child is None and not is_transparent(part):
            return False
        current = child or current
    return False


def follow(node: PathNode, path: bytes) -> PathNode | None:
    """The node that `path` leads to from `node`; None when nothing there or below it is covered.

    Raises Refusal(BELOW_ENCRYPTED) when the path leads into a value that is encrypted as a whole.
    """
    current, moved = node, node.moved
    for part in parts_of(path):
        if current.opaque:
            child = current.child(part)
            if child is None:
                return current if current.within is None else replace(current, within=None)
            current = child
            continue
        if current.leaf is not None:
            if is_transparent(part) and not current.is_random:
                continue
            raise Refusal(Reason.BELOW_ENCRYPTED, path=current.path)
        child = current.child(part)
        if child is None:
            if not is_transparent(part):
                return None
            child = current.behind_number or current
            if child is not current and (current is not node or current.path):
                # an index leads to what the pipeline changed, a field's name past it
                return PathNode(current.path, opaque=True)
        current = child
        moved = moved or current.moved
    if not current.covers:
        return None
    return current.as_moved() if moved else current
