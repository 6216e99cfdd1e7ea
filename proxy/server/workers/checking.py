"""What `sealwire serve --check` does: all that a start does before it binds, and what that would warn of."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import uvloop

from sealwire.keys.keyring.turning import moving_command
from sealwire.proxy.server.audit_writer.keeper import check_audit
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.discovery.monitor import find_once
from sealwire.proxy.server.dry_run import observed_findings
from sealwire.proxy.server.findings import Finding, findings, plaintext_findings
from sealwire.proxy.server.frontiers.store import HINTS, Loss, read_uri, unfollowed
from sealwire.proxy.server.observability.audit import command_audit
from sealwire.proxy.server.workers.announce import certificate_findings, role_findings
from sealwire.proxy.server.workers.memory import open_file_findings
from sealwire.proxy.server.workers.start import Loaded, Probed, key_findings, probe_data


def check(loaded: Loaded, uri_file: Path | None = None) -> Iterator[Finding]:
    """What `serve` would warn of: first what files tell, then what the servers say. Nothing is bound.

    What shows only while a proxy runs is not among it: a frontier that cannot be followed, plaintext that is
    met. What `findings.load_telling` tells is not repeated. `uri_file` has a user who may look for plaintext
    that is stored. Raises ServerError; AuditError and KeysError for what the section `audit` names; then what
    was found before has been given.
    """
    config = loaded.config
    uri = None if uri_file is None else read_uri(uri_file)
    yield from observed_findings(loaded.policy.rules)
    yield from plaintext_findings(config)
    yield from key_findings(loaded)
    yield from loaded.identities.findings
    yield from clear_findings(loaded)
    yield from unfollowed_findings(loaded)
    yield from watch_findings(loaded)
    yield from role_findings(loaded.policy.rules, config)
    yield from open_file_findings(_connections_of_one(config))
    if config.discovery is None:
        yield from _member_findings(loaded, config)
    if config.audit is not None:
        check_audit(config.audit)
        command_audit(config.audit)

    async def ask() -> tuple[Config, tuple[Finding, ...], Probed]:
        found, of_members = await find_once(config, loaded.upstream.context)
        return found, of_members, await probe_data(found, loaded, uri)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, of_members, probed = runner.run(ask())
    yield from of_members
    yield from probed.findings
    if config.discovery is not None:
        yield from _member_findings(loaded, found)


def _member_findings(loaded: Loaded, config: Config) -> Iterator[Finding]:
    """What depends on who the members are."""
    yield from findings(config)
    yield from certificate_findings(loaded.listen, loaded.upstream, config)


def clear_findings(loaded: Loaded) -> list[Finding]:
    """The classes of the policy that the keyring says are stored in clear."""
    in_clear = frozenset(loaded.policy.rules.class_names).intersection(loaded.first.keyring.plaintext_classes)
    before = "" if loaded.frontier_uri is not None else "every Sealwire needs frontier.uri_file first; then "
    return [
        Finding(
            "class is stored in clear",
            f"class {name} is stored in clear, and is passed on as it is",
            f"{before}{moving_command(name, from_plaintext=True)} takes it in",
            {"class_name": name},
        )
        for name in sorted(in_clear)
    ]


def unfollowed_findings(loaded: Loaded) -> list[Finding]:
    """The classes that are refused without `frontier.uri_file`."""
    if loaded.frontier_uri is not None:
        return []
    return [
        Finding(
            "class is refused",
            f"class {name} is refused without frontier.uri_file",
            HINTS[Loss.NO_SETTING],
            {"class_name": name},
        )
        for name in sorted(unfollowed(loaded.first.keyring, loaded.policy.rules.covering))
    ]


def watch_findings(loaded: Loaded) -> list[Finding]:
    """Why the page has no alerts, if it is on. Cost: a look at the state of the watch."""
    page, event = loaded.config.admin_page, "page has no alerts"
    if page.token_file is None and loaded.config.admin_tls.client_ca is None:
        return []
    if page.watch is None:
        hint = "set admin.page.watch to the rules file of `sealwire watch`"
        return [Finding(event, "admin.page.watch is not set: the page shows no alerts and incidents", hint)]
    watched = None if loaded.watch is None else loaded.watch(page.watch)
    if watched is None or not watched.problem:
        return []
    return [Finding(event, f"admin.page.watch, {page.watch}: {watched.problem}", watched.hint)]


def _connections_of_one(config: Config) -> int:
    """What one process takes on, as `worker_channel.share_of` divides it."""
    return -(-config.limits.connections // config.workers)
