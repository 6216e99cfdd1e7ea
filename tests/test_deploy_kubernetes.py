"""The shipped manifests are what Kubernetes takes, let nothing gain privileges, and configure what runs.

The schemas are Kubernetes' own, from the package kubernetes-validate. No cluster runs here: that pods become
ready is not shown.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.settings import TlsMode
from tests.build_context import ROOT

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
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
