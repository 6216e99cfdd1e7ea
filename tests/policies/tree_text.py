"""Trees of covered paths, written as text.

`k` and `l` are deterministic classes, `r` is a random one, `?` is opaque. `-` stands before what is absent,
`>` before what was moved, `|` before what is behind a number.
"""

from typing import Any

from sealwire.policies.file.schema import FieldClass, Mode, PathNode, ValueType

CLASSES = {
    "k": FieldClass("k", Mode.DETERMINISTIC, ValueType.STRING),
    "l": FieldClass("l", Mode.DETERMINISTIC, ValueType.INT),
    "r": FieldClass("r", Mode.RANDOM, None),
}

Shape = str | dict[str, Any]
"""A text as above, or the shapes of children by name; `-`, `>` and `|` are keys there."""


def node(shape: Shape) -> PathNode:
    if isinstance(shape, dict):
        children = {name.encode(): node(part) for name, part in shape.items() if name not in "->|"}
        behind = node(shape["|"]) if "|" in shape else None
        return PathNode("", children, behind_number=behind, absent="-" in shape, moved=">" in shape)
    name = shape.lstrip("->")
    return PathNode("", leaf=CLASSES.get(name), opaque=name == "?", absent="-" in shape, moved=">" in shape)


def shown(tree: PathNode | None) -> str:
    if tree is None:
        return "None"
    text = "-" * tree.absent + ">" * tree.moved
    text += tree.leaf.name if tree.leaf else "?" * tree.opaque
    if tree.children:
        text += (
            "{"
            + " ".join(f"{name.decode()}:{shown(tree.children[name])}" for name in sorted(tree.children))
            + "}"
        )
    return text + (f"|{shown(tree.behind_number)}" if tree.behind_number is not None else "")
