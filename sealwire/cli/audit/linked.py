"""Which pseudonyms stand for a person in lines that name documents, and not the person.

A line about linked documents names the document to which the link leads, as `clinic.patients._id`. One of a
command whose filter has an `_id` names that. Which ones are the person's, only the server knows. It is asked
through Sealwire, which encrypts the identifier, checks who asks, and records it.
"""

from collections.abc import Iterator
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.int64 import Int64

from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.policies.file.identifiers import identifiers
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.file.subjects import LinkEnd, Subjects
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client
from sealwire.wire.raw_bson import find_element

PURPOSE = "subject-report"
"""What the questions state in the log."""

_COMMENT = {"sealwire": {"purpose": PURPOSE}}
_DECODED = CodecOptions[dict[str, Any]]()


def linked_names(
    client: Client, policies: PolicySet, subjects: Subjects, person: Identifier, key: PseudonymKey
) -> dict[str, str]:
    """By pseudonym, the path whose value it stands for: where links lead to the person, and `_id`s.

    `client` is one of Sealwire. Raises what the driver raises. Cost: one `distinct` for each path.
    """
    found: dict[str, str] = {}
    for place in _places(client, policies, subjects):
        for value in _values(client, policies, subjects, person, place):
            for form in _forms(value):
                found[key.name_of(str(place), *form)] = str(place)
    return found


def _places(client: Client, policies: PolicySet, subjects: Subjects) -> list[LinkEnd]:
    """Where values stand for documents of persons."""
    names = {each.source.namespace for each in subjects.links} | set(policies.collections)
    if policies.patterns:
        names |= {each.namespace for each in covered_collections(client, policies) if each.kind != "view"}
    ids = {LinkEnd(name, "_id") for name in names}
    return sorted(ids | {link.target for link in subjects.links}, key=str)


def _values(
    client: Client, policies: PolicySet, subjects: Subjects, person: Identifier, place: LinkEnd
) -> Iterator[object]:
    """What the documents of a collection that are the person's have at `place`."""
    namespace = place.namespace
    tree = policies.covered(namespace)
    paths = () if tree is None else identifiers(subjects, tree)
    if paths:
        value = _value_of(person)
        wanted: dict[str, Any] = {"$or": [{path: value} for path in paths]}
    else:
        further = subjects.link_of(namespace)
        if further is None:
            return
        known = list(_values(client, policies, subjects, person, further.target))
        wanted = {further.source.path: {"$in": known}}
    database, _, name = namespace.partition(".")
    collection = client.get_database(database, _DECODED).get_collection(name)
    yield from collection.distinct(place.path, wanted, comment=_COMMENT)


def _value_of(person: Identifier) -> object:
    content = b"%c\0%b\0" % (person.kind, person.value)
    return bson.decode((len(content) + 4).to_bytes(4, "little") + content)[""]


def _forms(value: object) -> Iterator[tuple[int, bytes]]:
    """A value as clients may send it: a whole number in each type, for the server takes them for equal."""
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        whole = int(value)
        if abs(whole) < 1 << 31:
            yield _bytes_of(whole)
        yield _bytes_of(Int64(whole))
        yield _bytes_of(float(whole))
    else:
        yield _bytes_of(value)


def _bytes_of(value: object) -> tuple[int, bytes]:
    document = bson.encode({"": value})
    element = find_element(document, 0, b"")
    if element is None:
        raise ValueError("no value")
    return element.kind, document[element.value : element.end]
