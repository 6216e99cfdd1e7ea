"""The text of a new configuration file, with comments, for how a deployment is laid out.

Whatever is written passes `reader.parse_config`: the text is read by it before anybody gets it.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sealwire.proxy.server.config.reader import parse_config

FIRST_PORT = 27018
"""Where the first listener is; those of further members follow."""
_RANGE = 7
"""Ports of a range: for a set of three, some to come and some to go."""


class Layout(Enum):
    """What stands around the proxy."""

    DEMO = "demo"
    """Plaintext on this machine, for a first look."""
    STANDALONE = "standalone"
    """TLS towards clients and towards one server."""
    REPLICA_SET = "replica-set"
    """TLS, and a listener for each member."""
    FOLLOWED = "followed"
    """TLS, and servers that are found by a connection string and followed: a port of a range for each."""


class Feature(Enum):
    """What a new file has besides what every file needs."""

    AUDIT = "audit"
    ROLES = "roles"
    WATCH = "watch"
    """The page with the alerts of `sealwire watch`, which reads the audit log: that comes with it."""
    MIGRATION = "migration"
    """What a proxy needs to follow deterministic classes while their values move."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """What the file is made for. `upstreams` are `host:port`; None takes examples of the layout."""

    layout: Layout
    features: frozenset[Feature] = frozenset()
    advertise: str = "sealwire.example"
    """The host by which clients reach the proxy; without meaning for a demo."""
    upstreams: tuple[str, ...] | None = None


_HEAD = """\
# Sealwire, {layout}. docs/configuration.md explains each key; deploy/sealwire.example.yaml shows all.
# Relative paths start at the folder of this file. A variable of the environment overrides the key of its
# name: SEALWIRE_LOG_LEVEL overrides log.level. Look at all of it with `sealwire serve --check`.
"""

_DEMO = """
listen:
  address: 127.0.0.1:{port}       # for clients of this machine only
  tls: {{mode: plaintext}}           # on purpose; clients of other machines need TLS

upstream:
  address: {upstream}
  access_control: {access}       # `none` is for a server without logins, `required` for one with them
  tls: {{mode: plaintext}}
"""

_LISTEN_TLS = """\
  tls:
    certificate: tls/sealwire.crt   # with its intermediates; it names the advertised host
    key: tls/sealwire.key           # mode 0600
"""

_CLIENT_CA = """\
    client_ca: tls/clients-ca.crt   # the authority of client certificates; roles can name who has one
    require_client_certificate: true
"""

_NO_CLIENT_CA = """\
    # client_ca: tls/clients-ca.crt   # ask clients for certificates
    # require_client_certificate: true
"""

_UPSTREAM_TLS = """\
  access_control: required          # the server asks for logins
  tls:
    ca: tls/mongo-ca.crt            # leave out for the system's trust store
    # certificate: tls/sealwire-client.crt   # where the server wants one
    # key: tls/sealwire-client.key
"""

_FOLLOWED = """
listen:
  address: 0.0.0.0                  # a host: each server that is found gets a port of the range
  advertise: {advertise}   # what clients are told, with that port
  ports: "{first}-{last}"              # one for each server that may be there at the same time
  ports_file: {ports_file}   # which server has which; proxies behind one name share it
"""

_FOLLOWED_UPSTREAM = """
upstream:
  # the name of the set stands in it; mongos servers have none, and DNS knows them as mongodb+srv://NAME/
  uri: {uri}
"""

_MEMBERS = """
# A listener for each member that drivers may be told of. The names under `upstream` are those of rs.conf().
members:
"""

_KEYS = """
policy: policy.yaml                 # what is encrypted: docs/policies.md
keyring: {keyring}   # mode 0600; made by `sealwire keys create`
kek:
  provider: environment             # or file, vault, aws, azure, gcp, pkcs11: docs/operations/keys.md
  variable: SEALWIRE_KEK            # made by `sealwire keys create-kek`; never in this file
"""

_ROLES = """
# `roles` of the policy say who sees and writes the values of which classes (docs/roles.md). A role names
# users, who log in (upstream.access_control: required), or subjects of certificates (listen.tls.client_ca).
"""

_AUDIT = """
audit:
  path: {audit}   # made with mode 0600
  key: audit.key                    # signs checkpoints; made by `sealwire audit create-key`
  # checkpoints: /mnt/worm/sealwire.checkpoints   # a second copy, where who can change the log cannot
  # subjects_key: subjects.key      # lines say whose data: `sealwire audit create-key --subjects-key`
  commands: protected               # or all, writes, refused
"""

_NO_AUDIT = """
# audit:                            # without it audit lines go into the log, and nothing is signed
#   path: /var/log/sealwire/audit.jsonl
#   key: audit.key
"""

_ADMIN = """
admin:
  address: 127.0.0.1:9464           # /healthz, /readyz and /metrics, without a login: keep it private
"""

_WATCH = """\
  page:
    token_file: admin-token         # 32 characters at least, mode 0600: docs/operations/page.md
    watch: alerts.yaml              # the rules of `sealwire watch`, whose alerts the page shows
"""

_FRONTIER = """
frontier:                           # every Sealwire of the site has it, before a deterministic class moves
  uri_file: frontier.uri            # mode 0600: a connection string to the server itself, not to Sealwire
