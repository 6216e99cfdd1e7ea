"""Policy file to PolicySet. Every complaint names file, line and column; nothing is guessed."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.files.errors import Complaints, SourceError
from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.policies.file.ranges import DEFAULT_MAX_VALUES, MAX_MAX_VALUES, RangeDomain, Unit, position_of
from sealwire.policies.file.schema import (
    BESIDE,
    PER_DATABASE,
    FieldClass,
    Link,
    LinkEnd,
    Mode,
    PathNode,
    PolicySet,
    Rotation,
    Subjects,
    ValueType,
    belongs_to_server,
    context_field,
    identifiers,
    is_transparent,
    whole_path,
)
from sealwire.policies.roles.reader import read_roles

# --------------------------------------------------------------------------------------- the section subjects

_GRIDFS: Final = frozenset({"files", "chunks"})
"""How the names of GridFS collections end: `fs.files`, `fs.chunks`."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The classes and collections of a policy that is being read, and which of them are well."""

    class_names: tuple[str, ...] | None
    """None where the section could not be read: no name of a class can be judged then."""
    classes: Mapping[str, FieldClass]
    namespaces: tuple[str, ...]
    """Exact ones, and patterns of them."""
    trees: Mapping[str, PathNode]
    """By namespace or pattern, of those that are well."""

    @property
    def is_well(self) -> bool:
        """Whether nothing of it is missing, so that what cannot be found is not there."""
        names = self.class_names or ()
        return len(self.classes) == len(names) > 0 and len(self.trees) == len(self.namespaces)


def is_pattern(namespace: str) -> bool:
    """Whether it stands for several collections."""
    return any(wild in namespace for wild in "*?[")


def read_subjects(node: Node, declared: Declared) -> Subjects:
    """The section `subjects` of a policy. Raises SourceError, with all that can be told.

    A link leads to a collection with an exact name that is declared, or to one that is linked itself.
    """
    complaints = Complaints()
    entries = node.entries(["class"], ["links"], complaints)
    name = ""
    with complaints.gathered():
        name = _class_name(entries["class"], declared) if "class" in entries else ""
    collections = {name: tree for name, tree in declared.trees.items() if not is_pattern(name)}
    found: dict[str, tuple[Link, Node]] = {}
    links = complaints.read(entries["links"].mapping, {}) if "links" in entries else {}
    for text, target in links.items():
        with complaints.gathered():
            link = Link(_place(text, target, declared), _place(target.text(), target, declared))
            if link.source.namespace in found:
                raise target.error(f"{link.source.namespace} has a link already", "keep one of the two")
            found[link.source.namespace] = link, target
    subjects = Subjects(name, tuple(link for link, _ in found.values()))
    # of something that is wrong itself nobody can say that it leads nowhere
    has_all = declared.is_well and not complaints
    for link, where in found.values():
        with complaints.gathered():
            _check_ends(link, where, collections)
            if has_all:
                _check_way(link, where, subjects, collections)
    complaints.check()
    return subjects


def _class_name(node: Node, declared: Declared) -> str:
    name = node.text() if declared.class_names is None else node.choice(declared.class_names)
    if name in declared.classes and declared.classes[name].mode is not Mode.DETERMINISTIC:
        raise node.error(
            f"'{name}' is random, and its values cannot be looked for", "name a deterministic class"
        )
    return name


def _check_ends(link: Link, node: Node, collections: Mapping[str, PathNode]) -> None:
    """Both are in clear."""
    for place in (link.source, link.target):
        tree = collections.get(place.namespace)
        if tree is not None and _is_covered(tree, place.path):
            raise node.error(f"{place} is covered", "a link compares values that are stored in clear")


