"""Which pseudonyms stand for a person in lines about documents that are linked to him.

Such a line names the document to which the link leads, as `clinic.patients._id`. Which one that is, only the
server knows. It is asked through Sealwire, which encrypts the identifier, checks who asks, and records it.
"""

from collections.abc import Iterator
from typing import Any

import bson
from bson.codec_options import CodecOptions

from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.policies.file.identifiers import identifiers
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.file.subjects import Link, Subjects
from sealwire.sidecars.direct import Client
from sealwire.wire.raw_bson import find_element

PURPOSE = "subject-report"
"""What the questions state in the log."""

_COMMENT = {"sealwire": {"purpose": PURPOSE}}
_DECODED = CodecOptions[dict[str, Any]]()


def linked_names(
    client: Client, policies: PolicySet, subjects: Subjects, person: Identifier, key: PseudonymKey
) -> dict[str, str]:
    """By pseudonym, the path to which links lead, for each value by which they lead to the person.

    `client` is one of Sealwire. Raises what the driver raises. Cost: one `distinct` for each link.
    """
    found: dict[str, str] = {}
    for link in subjects.links:
        target = str(link.target)
        for value in _values(client, policies, subjects, person, link):
            kind, data = _bytes_of(value)
            found[key.name_of(target, kind, data)] = target
    return found


def _values(
    client: Client, policies: PolicySet, subjects: Subjects, person: Identifier, link: Link
) -> Iterator[object]:
    """What the documents at the end of `link` that are the person's have there."""
    namespace = link.target.namespace
    tree = policies.covered(namespace)
    paths = () if tree is None else identifiers(subjects, tree)
    if paths:
        value = _value_of(person)
        wanted: dict[str, Any] = {"$or": [{path: value} for path in paths]}
    else:
        further = subjects.link_of(namespace)
        if further is None:
            return
        known = list(_values(client, policies, subjects, person, further))
        wanted = {further.source.path: {"$in": known}}
    database, _, name = namespace.partition(".")
    collection = client.get_database(database, _DECODED).get_collection(name)
    yield from collection.distinct(link.target.path, wanted, comment=_COMMENT)


def _value_of(person: Identifier) -> object:
    content = b"%c\0%b\0" % (person.kind, person.value)
    return bson.decode((len(content) + 4).to_bytes(4, "little") + content)[""]


def _bytes_of(value: object) -> tuple[int, bytes]:
    document = bson.encode({"": value})
    element = find_element(document, 0, b"")
    if element is None:
        raise ValueError("no value")
    return element.kind, document[element.value : element.end]
