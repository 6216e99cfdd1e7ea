"""Variables of the environment that stand for keys of the configuration, and those that only look so."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.keys.providers import ProviderKind
from sealwire.proxy.server.config.settings import KEYS, KNOWN_VARIABLES, Config, Kind, variable_of

_OF_A_SERVICE = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$", re.ASCII)
_PREFIX = "SEALWIRE_"
# So alike are SEALWIER_WORKERS and SEALWIRE_WORKERS; SEALED_SECRETS is like nothing of ours.
_LIKENESS = 0.9
# So alike is the first word of SELWIRE_WORKERS or SAELWIRE_WORKERS to ours; FIREWIRE is less.
_LIKENESS_OF_FIRST = 0.85
# So alike is what follows such a word to what follows ours: LOG_LEVLE, WORKER, KEKK.
_LIKENESS_OF_REST = 0.8
_RESTS = tuple(name.removeprefix(_PREFIX) for name in KNOWN_VARIABLES)


def overridden(root: Node, environ: Mapping[str, str]) -> Node:
    """The document at `root` with the values that `environ` gives its keys. Raises SourceError."""
    for key, kind in KEYS.items():
        # An empty variable is an unset one: compose files write `${NAME:-}`.
        if text := environ.get(variable_of(key)):
            root = _overlaid(root, key, _override(variable_of(key), text, kind))
    return root


def ignored_variables(config: Config, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that look like Sealwire's, and that neither `config` names nor anybody reads, sorted.

    They are reported, not refused: somebody else's program may have made them.
    """
    return _unread(environ, frozenset(_own_variables(config)))


def unnamed_variables(source: bytes, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The same where the configuration in `source` cannot be read: what stands in it anywhere is left out."""
    text = source.decode("utf-8", "replace")
    return _unread(environ, frozenset(re.findall(r"\w+", text)))


def _unread(environ: Mapping[str, str], own: frozenset[str]) -> tuple[str, ...]:
    others = environ.keys() - KNOWN_VARIABLES - own
    return tuple(sorted(name for name in others if _looks_ours(name, environ[name])))


def _override(variable: str, text: str, kind: Kind) -> Node:
    if kind is Kind.TEXT:
        return Node(variable, 1, 1, text)
    return parse_yaml(text.encode(), variable, "docs/configuration.md")


def _overlaid(node: Node, path: tuple[str, ...], leaf: Node) -> Node:
    if not path:
        return leaf
    entries = dict(node.mapping())
    below = entries.get(path[0], Node(leaf.filename, leaf.line, leaf.column, {}))
    entries[path[0]] = _overlaid(below, path[1:], leaf)
    return Node(node.filename, node.line, node.column, entries)


def _looks_ours(name: str, value: str) -> bool:
    # Kubernetes sets such names for a service called `sealwire` or `sealwire-admin`.
    if _OF_A_SERVICE.search(name) or (name.endswith("_PORT") and "://" in value):
        return False
    if name.startswith(_PREFIX):
        return True
    upper = name.upper()
    if upper.startswith("SEAL") and get_close_matches(upper, KNOWN_VARIABLES, 1, _LIKENESS):
        return True
    first, _, rest = upper.partition("_")
    is_alike = bool(get_close_matches(first, (_PREFIX.rstrip("_"),), 1, _LIKENESS_OF_FIRST))
    return is_alike and bool(get_close_matches(rest, _RESTS, 1, _LIKENESS_OF_REST))


def _own_variables(config: Config) -> Iterator[str]:
    cache = config.keys.cache
    for kek in (config.kek, *(() if cache is None else (cache.kek,))):
        if kek.kind is ProviderKind.ENVIRONMENT:
            yield kek.location
    yield from (identity.password_variable for identity in config.identities)
