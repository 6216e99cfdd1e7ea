"""`sealwire policy drift` on a server that holds what it should not."""

import json
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from sealwire.cli.groups import policy as command
from sealwire.keys.keyring.file import create_keyring
from sealwire.sidecars.errors import DirectReason, SidecarError
from tests.integration.conftest import POLICY, Stack, found_in
from tests.integration.outside.chosen import named
from tests.keys.samples import local_kek
from tests.support.secantus import CLINIC, ROOT

pytestmark = pytest.mark.integration

NHS = "943 476 5919"


def run(stack: Stack, *arguments: str, keyring: Path | None = None) -> Result:
    """The command as an operator gives it; the connection string comes from the environment."""
    words = ["drift", str(POLICY), "--keyring", str(keyring or stack.proxy.keyring), *arguments]
    return CliRunner().invoke(command, words, env={"SEALWIRE_SERVER_URI": stack.database.uri(ROOT)})


def paths(result: Result, name: str = "patients") -> dict[str, dict[str, Any]]:
    reports = {each["namespace"]: each for each in json.loads(result.stdout)["collections"]}
    return {each["path"]: each for each in reports[named(f"clinic.{name}")]["paths"]}


def test_what_the_proxy_wrote_is_sound(clean: Stack) -> None:
    clean.clinic["patients"].insert_many([{"nhs_number": NHS, "phones": ["1", "2"]}, {"notes": "x"}])
    result = run(clean, "--json")
    assert result.exit_code == 0
    assert paths(result)["nhs_number"]["values"]["protected"] == 1
    assert paths(result)["phones"]["values"]["protected"] == 2
    assert NHS not in result.output


def test_plaintext_and_foreign_envelopes_are_counted_and_not_shown(clean: Stack) -> None:
    clean.clinic["patients"].insert_one({"_id": 1, "nhs_number": NHS, "notes": "x"})
    ours = found_in(clean.raw["patients"], {"_id": 1})
    foreign = bytearray(ours["nhs_number"])
    foreign[4:8] = b"\x7f\xff\xff\xfe"
    clean.raw["patients"].insert_many(
        [
            {"nhs_number": NHS},
            {"nhs_number": Binary(bytes(foreign), 0x80)},
            {"address": {"postcode": ours["nhs_number"]}},
            {"notes": Binary(bytes(ours["notes"])[:14], 0x80)},
        ]
    )
    result = run(clean, "--json")
    assert result.exit_code == 1
    found = {
        path: {name: count for name, count in each["values"].items() if count}
        for path, each in paths(result).items()
    }
    assert found["nhs_number"] == {"protected": 1, "plaintext": 1, "unknown-key": 1}
    assert found["address.postcode"] == {"other-class": 1}
    assert found["notes"] == {"protected": 1, "damaged": 1}
    assert NHS not in result.output
    table = run(clean)
    assert (table.exit_code, NHS in table.output) == (1, False)


def test_a_misspelt_path_is_named(clean: Stack) -> None:
    clean.clinic["patients"].insert_one({"nhs_number": NHS, "adress": {"postcode": "L1"}})
    result = run(clean, "--json")
    assert result.exit_code == 0
    assert paths(result)["address.postcode"]["nearest"] == "adress.postcode"


def test_another_keyring_knows_none_of_the_keys(clean: Stack, tmp_path: Path) -> None:
    clean.clinic["patients"].insert_one({"nhs_number": NHS})
    other = tmp_path / "keyring.json"
    create_keyring(other, local_kek(), ["nhs_number"], datetime.now(UTC))
    result = run(clean, "--json", keyring=other)
    assert result.exit_code == 1
    assert paths(result)["nhs_number"]["values"]["unknown-key"] == 1


