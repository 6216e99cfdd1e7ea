"""Names, periods and networks that an operator gives: what is taken, and what a path would misread."""

import pytest

from sealwire.sidecars.errors import SetupReason, Unusable
from sealwire.sidecars.vault_setup.settings import (
    QUARTER_S,
    AppRole,
    Kubernetes,
    Role,
    SetupSettings,
    address_or_network,
    format_period,
    parse_period,
)


def test_every_name_begins_with_the_prefix() -> None:
    settings = SetupSettings(prefix="clinic-a")
    assert settings.keys == ("clinic-a-proxy", "clinic-a-backup")
    assert settings.keyring == "clinic-a/keyring"
    assert settings.role_name(Role.BACKUP_WRITER) == "clinic-a-backup-writer"


@pytest.mark.parametrize("name", ["", "*", "a*", "+", "a/b", "../sys", 'a"', "A", "a\n", "-a", "a" * 65])
def test_a_prefix_that_a_policy_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(Unusable) as caught:
        SetupSettings(prefix=name)
    assert caught.value.reason is SetupReason.NAME


@pytest.mark.parametrize("mount", ["", "/transit", "transit/", "a/../b", "a*", "tran sit"])
def test_a_mount_that_a_path_would_read_otherwise_is_refused(mount: str) -> None:
    for settings in ({"transit_mount": mount}, {"kv_mount": mount}, {"auth": AppRole(mount)}):
        with pytest.raises(Unusable) as caught:
            SetupSettings(**settings)
        assert caught.value.reason is SetupReason.NAME


def test_the_two_mounts_are_two() -> None:
    with pytest.raises(Unusable) as caught:
        SetupSettings(transit_mount="secret")
    assert caught.value.reason is SetupReason.NAME


@pytest.mark.parametrize(("text", "seconds"), [("90d", QUARTER_S), ("1h", 3600), ("2w", 14 * 86400)])
def test_periods_have_a_unit(text: str, seconds: int) -> None:
    assert parse_period(text) == seconds


@pytest.mark.parametrize("text", ["90", "0h", "-1d", "1.5d", "11y", "9999999d", "4000d", "", "d", "٣d"])
def test_other_periods_are_refused(text: str) -> None:
    with pytest.raises(Unusable) as caught:
        parse_period(text)
    assert caught.value.reason is SetupReason.PERIOD


@pytest.mark.parametrize(("seconds", "text"), [(QUARTER_S, "90d"), (5400 * 2, "3h"), (61, "61s"), (0, "")])
def test_periods_are_shown_in_the_largest_exact_unit(seconds: int, text: str) -> None:
    assert format_period(seconds) == text


def test_a_network_of_one_address_is_the_address() -> None:
    assert str(address_or_network("10.1.2.3/32")) == "10.1.2.3"
    assert str(address_or_network("::1/128")) == "::1"
    assert str(address_or_network("10.1.0.0/16")) == "10.1.0.0/16"


@pytest.mark.parametrize("text", ["10.1.2.3", "10.1.2.3/16", "host", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(Unusable) as caught:
        AppRole(bound_cidrs=(text,))
    assert caught.value.reason is SetupReason.AUTH


def test_kubernetes_is_reached_by_tls_only() -> None:
    with pytest.raises(Unusable) as caught:
        SetupSettings(auth=Kubernetes("http://10.0.0.1", "pem"))
    assert caught.value.reason is SetupReason.AUTH
