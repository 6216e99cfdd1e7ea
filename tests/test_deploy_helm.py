"""The Helm chart, rendered by Helm's own engine: what comes of it is what Kubernetes and Sealwire take.

The engine is Helm's own Go library, from the package helm-python-sdk (requirements/deploy.txt), asked in a
process of its own. No cluster runs here: that pods become ready is not shown.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.discovery.view import read_map
from sealwire.sidecars.detection.rules import load_watch_settings
from tests.build_context import ROOT
from tests.support.rows import rows
from tests.support.runs import ran
from tests.test_deploy import RESTRICTED, STANDALONE, VERSIONS, assert_only_readiness_asks_readyz, validated
from tests.test_deploy import objects as plain_objects
from tools.sbom import deploy_python

CHART = ROOT / "deploy" / "helm" / "sealwire"
POLICY = plain_objects(STANDALONE)["ConfigMap"]["data"]["policy.yaml"]
BASIC: dict[str, Any] = {"upstream": {"address": "mongodb.mongodb.svc:27017"}, "policy": POLICY}
IN_VAULT = BASIC | {
    "secrets": {"keyring": "", "kek": ""},
    "config": {
        "keyring": "vault:secret/sealwire/keyring",
        "kek": {"provider": "vault", "name": "sealwire"},
        "vault": {"address": "https://vault.example:8200", "auth": "kubernetes", "role": "sealwire"},
    },
    "serviceAccount": {"automountToken": True},
    "autoscaling": {"enabled": False},
    "replicas": 3,
}
AUDITED = BASIC | {
    "audit": {
        "enabled": True,
        "storageClass": "fast",
        "watch": {"enabled": True, "publicKey": "ssh-ed25519 …", "rules": {"bulk-read": {"at_least": 500}}},
    }
}
MEMBERS = BASIC | {
    "upstream": {"caConfigMap": ""},
    "config": {
        "members": [
            {
                "listen": f"0.0.0.0:{port}",
                "advertise": f"sealwire.example:{port}",
                "upstream": f"m{port}:27017",
            }
            for port in (27017, 27018)
        ]
    },
}
NAMES = [f"mongodb-{number}.mongodb.mongodb.svc.cluster.local:27017" for number in range(3)]
PORTS = {name: 27020 - number for number, name in enumerate(NAMES)}
FOLLOWED = BASIC | {
    "upstream": {
        "uri": f"mongodb://{','.join(NAMES)}/?replicaSet=rs0",
        "ports": "27018-27022",
        "members": PORTS,
    }
}
CASES = {
    "basic": BASIC,
    "in-vault": IN_VAULT,
    "audited": AUDITED,
    "members": MEMBERS,
    "followed": FOLLOWED,
    "followed-in-vault": IN_VAULT | {"upstream": FOLLOWED["upstream"]},
}
EACH = pytest.mark.parametrize("case", CASES)
_RENDER = """
import json, sys
from helm_python import Chart, HelmError, lint
values = json.load(sys.stdin)
try:
    report = lint(sys.argv[1], values, strict=True)
    with Chart.load(sys.argv[1]) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="sealwire", namespace="prod")
except HelmError as error:
    sys.exit(str(error))
