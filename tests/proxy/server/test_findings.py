"""What a start and `--check` warn of."""

from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.proxy.server.config.settings import AccessControl, Address, Config, ListenTls, TlsMode
from sealwire.proxy.server.errors import AccessProblem, StartReason
from sealwire.proxy.server.findings import (
    CLIENTS_UNKNOWN,
    LOGIN_WANTED,
    NO_ACCESS_CONTROL,
    REVEALED_EVERYWHERE,
    Finding,
    compare_access,
    findings,
)
from sealwire.proxy.session.choices import Reveal
from tests.proxy.server.config_texts import EVERYWHERE
from tests.proxy.server.harness import make_config

LOCAL = make_config(1)


def listening_on(*hosts: str) -> Config:
    member = LOCAL.members[0]
    return replace(LOCAL, members=tuple(replace(member, listen=Address(host, 27018)) for host in hosts))


def test_what_is_as_it_should_be_is_not_mentioned() -> None:
    assert findings(LOCAL) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_clients_of_this_machine_need_no_certificate(host: str) -> None:
    assert findings(listening_on(host)) == []


@pytest.mark.parametrize(
    "hosts",
    [(EVERYWHERE,), ("::",), ("10.1.2.3",), ("fd00::1",), ("proxy.example",), ("127.0.0.1", "10.1.2.3")],
)
def test_clients_of_other_machines_should_have_certificates(hosts: tuple[str, ...]) -> None:
    config = listening_on(*hosts)
    assert findings(config) == [CLIENTS_UNKNOWN]
    optional = ListenTls(TlsMode.TLS, Path("a"), client_ca=Path("b"))
    assert findings(replace(config, listen_tls=optional)) == [CLIENTS_UNKNOWN]
    assert findings(replace(config, listen_tls=replace(optional, require_client_certificate=True))) == []


def test_doors_that_were_opened_on_purpose_are_mentioned() -> None:
    config = replace(LOCAL, access_control=AccessControl.NONE, reveal=Reveal.EVERYWHERE)
    assert findings(config) == [NO_ACCESS_CONTROL, REVEALED_EVERYWHERE]


@pytest.mark.parametrize(
    ("setting", "answers", "found"),
    [
        (AccessControl.REQUIRED, [AccessControl.REQUIRED, None], []),
        (AccessControl.NONE, [AccessControl.NONE, None], []),
        (AccessControl.NONE, [AccessControl.NONE, AccessControl.REQUIRED], [LOGIN_WANTED]),
        (AccessControl.REQUIRED, [], []),
    ],
)
def test_setting_and_servers_are_compared(
    setting: AccessControl, answers: list[AccessControl | None], found: list[Finding]
) -> None:
    assert compare_access(setting, answers) == found


def test_logins_that_are_expected_and_not_asked_for_are_an_error() -> None:
    with pytest.raises(AccessProblem) as caught:
        compare_access(AccessControl.REQUIRED, [AccessControl.REQUIRED, AccessControl.NONE])
    assert caught.value.reason is StartReason.ACCESS_CONTROL_MISSING
    assert "access_control" in caught.value.hint
