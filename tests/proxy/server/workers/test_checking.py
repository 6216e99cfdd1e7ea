"""`serve --check` prints what a start would warn of, for people and for programs."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.turning import activate, rotate
from tests.proxy.server.config_texts import EVERYWHERE
from tests.proxy.server.site import Site, hello_thread, make_site, serving

UNASKED = "stored plaintext was not looked for"
"""The server of these tests knows no such question."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with hello_thread() as port:
        yield make_site(tmp_path, port)


def warned(site: Site) -> dict[str, dict[str, object]]:
    done = site.serve("--check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["ok"] is True
    return {warning["event"]: warning for warning in document["warnings"]}


def test_check_warns_of_what_a_start_warns_of(site: Site) -> None:
    site.config["listen"]["advertise"] = "other.test:27018"
    site.config["listen"]["address"] = f"{EVERYWHERE}:0"
    site.config["reveal"] = "everywhere"
    roles = b"roles: {r: {users: ['*@*'], require_certificate: true, classes: {'*': {read: clear}}}}\n"
    policy = site.folder / "policy.yaml"
    policy.write_bytes(policy.read_bytes() + roles)
    site.environ["SEALWIRE_WORKER"] = "4"
    checked = warned(site)
    assert {
        "certificate lacks the advertised host",
        "clients without certificates",
        "environment variable names no key",
        "no TLS on this side",
        "plaintext in every reply",
        "roles that nobody can have",
        UNASKED,
    } == set(checked)
    assert checked["environment variable names no key"]["hint"] == "did you mean SEALWIRE_WORKERS?"
    with serving(site) as proxy:
        logged = {event for event, line in proxy.events.items() if line["level"] == "warning"}
    assert logged == set(checked)


def test_a_certificate_near_its_end_is_a_warning(site: Site) -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    issued = site.authority.issue("proxy", ("proxy.test",), valid_until=soon)
    assert str(issued.certificate) == site.config["listen"]["tls"]["certificate"]
    assert set(warned(site)) == {"no TLS on this side", "the certificate expires soon", UNASKED}


def test_an_expired_certificate_is_refused(site: Site) -> None:
    now = datetime.now(UTC)
    site.authority.issue(
        "proxy", ("proxy.test",), valid_from=now - timedelta(days=9), valid_until=now - timedelta(days=1)
    )
    for arguments in (("--check", "--json"), ()):
        done = site.serve(*arguments)
        assert done.returncode == 78
        assert "has expired" in done.stderr + done.stdout


def test_a_class_that_has_moved_is_refused_without_a_lease(site: Site) -> None:
    kek = EnvironmentKek(environ=site.environ)
    rotate(site.keyring, kek, {"nhs_number": True}, datetime.now(UTC))
    activate(site.keyring, kek, "nhs_number", datetime.now(UTC))
    assert "nhs_number" in str(warned(site)["class is refused"]["problem"])
    with serving(site) as proxy:
        refused = proxy.events["class is refused"]
        assert (refused["class_name"], refused["reason"]) == ("nhs_number", "no-setting")
    follow(site)
    assert "class is refused" not in warned(site)


def test_a_class_in_clear_needs_a_lease_before_it_is_taken_in(site: Site) -> None:
    kek = EnvironmentKek(environ=site.environ)
    rotate(site.keyring, kek, {"nhs_number": True}, datetime.now(UTC), to_plaintext=True)
    activate(site.keyring, kek, "nhs_number", datetime.now(UTC))
    assert "frontier.uri_file" in str(warned(site)["class is stored in clear"]["hint"])
    follow(site)
    assert "frontier.uri_file" not in str(warned(site)["class is stored in clear"]["hint"])


def follow(site: Site) -> None:
    uri = site.folder / "frontier.uri"
    uri.touch(0o600)
    uri.write_text("mongodb://127.0.0.1:1")
    site.config["frontier"] = {"uri_file": uri.name}


def test_json_is_about_check(site: Site) -> None:
    assert site.serve("--json").returncode == 2


def test_what_is_wrong_is_an_error_for_programs_too(site: Site) -> None:
    site.keyring.unlink()
    done = site.serve("--check", "--json")
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode == 78
    (error,) = document["errors"]
    assert done.stderr.splitlines()[-2:] == [
        f"sealwire: error: {error['problem']}",
        f"sealwire: hint: {error['hint']}",
    ]