def _check_way(link: Link, node: Node, subjects: Subjects, collections: Mapping[str, PathNode]) -> None:
    """It ends at an identifier."""
    seen: set[str] = set()
    step: Link | None = link
    while step is not None and step.source.namespace not in seen:
        seen.add(step.source.namespace)
        target = collections.get(step.target.namespace)
        if target is not None and identifiers(subjects, target):
            return
        step = subjects.link_of(step.target.namespace)
    raise node.error(
        f"{link.target.namespace} has no path of class '{subjects.class_name}', and no link to one",
        "link to a collection whose documents have the identifier",
    )


def _is_covered(tree: PathNode, path: str) -> bool:
    """Whether a value at `path` is covered, holds covered values, or lies in one."""
    node: PathNode | None = tree
    for part in path.encode().split(b"."):
        if node is None or node.leaf is not None:
            break
        node = node.child(part)
    return node is not None


def _place(text: str, node: Node, declared: Declared) -> LinkEnd:
    """`database.collection.path`; the collection's name may have dots where the policy names it.

    `database.collection:path` says where any name ends. Without it, a name that reads like one of GridFS is
    an error: `clinic.fs.files.metadata` may be a path of `clinic.fs`, or of `clinic.fs.files`.
    """
    namespace, colon, path = text.partition(":")
    if not colon:
        # a name without a dot is an error that is reported where the name is declared
        exact = (name for name in declared.namespaces if "." in name and not is_pattern(name))
        known = [name for name in exact if text.startswith(f"{name}.")]
        namespace = max(known, key=len) if known else ".".join(text.split(".")[:2])
        path = text.removeprefix(namespace).removeprefix(".")
        first, _, rest = path.partition(".")
        if not known and first in _GRIDFS and rest:
            raise node.error(
                f"'{text}' may be a place of {namespace} or of {namespace}.{first}",
                f"write {namespace}.{first}:{rest} or {namespace}:{path}",
            )
    parts = path.split(".")
    if belongs_to_server(namespace) or "*" in namespace or not all(namespace.partition(".")[::2]):
        raise node.error(f"'{text}' is not a place that a link can have", "name one collection")
    if not all(part and not part.startswith("$") and not is_transparent(part.encode()) for part in parts):
        raise node.error(f"'{text}' is not a place", "write `database.collection.path`")
    return LinkEnd(namespace, path)


# --------------------------------------------------------------------------------------------- the whole file

_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_COMMAND_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_]{0,62}")
_MAX_PATH_DEPTH = 32


def load_policy(source: bytes, filename: str) -> PolicySet:
    """The policy in `source`; `filename` is for messages. Raises SourceError."""
    complaints = Complaints()
    root = parse_yaml(source, filename, "docs/policies.md").entries(
        ["version", "classes", "collections"],
        ["plain", "allow_commands", "subjects", "roles", "mode", "observe"],
        complaints,
    )
    with complaints.gathered():
        if "version" in root:
            root["version"].integer(1, 1)
    declared = _declared(root, complaints)
    plain = complaints.read(lambda: _plain(root["plain"], declared.namespaces) if "plain" in root else (), ())
    commands = complaints.read(
        lambda: _commands(root["allow_commands"]) if "allow_commands" in root else (), ()
    )
    subjects, roles = None, None
    with complaints.gathered():
        subjects = read_subjects(root["subjects"], declared) if "subjects" in root else None
    with complaints.gathered():
        roles = read_roles(root["roles"], declared.class_names) if "roles" in root else None
    observed = complaints.read(lambda: _observed(root, declared.namespaces), frozenset())
    complaints.check()
    exact = {name: tree for name, tree in declared.trees.items() if not is_pattern(name)}
    patterns = tuple((name, tree) for name, tree in declared.trees.items() if is_pattern(name))
    rest = plain, frozenset(commands), subjects, roles
    return PolicySet(declared.classes, exact, patterns, *rest, observed=observed)


def _observed(root: Mapping[str, Node], declared: Collection[str]) -> frozenset[str]:
    """The names under `collections` that are only observed: all with `mode`, else those of `observe`."""
    is_whole = "mode" in root and root["mode"].choice(["protect", "observe"]) == "observe"
    named = root["observe"].items() if "observe" in root else ()
    for item in named:
        # a name that is spelt otherwise would be protected, and looked for in vain in the report
        item.choice(declared)
    return frozenset(declared if is_whole else (item.text() for item in named))


