"""A reload counts as a whole, for what is open and for what comes."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Limits
from sealwire.proxy.server.errors import KeyringIncomplete, StartReason
from sealwire.proxy.server.findings import NO_ACCESS_CONTROL, REVEALED_EVERYWHERE
from sealwire.proxy.server.upstream import Upstream, UpstreamWay
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.server.workers.start import require_classes
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.effects import Effect, NeedKeys
from tests.keys.samples import NOW
from tests.proxy.server.harness import (
    POLICY,
    REFUSED,
    WIDER,
    FakeSessions,
    Stream,
    client_of,
    covers,
    edited,
    fake_server,
    hello_server,
    make_config,
    make_loaded,
    only_connection,
    place_for,
    policy_info,
    records,
    reloaded,
    shown,
    soon,
    until,
)
from tests.support.policies import policy_of
from tests.support.reasons import raising

pytestmark = pytest.mark.integration


async def test_a_changed_policy_counts_for_open_and_for_new_sessions(tmp_path: Path) -> None:
    async with edited(tmp_path) as (place, sessions, proxy), client_of(proxy):
        await until(lambda: bool(sessions.made))
        assert policy_info(proxy) == {shown(POLICY): 1.0}
        place.write(WIDER)
        await reloaded(proxy)
        first, second = sessions.made[0].settings
        assert not covers(first, b"phone")
        assert covers(second, b"phone")
        assert second.former == (first.policy,)
        assert policy_info(proxy) == {shown(WIDER): 1.0}
        assert proxy.health.policies == (shown(WIDER),)
        async with client_of(proxy):
            await until(lambda: len(sessions.made) == 2)
            assert sessions.made[1].settings == [second]


def entered(proxy: Proxy) -> Upstream:
    assert proxy._entrances is not None
    return next(iter(proxy._entrances)).route.upstream


async def test_a_connection_that_is_being_opened_during_a_reload_gets_the_new_policy(tmp_path: Path) -> None:
    async with fake_server() as server:
        place, sessions = place_for(server.port, tmp_path), FakeSessions()
        async with place.proxy(sessions) as proxy:
            may_connect = asyncio.Event()
            connect = entered(proxy).connect

            async def later(
                protocol: Callable[[], asyncio.BaseProtocol], way: UpstreamWay | None = None
            ) -> None:
                await may_connect.wait()
                await connect(protocol, way)

            entered(proxy).connect = later  # type: ignore[method-assign]
            async with client_of(proxy) as (_, writer):
                writer.write(b"x")
                await until(lambda: bool(proxy.services.live) and only_connection(proxy)._is_connecting)
                place.write(WIDER)
                await reloaded(proxy)
                may_connect.set()
                await server.accepted()
                assert [covers(each, b"phone") for each in sessions.made[0].settings] == [False, True]


async def test_nothing_new_leaves_the_sessions_what_they_know(tmp_path: Path) -> None:
    async with edited(tmp_path) as (place, sessions, proxy), client_of(proxy):
        await until(lambda: bool(sessions.made))
        await reloaded(proxy)
        place.change(limits=Limits(7, 1.0, 2.0, 3.0))
        await reloaded(proxy)
        assert len(sessions.made[0].settings) == 1
        assert proxy.services.limits == Limits(7, 1.0, 2.0, 3.0)


async def test_a_policy_that_comes_back_is_no_former_one_of_itself(tmp_path: Path) -> None:
    async with edited(tmp_path) as (place, _, proxy):
        settings = [proxy.shared.settings]
        for source in (WIDER, POLICY, WIDER):
            place.write(source)
            await reloaded(proxy)
            settings.append(proxy.shared.settings)
        first, wider, *_, last = settings
        assert last.policy is wider.policy
        assert last.former == (first.policy,)


async def test_what_the_new_policy_does_not_cover_any_more_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with edited(tmp_path) as (place, _, proxy):
        for source in (WIDER, POLICY + b"  clinic.*:\n    mail: nhs_number\n", WIDER):
            place.write(source)
            await reloaded(proxy)
    lost = [said["paths"] for said in records(caplog, "the policy covers less than before")]
    assert lost == ["clinic.patients: phone", "clinic.*: mail"]


async def test_a_policy_without_the_roles_that_it_had_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roles = b"roles: {r: {users: ['*@*'], classes: {'*': {read: clear}}}}\n"
    async with edited(tmp_path) as (place, _, proxy):
        for source in (POLICY + roles, WIDER + roles):
            place.write(source)
            await reloaded(proxy)
        assert records(caplog, "the policy has no roles any more") == []
        assert records(caplog, "roles that nobody can have") == []
        place.write(WIDER + roles.replace(b"classes", b"require_certificate: true, classes"))
        await reloaded(proxy)
        assert [said["roles"] for said in records(caplog, "roles that nobody can have")] == ["r"]
        place.write(WIDER)
        await reloaded(proxy)
    assert len(records(caplog, "the policy has no roles any more")) == 1


async def test_what_needs_a_restart_is_named_and_the_rest_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with edited(tmp_path) as (place, sessions, proxy):
        place.write(WIDER)
        place.change(admin=Address("127.0.0.1", 1), workers=4, reveal=Reveal.EVERYWHERE)
        await reloaded(proxy)
        assert proxy.shared.settings.reveal is Reveal.EVERYWHERE
        async with client_of(proxy):
            await until(lambda: bool(sessions.made))
    (said,) = records(caplog, "new values wait for a restart, the old ones count")
    assert said == {"keys": "admin.address, workers"}
    assert len(records(caplog, REVEALED_EVERYWHERE.event)) == 1


async def test_bounds_of_questions_count_at_once(tmp_path: Path) -> None:
    async with edited(tmp_path) as (place, _, proxy):
        place.change(limits=Limits(question_values=7))
        await reloaded(proxy)
        assert proxy.shared.settings.questions.values == 7


async def test_access_control_can_change_where_the_server_agrees(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hello_server({"ok": 1.0}, other={"ok": 1.0}) as port:
        place, sessions = place_for(port, tmp_path), FakeSessions()
        place.change(access_control=AccessControl.NONE, probe=True)
        async with place.proxy(sessions) as proxy:
            assert not proxy.shared.settings.login_required
            place.change(access_control=AccessControl.REQUIRED)
            await reloaded(proxy, result="failed")
            assert not proxy.shared.settings.login_required
            place.change(probe=False)
            await reloaded(proxy)
            assert proxy.shared.settings.login_required
    (said,) = records(caplog, REFUSED)
    assert "access_control" in said["hint"]
    assert len(records(caplog, NO_ACCESS_CONTROL.event)) == 1


async def test_a_storm_of_signals_becomes_one_reload_and_one_more(tmp_path: Path) -> None:
    async with edited(tmp_path) as (place, sessions, proxy), client_of(proxy):
        await until(lambda: bool(sessions.made))
        may_read, reading = threading.Event(), threading.Event()

        def wait() -> None:
            reading.set()
            may_read.wait(10)

        place.on_read = wait
        proxy.reload()
        await until(reading.is_set)
        place.write(WIDER)
        for _ in range(1000):
            proxy.reload()
        await asyncio.sleep(0)
        assert place.reads == 1
        place.on_read = None
        may_read.set()

        def done() -> bool:
            proxy.services.keys._earliest_at = 0.0
            return proxy.metrics.value("sealwire_reloads_total", outcome="loaded") == 2

        await until(done)
        assert place.reads == 4  # each of the two reads twice
        assert covers(sessions.made[0].settings[-1], b"phone")


async def test_a_reload_that_is_overtaken_by_a_drain_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with edited(tmp_path) as (place, sessions, proxy), client_of(proxy):
        await until(lambda: bool(sessions.made))
        may_read = threading.Event()

        def wait() -> None:
            may_read.wait(10)

        place.on_read = wait
        place.write(WIDER)
        proxy.reload()
        sessions.made[0].idle = False
        proxy.stop()
        await until(lambda: proxy.services.draining)
        may_read.set()
        await until(lambda: bool(records(caplog, "reload comes too late, the proxy is draining")))
        assert len(sessions.made[0].settings) == 1


async def test_a_reload_that_is_asked_for_during_the_start_waits_for_its_end(tmp_path: Path) -> None:
    async with fake_server() as server:
        place, sessions = place_for(server.port, tmp_path), FakeSessions()
        proxy = Proxy(make_loaded(place.config, place.load_keyring, place.reread), sessions)
        proxy.reload()
        place.write(WIDER)
        task = asyncio.get_running_loop().create_task(proxy.run())
        await until(lambda: proxy.metrics.value("sealwire_reloads_total", outcome="loaded") == 1)
        assert covers(proxy.shared.settings, b"phone")
        proxy.stop()
        await soon(task)


def need_keys() -> list[Effect]:
    return [NeedKeys(((99, 1),))]


async def test_a_session_that_waits_for_keys_is_told_and_still_gets_its_answer(tmp_path: Path) -> None:
    async with fake_server() as server:
        place, sessions = place_for(server.port, tmp_path), FakeSessions({b"k": need_keys})
        may_load = threading.Event()

        def load() -> Keyring:
            may_load.wait(10)
            return place.keyring

        async with place.proxy(sessions) as proxy, client_of(proxy) as (reader, writer):
            place.load = load
            writer.write(b"k")
            await until(lambda: proxy.services.keys._flight is not None)
            place.write(WIDER)
            proxy.reload()
            may_load.set()
            assert await soon(reader.readexactly(4)) == b"keys"

            def done() -> bool:
                proxy.services.keys._earliest_at = 0.0
                proxy.services.keys.tick()
                return proxy.metrics.value("sealwire_reloads_total", outcome="loaded") == 1

            await until(done)
            assert covers(sessions.made[0].settings[-1], b"phone")
            assert only_connection(proxy) is not None


async def test_a_session_that_cannot_take_the_new_policy_is_cut_and_the_others_go_on(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("9434765919")

    async def end_of(stream: Stream) -> bytes:
        return await soon(stream[0].read(1))

    async with edited(tmp_path) as (place, sessions, proxy), client_of(proxy) as bad:
        await until(lambda: len(sessions.made) == 1)
        async with client_of(proxy):
            await until(lambda: len(sessions.made) == 2)
            sessions.made[0].settings_changed = fail  # type: ignore[method-assign]
            place.write(WIDER)
            await reloaded(proxy)
            with suppress(ConnectionError):
                assert await end_of(bad) == b""
            assert covers(sessions.made[1].settings[-1], b"phone")
            assert proxy.metrics.value("sealwire_bugs_total") == 1


def test_a_random_class_needs_a_key_that_encrypts() -> None:
    policy = policy_of(
        b"version: 1\nclasses: {a: {mode: random}, b: {mode: deterministic, type: string}}\n"
        b"collections: {clinic.patients: {a: a, b: b}}\n"
    )

    def keyring(**in_clear: bool) -> Keyring:
        return Keyring(
            DataKey(name, number, 1, KeyState.ACTIVE, NOW, bytes([number]) * 64, is_plaintext=is_plaintext)
            for number, (name, is_plaintext) in enumerate(in_clear.items(), start=1)
        )

    require_classes(policy, keyring(a=False, b=True), make_config(1))
    for unusable, step in ((keyring(a=True, b=False), "keys rotate a"), (keyring(b=True), "keys create a")):
        with raising(KeyringIncomplete, StartReason.KEYRING_INCOMPLETE) as caught:
            require_classes(policy, unusable, make_config(1))
        assert step in caught.value.hint


@pytest.mark.parametrize(
    ("lender", "borrower", "unlike"),
    [
        ("mode: deterministic, type: string", "mode: deterministic, type: string", False),
        ("mode: deterministic, type: string", "mode: deterministic, type: int", True),
        ("mode: deterministic, type: string", "mode: random", True),
        ("mode: random", "mode: random", True),
        ("mode: deterministic, type: int", "mode: deterministic, type: int, range: {from: 0, to: 9}", True),
    ],
)
def test_classes_with_one_key_have_to_be_alike(lender: str, borrower: str, unlike: bool) -> None:
    rules = f"""
