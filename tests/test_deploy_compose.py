"""The compose files, read by docker-compose itself, which needs no Docker for that."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.build_context import ROOT
from tests.support.debian_programs import require_program

COMPOSE, WATCH = ROOT / "deploy" / "compose.yaml", ROOT / "deploy" / "compose.watch.yaml"
MONITORING = ROOT / "deploy" / "compose.monitoring.yaml"


def read(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    program = require_program("docker-compose", "docker-compose", "version")
    (folder / "sealwire.env").touch()
    chosen = [part for file in files for part in ("--file", str(file))]
    command = [str(program), *chosen, "--project-directory", str(folder), "config", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def services(folder: Path, *files: Path) -> dict[str, dict[str, Any]]:
    done = read(folder, *files)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["services"])


def test_compose_takes_the_proxy_alone(tmp_path: Path) -> None:
    assert set(services(tmp_path, COMPOSE)) == {"sealwire"}


def test_the_watch_reads_the_proxys_audit_log_and_has_no_key_of_it(tmp_path: Path) -> None:
    both = services(tmp_path, COMPOSE, WATCH)
    proxy, watch = both["sealwire"], both["watch"]
    logs = {name: each["volumes"][0] for name, each in both.items()}
    assert logs["sealwire"]["source"] == logs["watch"]["source"] == "audit"
    assert logs["watch"]["read_only"] is True
    assert "read_only" not in logs["sealwire"]
    assert "secrets" not in watch
    assert "environment" not in watch
    assert {"keyring", "audit_key"} <= {secret["source"] for secret in proxy["secrets"]}


def test_every_service_can_write_nothing_and_gain_nothing(tmp_path: Path) -> None:
    for service in services(tmp_path, COMPOSE, WATCH).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["memswap_limit"] == service["mem_limit"]
        assert service["user"] == "10127:10127"


def test_prometheus_asks_the_proxy_inside_and_shows_itself_to_this_machine_only(tmp_path: Path) -> None:
    both = services(tmp_path, COMPOSE, MONITORING)
    asked = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.compose.yaml").read_text(encoding="utf-8"))
    (job,) = asked["scrape_configs"]
    (port,) = both["sealwire"]["expose"]
    assert job["static_configs"] == [{"targets": [f"sealwire:{port}"]}]
    prometheus = both["prometheus"]
    assert [each["host_ip"] for each in prometheus["ports"]] == ["127.0.0.1"]
    assert (prometheus["read_only"], prometheus["cap_drop"]) == (True, ["ALL"])
    assert set(prometheus["networks"]) == set(both["sealwire"]["networks"])
    places = {each["target"] for each in prometheus["configs"]}
    assert set(asked["rule_files"]) < places


@pytest.mark.parametrize(("right", "wrong"), [("read_only: true", "readonly: true"), ("[ALL]", "ALL")])
def test_a_mistake_would_be_found(tmp_path: Path, right: str, wrong: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(COMPOSE.read_text(encoding="utf-8").replace(right, wrong), encoding="utf-8")
    assert read(tmp_path, file).returncode != 0
