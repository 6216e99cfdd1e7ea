"""Tests for sealwire.policies.file.schema."""

from sealwire.policies.file.schema import Link, LinkEnd, Subjects

VISITS = Link(LinkEnd("clinic.visits", "patient_id"), LinkEnd("clinic.patients", "_id"))


def test_a_collection_has_the_link_that_begins_there() -> None:
    subjects = Subjects("nhs", (VISITS,))
    assert subjects.link_of("clinic.visits") == VISITS
    assert subjects.link_of("clinic.patients") is None


def test_a_place_is_written_as_the_policy_has_it() -> None:
    assert str(VISITS.target) == "clinic.patients._id"
