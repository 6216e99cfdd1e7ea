"""`sealwire serve` as a process: every way not to start has its exit code, an error line and a hint."""

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sealwire.cli import sealwire
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.errors import ListenProblem, StartReason
from sealwire.proxy.server.ports import PortRange, bind, bind_shared, reserve
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import free_port
from tests.proxy.server.harness import DEADLINE_S, LOOPBACK, POLICY
from tests.proxy.server.site import Site, hello_thread, make_site, serving
from tests.support import warm
from tests.support.reasons import raising
from tests.support.skips import free_ports

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    with hello_thread() as port:
        yield port


@pytest.fixture
def site(tmp_path: Path, server_port: int) -> Site:
    return make_site(tmp_path, server_port)


Harm = Callable[[Site], object]


def setting(path: str, value: Any) -> Harm:
    """Another value in the configuration."""
    *sections, name = path.split(".")
    return lambda site: reduce(lambda section, each: section[each], sections, site.config).update(
        {name: value}
    )


def kek(*key: str) -> Harm:
    """Another key-encryption key, or none."""
    return lambda site: site.environ.update(SEALWIRE_KEK=key[0]) if key else site.environ.pop("SEALWIRE_KEK")


def without(name: str) -> Harm:
    return lambda site: (site.folder / name).unlink()


def open_to_others(name: str) -> Harm:
    return lambda site: (site.folder / name).chmod(0o644)


def policy(before: bytes, after: bytes) -> Harm:
    return lambda site: (site.folder / "policy.yaml").write_bytes(POLICY.replace(before, after))


def frontier_uri(text: str, mode: int) -> Harm:
    def put(site: Site) -> None:
        site.config["frontier"] = {"uri_file": "frontier.uri"}
        file = site.folder / "frontier.uri"
        file.write_text(text)
        file.chmod(mode)

    return put


policy_missing, config_with_an_unknown_key = without("policy.yaml"), setting("lisen", {})


def key_of_another_certificate(site: Site) -> None:
    other = create_authority(site.folder / "other").issue("other")
    site.config["listen"]["tls"]["key"] = str(other.key)


def keyring_tampered(site: Site) -> None:
    text = site.keyring.read_text()
    site.keyring.write_text(text.replace('"version": 1', '"version": 2'))
    assert site.keyring.read_text() != text


def key_open_to_others(site: Site) -> None:
    Path(site.config["listen"]["tls"]["key"]).chmod(0o644)


def server_down(site: Site) -> None:
    site.config["upstream"]["address"] = f"{LOOPBACK}:{free_port()}"


def server_without_tls(site: Site) -> None:
    site.config["upstream"]["tls"] = {"mode": "tls"}
    site.config["limits"] = {"connect_s": 0.5, "handshake_s": 0.5}


HARMS: dict[str, tuple[Harm, int]] = {
    "config with an unknown key": (config_with_an_unknown_key, 78),
    "frontier uri missing": (setting("frontier", {"uri_file": "nowhere"}), 78),
    "frontier uri of another sort": (frontier_uri("http://user:secret@server", 0o600), 78),
    "frontier uri open to others": (frontier_uri("mongodb://user:secret@server", 0o644), 77),
    "policy missing": (policy_missing, 78),
    "policy with an unknown class": (policy(b"nhs_number: nhs_number", b"nhs_number: nsh"), 78),
    "kek unset": (kek(), 78),
    "keyring missing": (without("keyring.json"), 78),
    "certificate missing": (setting("listen.tls.certificate", "nowhere.crt"), 78),
    "key of another certificate": (key_of_another_certificate, 78),
    "keyring tampered": (keyring_tampered, 65),
    "keyring without a class": (policy(b"collections:", b"  notes: {mode: random}\ncollections:"), 65),
    "keyring open to others": (open_to_others("keyring.json"), 77),
    "key open to others": (key_open_to_others, 77),
    "another kek": (kek(generate_encoded_kek()), 67),
    "server down": (server_down, 69),
    "server name unknown": (setting("upstream.address", "no-such-host.invalid:27017"), 69),
    "server without TLS": (server_without_tls, 69),
    "address of another machine": (setting("listen.address", "192.0.2.1:27018"), 71),
}


@pytest.mark.parametrize(("harm", "code"), HARMS.values(), ids=HARMS)
def test_what_keeps_it_from_starting_has_an_exit_code_an_error_and_a_hint(
    site: Site, harm: Harm, code: int
) -> None:
    harm(site)
    done = site.serve()
    assert done.returncode == code, done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    (fatal,) = [line for line in told if line["event"] == "the proxy cannot run"]
    assert (fatal["level"], fatal["exit_code"]) == ("critical", code)
    assert fatal["problem"]
    assert fatal["hint"]
    assert "ready" not in {line["event"] for line in told}
    assert site.environ.get("SEALWIRE_KEK", "none") not in done.stderr


