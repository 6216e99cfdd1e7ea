"""Whose data documents are: the class whose values identify a person, and how other documents lead to one.

Every path of the class is an identifier. A document without one belongs to a person through a link: the value
at one of its paths is that of a path of another collection, whose document has an identifier or a link.
"""

from dataclasses import dataclass


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
