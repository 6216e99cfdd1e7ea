"""Configuration files for tests, and what the reader makes of them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.settings import Config

WHOLE = """\
listen:
  address: 0.0.0.0:27018
  advertise: proxy.example:27018
  tls:
    certificate: tls/proxy.crt
    key: tls/proxy.key
    client_ca: tls/clients.crt
    require_client_certificate: true
    minimum: "1.3"
upstream:
  address: "[fd00::1]:27017"
  probe: false
  access_control: none
  tls:
    ca: /etc/mongo/ca.crt
    certificate: tls/client.crt
    key: tls/client.key
    server_name: mongo.example
policy: policy.yaml
keyring: keyring.json
kek: {provider: file, path: kek.json, passphrase_file: passphrase}
keys:
  refresh_s: 30
  max_age_s: 3600
  cache: {path: cache.json, kek: "file:cache-kek.json", passphrase_file: cache-passphrase, max_age_s: 600}
admin: {address: "127.0.0.1:9999", tls: {certificate: tls/admin.crt, key: tls/admin.key, \
  client_ca: tls/people.crt}, page: {token_file: admin-token, name: sealwire.clinic.example, \
  watch: alerts.yaml}}
log: {level: debug, format: json, slow_ms: 250}
limits: {connections: 10, drain_s: 1, connect_s: 2.5, handshake_s: 3, question_values: 500, \
  question_bytes: 70000, question_matches: 50, question_candidates: 40}
audit:
  path: audit.jsonl
  key: audit.key
  checkpoints: /mnt/worm/clinic.checkpoints
  checkpoint_lines: 500
  checkpoint_s: 10
  file_bytes: 1048576
reveal: everywhere
frontier: {uri_file: frontier.uri}
traces: {endpoint: "http://collector:4318/v1/traces"}
"""

SHORT = """\
listen: {address: "127.0.0.1:27018", tls: {mode: plaintext}}
upstream: {address: "mongo:27017", tls: {mode: plaintext}}
policy: policy.yaml
keyring: keyring.json
kek: {provider: environment}
"""

SET = """\
listen: {tls: {mode: plaintext}}
upstream: {tls: {}}
members:
  - {listen: "127.0.0.1:27018", upstream: "a:27017"}
  - {listen: "0.0.0.0:27019", advertise: "proxy:27019", upstream: "b:27017"}
policy: policy.yaml
keyring: keyring.json
kek: {provider: environment, variable: MY_KEK}
"""

VAULT = """\
listen: {address: "127.0.0.1:27018", tls: {mode: plaintext}}
upstream: {address: "mongo:27017", tls: {mode: plaintext}}
policy: policy.yaml
vault:
  address: https://vault.example:8200/
  namespace: clinic
  ca: ca.crt
  auth: approle
  role_id: role
  secret_id_file: secret-id
  secret_id_wrapped: true
  timeout_s: 2
"""


# The same with its keys in Vault; an option that a way to log in does not use changes nothing.
IN_VAULT = """\
kek: {provider: vault, name: sealwire}
vault: {address: "https://vault:8200", auth: AUTH, role: r, role_id: i, certificate: a, key: b,
  token_file: t, secret_id_file: s, jwt_file: j}
"""

EVERYWHERE = "0.0.0.0"  # noqa: S104 - read, not bound

FOLDER = Path("/etc/sealwire")


def parse(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return parse_config(text.encode(), FOLDER / "sealwire.yaml", environ or {})


def error_of(text: str, environ: Mapping[str, str] | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        parse(text, environ)
    return caught.value