def test_a_log_for_people_has_an_error_and_a_hint(site: Site) -> None:
    policy_missing(site)
    site.config["log"]["format"] = "text"
    told = [line for line in site.serve().stderr.splitlines() if line.startswith("sealwire")]
    assert [line.split(": ")[:2] for line in told] == [["sealwire", "error"], ["sealwire", "hint"]]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_misspelt_variable_is_told_before_the_error(site: Site, log_format: str) -> None:
    site.config["log"]["format"] = log_format
    site.environ["SEALWIRE_KEKK"] = site.environ.pop("SEALWIRE_KEK")
    first, *rest = site.serve().stderr.splitlines()
    assert ("SEALWIRE_KEKK" in first, "SEALWIRE_KEK is not set" in "".join(rest)) == (True, True)
    if log_format == "text":
        config_with_an_unknown_key(site)
        first, *rest = site.serve().stderr.splitlines()
        assert ("SEALWIRE_KEKK" in first, "unknown key" in "".join(rest)) == (True, True)


def test_check_validates_everything_and_binds_nothing(site: Site) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        site.config["listen"]["address"] = f"{LOOPBACK}:{taken.getsockname()[1]}"
        done = site.serve("--check")
    assert done.returncode == 0
    assert done.stderr.count("warning") == 2  # the side without TLS, and that nobody may look for plaintext
    assert done.stdout.startswith("ok")
    server_down(site)
    assert site.serve("--check").returncode == 69


def test_it_serves_answers_the_health_check_reloads_and_drains(site: Site) -> None:
    with serving(site) as proxy:
        config = str(site.folder / "sealwire.yaml")
        check = [sys.executable, "-m", "sealwire", "healthcheck", "--config", config]
        site.environ["SEALWIRE_ADMIN_ADDRESS"] = proxy.admin
        healthy = warm.run(check, env=site.environ, capture_output=True, text=True, check=False)
        assert (healthy.returncode, healthy.stdout) == (0, "ready\n")
        proxy.process.send_signal(signal.SIGHUP)
        assert [next(proxy.said)["event"] for _ in range(2)] == ["policy loaded", "certificates loaded"]
        # A client that has not sent anything is idle: it does not hold the end up.
        with socket.create_connection(proxy.address):
            proxy.process.send_signal(signal.SIGTERM)
            assert [line["event"] for line in proxy.said][-1] == "stopped"
            assert proxy.process.wait(30) == 0
        assert warm.run(check, env=site.environ, capture_output=True, check=False).returncode == 69


def test_the_help_shows_signals_exit_codes_and_examples() -> None:
    for subcommand in ("serve", "healthcheck"):
        shown = CliRunner().invoke(sealwire, [subcommand, "--help"])
        assert shown.exit_code == 0
        assert "--config" in shown.output
        assert "Example" in shown.output


def test_a_check_tells_of_an_audit_log_that_could_not_be_written(tmp_path: Path) -> None:
    with hello_thread() as port:
        site = make_site(tmp_path, port)
        site.config["audit"] = {"path": "missing/audit.jsonl"}
        done = site.serve("--check")
    assert done.returncode == 78
    assert "missing/audit.jsonl" in done.stderr


# Ports that one process takes, and ports that workers share.


def kept(stack: ExitStack, sockets: list[socket.socket]) -> Address:
    """The address of the one socket, which is closed with the test."""
    (sock,) = [stack.enter_context(sock) for sock in sockets]
    return Address(*sock.getsockname())


def test_workers_share_a_reserved_port_and_the_reservation_gets_no_client() -> None:
    with ExitStack() as stack:
        reservation = reserve(Address(LOOPBACK, 0))
        address = kept(stack, reservation)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, DEADLINE_S)
        workers = [bind(address, shared=True) for _ in range(2)]
        assert [kept(stack, sockets) for sockets in workers] == [address, address]
        for _ in range(20):
            stack.enter_context(socket.create_connection(address, DEADLINE_S))


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_somebody_listens_on_is_taken(shared: bool) -> None:
    with socket.create_server((LOOPBACK, 0), reuse_port=shared) as foreign:
        address = Address(*foreign.getsockname())
        for take in (reserve, bind):
            with raising(ListenProblem, StartReason.PORT_IN_USE):
                take(address)


def test_nobody_else_can_listen_while_workers_do() -> None:
    with ExitStack() as stack:
        address = kept(stack, reserve(Address(LOOPBACK, 0)))
        kept(stack, bind(address, shared=True))
        for take in (reserve, bind):
            with pytest.raises(ListenProblem):
                take(address)


def test_a_range_is_tried_as_a_whole_and_each_port_again_before_it_is_used() -> None:
    ports = free_ports(3)
    held = PortRange(LOOPBACK, ports)
    assert held.addresses(ports[1]) == (Address(LOOPBACK, ports[1]),)
    held.require_free(ports[2])
    with ExitStack() as stack:
        kept(stack, bind_shared(held.addresses(ports[2])))
        with pytest.raises(ListenProblem):
            held.require_free(ports[2])
        with pytest.raises(ListenProblem):
            PortRange(LOOPBACK, ports)
        PortRange(LOOPBACK, ports[:2]).close()
    held.close()
