"""The shipped deployment files keep what they promise: least privilege, and no key on a disk."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from sealwire.keys.keyring.schedule import GRACE
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.config.new_file import Feature, Layout, NewFile, new_file_text
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.settings import TlsMode
from tests.build_context import ROOT
from tests.support.debian import require_program, systemd_analyze
from tests.support.runs import ran
from tools.debian_programs import library_environment

SYSTEMD = ROOT / "deploy" / "systemd"
UNIT = SYSTEMD / "sealwire.service"
KEYS_UNIT = SYSTEMD / "sealwire-keys.service"
CHECK_UNIT = SYSTEMD / "sealwire-check@.service"
WATCH_UNIT = SYSTEMD / "sealwire-watch.service"
KEYS_JOB = ROOT / "deploy" / "kubernetes" / "sealwire-keys.yaml"
KEYS_STEPS = [["keys", "rotate", "--due"], ["keys", "status"]]
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


def unit_settings(unit: Path = UNIT) -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE):
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
    assert settings["RestartPreventExitStatus"] == ["65 67 77 78"]
    assert settings["LimitCORE"] == ["0"]
    assert settings["MemorySwapMax"] == ["0"]


@pytest.mark.parametrize("unit", [UNIT, KEYS_UNIT, WATCH_UNIT], ids=lambda unit: unit.stem)
def test_systemd_rates_the_unit_as_closed(unit: Path) -> None:
    done = systemd_analyze("security", "--offline=true", "--no-pager", unit)
    assert done.returncode == 0, done.stderr
    rating = re.search(rf"Overall exposure level for {unit.name}: ([\d.]+)", done.stdout)
    assert rating is not None
    assert float(rating.group(1)) <= MOST_EXPOSURE


def test_the_unit_writes_where_new_and_shown_configurations_have_files() -> None:
    settings = unit_settings()
    kinds = (("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log"))
    writable = {f"{above}/{name}" for kind, above in kinds for name in settings[kind][0].split()}
    texts = [
        new_file_text(NewFile(layout, frozenset(Feature)), Path("/etc/sealwire/sealwire.yaml"))
        for layout in Layout
    ]
    texts.append((ROOT / "deploy" / "sealwire.example.yaml").read_text(encoding="utf-8"))
    named = {path for text in texts for path in re.findall(r"/var/l(?:ib|og)/[\w./-]+", text)}
    assert {"/var/lib/sealwire/ports.json", "/var/lib/sealwire/contexts.db"} <= named
    assert {str(Path(path).parent) for path in named} <= writable
    for kind, _ in kinds:  # the keyring, and SEALWIRE_AUDIT_PATH
        assert unit_settings(KEYS_UNIT)[kind][0] == "sealwire"
    # the page reads the state of the watch, and SQLite writes beside what it reads
    assert unit_settings(WATCH_UNIT)["StateDirectory"][0] in settings["StateDirectory"][0].split()
    assert settings["StateDirectoryMode"] == settings["LogsDirectoryMode"] == ["0700"]


def test_the_check_looks_as_the_unit_will_run_but_by_the_folder_of_a_version() -> None:
    checked, served = unit_settings(CHECK_UNIT), unit_settings()
    runs = ("Type", "ExecStart", "ExecReload", "Description", "OnFailure", "TimeoutStartSec", "WantedBy")
    ends = ("Restart", "RestartSec", "RestartPreventExitStatus", "TimeoutStopSec", "KillSignal", "KillMode")
    for settings in (checked, served):
        for key in (*runs, *ends):
            settings.pop(key, None)
    assert checked == served
    doctor, check = unit_settings(CHECK_UNIT)["ExecStart"]
    assert doctor.startswith("-/opt/sealwire-%i/bin/sealwire doctor")
    (serve,) = unit_settings()["ExecStart"]
    assert check == serve.replace("/opt/sealwire/", "/opt/sealwire-%i/") + " --check"


TASKS = ("sealwire-backup", "sealwire-drill", "sealwire-tls")
OF_KEYS = [KEYS_UNIT.name, KEYS_UNIT.with_suffix(".timer").name]
OF_TASKS = [f"{task}.{kind}" for task in TASKS for kind in ("service", "timer")]


@pytest.mark.parametrize(("units", "looked_at", "complaint"), [
    (
        [UNIT.name, CHECK_UNIT.name, "sealwire-failed@.service"],
        [UNIT.name, "sealwire-check@0.1.0.service"],
        r"sealwire[\w@-]*\.service:\d+",
    ),
    (OF_KEYS, OF_KEYS, "sealwire-keys"),
    (
        [*OF_TASKS, "sealwire-failed@.service"],
        [f"{task}.timer" for task in TASKS],
        r"sealwire-\w+@?\.(service|timer):\d+",
    ),
], ids=["proxy", "keys", "tasks"])  # fmt: skip
def test_systemd_understands_the_units(
    tmp_path: Path, units: list[str], looked_at: list[str], complaint: str
) -> None:
    program = tmp_path / "sealwire"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in units:
        text = (SYSTEMD / unit).read_text(encoding="utf-8")
        (tmp_path / unit).write_text(re.sub(r"/opt/sealwire(-%i)?/bin/sealwire", str(program), text))
    done = systemd_analyze("verify", "--man=no", *(tmp_path / name for name in looked_at))
    assert done.returncode == 0, done.stderr
    assert not re.search(complaint, done.stderr), done.stderr


def test_an_installed_wheel_is_the_one_for_its_python(tmp_path: Path) -> None:
    for python in ("cp311", "cp313"):
        (tmp_path / f"sealwire-0.2.0-{python}-{python}-manylinux_2_17_x86_64.whl").touch()
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs" / "operations" / f"{name}.md" for name in ("install", "upgrade")),
    ]
    for page in pages:
        found = re.findall(r"pip install [^\n`]*?(sealwire-[^\n`]*\.whl)", page.read_text(encoding="utf-8"))
        assert found, page
        for glob in found:
            script = f"python3() {{ echo 313; }}\nls {glob}"
            done = ran(["bash", "-c", script], cwd=tmp_path, check=True)
            assert re.findall(r"cp\d+-cp", done.stdout) == ["cp313-cp"], page


def test_the_watch_writes_its_state_and_nothing_else_and_comes_back() -> None:
    settings = unit_settings(WATCH_UNIT)
    assert settings["StateDirectory"] == ["sealwire-watch"]
    assert not {"ReadWritePaths", "LogsDirectory", "EnvironmentFile"} & set(settings)
    assert settings["ProtectSystem"] == ["strict"]
    assert (settings["Restart"], settings["RestartPreventExitStatus"]) == (["on-failure"], ["65 77 78"])
    assert settings["User"] == unit_settings()["User"]


def test_the_keys_unit_rotates_what_is_due_and_fails_where_something_is_overdue() -> None:
    settings = unit_settings(KEYS_UNIT)
    steps = [*settings["ExecStart"], *settings["ExecStartPost"]]
    assert [step.split()[1:] for step in steps] == KEYS_STEPS
    assert (settings["LimitCORE"], settings["MemorySwapMax"]) == (["0"], ["0"])
    assert settings["Type"] == ["oneshot"]


def test_the_keys_job_runs_the_same_steps_without_privileges() -> None:
    job = yaml.safe_load(KEYS_JOB.read_text(encoding="utf-8"))
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    containers = [*spec["initContainers"], *spec["containers"]]
    assert [container["args"] for container in containers] == KEYS_STEPS
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert spec["securityContext"]["runAsNonRoot"] is True
    user, group = spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]
    assert f"\nUSER {user}:{group}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for container in containers:
        assert container["securityContext"] == RESTRICTED
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["volumes"]}


def test_every_unit_tells_that_it_has_failed_but_the_one_that_does() -> None:
    for unit in SYSTEMD.glob("*.service"):
        told = unit_settings(unit).get("OnFailure")
        assert told == (None if "@" in unit.name else ["sealwire-failed@%n.service"])


@pytest.mark.parametrize("task", TASKS)
def test_a_task_leaves_when_it_last_succeeded(task: str) -> None:
    settings = unit_settings(SYSTEMD / f"{task}.service")
    (start,) = settings["ExecStart"]
    assert f"--metrics-file /var/lib/sealwire-metrics/{task.removeprefix('sealwire-')}.prom" in start
    assert unit_settings(SYSTEMD / f"{task}.timer")["Persistent"] == ["true"]


def test_the_report_names_the_unit_and_calls_the_hook(tmp_path: Path) -> None:
    (start,) = unit_settings(SYSTEMD / "sealwire-failed@.service")["ExecStart"]
    hook = tmp_path / "on-failure"
    hook.write_text('#!/bin/sh\necho "told of $1"\n')
    hook.chmod(0o755)
    script = re.findall(r"-c '(.*)' sh %i", start)[0].replace("$$", "$")
    script = script.replace("/etc/sealwire/on-failure", str(hook))
    command = ["/bin/sh", "-c", script, "sh", "sealwire-backup.service"]
    done = ran(command, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("<2>sealwire-backup.service has failed")
    assert second == "told of sealwire-backup.service"


def test_both_timers_of_the_keys_come_on_the_same_day_and_often_enough() -> None:
    timer = unit_settings(KEYS_UNIT.with_suffix(".timer"))
    assert timer["OnCalendar"] == ["Mon *-*-* 04:15:00 UTC"]
    assert timer["Persistent"] == ["true"]
    job = yaml.safe_load(KEYS_JOB.read_text(encoding="utf-8"))
    assert (job["spec"]["schedule"], job["spec"]["timeZone"]) == ("15 4 * * 1", "Etc/UTC")
    # what was due in one week is done before it is overdue
    assert timedelta(weeks=1) < GRACE


def test_systemd_starts_the_keys_unit_each_week_and_in_the_quiet_hours_of_the_page() -> None:
    page = (ROOT / "docs" / "operations" / "key-rotation.md").read_text(encoding="utf-8")
    (daily,) = re.findall(r"^OnCalendar=(.+)$", page, re.MULTILINE)
    (quiet,) = set(re.findall(r"--quiet (\d\d:\d\d)-(\d\d:\d\d)", page))
    (weekly,) = unit_settings(KEYS_UNIT.with_suffix(".timer"))["OnCalendar"]
    for calendar, days in ((weekly, 7), (daily, 1)):
        done = systemd_analyze(
            *("calendar", "--iterations=3", "--base-time=2026-11-30 12:00:00 UTC", calendar)
        )
        told = re.findall(r"(?:elapse|#\d+): \w+ (\S+ \S+) ", done.stdout)
        times = [datetime.fromisoformat(each) for each in told]
        assert [later - each for each, later in pairwise(times)] == [timedelta(days=days)] * 2, done.stdout
    assert quiet[0] <= f"{times[0]:%H:%M}" < quiet[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders to users, which needs root")
def test_systemd_makes_the_users_and_folders_of_the_units(tmp_path: Path) -> None:
    for name, file, more in (("sysusers", "sysusers.conf", ()), ("tmpfiles", "tmpfiles.conf", ("--create",))):
        program = require_program(f"systemd-{name}", "systemd", "--version", "libsystemd-shared")
        command = [str(program), f"--root={tmp_path}", *more, str(SYSTEMD / file)]
        environment = dict(library_environment(program))
        done = ran(command, env=environment)
        assert done.returncode == 0, done.stderr
    users = dict(re.findall(r"^(\S+?):x:(\d+):", (tmp_path / "etc/passwd").read_text(), re.M))
    assert set(users) == {"sealwire", "sealwire-backup"}
    appended = (tmp_path / "var/log/sealwire/sealwire.log").stat()
    assert (appended.st_uid, stat.S_IMODE(appended.st_mode)) == (int(users["sealwire"]), 0o600)
    log, config = (tmp_path / "var/log/sealwire").stat(), (tmp_path / "etc/sealwire").stat()
    assert (log.st_uid, stat.S_IMODE(log.st_mode)) == (int(users["sealwire"]), 0o700)
    assert (config.st_uid, stat.S_IMODE(config.st_mode)) == (0, 0o750)


def test_every_user_of_a_unit_is_made_and_owns_its_folders() -> None:
    users = set(re.findall(r"^u (\S+)", (SYSTEMD / "sysusers.conf").read_text(encoding="utf-8"), re.M))
    units = [unit_settings(unit) for unit in sorted(SYSTEMD.glob("*.service"))]
    assert {unit["User"][0] for unit in units} == users
    made = re.findall(r"^d (\S+) +(\d+) (\S+)", (SYSTEMD / "tmpfiles.conf").read_text(encoding="utf-8"), re.M)
    folders = {path: (mode, user) for path, mode, user in made}
    assert folders.pop("/etc/sealwire") == ("0750", "root")
    assert folders.pop("/var/lib/sealwire-metrics") == ("0755", "sealwire-backup")
    assert {mode for mode, _ in folders.values()} == {"0700"}
    written = {path.lstrip("-") for unit in units for path in unit.get("ReadWritePaths", ())}
    assert written <= {*folders, "/var/lib/sealwire-metrics"}
    assert {user for _, user in folders.values()} == users


@pytest.mark.parametrize("unit", sorted(SYSTEMD.glob("*.service")), ids=lambda unit: unit.stem)
def test_who_is_given_a_file_of_the_configuration_may_look_into_its_folder(unit: Path) -> None:
    settings = unit_settings(unit)
    commands = [*settings["ExecStart"], *settings.get("ExecStartPost", ())]
    if any("/etc/sealwire/" in command for command in commands):
        assert "sealwire" in (*settings["Group"], *settings.get("SupplementaryGroups", ()))


def test_logrotate_takes_the_log_and_never_the_audit_log(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "logrotate" / "sealwire").read_text(encoding="utf-8")
    paths = re.findall(r"^(/\S+) \{$", text, re.M)
    assert paths == ["/var/log/sealwire/sealwire.log"]
    assert not any(fnmatch("/var/log/sealwire/audit.jsonl", path) for path in paths)
    program = require_program("logrotate", "logrotate", "--version")
    (tmp_path / "sealwire").mkdir()
    (tmp_path / "sealwire" / "sealwire.log").write_text("a line\n")
    file = tmp_path / "rules"
    file.write_text(text.replace("su sealwire sealwire", "su root root").replace("/var/log", str(tmp_path)))
    file.chmod(0o644)
    command = [str(program), "--debug", "--state", str(tmp_path / "state"), str(file)]
    done = ran(command)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


# The compose files, read by docker-compose itself, which needs no Docker for that.


COMPOSE, WATCH = ROOT / "deploy" / "compose.yaml", ROOT / "deploy" / "compose.watch.yaml"
MONITORING = ROOT / "deploy" / "compose.monitoring.yaml"


def read(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    program = require_program("docker-compose", "docker-compose", "version")
    (folder / "sealwire.env").touch()
    chosen = [part for file in files for part in ("--file", str(file))]
    command = [str(program), *chosen, "--project-directory", str(folder), "config", "--format", "json"]
    return ran(command)


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


# The shipped manifests are what Kubernetes takes, let nothing gain privileges, and configure what runs.


FOLDER = ROOT / "deploy" / "kubernetes"
STANDALONE, SIDECAR = FOLDER / "sealwire.yaml", FOLDER / "sealwire-sidecar.yaml"
BOTH = pytest.mark.parametrize("manifest", [STANDALONE, SIDECAR], ids=lambda path: path.stem)
VERSIONS = ("1.33", "1.37")
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def validated(manifest: Path, version: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("kubernetes-validate")
    command = [str(program), "--strict", "-k", version, str(manifest)]
    return ran(command)


def objects(manifest: Path) -> dict[str, Any]:
    """By kind; there is one of each."""
    return {each["kind"]: each for each in yaml.safe_load_all(manifest.read_text(encoding="utf-8"))}


def pod(manifest: Path) -> dict[str, Any]:
    return dict(objects(manifest)["Deployment"]["spec"]["template"]["spec"])


def containers(manifest: Path) -> list[dict[str, Any]]:
    spec = pod(manifest)
    return [*spec["initContainers"], *spec["containers"]]


def proxy(manifest: Path) -> dict[str, Any]:
    (found,) = [each for each in containers(manifest) if each["name"] == "sealwire"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_kubernetes_knows_every_key(manifest: Path, version: str) -> None:
    done = validated(manifest, version)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(STANDALONE.read_text().replace("readOnlyRootFilesystem", "readonlyRootFilesystem"))
    assert validated(wrong, VERSIONS[-1]).returncode != 0


@BOTH
def test_nothing_can_gain_privileges(manifest: Path) -> None:
    spec = pod(manifest)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    for container in containers(manifest):
        assert RESTRICTED.items() <= container["securityContext"].items()
        assert "memory" in container["resources"]["limits"]
        assert all("hostPort" not in port for port in container.get("ports", ()))
    assert all("hostPath" not in volume for volume in spec["volumes"])


@BOTH
def test_the_proxy_runs_as_the_user_of_the_image(manifest: Path) -> None:
    context = {**pod(manifest)["securityContext"], **proxy(manifest)["securityContext"]}
    user = f"\nUSER {context['runAsUser']}:{context['runAsGroup']}\n"
    assert user in (ROOT / "Dockerfile").read_text(encoding="utf-8")


@BOTH
def test_no_secret_stands_in_the_manifest_and_none_reaches_a_disk(manifest: Path) -> None:
    assert "Secret" not in objects(manifest)
    assert proxy(manifest)["envFrom"] == [{"secretRef": {"name": "sealwire-kek"}}]
    assert "ulimit -c 0" in proxy(manifest)["command"][-1]
    folders = [volume["emptyDir"] for volume in pod(manifest)["volumes"] if "emptyDir" in volume]
    assert {folder["medium"] for folder in folders} == {"Memory"}


@BOTH
def test_every_volume_is_mounted_and_every_mount_has_a_volume(manifest: Path) -> None:
    mounted = {mount["name"] for each in containers(manifest) for mount in each.get("volumeMounts", ())}
    assert mounted == {volume["name"] for volume in pod(manifest)["volumes"]}


@BOTH
def test_the_configuration_is_read_and_fits_the_pod(manifest: Path) -> None:
    data = objects(manifest)["ConfigMap"]["data"]
    config = parse_config(data["sealwire.yaml"].encode(), Path("/etc/sealwire/sealwire.yaml"), {})
    assert load_policy(data["policy.yaml"].encode(), "policy.yaml").classes
    ports = {port["name"]: port["containerPort"] for port in proxy(manifest)["ports"]}
    assert ports["admin"] == config.admin.port
    assert ports.get("mongodb", config.members[0].listen.port) == config.members[0].listen.port
    assert config.upstream_tls.mode is TlsMode.TLS
    files = [config.keyring, config.policy, config.upstream_tls.ca, config.listen_tls.certificate]
    folders = {mount["mountPath"] for mount in proxy(manifest)["volumeMounts"]}
    assert {str(Path(str(file)).parent) for file in files if file is not None} <= folders
    grace = pod(manifest)["terminationGracePeriodSeconds"]
    assert config.limits.drain_s + 5 < grace


def test_plaintext_stays_in_the_pod() -> None:
    data = objects(SIDECAR)["ConfigMap"]["data"]["sealwire.yaml"].encode()
    config = parse_config(data, Path("/etc/sealwire/sealwire.yaml"), {})
    assert config.listen_tls.mode is TlsMode.PLAINTEXT
    assert config.members[0].listen.host == "127.0.0.1"
    assert proxy(SIDECAR)["restartPolicy"] == "Always"
    standalone = objects(STANDALONE)["ConfigMap"]["data"]["sealwire.yaml"].encode()
    assert parse_config(standalone, Path("/etc/a.yaml"), {}).listen_tls.mode is TlsMode.TLS


def assert_only_readiness_asks_readyz(container: Mapping[str, Any]) -> None:
    """A pod that is not ready, without a lease for one, must not be restarted for it."""
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    assert all(container[f"{name}Probe"]["httpGet"]["port"] == "admin" for name in paths)


@BOTH
def test_probes_ask_the_admin_address(manifest: Path) -> None:
    assert_only_readiness_asks_readyz(proxy(manifest))


@BOTH
def test_the_network_lets_few_in_and_out(manifest: Path) -> None:
    policy = objects(manifest)["NetworkPolicy"]["spec"]
    labels = objects(manifest)["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    for rule in policy["ingress"]:
        ports = {port["port"] for port in rule["ports"]}
        assert "from" in rule or not ports & {9464, 27017, 27018}
    data = objects(manifest)["ConfigMap"]["data"]["sealwire.yaml"].encode()
    server = parse_config(data, Path("/etc/sealwire/sealwire.yaml"), {}).members[0].upstream
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {server.port, 53}
    assert all("to" in rule for rule in policy["egress"])


@BOTH
def test_prometheus_finds_the_pods_and_is_let_in(manifest: Path) -> None:
    file = ROOT / "deploy" / "monitoring" / "prometheus.kubernetes.yaml"
    (job,) = yaml.safe_load(file.read_text(encoding="utf-8"))["scrape_configs"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod"}]
    keep = job["relabel_configs"][0]
    assert keep["source_labels"] == [
        "__meta_kubernetes_pod_container_name",
        "__meta_kubernetes_pod_container_port_name",
    ]
    assert keep["action"] == "keep"
    found = [
        port["containerPort"]
        for each in containers(manifest)
        for port in each.get("ports", ())
        if re.fullmatch(keep["regex"], f"{each['name']};{port['name']}")
    ]
    assert found == [9464]
    rules = objects(manifest)["NetworkPolicy"]["spec"]["ingress"]
    (let_in,) = [rule for rule in rules if rule["ports"] == [{"port": 9464, "protocol": "TCP"}]]
    (who,) = let_in["from"]
    labels = who["namespaceSelector"]["matchLabels"]
    assert labels == {"kubernetes.io/metadata.name": "monitoring"}
    assert f"`{labels['kubernetes.io/metadata.name']}`" in file.read_text(encoding="utf-8")


@BOTH
def test_one_pod_stays_while_a_node_is_emptied(manifest: Path) -> None:
    every = objects(manifest)
    budget, replicas = every["PodDisruptionBudget"]["spec"], every["Deployment"]["spec"]["replicas"]
    assert budget["minAvailable"] < replicas
    assert budget["selector"] == every["Deployment"]["spec"]["selector"]


def test_the_scaler_and_the_service_mean_this_deployment() -> None:
    every = objects(STANDALONE)
    scaler, deployment = every["HorizontalPodAutoscaler"]["spec"], every["Deployment"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["minReplicas"] == deployment["spec"]["replicas"]
    assert "cpu" in proxy(STANDALONE)["resources"]["requests"]  # what the scaler measures by
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert every["Service"]["spec"]["selector"] == labels
