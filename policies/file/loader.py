"""Policy file to PolicySet. Every complaint names file, line and column; nothing is guessed."""

import re
from collections.abc import Iterable, Mapping

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.policies.file.paths import is_transparent
from sealwire.policies.file.ranges import DEFAULT_MAX_VALUES, MAX_MAX_VALUES, RangeDomain, Unit, position_of
from sealwire.policies.file.schema import (
    BESIDE,
    PER_DATABASE,
    FieldClass,
    Mode,
    PathNode,
    PolicySet,
    ValueType,
    belongs_to_server,
    context_field,
    whole_path,
)
from sealwire.policies.file.subject_links import read_subjects
from sealwire.policies.roles.reader import read_roles

_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_COMMAND_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_]{0,62}")
_MAX_PATH_DEPTH = 32


def load_policy(source: bytes, filename: str) -> PolicySet:
    """The policy in `source`; `filename` is for messages. Raises SourceError."""
    root = parse_yaml(source, filename, "docs/policies.md").entries(
        ["version", "classes", "collections"], ["plain", "allow_commands", "subjects", "roles"]
    )
    complaints = Complaints()
    with complaints.gathered():
        root["version"].integer(1, 1)
    classes = _classes(root["classes"], complaints)
    exact: dict[str, PathNode] = {}
    patterns: list[tuple[str, PathNode]] = []
    for namespace, node in root["collections"].mapping().items():
        with complaints.gathered():
            _check_namespace(namespace, node)
            tree = _tree(node, classes, root["classes"].mapping())
            if any(wild in namespace for wild in "*?["):
                patterns.append((namespace, tree))
            else:
                exact[namespace] = tree
    plain: tuple[str, ...] = ()
    commands: frozenset[bytes] = frozenset()
    with complaints.gathered():
        plain = _plain(root["plain"], exact) if "plain" in root else ()
    with complaints.gathered():
        allowed = root["allow_commands"].items() if "allow_commands" in root else ()
        commands = frozenset(_command_name(node) for node in allowed)
    # these name classes and paths: what is said of them is known only once those are right
    complaints.check()
    with complaints.gathered():
        subjects = read_subjects(root["subjects"], classes, exact) if "subjects" in root else None
    with complaints.gathered():
        roles = read_roles(root["roles"], classes) if "roles" in root else None
    complaints.check()
    return PolicySet(classes, exact, tuple(patterns), plain, commands, subjects, roles)


def _classes(node: Node, complaints: Complaints) -> dict[str, FieldClass]:
    """The classes that are well; of the others there are complaints."""
    classes: dict[str, FieldClass] = {}
    for name, class_node in node.mapping().items():
        with complaints.gathered():
            classes[name] = _field_class(name, class_node)
    with complaints.gathered():
        if not node.mapping():
            raise node.error("no classes", "a policy needs at least one class")
    return classes


def _plain(node: Node, protected: Mapping[str, PathNode]) -> tuple[str, ...]:
    """Collections that are declared to hold nothing covered. Exact names of protected ones cannot be."""
    names: list[str] = []
    for item in node.items():
        name = item.text()
        _check_namespace(name, item)
        if name in protected:
            raise item.error(f"'{name}' has covered fields", "list it once, here or under `collections`")
        names.append(name)
    return tuple(names)


def _command_name(node: Node) -> bytes:
    name = node.text()
    if not _COMMAND_NAME.fullmatch(name):
        raise node.error(f"'{name}' is not a command's name", "write the name alone, as in `{name: 1}`")
    return name.encode()


