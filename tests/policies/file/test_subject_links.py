"""Tests for sealwire.policies.file.loader."""

import pytest

from sealwire.files.errors import SourceError
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import Link, LinkEnd, PolicySet, Subjects, identifiers

POLICY = """version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs: nhs, proxy.nhs: nhs, notes: notes}
  clinic.visits: {notes: notes}
  clinic.lab.results: {notes: notes}
"""

LINE = POLICY.count("\n") + 1


def read(section: str) -> PolicySet:
    return load_policy((POLICY + section).encode(), "policy.yaml")


def test_a_policy_without_the_section_says_nothing_of_subjects() -> None:
    assert read("").subjects is None


def test_every_path_of_the_class_is_an_identifier() -> None:
    policy = read("subjects: {class: nhs}\n")
    assert policy.subjects == Subjects("nhs")
    assert identifiers(policy.subjects, policy.collections["clinic.patients"]) == ("nhs", "proxy.nhs")
    assert identifiers(policy.subjects, policy.collections["clinic.visits"]) == ()


def test_links_lead_to_an_identifier_directly_or_by_another_link() -> None:
    policy = read("""subjects:
  class: nhs
  links:
    clinic.visits.patient.id: clinic.patients._id
    clinic.lab.results.visit: clinic.visits._id
    clinic.bills.visit: clinic.visits.number
""")
    assert policy.subjects is not None
    assert policy.subjects.links == (
        Link(LinkEnd("clinic.visits", "patient.id"), LinkEnd("clinic.patients", "_id")),
        Link(LinkEnd("clinic.lab.results", "visit"), LinkEnd("clinic.visits", "_id")),
        Link(LinkEnd("clinic.bills", "visit"), LinkEnd("clinic.visits", "number")),
    )


def test_a_colon_ends_the_name_of_a_collection_with_dots() -> None:
    policy = read("""subjects:
  class: nhs
  links:
    clinic.fs.files:metadata.patient_id: clinic.patients:_id
    clinic.fs.chunks:files_id: clinic.fs.files:_id
    clinic.scans:files.patient_id: clinic.patients._id
""")
    assert policy.subjects is not None
    assert [str(each.source) for each in policy.subjects.links] == [
        "clinic.fs.files.metadata.patient_id",
        "clinic.fs.chunks.files_id",
        "clinic.scans.files.patient_id",
    ]
    assert [each.source.namespace for each in policy.subjects.links] == [
        "clinic.fs.files",
        "clinic.fs.chunks",
        "clinic.scans",
    ]


@pytest.mark.parametrize(
    "section",
    [
        "{class: nhs, links: {clinic.fs.files.metadata.patient_id: clinic.patients._id}}",
        "{class: nhs, links: {'clinic.fs.files:': clinic.patients._id}}",
        "{class: nhs, links: {'clinic:fs.files': clinic.patients._id}}",
        "{class: nobody}",
        "{class: notes}",
        "{links: {}}",
        "{class: nhs, links: {clinic.visits.p: clinic.elsewhere._id}}",
        "{class: nhs, links: {clinic.visits.p: clinic.visits.q}}",
        "{class: nhs, links: {clinic.a.x: clinic.b.x, clinic.b.x: clinic.a.x}}",
        "{class: nhs, links: {clinic.visits.p: clinic.patients._id, clinic.visits.q: clinic.patients.n}}",
        "{class: nhs, links: {clinic.visits.notes: clinic.patients._id}}",
        "{class: nhs, links: {clinic.visits.notes.part: clinic.patients._id}}",
        "{class: nhs, links: {clinic.visits.p: clinic.patients.proxy}}",
        "{class: nhs, links: {clinic.visits: clinic.patients._id}}",
        "{class: nhs, links: {clinic.visits.p: clinic.patients}}",
        "{class: nhs, links: {clinic.visits.0: clinic.patients._id}}",
        "{class: nhs, links: {clinic.visits.$p: clinic.patients._id}}",
        "{class: nhs, links: {'clinic.*.p': clinic.patients._id}}",
        "{class: nhs, links: {admin.visits.p: clinic.patients._id}}",
    ],
)
def test_what_leads_nowhere_is_refused_with_its_place(section: str) -> None:
    with pytest.raises(SourceError) as refused:
        read(f"subjects: {section}\n")
    assert refused.value.line == LINE
