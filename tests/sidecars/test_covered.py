"""What a policy covers on a server: by name, by pattern, and what does not exist yet."""

from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.covered import Validation, covered_collections
from tests.sidecars.drift_samples import FakeServer

POLICY = load_policy(
    b"version: 1\n"
    b"classes: {nhs: {mode: deterministic, type: string}}\n"
    b"collections:\n"
    b"  clinic.patients: {nhs_number: nhs}\n"
    b"  clinic.arrivals: {nhs_number: nhs}\n"
    b"  tenant_*.patients: {nhs_number: nhs}\n",
    "policy.yaml",
)


def test_collections_are_found_by_name_and_by_pattern_and_sorted() -> None:
    server = FakeServer(
        {
            "tenant_1": [{"name": "patients"}, {"name": "wards"}],
            "other": [{"name": "patients"}],
            "clinic": [{"name": "patients", "type": "view"}, {"name": "wards"}],
        }
    )
    found = covered_collections(server.client, POLICY)
    assert [(each.namespace, each.exists, each.kind) for each in found] == [
        ("clinic.arrivals", False, "collection"),
        ("clinic.patients", True, "view"),
        ("tenant_1.patients", True, "collection"),
    ]


def test_how_a_collection_validates_is_read_as_it_is() -> None:
    options = {"validator": {"a": 1}, "validationLevel": "moderate", "validationAction": "warn"}
    server = FakeServer({"clinic": [{"name": "patients", "options": options}, {"name": "arrivals"}]})
    arrivals, patients = covered_collections(server.client, POLICY)
    assert patients.validation == Validation({"a": 1}, "moderate", "warn")
    assert arrivals.validation == Validation()