def _declared(root: Mapping[str, Node], complaints: Complaints) -> Declared:
    """Classes and collections, as far as they can be read; of the others there are complaints."""
    class_nodes = _named(root, "classes", complaints)
    classes: dict[str, FieldClass] = {}
    for name, node in (class_nodes or {}).items():
        with complaints.gathered():
            classes[name] = _field_class(name, node)
    if class_nodes is not None and not class_nodes:
        complaints.add(root["classes"].error("no classes", "a policy needs at least one class"))
    collections = _named(root, "collections", complaints) or {}
    # without a class that could be read no name of one can be judged
    class_names = tuple(class_nodes) if class_nodes else None
    trees: dict[str, PathNode] = {}
    for namespace, node in collections.items():
        with complaints.gathered():
            trees[namespace] = _collection(namespace, node, classes, class_names)
    return Declared(class_names, classes, tuple(collections), trees)


def _named(root: Mapping[str, Node], key: str, complaints: Complaints) -> Mapping[str, Node] | None:
    """The entries of a section; None where there is no section that could be read."""
    return complaints.read(root[key].mapping, None) if key in root else None


def _plain(node: Node, protected: Collection[str]) -> tuple[str, ...]:
    """Collections that are declared to hold nothing covered. Exact names of protected ones cannot be."""
    names: list[str] = []
    complaints = Complaints()
    for item in node.items():
        with complaints.gathered():
            name = item.text()
            _check_namespace(name, item)
            if name in protected and not is_pattern(name):
                raise item.error(f"'{name}' has covered fields", "list it once, here or under `collections`")
            names.append(name)
    complaints.check()
    return tuple(names)


def _commands(node: Node) -> tuple[bytes, ...]:
    names: list[bytes] = []
    complaints = Complaints()
    for item in node.items():
        with complaints.gathered():
            names.append(_command_name(item))
    complaints.check()
    return tuple(names)


def _command_name(node: Node) -> bytes:
    name = node.text()
    if not _COMMAND_NAME.fullmatch(name):
        raise node.error(f"'{name}' is not a command's name", "write the name alone, as in `{name: 1}`")
    return name.encode()


_CLASS_KEYS: Final = ["type", "range", "key", "accept_plaintext", "rotate", "ask"]


def _field_class(name: str, node: Node) -> FieldClass:
    complaints = Complaints()
    if not _CLASS_NAME.fullmatch(name):
        hint = "letters, digits, _ - . and at most 63 characters"
        complaints.add(node.error(f"'{name}' is not a class name", hint))
    entries = node.entries(["mode"], _CLASS_KEYS, complaints)
    mode: Mode | None = None
    with complaints.gathered():
        mode = Mode(entries["mode"].choice([mode.value for mode in Mode])) if "mode" in entries else None
    value_type: ValueType | None = None
    domain: RangeDomain | None = None
    if mode is Mode.RANDOM:
        for key in ("type", "range", "accept_plaintext"):
            if key in entries:
                complaints.add(entries[key].error(f"a random class has no {key}", f"remove `{key}`"))
    else:
        with complaints.gathered():
            value_type = _value_type(node, entries, is_needed=mode is Mode.DETERMINISTIC)
            if value_type is not None and "range" in entries:
                domain = _domain(entries["range"], value_type)
        if "range" in entries and "key" in entries:
            complaints.add(
                entries["key"].error("a class with a range has one key", "remove `key`, or `range`")
            )
    per = complaints.read(lambda: _per(entries), None)
    accepts = complaints.read(
        lambda: "accept_plaintext" in entries and entries["accept_plaintext"].boolean(), False
    )
    rotation = complaints.read(lambda: _rotation(entries), None)
    asks = complaints.read(lambda: "ask" in entries and entries["ask"].boolean(), False)
    complaints.check()  # raises where there is no mode
    return FieldClass(name, mode or Mode.RANDOM, value_type, domain, per, accepts, rotation, asks)


