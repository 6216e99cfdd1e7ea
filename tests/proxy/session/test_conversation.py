"""No right outlives its reason."""

from sealwire.policies.roles.role import CLEAR, NO_ACCESS, ClassAccess, NamedUser, Role, Roles, Wildcards
from sealwire.proxy.session.conversation import MAX_REMEMBERED, Entitled
from sealwire.proxy.session.login.caller import NOTHING_STATED, Stated

ANN = NamedUser(Wildcards(("ann",)), Wildcards(("admin",)))
NOBODY = Wildcards((), are_subjects=True)
ROLES = Roles(
    (Role("r", (ANN,), Wildcards(("CN=ann",), are_subjects=True), {"nhs": ClassAccess(CLEAR)}, NO_ACCESS),),
    ("nhs",),
)


def has_role(entitled: Entitled, stated: Stated = NOTHING_STATED) -> bool:
    rights = entitled.rights(stated)
    assert rights is not None
    return not rights.is_empty


def test_without_roles_there_are_no_rights_to_ask_for() -> None:
    entitled = Entitled(None)
    assert entitled.rights(NOTHING_STATED) is None
    assert entitled.roles is None


def test_a_login_gives_rights_and_another_takes_them() -> None:
    entitled = Entitled(ROLES)
    assert not has_role(entitled)
    entitled.use_users(("ann@admin",))
    assert has_role(entitled)
    entitled.use_users(("bob@admin",))
    assert not has_role(entitled)
    entitled.use_users(())
    assert not has_role(entitled)


def test_a_certificate_stays_through_logins() -> None:
    entitled = Entitled(ROLES)
    entitled.use_certificate("CN=ann")
    entitled.use_users(("bob@admin",))
    assert has_role(entitled)
    assert entitled.client == "bob@admin"
    entitled.use_users(())
    assert entitled.client == "CN=ann"


def test_the_same_subject_of_two_authorities_is_told_apart() -> None:
    one, two = Entitled(ROLES), Entitled(ROLES)
    one.use_certificate("CN=ann", "CN=Clinic CA")
    two.use_certificate("CN=ann", "CN=Supplier CA")
    assert one.client != two.client


def test_another_policy_counts_at_once() -> None:
    entitled = Entitled(ROLES)
    entitled.use_users(("ann@admin",))
    before = entitled.rights(NOTHING_STATED)
    assert entitled.rights(NOTHING_STATED) is before
    entitled.use_roles(ROLES)
    assert entitled.rights(NOTHING_STATED) is not before
    entitled.use_roles(None)
    assert entitled.rights(NOTHING_STATED) is None


def test_what_clients_state_is_not_remembered_without_end() -> None:
    entitled = Entitled(ROLES)
    for number in range(3 * MAX_REMEMBERED):
        entitled.rights(Stated(purpose=str(number)))
    assert len(entitled._known) <= MAX_REMEMBERED
