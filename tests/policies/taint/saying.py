"""Let the documents and filters of a drawn command say one tenant and one owner, so that contexts are known.

Of the commands that are drawn for classes with one key, hardly any would be planned otherwise.
"""

from dataclasses import replace
from random import Random
from typing import Any, Final

from sealwire.policies.file.schema import PER_DATABASE
from sealwire.policies.planning.plan import RangeEdit, ValueEdit
from sealwire.wire import kinds
from tests.policies.taint.commands import Case
from tests.policies.taint.values import Pairs, children, rebuilt

_TENANT: Final = 7
_OWNER: Final = "o"
_CONTEXTS: Final = {
    b"tenant": bytes((kinds.LONG,)) + _TENANT.to_bytes(8, "little"),
    b"owner.id": bytes((kinds.STRING,)) + _OWNER.encode(),
}
_FILTERS: Final = frozenset({"filter", "query", "q", "$match", "restrictSearchWithMatch"})
_DOCUMENTS: Final = frozenset({"document", "u", "update", "updateMods"})


def saying(case: Case, seed: int) -> Case:
    """The case, in which most filters fix the contexts and most documents say them. Cost: O(values)."""
    random = Random(seed)
    body = {name: _said(random, name, value) for name, value in case.body.items()}
    sequences = {
        name: [_said(random, "document" if name == "documents" else "", each) for each in documents]
        for name, documents in case.sequences.items()
    }
    doubled = tuple((name, _said(random, name, value)) for name, value in case.doubled)
    return replace(case, body=body, sequences=sequences, doubled=doubled)


def is_said(edit: ValueEdit | RangeEdit) -> bool:
    """Whether a value has the context that its class has a key for."""
    per = edit.field_class.per
    found = edit.context if isinstance(edit, ValueEdit) else None
    if per is None or found is None:
        return per is None and found is None
    if per == PER_DATABASE:
        return found.value == b"$clinic" or found.value.startswith(b"$tenant_")
    return found.value == _CONTEXTS[per]


def _said(random: Random, name: str, value: Any) -> Any:
    parts = children(value)
    if not parts:
        return value
    inner = "document" if name == "documents" else ""
    found = [(each, _said(random, each or inner, below)) for each, below in parts]
    if type(value) is list:
        return rebuilt(value, found)
    if name in _FILTERS and random.random() < 0.9:
        found += [("tenant", _TENANT), ("owner.id", _OWNER)]
    elif name in _DOCUMENTS and not parts[0][0].startswith("$") and random.random() < 0.9:
        found += [("tenant", _TENANT), ("owner", {"id": _OWNER})]
    else:
        return rebuilt(value, found)
    names = {each for each, _ in found}
    return dict(found) if len(names) == len(found) else Pairs(found)