"""

_REST = """
workers: 1                          # one for each core that the proxy may have

log:
  level: info
  format: {log}                      # text for people, json for programs

limits:
  connections: 2000                 # two open files each
  drain_s: 30                       # less than what ends the process waits: TimeoutStopSec, a grace period
"""


def new_file_text(new: NewFile, path: Path) -> str:
    """The text for a file at `path`, read once by the reader. Raises SourceError: an address is not one."""
    text = "".join(_parts(new))
    parse_config(text.encode(), path, {})
    return text


def files_named(new: NewFile, path: Path) -> tuple[str, ...]:
    """What has to be made before a start: each file or variable, with the command or the page for it.

    Files are those that the configuration at `path` names, so that commands make them there.
    """
    return tuple(_to_make(new, path.parent))


def _parts(new: NewFile) -> Iterator[str]:
    has_roles = Feature.ROLES in new.features
    is_demo = new.layout is Layout.DEMO
    yield _HEAD.format(layout=new.layout.value)
    if is_demo:
        upstream = _quoted(_upstreams(new)[0])
        yield _DEMO.format(port=FIRST_PORT, upstream=upstream, access="required" if has_roles else "none")
    elif new.layout is Layout.STANDALONE:
        advertise = _quoted(f"{new.advertise}:{FIRST_PORT}")
        yield f"\nlisten:\n  address: 0.0.0.0:{FIRST_PORT}\n  advertise: {advertise}"
        yield "   # what clients are told\n"
        yield _LISTEN_TLS + (_CLIENT_CA if has_roles else _NO_CLIENT_CA)
        yield f"\nupstream:\n  address: {_quoted(_upstreams(new)[0])}\n" + _UPSTREAM_TLS
    elif new.layout is Layout.FOLLOWED:
        yield _FOLLOWED.format(
            advertise=_quoted(new.advertise),
            first=FIRST_PORT,
            last=FIRST_PORT + _RANGE - 1,
            ports_file="/var/lib/sealwire/ports.json",
        )
        yield _LISTEN_TLS + (_CLIENT_CA if has_roles else _NO_CLIENT_CA)
        uri = f"mongodb://{','.join(_upstreams(new))}/?replicaSet=rs0"
        yield _FOLLOWED_UPSTREAM.format(uri=_quoted(uri)) + _UPSTREAM_TLS
    else:
        yield "\nlisten:\n" + _LISTEN_TLS + (_CLIENT_CA if has_roles else _NO_CLIENT_CA)
        yield "\nupstream:\n" + _UPSTREAM_TLS
        yield _MEMBERS
        for port, upstream in enumerate(_upstreams(new), FIRST_PORT):
            own = _quoted(f"{new.advertise}:{port}")
            yield f'  - {{listen: "0.0.0.0:{port}", advertise: {own}, upstream: {_quoted(upstream)}}}\n'
    yield _KEYS.format(keyring=_keyring(new))
    if has_roles:
        yield _ROLES
    audited = new.features & {Feature.AUDIT, Feature.WATCH}
    audit = "audit.jsonl" if is_demo else "/var/log/sealwire/audit.jsonl"
    yield _AUDIT.format(audit=audit) if audited else _NO_AUDIT
    yield _ADMIN + (_WATCH if Feature.WATCH in new.features else "")
    if Feature.MIGRATION in new.features:
        yield _FRONTIER
    yield _REST.format(log="text" if is_demo else "json")


def _upstreams(new: NewFile) -> Sequence[str]:
    if new.upstreams:
        return new.upstreams
    if new.layout is Layout.DEMO:
        return ("127.0.0.1:27017",)
    if new.layout is Layout.STANDALONE:
        return ("mongo.example:27017",)
    return [f"mongo-{number}.example:27017" for number in range(3)]


def _keyring(new: NewFile) -> str:
    """Where the keyring lies. The units of a service may write to /var/lib/sealwire alone."""
    return "keyring.json" if new.layout is Layout.DEMO else "/var/lib/sealwire/keyring.json"


def _quoted(text: str) -> str:
    """A scalar in one line, whatever is in it: JSON's strings are YAML's."""
    return json.dumps(text)


def _to_make(new: NewFile, folder: Path) -> Iterator[str]:
    policy, keyring, audit_key = (folder / name for name in ("policy.yaml", _keyring(new), "audit.key"))
    yield f"{policy}: docs/policies.md"
    yield "SEALWIRE_KEK: sealwire keys create-kek"
    yield f"{keyring}: sealwire keys create --keyring {_word(keyring)} --policy {_word(policy)}"
    if new.layout is not Layout.DEMO:
        yield f"{folder / 'tls'}/: certificates of your authority; sealwire.crt names the advertised host"
    if new.features & {Feature.AUDIT, Feature.WATCH}:
        yield f"{audit_key}: sealwire audit create-key {_word(audit_key)} --name HOST/sealwire"
    if Feature.MIGRATION in new.features:
        yield f"{folder / 'frontier.uri'}: docs/operations/processes.md; its user has readWrite on sealwire"
    if Feature.WATCH in new.features:
        yield f"{folder / 'admin-token'}: docs/operations/page.md"
        yield f"{folder / 'alerts.yaml'}: docs/operations/alerts.md"


def _word(path: Path) -> str:
    """As a word for a shell. One that begins with a dash would be taken for an option."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
