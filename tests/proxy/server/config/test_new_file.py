"""A new configuration file passes the reader in every combination, and names only documented keys."""

import re
import shlex
from itertools import chain, combinations
from pathlib import Path

import pytest
import yaml

from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.new_file import Feature, Layout, NewFile, files_named, new_file_text
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.settings import SETTINGS, AccessControl
from sealwire.proxy.server.findings import findings
from tests.build_context import ROOT

PLACE = Path("/etc/sealwire/sealwire.yaml")
CHOICES = [
    frozenset(some) for some in chain.from_iterable(combinations(Feature, n) for n in range(len(Feature) + 1))
]


def keys_of(value: object, above: tuple[str, ...] = ()) -> set[str]:
    if not isinstance(value, dict):
        return {".".join(above)}
    return set().union(*(keys_of(below, (*above, name)) for name, below in value.items()))


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("features", CHOICES, ids=lambda some: "-".join(sorted(each.value for each in some)))
def test_every_combination_is_read_and_documented(layout: Layout, features: frozenset[Feature]) -> None:
    text = new_file_text(NewFile(layout, features), PLACE)
    config = parse_config(text.encode(), PLACE, {})
    documented = set(
        re.findall(r"^\| `([a-z0-9_.]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.M)
    )
    assert keys_of(yaml.safe_load(text)) - {"members"} <= documented
    assert (config.audit is not None) is bool(features & {Feature.AUDIT, Feature.WATCH})
    assert (config.admin_page.watch is not None) is (Feature.WATCH in features)
    assert (config.frontier_uri_file is not None) is (Feature.MIGRATION in features)
    assert len(config.members) == {Layout.REPLICA_SET: 3, Layout.FOLLOWED: 0}.get(layout, 1)
    assert (config.discovery is not None) is (layout is Layout.FOLLOWED)
    assert all(len(line) <= 110 for line in text.splitlines())


@pytest.mark.parametrize("layout", Layout)
def test_what_stands_in_a_comment_is_a_key_too(layout: Layout) -> None:
    text = new_file_text(NewFile(layout), PLACE)
    named = set(re.findall(r"^ *# +([a-z_]+): ", text, re.M))
    assert named <= {key for name in SETTINGS for key in name.split(".")}


def test_with_roles_somebody_can_be_told_from_anybody() -> None:
    roles = frozenset({Feature.ROLES})
    for layout in Layout:
        config = parse_config(new_file_text(NewFile(layout, roles), PLACE).encode(), PLACE, {})
        assert config.access_control is AccessControl.REQUIRED
        if layout is not Layout.DEMO:
            assert config.listen_tls.require_client_certificate
            assert findings(config) == []


def test_only_what_is_named_has_to_be_made() -> None:
    plain = files_named(NewFile(Layout.DEMO), Path("sealwire.yaml"))
    assert not any(line.startswith(("tls", "audit", "alerts")) for line in plain)
    everything = files_named(NewFile(Layout.STANDALONE, frozenset(Feature)), Path("sealwire.yaml"))
    text = new_file_text(NewFile(Layout.STANDALONE, frozenset(Feature)), PLACE)
    assert all(line.partition(":")[0] in text for line in everything)


def test_what_has_to_be_made_lies_beside_the_configuration() -> None:
    place = Path("/etc/our proxy/sealwire.yaml")
    lines = dict(
        line.split(": ", 1) for line in files_named(NewFile(Layout.STANDALONE, frozenset(Feature)), place)
    )
    of_units = Path("/var/lib/sealwire/keyring.json")
    made = {Path(name) for name in lines if "/" in name}
    assert {path.parent for path in made - {of_units}} == {place.parent}
    assert of_units in made


@pytest.mark.parametrize("layout", Layout)
def test_the_keyring_is_made_where_the_configuration_has_it(layout: Layout) -> None:
    place = Path("/etc/our proxy/sealwire.yaml")
    lines = dict(line.split(": ", 1) for line in files_named(NewFile(layout), place))
    config = parse_config(new_file_text(NewFile(layout), place).encode(), place, {})
    words = shlex.split(lines[str(config.keyring)])
    assert words[3:] == ["--keyring", str(config.keyring), "--policy", str(config.policy)]


def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(SourceError):
        new_file_text(NewFile(Layout.STANDALONE, upstreams=("mongo.example",)), PLACE)
