"""The shipped deployment files keep what they promise: least privilege, and no key on a disk."""

import re
from typing import Any

import pytest
import yaml

from tests.build_context import ROOT
from tests.support.systemd_analyze import systemd_analyze

UNIT = ROOT / "deploy" / "systemd" / "sealwire.service"
# systemd's own score, 0 (closed) to 10 (open). The unit has 1.1; what is left is mostly the network.
MOST_EXPOSURE = 1.5


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    (name, service) = compose["services"].popitem()
    assert name == "sealwire"
    assert set(service["secrets"]) == set(compose["secrets"])
    assert isinstance(service, dict)
    return service


def unit_settings() -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE):
        settings.setdefault(key, []).append(value)
    return settings


def test_the_compose_service_can_write_nothing_and_gain_nothing(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert all("noexec" in mount for mount in service["tmpfs"])


def test_the_compose_service_runs_as_the_user_of_the_image(service: dict[str, Any]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"\nUSER {service['user']}\n" in dockerfile


def test_the_compose_service_keeps_keys_off_disks_and_the_admin_port_inside(service: dict[str, Any]) -> None:
    assert service["memswap_limit"] == service["mem_limit"]
    assert service["ulimits"]["core"] == 0
    assert not any("9464" in port for port in service["ports"])
    assert "environment" not in service


def test_the_unit_does_not_restart_what_only_an_operator_can_mend() -> None:
    settings = unit_settings()
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == ["65 77 78"]
    assert settings["LimitCORE"] == ["0"]
    assert settings["MemorySwapMax"] == ["0"]


def test_systemd_rates_the_unit_as_closed() -> None:
    done = systemd_analyze("security", "--offline=true", "--no-pager", UNIT)
    assert done.returncode == 0, done.stderr
    rating = re.search(r"Overall exposure level for sealwire\.service: ([\d.]+)", done.stdout)
    assert rating is not None
    assert float(rating.group(1)) <= MOST_EXPOSURE
