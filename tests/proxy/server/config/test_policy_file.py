"""The policies that counted before, and the hash that tells one from another."""

from hashlib import sha256
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.policy_file import (
    MAX_FORMER_POLICIES,
    PolicyFile,
    parse_policy,
    put_first,
    read_policy,
)
from tests.proxy.server.harness import POLICY


def version(number: int) -> PolicyFile:
    return parse_policy(POLICY + b"# %d\n" % number, "policy.yaml")


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(POLICY)
    policy = read_policy(file)
    assert policy.sha256 == sha256(POLICY).hexdigest()
    assert policy.sha256.startswith(policy.shown)
    assert len(policy.shown) == 12


def test_what_is_wrong_has_its_place(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(POLICY.replace(b"nhs_number: nhs_number", b"nhs_number: nsh"))
    with pytest.raises(SourceError) as caught:
        read_policy(file)
    assert (caught.value.line, caught.value.column) == (6, 17)


def test_the_newest_comes_first() -> None:
    one, two, three = (version(number) for number in range(3))
    assert put_first(three, put_first(two, (one,))) == (three, two, one)


def test_a_content_that_comes_back_counts_once_and_keeps_its_memory() -> None:
    one, two = version(1), version(2)
    back = put_first(version(1), (two, one))
    assert back == (one, two)
    assert back[0] is one
    assert put_first(version(2), (two, one)) == (two, one)


def test_the_oldest_are_given_up() -> None:
    policies: tuple[PolicyFile, ...] = (version(0),)
    for number in range(1, 2 * MAX_FORMER_POLICIES):
        policies = put_first(version(number), policies)
    assert len(policies) == 1 + MAX_FORMER_POLICIES
    assert policies[-1] == version(2 * MAX_FORMER_POLICIES - 1 - MAX_FORMER_POLICIES)
