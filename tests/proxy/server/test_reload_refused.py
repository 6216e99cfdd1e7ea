"""A reload of what is wrong changes nothing, and says so once."""

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.keys.errors import DamagedFile, KekUnavailable, KeysReason
from sealwire.keys.keyring.data_key import generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.settings import Limits, ListenTls, TlsMode
from sealwire.proxy.session.shared import Reveal
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.harness import (
    POLICY,
    client_of,
    fake_server,
    until,
)
from tests.proxy.server.reload_place import (
    BROKEN,
    NEW_CLASS,
    REFUSED,
    WIDER,
    Place,
    covers,
    place_for,
    policy_info,
    records,
    reloaded,
    shown,
)

pytestmark = pytest.mark.integration


def place_broken(place: Place) -> None:
    place.write(BROKEN)


def place_without_a_policy(place: Place) -> None:
    place.config.policy.unlink()


def place_with_a_pipe(place: Place) -> None:
    place.config.policy.unlink()
    os.mkfifo(place.config.policy)


def place_with_a_new_class(place: Place) -> None:
    place.write(NEW_CLASS)


def place_without_its_certificate(place: Place) -> None:
    place.write(WIDER)
    place.change(listen_tls=ListenTls(TlsMode.TLS, Path("/nowhere.crt")))


def place_with_a_damaged_keyring(place: Place) -> None:
    def load() -> Keyring:
        raise DamagedFile(KeysReason.TAMPERED, "the keyring was altered", "restore it")

    place.write(WIDER)
    place.load = load


def place_that_fails_without_reason(place: Place) -> None:
    def fail() -> None:
        raise ValueError("9434765919")

    place.write(WIDER)
    place.on_read = fail


def place_that_is_being_written(place: Place) -> None:
    def write() -> None:
        if place.reads == 2:
            place.write(WIDER)

    place.write(POLICY + b"    phone: nhs_number\n    email: nhs_number\n")
    place.on_read = write


def place_whose_configuration_changes_meanwhile(place: Place) -> None:
    def write() -> None:
        if place.reads == 2:
            place.change(reveal=Reveal.EVERYWHERE)

    place.write(WIDER)
    place.on_read = write


@pytest.mark.parametrize(
    "harm",
    [
        place_broken,
        place_without_a_policy,
        place_with_a_pipe,
        place_with_a_new_class,
        place_without_its_certificate,
        place_with_a_damaged_keyring,
        place_that_fails_without_reason,
        place_that_is_being_written,
        place_whose_configuration_changes_meanwhile,
    ],
)
async def test_what_is_wrong_changes_nothing_and_is_said_once(
    tmp_path: Path, harm: Callable[[Place], None], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with fake_server() as server:
            place, sessions = place_for(server.port, tmp_path), FakeSessions()
            async with place.proxy(sessions) as proxy, client_of(proxy):
                await until(lambda: bool(sessions.made))
                limits = proxy.services.limits
                place.change(limits=Limits(7))
                harm(place)
                await reloaded(proxy, result="failed")
                assert len(sessions.made[0].settings) == 1
                assert proxy.services.limits == limits
                assert proxy.health.policies == (shown(POLICY),)
                assert policy_info(proxy) == {shown(POLICY): 1.0}
                # and when it is mended, it counts
                place.on_read = place.load = None
                place.change(listen_tls=ListenTls(TlsMode.PLAINTEXT))
                place.config.policy.unlink(missing_ok=True)
                place.write(WIDER)
                await reloaded(proxy)
                assert covers(sessions.made[0].settings[-1], b"phone")
                assert proxy.services.limits == Limits(7)
    said = [record for record in caplog.records if record.getMessage() == REFUSED]
    bugs = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(said) + len(bugs) == 1
    assert bool(bugs) is (harm is place_that_fails_without_reason)
    assert all(record.__dict__["fields"]["hint"] for record in said)
    assert "9434765919" not in "".join(record.getMessage() for record in caplog.records)


async def test_each_error_has_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with fake_server() as server:
        place = place_for(server.port, tmp_path)
        async with place.proxy(FakeSessions()) as proxy:
            place.write(BROKEN + b"extra: 1\n")
            await reloaded(proxy, result="failed")
    said = [line["problem"].removeprefix(f"{tmp_path / 'policy.yaml'}:") for line in records(caplog, REFUSED)]
    assert [place.partition(": ")[0] for place in said] == ["6:17", "7:8"]


async def test_a_configuration_that_cannot_be_read_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise SourceError("sealwire.yaml", 3, 7, "unknown key 'lisen'", "did you mean 'listen'?")

    async with fake_server() as server:
        place = place_for(server.port, tmp_path)
        async with place.proxy(FakeSessions()) as proxy:
            place.on_read = fail
            await reloaded(proxy, result="failed")
    (said,) = records(caplog, REFUSED)
    assert said == {"problem": "sealwire.yaml:3:7: unknown key 'lisen'", "hint": "did you mean 'listen'?"}


async def test_a_new_class_counts_once_its_key_is_there(tmp_path: Path) -> None:
    async with fake_server() as server:
        place, sessions = place_for(server.port, tmp_path), FakeSessions()
        async with place.proxy(sessions) as proxy:
            place.write(NEW_CLASS)
            await reloaded(proxy, result="failed")
            created = datetime(2026, 1, 1, tzinfo=UTC)
            names = ("nhs_number", "notes")
            place.keyring = Keyring(
                generate_data_key(name, number, 1, created) for number, name in enumerate(names, 1)
            )
            await reloaded(proxy)
            assert "notes" in proxy.shared.settings.policy.classes


async def test_a_provider_that_is_away_does_not_hold_up_certificates(tmp_path: Path) -> None:
    def away() -> Keyring:
        raise KekUnavailable(KeysReason.KEK_UNREACHABLE, "no answer", "start it")

    async with fake_server() as server:
        place, sessions = place_for(server.port, tmp_path), FakeSessions()
        async with place.proxy(sessions) as proxy:
            await reloaded(proxy)  # brings the keys in: the harness starts without any
            place.load = away
            place.write(WIDER)
            await reloaded(proxy)
            assert covers(proxy.shared.settings, b"phone")
            place.write(NEW_CLASS)
            await reloaded(proxy, result="failed")
