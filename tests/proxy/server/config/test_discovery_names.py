"""The keys of a proxy that finds its servers by itself."""

import pytest

from sealwire.proxy.server.config.settings import Address as Place
from sealwire.proxy.server.config.settings import Discovery, Seeds
from tests.proxy.server.config_texts import EVERYWHERE, FOLDER, error_of, parse

FOLLOWED = """\
listen: {address: "0.0.0.0", ports: "27018-27020", advertise: proxy.example, tls: {mode: plaintext}}
upstream: {uri: "mongodb://a,b/?replicaSet=rs0", tls: {mode: plaintext}}
policy: policy.yaml
keyring: keyring.json
kek: {provider: environment}
"""


def test_a_range_and_where_to_look() -> None:
    config = parse(FOLLOWED)
    wanted = Seeds((Place("a", 27017), Place("b", 27017)), set_name="rs0")
    assert config.discovery == Discovery(wanted, EVERYWHERE, "proxy.example", 27018, 27020)
    assert (config.members, list(config.discovery.ports)) == ((), [27018, 27019, 27020])


def test_domains_of_members_are_names_in_lower_case() -> None:
    text = FOLLOWED.replace("upstream: {", 'upstream: {domains: [Example.ORG, "10.0.0.7", "[::1]"], ')
    discovery = parse(text).discovery
    assert discovery is not None
    assert discovery.domains == ("example.org", "10.0.0.7", "::1")


def test_where_ports_are_written_down_starts_at_the_files_folder() -> None:
    text = FOLLOWED.replace("ports:", "ports_file: ports.json, ports:")
    discovery = parse(text).discovery
    assert discovery is not None
    assert discovery.ports_file == FOLDER / "ports.json"


def test_the_host_that_clients_are_told_is_that_of_the_listeners_unless_it_is_said() -> None:
    text = FOLLOWED.replace('"0.0.0.0"', '"[::1]"').replace("advertise: proxy.example, ", "")
    discovery = parse(text).discovery
    assert discovery is not None
    assert (discovery.listen, discovery.advertise) == ("::1", "::1")


def test_a_variable_gives_another_range_and_other_seeds() -> None:
    discovery = parse(
        FOLLOWED, {"SEALWIRE_LISTEN_PORTS": "5-6", "SEALWIRE_UPSTREAM_URI": "mongodb://c"}
    ).discovery
    assert discovery is not None
    assert (list(discovery.ports), discovery.seeds) == ([5, 6], Seeds((Place("c", 27017),)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("27018-27020", "27018"),
        ("27018-27020", "27020-27018"),
        ("27018-27020", "0-3"),
        ("27018-27020", "65530-65536"),
        ("27018-27020", "1-65"),
        ('"0.0.0.0"', '"0.0.0.0:27018"'),
        ("proxy.example", '"proxy.example:27018"'),
        ("advertise: proxy.example, ", ""),
        ('ports: "27018-27020", ', ""),
        ("uri:", "probe: false, uri:"),
        ("uri:", "domains: [example.org:27017], uri:"),
        ("uri:", 'domains: ["."], uri:'),
        ("uri:", 'domains: ["::"], uri:'),
        ("uri:", "domains: example.org, uri:"),
        ("uri:", 'address: "a:1", uri:'),
        ("uri:", "heartbeat_s: 0, uri:"),
        ("policy:", "members: []\npolicy:"),
    ],
)
def test_what_does_not_go_together_is_an_error(old: str, new: str) -> None:
    assert old in FOLLOWED
    assert error_of(FOLLOWED.replace(old, new, 1)).problem


def test_a_range_needs_servers_that_are_followed() -> None:
    text = FOLLOWED.replace('uri: "mongodb://a,b/?replicaSet=rs0"', 'address: "a:1"')
    assert error_of(text).problem
