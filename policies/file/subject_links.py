"""Read the section `subjects` of a policy, and see that every link leads to an identifier."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node
from sealwire.policies.file.paths import identifiers, is_transparent
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, belongs_to_server
from sealwire.policies.file.subjects import Link, LinkEnd, Subjects

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
