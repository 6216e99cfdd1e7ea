"""The commands of docs/operations/install.md and upgrade.md, from an empty host to a watched proxy."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sealwire.proxy.server.config.reader import parse_config
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import free_port
from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.support.debian import require_program
from tests.support.doc_commands import blocks_of, run_document
from tests.support.played_host import PlayedHost, played_host
from tests.support.runs import ran
from tests.support.secantus import USERS, secantus

PAGE = ROOT / "docs" / "operations" / "install.md"
UPGRADE = PAGE.with_name("upgrade.md")
POLICY = """\
version: 1
classes: {nhs_number: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs_number}}
"""
READY = 'curl --fail --silent --retry 30 --retry-delay 1 --retry-all-errors "http://$ADMIN/readyz"\n'
FOLLOWED = """
mv /etc/sealwire/sealwire.yaml before.yaml
/opt/sealwire/bin/sealwire config init --topology followed --with audit --advertise "$NAME" \\
    --upstream "$MONGO" --output /etc/sealwire/sealwire.yaml
sed -i 's/=rs0/=secantus/; s/"27018-27024"/"{port}-{port}"/' /etc/sealwire/sealwire.yaml
chgrp sealwire /etc/sealwire/sealwire.yaml && chmod 0640 /etc/sealwire/sealwire.yaml
sed -i '/^SEALWIRE_LISTEN_ADDRESS=/d' /played/environment
systemctl restart sealwire
"""
"""The unit with what writes most: a file of the ports of servers that are followed, and an audit log."""

pytestmark = pytest.mark.integration


def commands(page: Path, name: str) -> str:
    """All blocks of that name, one after the other."""
    text = page.read_text(encoding="utf-8")
    found = [block.commands for block in blocks_of(text) if block.name == name]
    assert found
    return "".join(found)


def test_from_nothing_to_a_proxy_that_is_watched(tmp_path: Path) -> None:
    with secantus(tmp_path) as database:
        environ = {
            "MONGO": f"127.0.0.1:{database.port}",
            "SEALWIRE_LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
            "SEALWIRE_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}",
        }
        done = run_document(PAGE, tmp_path, "begin", environ)
    assert "still to be made" in done
    assert (tmp_path / "keyring.json").exists()
    assert "sealwire_build_info" in done


def told(host: PlayedHost, script: str, **variables: str) -> str:
    done = host.run(script, variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def prometheus(host: PlayedHost, address: str) -> str:
    """Install a unit of Prometheus, which listens at `address`; the folder of promtool."""
    server = require_program("prometheus", "prometheus", "--version")
    unit = host.folder / "etc" / "systemd" / "system" / "prometheus.service"
    unit.parent.mkdir(parents=True)
    options = f"--web.listen-address={address} --config.file=/etc/prometheus/prometheus.yml"
    lines = ("Type=simple", "User=sealwire", "StateDirectory=prometheus")
    start = f"ExecStart={server} {options} --storage.tsdb.path=/var/lib/prometheus"
    unit.write_text("\n".join(("[Service]", *lines, start)), encoding="utf-8")
    return str(require_program("promtool", "promtool", "--version").parent)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DatabaseProcess, Path]]:
    """A server with TLS and logins; a folder with the policy and certificates that an operator brings."""
    folder = tmp_path_factory.mktemp("clinic")
    authority = create_authority(folder / "authority")
    issued = authority.issue("sealwire", ("sealwire.example",))
    brought = folder / "brought"
    brought.mkdir()
    (brought / "policy.yaml").write_text(POLICY, encoding="utf-8")
    shutil.copy(issued.certificate, brought / "sealwire.crt")
    shutil.copy(issued.key, brought / "sealwire.key")
    shutil.copy(authority.certificate_file, brought / "mongo-ca.crt")
    with secantus(folder, users=USERS, authority=authority) as database:
        yield database, brought


@pytest.mark.slow
def test_from_a_host_with_nothing_to_a_unit_that_serves_and_can_be_replaced(
    clinic: tuple[DatabaseProcess, Path], tmp_path: Path
) -> None:
    database, brought = clinic
    admin = f"127.0.0.1:{free_port()}"
    ports = {"SEALWIRE_LISTEN_ADDRESS": f"127.0.0.1:{free_port()}", "SEALWIRE_ADMIN_ADDRESS": admin}
    host = played_host(tmp_path / "host", ports)
    host.install("0.1.0")
    host.install("0.2.0")
    asking = f"127.0.0.1:{free_port()}"
    shutil.copytree(brought, host.files, dirs_exist_ok=True)
    shutil.copytree(ROOT / "deploy", host.files / "deploy")
    asked = host.files / "deploy" / "monitoring" / "prometheus.yaml"
    asked.write_text(asked.read_text(encoding="utf-8").replace(": 15s", ": 1s"), encoding="utf-8")
    programs = prometheus(host, asking)
    install = commands(PAGE, "program") + commands(PAGE, "systemd")
    script = "".join(
        (
            f'PATH="$PATH:{programs}"; umask 077\n',
            install,
            commands(PAGE, "prometheus"),
            commands(UPGRADE, "newer"),
            READY,
            commands(UPGRADE, "older"),
            READY,
            "/opt/sealwire/bin/sealwire --version\n",
            commands(PAGE, "audit"),
            FOLLOWED.format(port=free_port()),
            READY,
            "stat --format='%U %a %n' /etc/sealwire/sealwire.env /var/lib/sealwire/*.json\n",
            "stat --format='%U %a %n' /var/log/sealwire/*.jsonl\n",
        )
    )
    addresses = {"MONGO": f"127.0.0.1:{database.port}", "ADMIN": admin, "PROMETHEUS": asking}
    answer = told(host, script, **addresses)
    versions = [line for line in answer.splitlines() if line.startswith("played as")]
    assert versions == ["played as 0.1.0", "played as 0.2.0", "played as 0.1.0"]
    assert "root 600 /etc/sealwire/sealwire.env" in answer
    assert "sealwire 600 /var/lib/sealwire/keyring.json" in answer
    assert "sealwire 600 /var/lib/sealwire/ports.json" in answer
    assert "sealwire 600 /var/log/sealwire/audit.jsonl" in answer
    assert "\nSealwireAway\n" in answer
    assert 'sealwire_upstream_up{upstream="127.0.0.1' in answer


def test_compose_has_what_the_page_makes_and_the_configuration_fits_its_places(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives files to the user of the image, which needs root")
    program = require_program("docker-compose", "docker-compose", "version")
    folder = tmp_path / "deploy"
    shutil.copytree(ROOT / "deploy", folder)
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    for name in ("sealwire.crt", "sealwire.key", "mongo-ca.crt"):
        (folder / name).touch()
    path = os.pathsep.join((str(Path(sys.executable).parent), str(program.parent), os.environ["PATH"]))
    run_document(PAGE, folder, "compose", {"PATH": path})
    command = [str(program), "--file", str(folder / "compose.yaml"), "config", "--format", "json"]
    shown = json.loads(ran(command, check=True).stdout)
    service = shown["services"]["sealwire"]
    config = parse_config((folder / "sealwire.yaml").read_bytes(), Path("/etc/sealwire/sealwire.yaml"), {})
    named = {config.keyring, config.policy, config.listen_tls.certificate, config.listen_tls.key}
    named |= {config.upstream_tls.ca}
    mounted = {each["target"] for each in service["configs"]}
    mounted |= {f"/run/secrets/{each['source']}" for each in service["secrets"]}
    assert {str(each) for each in named} | {"/etc/sealwire/sealwire.yaml"} == mounted
    assert [port["target"] for port in service["ports"]] == [config.members[0].listen.port]
    assert service["expose"] == [str(config.admin.port)]
    made = [Path(secret["file"]) for secret in shown["secrets"].values()]
    assert {file.stat().st_uid for file in made} == {10127}
    assert "SEALWIRE_KEK" in service["environment"]


@pytest.mark.slow
def test_the_user_of_the_image_can_serve_with_what_the_page_makes_for_compose(
    clinic: tuple[DatabaseProcess, Path], tmp_path: Path
) -> None:
    database, brought = clinic
    host = played_host(tmp_path / "host", {})
    host.install("0.1.0")
    shutil.copytree(brought, host.files, dirs_exist_ok=True)
    shutil.copytree(ROOT / "deploy", host.files, dirs_exist_ok=True)
    compose = yaml.safe_load((host.files / "compose.yaml").read_text(encoding="utf-8"))
    mounted = [(each["file"], f"/run/secrets/{name}") for name, each in compose["secrets"].items()]
    for each in compose["services"]["sealwire"]["configs"]:
        mounted.append((compose["configs"][each["source"]]["file"], each["target"]))
    mounting = "".join(f"touch {place} && mount --bind {file} {place}\n" for file, place in mounted)
    docker_compose = require_program("docker-compose", "docker-compose", "version").parent
    user = "setpriv --reuid 10127 --regid 10127 --clear-groups --bounding-set=-all --no-new-privs"
    script = f"""
    PATH="/opt/sealwire-0.1.0/bin:$PATH:{docker_compose}"; umask 077
    {commands(PAGE, "compose")}
    install -d -m 0755 /run/secrets /etc/sealwire
    {mounting}
    set -a; . ./sealwire.env
    SEALWIRE_UPSTREAM_ADDRESS=127.0.0.1:{database.port}
    {user} sealwire serve --config /etc/sealwire/sealwire.yaml --check
    """
    assert "ok: configuration, policy, keyring" in told(host, script)


def test_a_real_folder_in_the_place_of_the_link_is_an_error(tmp_path: Path) -> None:
    host = played_host(tmp_path / "host", {})
    host.install("0.1.0")
    (host.folder / "opt" / "sealwire").mkdir()
    assert host.run(commands(PAGE, "program"), {}).returncode != 0
    assert list((host.folder / "opt" / "sealwire").iterdir()) == []


def test_logrotate_turns_over_the_log_that_systemd_appends_to(tmp_path: Path) -> None:
    program = require_program("logrotate", "logrotate", "--version")
    host = played_host(tmp_path / "host", {})
    shutil.copytree(ROOT / "deploy", host.files / "deploy")
    script = f"""
    install -Dm 0644 deploy/systemd/sysusers.conf /etc/sysusers.d/sealwire.conf
    systemd-sysusers sealwire.conf
    install -Dm 0644 deploy/systemd/tmpfiles.conf /etc/tmpfiles.d/sealwire.conf
    systemd-tmpfiles --create sealwire.conf
    install -Dm 0644 deploy/logrotate/sealwire /etc/logrotate.d/sealwire
    (umask 077; echo "a line" >> /var/log/sealwire/sealwire.log)
    {program} --state /tmp/state --force /etc/logrotate.d/sealwire
    stat --format='%U %a %s %n' /var/log/sealwire/*
    """
    answer = told(host, script)
    assert "sealwire 600 0 /var/log/sealwire/sealwire.log\n" in answer
    assert "sealwire 600 7 /var/log/sealwire/sealwire.log.1\n" in answer
