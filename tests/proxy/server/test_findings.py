"""What a start and `--check` warn of."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Config, ListenTls, TlsMode
from sealwire.proxy.server.dry_run import look_at, observed_findings, shapes_in
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
from sealwire.proxy.server.tasks import OneAtATime, within
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.effects import ObservedVerdict
from tests.build_context import ROOT
from tests.proxy.server.config_texts import EVERYWHERE
from tests.proxy.server.harness import make_config, until
from tests.support.reasons import raising
from tests.support.rows import rows

LOCAL = make_config(1)


def listening_on(*hosts: str) -> Config:
    member = LOCAL.members[0]
    return replace(LOCAL, members=tuple(replace(member, listen=Address(host, 27018)) for host in hosts))


def test_what_is_as_it_should_be_is_not_mentioned() -> None:
    assert findings(LOCAL) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_clients_of_this_machine_need_no_certificate(host: str) -> None:
    assert findings(listening_on(host)) == []


@rows(
    "hosts",
    (EVERYWHERE,),
    ("::",),
    ("10.1.2.3",),
    ("fd00::1",),
    ("proxy.example",),
    ("127.0.0.1", "10.1.2.3"),
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


@rows(
    "setting, answers, found",
    (AccessControl.REQUIRED, [AccessControl.REQUIRED, None], []),
    (AccessControl.NONE, [AccessControl.NONE, None], []),
    (AccessControl.NONE, [AccessControl.NONE, AccessControl.REQUIRED], [LOGIN_WANTED]),
    (AccessControl.REQUIRED, [], []),
)
def test_setting_and_servers_are_compared(
    setting: AccessControl, answers: list[AccessControl | None], found: list[Finding]
) -> None:
    assert compare_access(setting, answers) == found


def test_logins_that_are_expected_and_not_asked_for_are_an_error() -> None:
    with raising(AccessProblem, StartReason.ACCESS_CONTROL_MISSING) as caught:
        compare_access(AccessControl.REQUIRED, [AccessControl.REQUIRED, AccessControl.NONE])
    assert "access_control" in caught.value.hint


# Work that is asked for again and again runs one at a time, and once more for all who asked meanwhile.


class Work:
    """Counts its runs; each waits for leave, and fails where it was told to."""

    def __init__(self) -> None:
        self.began = 0
        self.ended = 0
        self.at_once = 0
        self.most_at_once = 0
        self.fails = False
        self.may_end = asyncio.Event()

    async def __call__(self) -> None:
        self.began += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_end.wait()
        self.at_once -= 1
        self.ended += 1
        if self.fails:
            raise ValueError


async def test_all_who_ask_during_a_run_share_the_next() -> None:
    work = Work()
    once = OneAtATime(work, "work")
    once.ask()
    await until(lambda: work.began == 1)
    for _ in range(100):
        once.ask()
    work.may_end.set()
    await until(lambda: work.ended == 2)
    await asyncio.sleep(0)
    assert (work.began, work.most_at_once) == (2, 1)
    once.ask()
    await until(lambda: work.ended == 3)


async def test_work_that_fails_can_be_asked_for_again() -> None:
    work = Work()
    work.fails = True
    work.may_end.set()
    once = OneAtATime(work, "work")
    for count in (1, 2):
        once.ask()
        await until(lambda count=count: work.ended == count)  # type: ignore[misc]


async def test_who_asks_during_a_run_that_fails_still_gets_one() -> None:
    work = Work()
    work.fails = True
    once = OneAtATime(work, "work")
    once.ask()
    await until(lambda: work.began == 1)
    once.ask()
    work.may_end.set()
    await until(lambda: work.ended == 2)


async def test_who_asks_before_the_run_begins_gets_that_run() -> None:
    work = Work()
    work.may_end.set()
    once = OneAtATime(work, "work")
    once.ask()
    once.ask()
    await until(lambda: work.ended == 1)
    await asyncio.sleep(0)
    assert work.began == 1


async def test_what_takes_too_long_is_given_up() -> None:
    never = asyncio.Event()
    assert not await within(never.wait(), 0.0)
    assert await within(asyncio.sleep(0), 10.0)
    with pytest.raises(ZeroDivisionError):
        await within(fail(), 10.0)


async def fail() -> None:
    raise ZeroDivisionError


# What is said of a policy that is only observed: a warning, and where each row of the report leads.


POLICY = b"""
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs: nhs}, clinic.visits: {nhs: nhs}}
"""


def test_refused_shapes_come_first_and_frequent_ones_before_others() -> None:
    rest = "", "", "", ""
    counted: dict[tuple[str, ...], float] = {
        ("answered", "find", "a.b", *rest): 9.0,
        ("refused", "find", "a.b", *rest): 1.0,
        ("refused", "count", "a.b", *rest): 2.0,
        ("", "", "", *rest): 3.0,
    }
    assert [(row.verdict, row.command) for row in shapes_in(counted)] == [
        ("refused", "count"),
        ("refused", "find"),
        ("answered", "find"),
    ]


def test_each_verdict_and_reason_leads_somewhere() -> None:
    assert look_at(ObservedVerdict.ANSWERED.value, "") == ""
    assert look_at(ObservedVerdict.REFUSED.value, "no such reason") == ""
    told = [look_at(ObservedVerdict.REFUSED.value, reason.value) for reason in Reason]
    told += [look_at(verdict.value, "") for verdict in (ObservedVerdict.ASKED, ObservedVerdict.LOOKED_UP)]
    for text in told:
        page, _, anchor = text.rpartition(" ")[2].partition("#")
        headings = (ROOT / page).read_text().splitlines()
        wanted = anchor.replace("-", " ")
        assert not anchor or any(_anchor(line) == wanted for line in headings if line.startswith("#"))


def _anchor(heading: str) -> str:
    kept = "".join(char for char in heading.lower().lstrip("# ") if char.isalnum() or char in " -")
    return kept.replace("-", " ")


def test_a_policy_that_is_only_observed_is_a_finding() -> None:
    assert observed_findings(load_policy(POLICY, "p").enforced) == []
    (whole,) = observed_findings(load_policy(POLICY + b"mode: observe\n", "p").enforced)
    assert "NOTHING is protected" in whole.problem
    (some,) = observed_findings(load_policy(POLICY + b"observe: [clinic.visits]\n", "p").enforced)
    assert "clinic.visits" in some.problem
    assert some.fields == {"collections": 1}