faults = [each for each in report["messages"] if each["severity"] > 1]
json.dump({"files": files, "faults": faults}, sys.stdout)
"""

pytestmark = pytest.mark.slow


def helm(values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [str(deploy_python()), "-c", _RENDER, str(CHART)]
    return ran(command, input=json.dumps(values))


@cache
def rendered(case: str) -> str:
    """All manifests of a case, as one file."""
    done = helm(CASES[case])
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["faults"] == []
    return "\n---\n".join(text for name, text in sorted(answer["files"].items()) if name.endswith(".yaml"))


def objects(case: str) -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(rendered(case)) if each is not None}


def pods(case: str) -> dict[str, Any]:
    every = objects(case)
    (kind,) = {"Deployment", "StatefulSet"} & set(every)
    return dict(every[kind]["spec"])


@pytest.mark.parametrize("version", VERSIONS)
@EACH
def test_kubernetes_knows_every_key(case: str, version: str, tmp_path: Path) -> None:
    file = tmp_path / f"{case}.yaml"
    file.write_text(rendered(case), encoding="utf-8")
    done = validated(file, version)
    assert done.returncode == 0, done.stdout + done.stderr


@EACH
def test_nothing_can_gain_privileges_or_write_beside_its_volumes(case: str) -> None:
    spec = pods(case)["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["enableServiceLinks"] is False
    user = f"\nUSER {spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}\n"
    assert user in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    for container in every:
        assert container["securityContext"] == RESTRICTED
        assert "memory" in container["resources"]["limits"]
    claims = {claim["metadata"]["name"] for claim in pods(case).get("volumeClaimTemplates", ())}
    mounted = {mount["name"] for each in every for mount in each["volumeMounts"]}
    assert mounted == claims | {volume["name"] for volume in spec["volumes"]}
    assert {each["emptyDir"]["medium"] for each in spec["volumes"] if "emptyDir" in each} == {"Memory"}


@EACH
def test_the_configuration_is_read_and_its_files_are_mounted(case: str) -> None:
    data = objects(case)["ConfigMap"]["data"]
    config = parse_config(data["sealwire.yaml"].encode(), Path("/etc/sealwire/sealwire.yaml"), {})
    assert load_policy(data["policy.yaml"].encode(), "policy.yaml").classes
    spec = pods(case)["template"]["spec"]
    (proxy,) = [each for each in spec["containers"] if each["name"] == "sealwire"]
    assert config.limits.drain_s + 5 < spec["terminationGracePeriodSeconds"]
    folders = {mount["mountPath"] for mount in proxy["volumeMounts"]}
    files = [config.policy, config.upstream_tls.ca, config.listen_tls.certificate, config.listen_tls.key]
    assert {str(Path(str(file)).parent) for file in files if file is not None} <= folders
    assert {probe for probe in proxy if probe.endswith("Probe")} == {
        "startupProbe",
        "readinessProbe",
        "livenessProbe",
    }


@EACH
def test_only_readiness_asks_whether_the_proxy_serves(case: str) -> None:
    containers = {each["name"]: each for each in pods(case)["template"]["spec"]["containers"]}
    assert_only_readiness_asks_readyz(containers["sealwire"])


@EACH
def test_the_scaler_the_budget_and_the_policy_mean_these_pods(case: str) -> None:
    every = objects(case)
    labels = pods(case)["selector"]["matchLabels"]
    assert labels.items() <= pods(case)["template"]["metadata"]["labels"].items()
    assert every["Service"]["spec"]["selector"] == labels
    assert every["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    network = every["NetworkPolicy"]["spec"]
    assert network["podSelector"]["matchLabels"] == labels
    assert network["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["from"] for rule in network["ingress"])
    assert all(rule["to"] for rule in network["egress"])
    scaler = every.get("HorizontalPodAutoscaler")
    assert (scaler is None) == ("replicas" in pods(case))
    assert scaler is None or scaler["spec"]["scaleTargetRef"]["kind"] in every


def test_a_pod_with_its_keys_in_vault_has_no_secret_of_them() -> None:
    spec = pods("in-vault")["template"]["spec"]
    assert "initContainers" not in spec
    assert "envFrom" not in spec["containers"][0]
    assert not {"secret"} & {volume["name"] for volume in spec["volumes"]}
    assert spec["automountServiceAccountToken"] is True
    assert pods("basic")["template"]["spec"]["automountServiceAccountToken"] is False


def test_an_audit_log_has_a_volume_for_each_pod_and_a_watch_that_only_reads_it(tmp_path: Path) -> None:
    spec = pods("audited")
    assert [each["metadata"]["name"] for each in spec["volumeClaimTemplates"]] == ["audit", "watch"]
    proxy, watch = spec["template"]["spec"]["containers"]
    by_name = {mount["name"]: mount for mount in watch["volumeMounts"]}
    assert by_name["audit"]["readOnly"] is True
    assert "keys" not in by_name
    assert "envFrom" not in watch
    data = objects("audited")["ConfigMap"]["data"]
    config = parse_config(data["sealwire.yaml"].encode(), Path("/etc/sealwire/sealwire.yaml"), {})
    (tmp_path / "alerts.yaml").write_text(data["alerts.yaml"], encoding="utf-8")
    alerts = load_watch_settings(tmp_path / "alerts.yaml")
    assert config.audit is not None
    assert alerts.place.path == config.audit.place.path
    assert str(alerts.state.parent) == by_name["watch"]["mountPath"]
    (written,) = [each for each in proxy["volumeMounts"] if each["name"] == "audit"]
    assert written["mountPath"] == by_name["audit"]["mountPath"] == str(config.audit.place.path.parent)


def test_every_member_of_a_set_has_a_port_of_the_service() -> None:
    every = objects("members")
    assert [port["port"] for port in every["Service"]["spec"]["ports"]] == [27017, 27018]
    (proxy,) = pods("members")["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in proxy["ports"]] == [27017, 27018, 9464]
    clients, _ = every["NetworkPolicy"]["spec"]["ingress"]
    assert [port["port"] for port in clients["ports"]] == [27017, 27018]


def test_servers_that_are_followed_have_a_range_of_ports_that_is_the_same_in_every_pod(
    tmp_path: Path,
) -> None:
    every = objects("followed")
    ports = list(range(27018, 27023))
    assert [port["port"] for port in every["Service"]["spec"]["ports"]] == ports
    spec = pods("followed")["template"]["spec"]
    (proxy,) = spec["containers"]
    assert [port["containerPort"] for port in proxy["ports"]] == [*ports, 9464]
    clients, _ = every["NetworkPolicy"]["spec"]["ingress"]
    assert [port["port"] for port in clients["ports"]] == ports
    data = every["ConfigMap"]["data"]
    config = parse_config(data["sealwire.yaml"].encode(), Path("/etc/sealwire/sealwire.yaml"), {})
    assert config.members == ()
    assert config.discovery is not None
    assert config.discovery.advertise == "sealwire.prod.svc.cluster.local"
    assert list(config.discovery.ports) == ports
    (copying,) = [each for each in spec["initContainers"] if each["name"] == "ports"]
    place = config.discovery.ports_file
    assert place is not None
    assert f"cp /etc/sealwire/ports.json {place}" in copying["command"][-1]
    assert str(place.parent) in {mount["mountPath"] for mount in proxy["volumeMounts"]}
    file = tmp_path / "ports.json"
    file.write_text(data["ports.json"], encoding="utf-8")
    file.chmod(0o600)
    assert {str(member): port for member, port in read_map(file).ports.items()} == PORTS


def test_a_single_pod_may_find_the_ports_by_itself() -> None:
    alone = {"autoscaling": {"enabled": False}, "replicas": 1}
    upstream = {"uri": "mongodb+srv://mongo.example", "ports": "27018-27020"}
    known = {"networkPolicy": {"upstreamPorts": [27017]}}
    assert helm(BASIC | alone | known | {"upstream": upstream}).returncode == 0
    assert helm(BASIC | known | {"upstream": upstream}).returncode != 0
    assert helm(BASIC | alone | {"upstream": upstream}).returncode != 0


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        (BASIC | {"upstream": {"address": "mongodb:27117"}}, [27117]),
        (BASIC | {"config": {"upstream": {"address": "mongodb:27118"}}}, [27118]),
        (MEMBERS, [27017]),
        (
            FOLLOWED | {"upstream": FOLLOWED["upstream"] | {"uri": "mongodb://a,b:27019,[::1]:27020/?x=1:5"}},
            [27017, 27019, 27020],
        ),
        (BASIC | {"networkPolicy": {"upstreamPorts": [27020]}}, [27017, 27020]),
    ],
    ids=["address", "over-it", "members", "uri", "more"],
)
def test_pods_may_reach_every_port_that_the_configuration_names(
    values: dict[str, Any], ports: list[int]
) -> None:
    done = helm(values)
    assert done.returncode == 0, done.stderr
    policy = yaml.safe_load(json.loads(done.stdout)["files"]["sealwire/templates/network.yaml"])
    to_servers, _ = policy["spec"]["egress"]
    assert sorted(port["port"] for port in to_servers["ports"]) == ports


def test_the_operator_of_prometheus_is_told_of_the_pods_where_that_is_asked_for() -> None:
    template = "sealwire/templates/monitoring.yaml"
    assert not json.loads(helm(BASIC).stdout)["files"].get(template, "").strip()
    done = helm(BASIC | {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    assert done.returncode == 0, done.stderr
    monitor = yaml.safe_load(json.loads(done.stdout)["files"][template])
    labels = pods("basic")["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["spec"]["jobLabel"]] == "sealwire"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (proxy,) = pods("basic")["template"]["spec"]["containers"]
    assert endpoint["port"] in {port["name"] for port in proxy["ports"]}


@rows(
    "wrong",
    {"ports": "27018-27019"},
    {"ports": "27022-27018"},
    {"ports": "9460-9470"},
    {"ports": "27000-27064"},
    {"members": {NAMES[0]: 27018, NAMES[1]: 27018}},
    {"members": {"mongodb-0": 27018}},
    {"members": {}},
    {"address": "mongodb:27017"},
    {"uri": "mongodb://user:password@mongo.example"},
)
def test_ports_that_cannot_be_right_are_refused(wrong: dict[str, Any]) -> None:
    assert helm(FOLLOWED | {"upstream": FOLLOWED["upstream"] | wrong}).returncode != 0


def annotations(template: str) -> dict[str, str]:
    return dict(yaml.safe_load(template)["spec"]["template"]["metadata"]["annotations"])


def test_a_changed_policy_rolls_the_pods() -> None:
    proxy = "sealwire/templates/proxy.yaml"
    answers = [json.loads(helm(BASIC | {"policy": POLICY + more}).stdout) for more in ("", "# changed\n")]
    assert annotations(answers[0]["files"][proxy]) != annotations(answers[1]["files"][proxy])


@rows(
    "wrong",
    {"replica": 3},
    {"upstream": {"address": "mongodb"}},
    {"upstream": {"address": ""}},
    {"policy": ""},
    {"networkPolicy": {"clients": []}},
    {"networkPolicy": {"clients": [{}]}},
    {"secrets": {"keyring": "a; rm -rf /"}},
)
def test_values_that_cannot_be_right_are_refused(wrong: dict[str, Any]) -> None:
    assert helm(BASIC | wrong).returncode != 0


def test_the_chart_and_the_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    command = [sys.executable, "-c", "import sealwire; print(sealwire.__version__)"]
    version = ran(command, check=True).stdout.strip()
    assert (chart["version"], chart["appVersion"]) == (version, version)
