"""Tests for sealwire.sidecars.compliance.deployment."""

from datetime import date
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.sidecars.compliance.deployment import AtRest, Exemption, RunningProxies, read_compliance
from sealwire.sidecars.compliance.requirements import Attestation, ComplianceCheck, Duty

HEAD = "version: 1\nname: clinic.example\nproxy: sealwire.yaml\n"
PATH = Path("/etc/sealwire/compliance.yaml")


def test_what_is_not_written_is_none_and_files_lie_beside_the_settings() -> None:
    found = read_compliance(HEAD.encode(), PATH)
    assert found.proxy == Path("/etc/sealwire/sealwire.yaml")
    assert found.sample == 1000
    assert (found.at_rest, found.tls, found.backups, found.audit, found.watch) == (None,) * 5
    assert (found.logs, dict(found.attested), dict(found.not_applicable)) == ((), {}, {})


def test_everything_can_be_written() -> None:
    found = read_compliance(
        (
            HEAD
            + """server: {uri_file: server.uri, sample: 0}
at_rest: {directory: /var/lib/mongodb, service: mongod.service}
tls: {targets: ["https://clinic.example"], ca: ca.crt}
backups: {store: /backups, hours: 30, plaintext: /old, since: 2026-11-01, drill_days: 31}
audit: {key: audit.key.pub, checkpoints: [/mnt/worm/c]}
logs: [proxy.log]
watch: alerts.yaml
proxies: {admin: ["http://127.0.0.1:9464", "https://[::1]:9465/"], certificate: admin.crt}
not_applicable: {at-rest: {reason: "the provider's disks, certificate 7", date: 2026-10-02, by: IAO}}
attested:
  dpia: {date: 2026-10-01, by: Caldicott Guardian, reference: IG-12}
"""
        ).encode(),
        PATH,
    )
    assert found.sample is None
    assert found.at_rest == AtRest(Path("/var/lib/mongodb"), "mongod.service")
    assert found.tls is not None
    assert found.tls.ca == Path("/etc/sealwire/ca.crt")
    assert found.backups is not None
    assert (found.backups.hours, found.backups.plaintext, found.backups.drill_days) == (30, Path("/old"), 31)
    assert found.audit is not None
    assert found.audit.checkpoints == (Path("/mnt/worm/c"),)
    exempt = Exemption("the provider's disks, certificate 7", Attestation(date(2026, 10, 2), "IAO"))
    assert found.not_applicable == {ComplianceCheck.AT_REST: exempt}
    urls = ("http://127.0.0.1:9464", "https://[::1]:9465")
    assert found.proxies == RunningProxies(urls, Path("/etc/sealwire/admin.crt"))
    assert found.attested == {Duty.DPIA: Attestation(date(2026, 10, 1), "Caldicott Guardian", "IG-12")}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 2\nname: x\nproxy: y\n", 1),
        ("version: 1\nproxy: y\n", 1),
        (HEAD + "attested: {dpias: {date: 2026-10-01, by: x}}\n", 4),
        (HEAD + "attested: {dpia: {by: x}}\n", 4),
        (HEAD + "attested: {dpia: {date: yesterday, by: x}}\n", 4),
        (HEAD + "not_applicable: {at-rest: x}\n", 4),
        (HEAD + "not_applicable: {at-rest: {reason: x, by: y}}\n", 4),
        (HEAD + "not_applicable: {at-rest: {reason: x, date: 2026-10-01}}\n", 4),
        (HEAD + "not_applicable: {at-rest: {date: 2026-10-01, by: y}}\n", 4),
        (HEAD + "not_applicable: {luks: {reason: x, date: 2026-10-01, by: y}}\n", 4),
        (HEAD + "proxies: {admin: []}\n", 4),
        (HEAD + 'proxies: {admin: ["127.0.0.1:9464"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://x:port"]}\n', 4),
        (HEAD + 'proxies: {admin: ["https://x:1"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://me:secret@x:1"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://x:1/?token=secret"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://x:1#secret"]}\n', 4),
        (HEAD + "tls: {targets: []}\n", 4),
        (HEAD + "backups: {store: x, plaintext: y}\n", 4),
        (HEAD + "backups: {store: x, hours: 0}\n", 4),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, line: int) -> None:
    with pytest.raises(SourceError) as refused:
        read_compliance(text.encode(), PATH)
    assert refused.value.line == line