def _rotation(entries: Mapping[str, Node]) -> Rotation | None:
    if "rotate" not in entries:
        return None
    return Rotation(entries["rotate"].choice([each.value for each in Rotation]))


def _value_type(node: Node, entries: Mapping[str, Node], *, is_needed: bool) -> ValueType | None:
    if "type" in entries:
        return ValueType(entries["type"].choice([kind.value for kind in ValueType]))
    if is_needed:
        raise node.error("a deterministic class needs a type", "add `type: string` or another")
    return None


def _per(entries: Mapping[str, Node]) -> bytes | None:
    """What a class has a key for each of, if it has more than one."""
    if "key" not in entries:
        return None
    node = entries["key"].entries(["per"])["per"]
    text = node.text()
    if text.encode("utf-8", "replace") == PER_DATABASE:
        return PER_DATABASE
    beside = BESIDE.decode()
    if text.startswith(beside):
        return BESIDE + b".".join(_names(text.removeprefix(beside), node))
    return b".".join(_names(text, node))


def _domain(node: Node, value_type: ValueType) -> RangeDomain:
    """The grid of a class: of dates by day, month or year, or of integers."""
    complaints = Complaints()
    unit: Unit | None = Unit.ONE
    if value_type is ValueType.DATE:
        entries = node.entries(["unit", "from", "to"], ["max_values"], complaints)
        unit = complaints.read(
            lambda: Unit(entries["unit"].choice(["day", "month", "year"])) if "unit" in entries else None,
            None,
        )
    elif value_type in (ValueType.INT, ValueType.LONG):
        entries = node.entries(["from", "to"], ["max_values"], complaints)
    else:
        raise node.error("a range needs a class of type date, int or long", "remove `range`")
    ends: list[int] = []
    for key in ("from", "to"):
        if key in entries:
            with complaints.gathered():
                ends.append(_end_of_range(entries[key], value_type, unit))
    if unit is not None and len(ends) == 2 and ends[0] > ends[1]:
        complaints.add(entries["to"].error("the range is empty", "`to` must not lie before `from`"))
    max_values = DEFAULT_MAX_VALUES
    if "max_values" in entries:
        max_values = complaints.read(
            lambda: entries["max_values"].integer(1, MAX_MAX_VALUES), DEFAULT_MAX_VALUES
        )
    complaints.check()
    return RangeDomain(unit or Unit.ONE, ends[0], ends[1], max_values)


def _end_of_range(node: Node, value_type: ValueType, unit: Unit | None) -> int:
    """Its place on the grid; of a date whose `unit` could not be read only that it is one."""
    if value_type is ValueType.DATE:
        day = node.day()
        return 0 if unit is None else position_of(unit, day)
    bits = 31 if value_type is ValueType.INT else 63
    return node.integer(-(2**bits), 2**bits - 1)


def _check_namespace(namespace: str, node: Node) -> None:
    database, dot, collection = namespace.partition(".")
    if not (database and dot and collection):
        raise node.error(f"'{namespace}' is not a namespace", "write `database.collection`")
    if "?" in namespace or "[" in namespace:
        raise node.error("only `*` may stand for a part of a namespace", "list the collections instead")
    if belongs_to_server(namespace):
        raise node.error(f"'{namespace}' belongs to the server", "protect the application's collections")


def _collection(
    namespace: str, node: Node, classes: Mapping[str, FieldClass], class_names: Collection[str] | None
) -> PathNode:
    """The tree of one collection. Raises SourceError, for its name and for its paths."""
    complaints = Complaints()
    with complaints.gathered():
        _check_namespace(namespace, node)
    tree = complaints.read(lambda: _tree(node, classes, class_names), PathNode(""))
    complaints.check()
    return tree