@pytest.mark.parametrize(("is_declared", "code"), [(False, 1), (True, 0)])
def test_a_class_in_clear_is_drift_unless_the_policy_declares_it(
    clean: Stack, tmp_path: Path, is_declared: bool, code: int
) -> None:
    clean.raw["patients"].insert_one({"nhs_number": NHS})
    create_keyring(tmp_path / "keyring.json", local_kek(), ["nhs"], datetime.now(UTC), plaintext=["nhs"])
    said = ", accept_plaintext: true" if is_declared else ""
    (tmp_path / "policy.yaml").write_text(
        f"version: 1\nclasses: {{nhs: {{mode: deterministic, type: string{said}}}}}\n"
        f"collections: {{{named('clinic.patients')}: {{nhs_number: nhs}}}}\n"
    )
    words = ["drift", str(tmp_path / "policy.yaml"), "--keyring", str(tmp_path / "keyring.json"), "--json"]
    result = CliRunner().invoke(command, words, env={"SEALWIRE_SERVER_URI": clean.database.uri(ROOT)})
    assert result.exit_code == code
    assert json.loads(result.stdout)["in_clear"] == ([] if is_declared else ["nhs"])
    name = "declared-in-clear" if is_declared else "in-clear"
    assert paths(result)["nhs_number"]["values"][name] == 1


def test_a_sample_reads_no_more_than_it_says(clean: Stack) -> None:
    clean.clinic["patients"].insert_many([{"nhs_number": f"{number}"} for number in range(20)])
    result = run(clean, "--json", "--sample", "5")
    assert result.exit_code == 0
    assert paths(result)["nhs_number"]["documents"] == 5


def test_a_view_and_what_does_not_exist_are_skipped(clean: Stack) -> None:
    clean.raw.create_collection("patients", viewOn="wards", pipeline=[])
    result = run(clean, "--json")
    assert result.exit_code == 0
    reports = {each["namespace"]: each["skipped"] for each in json.loads(result.stdout)["collections"]}
    assert set(reports.values()) == {"a view holds nothing of its own", "does not exist"}


def test_an_address_that_leads_to_sealwire_is_refused(clean: Stack) -> None:
    words = ["drift", str(POLICY), "--keyring", str(clean.proxy.keyring)]
    done = CliRunner().invoke(command, words, env={"SEALWIRE_SERVER_URI": clean.proxy.uri(CLINIC, "clinic")})
    assert isinstance(done.exception, SidecarError)
    assert done.exception.reason is DirectReason.SEALWIRE


def ask(stack: Stack, path: str) -> str:
    """A page of the proxy's admin address."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.proxy.admin_port}{path}", timeout=10) as answer:
        page: str = answer.read().decode()
    return page


def counted(stack: Stack, namespace: str, path: str) -> float:
    """How many values in clear the proxy has counted."""
    name, labels = "sealwire_plaintext_values_total", {"namespace": namespace, "path": path}
    families = text_string_to_metric_families(ask(stack, "/metrics"))
    return sum(s.value for family in families for s in family.samples if (s.name, s.labels) == (name, labels))


def test_the_proxy_counts_and_names_plaintext_that_it_meets(clean: Stack) -> None:
    clean.clinic["patients"].insert_one({"_id": 1, "nhs_number": NHS, "notes": "x"})
    clean.raw["patients"].insert_one({"_id": 2, "nhs_number": NHS, "notes": None})
    namespace = named("clinic.patients")
    before = counted(clean, namespace, "nhs_number")
    deadline = time.monotonic() + 10
    while counted(clean, namespace, "nhs_number") == before:
        assert time.monotonic() < deadline
        assert [each["nhs_number"] for each in clean.clinic["patients"].find()] == [NHS, NHS]
        time.sleep(0.1)
    assert counted(clean, namespace, "notes") == 0
    while "plaintext" not in json.loads(ask(clean, "/readyz")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "nhs_number" in json.loads(ask(clean, "/readyz"))["plaintext"][namespace]
    assert NHS not in ask(clean, "/metrics") + ask(clean, "/readyz")