def _field_class(name: str, node: Node) -> FieldClass:
    if not _CLASS_NAME.fullmatch(name):
        raise node.error(f"'{name}' is not a class name", "letters, digits, _ - . and at most 63 characters")
    entries = node.entries(["mode"], ["type", "range", "key"])
    mode = Mode(entries["mode"].choice([mode.value for mode in Mode]))
    declared = entries.get("type")
    if mode is Mode.RANDOM:
        for key in ("type", "range"):
            if key in entries:
                raise entries[key].error(f"a random class has no {key}", f"remove `{key}`")
        return FieldClass(name, mode, None, per=_per(entries))
    if declared is None:
        raise node.error("a deterministic class needs a type", "add `type: string` or another")
    choices = [kind.value for kind in ValueType]
    value_type = ValueType(declared.choice(choices))
    domain = _domain(entries["range"], value_type) if "range" in entries else None
    if domain is not None and "key" in entries:
        raise entries["key"].error("a class with a range has one key", "remove `key`, or `range`")
    return FieldClass(name, mode, value_type, domain, _per(entries))


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
    if value_type is ValueType.DATE:
        entries = node.entries(["unit", "from", "to"], ["max_values"])
        unit = Unit(entries["unit"].choice(["day", "month", "year"]))
        low, high = (position_of(unit, entries[key].day()) for key in ("from", "to"))
    elif value_type in (ValueType.INT, ValueType.LONG):
        entries = node.entries(["from", "to"], ["max_values"])
        unit = Unit.ONE
        bits = 31 if value_type is ValueType.INT else 63
        low, high = (entries[key].integer(-(2**bits), 2**bits - 1) for key in ("from", "to"))
    else:
        raise node.error("a range needs a class of type date, int or long", "remove `range`")
    if low > high:
        raise entries["to"].error("the range is empty", "`to` must not lie before `from`")
    max_values = DEFAULT_MAX_VALUES
    if "max_values" in entries:
        max_values = entries["max_values"].integer(1, MAX_MAX_VALUES)
    return RangeDomain(unit, low, high, max_values)


def _check_namespace(namespace: str, node: Node) -> None:
    database, dot, collection = namespace.partition(".")
    if not (database and dot and collection):
        raise node.error(f"'{namespace}' is not a namespace", "write `database.collection`")
    if "?" in namespace or "[" in namespace:
        raise node.error("only `*` may stand for a part of a namespace", "list the collections instead")
    if belongs_to_server(namespace):
        raise node.error(f"'{namespace}' belongs to the server", "protect the application's collections")


def _tree(node: Node, classes: Mapping[str, FieldClass], named: Mapping[str, Node]) -> PathNode:
    """The covered paths of one collection as a tree. `named`: all classes, also wrong ones."""
    leaves: dict[tuple[bytes, ...], FieldClass] = {}
    nodes: list[Node] = []
    entries = node.mapping()
    if not entries:
        raise node.error("no fields", "list at least one `path: class`")
    complaints = Complaints()
    for path, class_node in entries.items():
        with complaints.gathered():
            parts = _parts(path, class_node)
            name = class_node.choice(named)
            if name in classes:  # else there is a complaint of the class already
                leaves[parts] = classes[name]
                nodes.append(class_node)
    for parts, class_node in zip(leaves, nodes, strict=True):
        for length in range(1, len(parts)):
            if parts[:length] in leaves:
                outer = b".".join(parts[:length]).decode()
                with complaints.gathered():
                    raise class_node.error(f"'{outer}' already covers this path", "cover one of the two")
    with complaints.gathered():
        _check_contexts(leaves, nodes)
    complaints.check()
    return _branch((), leaves)


def _branch(prefix: tuple[bytes, ...], leaves: Mapping[tuple[bytes, ...], FieldClass]) -> PathNode:
    """The tree of the paths in `leaves`, all of which begin with `prefix`. Cost: O(parts of all paths)."""
    path = b".".join(prefix).decode()
    if prefix in leaves:
        return PathNode(path, leaf=leaves[prefix])
    depth = len(prefix)
    below: dict[bytes, dict[tuple[bytes, ...], FieldClass]] = {}
    for parts, field_class in leaves.items():
        below.setdefault(parts[depth], {})[parts] = field_class
    return PathNode(path, {name: _branch((*prefix, name), found) for name, found in below.items()})


def _check_contexts(leaves: Mapping[tuple[bytes, ...], FieldClass], nodes: Iterable[Node]) -> None:
    """The field that a class's keys depend on is in clear, so that it can be read without one."""
    for (path, field_class), node in zip(leaves.items(), nodes, strict=True):
        if field_class.per is None or field_class.per == PER_DATABASE:
            continue
        where = b".".join(path).decode()
        name = whole_path(context_field(field_class.per, where)).decode()
        per = tuple(name.encode().split(b"."))
        for covered in leaves:
            length = min(len(per), len(covered))
            if per[:length] == covered[:length]:
                raise node.error(
                    f"'{where}' has a key for each '{name}', which is covered itself or holds covered fields",
                    "name a field that is stored in clear",
                )


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
        raise node.error(f"a path has at most {_MAX_PATH_DEPTH} parts")
    for part in parts:
        if not part or b"\0" in part or part.startswith(b"$"):
            raise node.error(f"'{path}' is not a path", "write field names joined by dots, without $")
        if is_transparent(part):
            raise node.error(
                f"'{path}' has a numeric part", "leave it out: paths cover every element of an array"
            )
    return parts