version: 1
classes: {{a: {{{lender}}}, b: {{{borrower}}}}}
collections: {{clinic.patients: {{a: a, b: b}}}}
"""
    policy = load_policy(rules.encode(), "policy.yaml")
    own = DataKey("a", 1, 1, KeyState.ACTIVE, NOW, bytes(64))
    first = DataKey("b", 2, 1, KeyState.ACTIVE, NOW, bytes(range(64)))
    joins = DataKey("b", 2, 2, KeyState.PENDING, NOW, bytes(64), lender=own.ids)
    begins = DataKey("b", 2, 1, KeyState.ACTIVE, NOW, bytes(64), lender=own.ids)
    for keyring in (Keyring([own, first, joins]), Keyring([own, begins])):
        if not unlike:
            require_classes(policy, keyring, make_config(1))
            continue
        with raising(KeyringIncomplete, StartReason.KEYRING_INCOMPLETE) as caught:
            require_classes(policy, keyring, make_config(1))
        assert caught.value.hint


def test_a_policy_must_name_the_class_that_moves_to_or_from_a_key_of_its_own() -> None:
    """With another policy a proxy takes the values that move for such as stay."""

    def policy(*names: str) -> PolicySet:
        classes = ", ".join(f"{name}: {{mode: deterministic, type: string}}" for name in names)
        paths = ", ".join(f"{name}: {name}" for name in names)
        rules = f"version: 1\nclasses: {{{classes}}}\ncollections: {{clinic.patients: {{{paths}}}}}\n"
        return load_policy(rules.encode(), "policy.yaml")

    own = DataKey("a", 1, 1, KeyState.ACTIVE, NOW, bytes(64))
    other = DataKey("c", 3, 1, KeyState.ACTIVE, NOW, bytes([3]) * 64)
    clear = DataKey("b", 2, 1, KeyState.ACTIVE, NOW, bytes(range(64)), is_plaintext=True)
    lent = DataKey("b", 2, 2, KeyState.PENDING, NOW, bytes(64), lender=own.ids)
    joining = Keyring([own, clear, lent, other])
    for names in (("a", "b"), ("b",), ("c",)):
        require_classes(policy(*names), joining, make_config(1))
    declared = replace(policy("a"), classes=policy("a", "b").classes)
    for early in (policy("a"), policy("a", "c"), declared):
        with raising(KeyringIncomplete, StartReason.KEYRING_INCOMPLETE) as caught:
            require_classes(early, joining, make_config(1))
        assert "keep b" in caught.value.hint
    over = Keyring([own, replace(clear, state=KeyState.DECRYPT_ONLY), replace(lent, state=KeyState.ACTIVE)])
    require_classes(policy("a"), over, make_config(1))


def test_a_class_that_moves_cannot_be_observed_and_one_without_a_key_can() -> None:
    rules = b"""
version: 1
classes: {a: {mode: deterministic, type: string}, b: {mode: random}}
collections: {clinic.patients: {a: a, b: b}}
mode: observe
"""
    policy = load_policy(rules, "policy.yaml").enforced
    require_classes(policy, Keyring([]), make_config(1))
    active = DataKey("a", 1, 1, KeyState.ACTIVE, NOW, bytes(64), is_plaintext=True)
    require_classes(policy, Keyring([active]), make_config(1))
    moving = Keyring([active, DataKey("a", 1, 2, KeyState.PENDING, NOW, bytes(range(64)))])
    with raising(KeyringIncomplete, StartReason.KEYRING_INCOMPLETE) as caught:
        require_classes(policy, moving, make_config(1))
    assert "finish the move" in caught.value.hint
