"""Read the section `subjects` of a policy, and see that every link leads to an identifier."""

from collections.abc import Collection, Mapping

from sealwire.files.yaml_source import Node
from sealwire.policies.file.identifiers import identifiers
from sealwire.policies.file.paths import is_transparent
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, belongs_to_server
from sealwire.policies.file.subjects import Link, LinkEnd, Subjects


def read_subjects(
    node: Node, classes: Mapping[str, FieldClass], collections: Mapping[str, PathNode]
) -> Subjects:
    """The section `subjects` of a policy. Raises SourceError.

    `collections` are those with an exact name: a link leads to one of them, or to one that is linked itself.
    """
    entries = node.entries(["class"], ["links"])
    name = entries["class"].choice(classes)
    if classes[name].mode is not Mode.DETERMINISTIC:
        raise entries["class"].error(
            f"'{name}' is random, and its values cannot be looked for", "name a deterministic class"
        )
    found: dict[str, tuple[Link, Node]] = {}
    for text, target in entries["links"].mapping().items() if "links" in entries else ():
        link = Link(_place(text, target, collections), _place(target.text(), target, collections))
        if link.source.namespace in found:
            raise target.error(f"{link.source.namespace} has a link already", "keep one of the two")
        found[link.source.namespace] = link, target
    subjects = Subjects(name, tuple(link for link, _ in found.values()))
    for link, where in found.values():
        _check(link, where, subjects, collections)
    return subjects


def _check(link: Link, node: Node, subjects: Subjects, collections: Mapping[str, PathNode]) -> None:
    """Both ends are in clear, and the way ends at an identifier."""
    for place in (link.source, link.target):
        tree = collections.get(place.namespace)
        if tree is not None and _is_covered(tree, place.path):
            raise node.error(f"{place} is covered", "a link compares values that are stored in clear")
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


def _place(text: str, node: Node, namespaces: Collection[str]) -> LinkEnd:
    """`database.collection.path`; the collection's name may have dots where the policy names it."""
    known = [name for name in namespaces if text.startswith(f"{name}.")]
    namespace = max(known, key=len) if known else ".".join(text.split(".")[:2])
    path = text.removeprefix(namespace).removeprefix(".")
    parts = path.split(".")
    if belongs_to_server(namespace) or "*" in namespace:
        raise node.error(f"'{text}' is not a place that a link can have", "name one collection")
    if not all(part and not part.startswith("$") and not is_transparent(part.encode()) for part in parts):
        raise node.error(f"'{text}' is not a place", "write `database.collection.path`")
    return LinkEnd(namespace, path)