def _tree(node: Node, classes: Mapping[str, FieldClass], class_names: Collection[str] | None) -> PathNode:
    """The covered paths of one collection as a tree. `class_names`: also of wrong ones; None: unknown."""
    leaves: dict[tuple[bytes, ...], FieldClass] = {}
    places: dict[tuple[bytes, ...], Node] = {}
    entries = node.mapping()
    if not entries:
        raise node.error("no fields", "list at least one `path: class`")
    complaints = Complaints()
    for path, class_node in entries.items():
        with complaints.gathered():
            name = _class_of(class_node, class_names, complaints)
            parts = _parts(path, class_node)
            places[parts] = class_node
            if name in classes:  # else there is a complaint of the class already
                leaves[parts] = classes[name]
    for parts, class_node in places.items():
        for length in range(1, len(parts)):
            if parts[:length] in places:
                outer = b".".join(parts[:length]).decode()
                complaints.add(
                    class_node.error(f"'{outer}' already covers this path", "cover one of the two")
                )
    for error in _unclear_contexts(leaves, places):
        complaints.add(error)
    complaints.check()
    return _branch((), leaves)


def _class_of(node: Node, class_names: Collection[str] | None, complaints: Complaints) -> str:
    """The name of the class at a path; empty where there is none, which is complained of."""
    return complaints.read(lambda: node.text() if class_names is None else node.choice(class_names), "")


def _branch(prefix: tuple[bytes, ...], leaves: Mapping[tuple[bytes, ...], FieldClass]) -> PathNode:
    """The tree of the paths in `leaves`, all of which begin with `prefix`. Cost: O(parts of all paths)."""
    path = b".".join(prefix).decode()
    if prefix in leaves:
        return PathNode(path, leaf=leaves[prefix], pure=True)
    depth = len(prefix)
    below: dict[bytes, dict[tuple[bytes, ...], FieldClass]] = {}
    for parts, field_class in leaves.items():
        below.setdefault(parts[depth], {})[parts] = field_class
    children = {name: _branch((*prefix, name), found) for name, found in below.items()}
    return PathNode(path, children, pure=True)


def _unclear_contexts(
    leaves: Mapping[tuple[bytes, ...], FieldClass], places: Mapping[tuple[bytes, ...], Node]
) -> Iterator[SourceError]:
    """Paths whose keys depend on a field that is not in clear, so that it cannot be read without one."""
    for path, field_class in leaves.items():
        if field_class.per is None or field_class.per == PER_DATABASE:
            continue
        where = b".".join(path).decode()
        name = whole_path(context_field(field_class.per, where)).decode()
        per = tuple(name.encode().split(b"."))
        if any(_within(per, covered) for covered in places):
            yield places[path].error(
                f"'{where}' has a key for each '{name}', which is covered itself or holds covered fields",
                "name a field that is stored in clear",
            )


def _within(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> bool:
    """Whether one of two paths holds the other, or is it."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def _parts(path: str, node: Node) -> tuple[bytes, ...]:
    parts = _names(path, node)
    if parts[0] == b"_id":
        raise node.error("_id cannot be covered", "put the sensitive value into a field of its own")
    return parts


def _names(path: str, node: Node) -> tuple[bytes, ...]:
    try:
        parts = tuple(part.encode() for part in path.split("."))
    except UnicodeEncodeError:
        raise node.error("a path holds half of a surrogate pair", "write the character itself") from None
    if len(parts) > _MAX_PATH_DEPTH:
        raise node.error(f"a path has at most {_MAX_PATH_DEPTH} parts", "cover a field further up")
    for part in parts:
        if not part or b"\0" in part or part.startswith(b"$"):
            raise node.error(f"'{path}' is not a path", "write field names joined by dots, without $")
        if is_transparent(part):
            raise node.error(
                f"'{path}' has a numeric part", "leave it out: paths cover every element of an array"
            )
    return parts
