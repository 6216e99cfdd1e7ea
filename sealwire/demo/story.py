"""What the demo tells, as data, and the checks that make it true."""

import re
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient

from sealwire.demo import inspection
from sealwire.demo.application import AppStep, run_application
from sealwire.demo.file_scan import Scan, covered_texts, scan_folder, total
from sealwire.demo.inspection import Document, Refused, SearchPlan, Stored
from sealwire.demo.stage import POLICY_FILE, Announce, Stage
from sealwire.examples.clinic_app import STEPS, lookup_visits
from sealwire.examples.patients import Patient
from sealwire.policies.file.loader import load_policy

STORY_STEPS = 2 * len(STEPS) + 3
_REMOVED_PATIENTS = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One claim and whether it held."""

    claim: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Sight:
    """One patient, as the application reads it and as the database stores it."""

    application: Document
    stored: Document


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is shown. `direct` and `guarded` are runs of the same application, step by step."""

    patients: int
    direct_uri: str
    sealwire_uri: str
    """The connection strings with the password left out: all that differs between the runs."""
    direct: tuple[AppStep, ...]
    guarded: tuple[AppStep, ...]
    plain_sight: Sight
    guarded_sight: Sight
    stored: Stored
    plan: SearchPlan
    refused: Refused | None
    plain_files: Scan
    guarded_files: Scan
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        return all(check.passed for check in self.checks)


def tell(stage: Stage, announce: Announce) -> Story:
    """Run the application twice, then look at what it left.

    Raises:  TestbedError when the application fails; a claim that does not hold is a failed check instead
    """
    direct = _run(stage, stage.direct_uri, "directly", announce)
    guarded = _run(stage, stage.sealwire_uri, "through Sealwire", announce)
    patient = shown_patient(stage.dataset.patients)
    announce("looking into the databases")
    with (
        MongoClient[Document](stage.direct_uri) as plain_client,
        MongoClient[Document](stage.sealwire_uri) as client,
        MongoClient[Document](stage.raw_uri) as raw,
    ):
        plain_sight = _sight(plain_client, plain_client, patient)
        guarded_sight = _sight(client, raw, patient)
        stored = inspection.count_stored(raw, load_policy(POLICY_FILE.read_bytes(), str(POLICY_FILE)))
        announce("asking how searches are answered")
        plan = inspection.explain_search(client, patient["nhs_number"])
        refused = inspection.search_by_regex(client, patient["nhs_number"][:6])
    announce("reading the databases' files")
    texts = covered_texts(stage.dataset)
    plain_files = scan_folder(stage.plain.options.storage.parent, texts)
    guarded_folders = (stage.guarded.options.storage.parent, stage.proxy.options.folder)
    guarded_files = total(scan_folder(folder, texts) for folder in guarded_folders)
    checks = (
        check_results(direct, guarded),
        check_sights(plain_sight, guarded_sight),
        check_stored(stored),
        check_files(plain_files, guarded_files),
        check_plan(plan),
        check_join(guarded),
        check_refusal(refused),
    )
    return Story(
        len(stage.dataset.patients),
        without_password(stage.direct_uri),
        without_password(stage.sealwire_uri),
        direct,
        guarded,
        plain_sight,
        guarded_sight,
        stored,
        plan,
        refused,
        plain_files,
        guarded_files,
        checks,
    )


def shown_patient(patients: tuple[Patient, ...]) -> Patient:
    """A patient whom the application does not remove and who has every field."""
    removed_every = max(1, len(patients) // _REMOVED_PATIENTS)
    return next(
        patient
        for position, patient in enumerate(patients)
        if position % removed_every != 0 and patient["postcode"] is not None and patient["notes"] is not None
    )


def without_password(uri: str) -> str:
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:…@", uri)


def check_results(direct: tuple[AppStep, ...], guarded: tuple[AppStep, ...]) -> Check:
    claim = "same results with and without Sealwire"
    pairs = list(zip(direct, guarded, strict=False))
    different = [one.name for one, other in pairs if (one.name, one.result) != (other.name, other.result)]
    same = not different and len(direct) == len(guarded) == len(STEPS)
    detail = f"{len(pairs)} steps" if same else f"different: {', '.join(different) or 'length'}"
    return Check(claim, same, detail)


def check_sights(plain: Sight, guarded: Sight) -> Check:
    """The one patient that is shown reads the same; what is stored otherwise is an envelope."""
    seen, stored = inspection.flatten(guarded.application), inspection.flatten(guarded.stored)
    hidden = {path for path, value in stored.items() if inspection.is_envelope(value)}
    same = plain.application == guarded.application and seen.keys() == stored.keys()
    honest = all(path in hidden or stored[path] == seen[path] for path in stored if path in seen)
    detail = f"{len(hidden)} of {len(stored)} values are ciphertext"
    claim = "one record: the same to read, ciphertext at rest"
    return Check(claim, same and honest and "nhs_number" in hidden, detail)


def check_stored(stored: Stored) -> Check:
    passed = stored.readable == 0 and stored.encrypted > 0
    detail = f"{stored.encrypted:,} ciphertexts, {stored.readable:,} readable values"
    return Check("every covered value stored is ciphertext", passed, detail)


def check_files(plain: Scan, guarded: Scan) -> Check:
    """No covered text in any file; the same search of the plain database's files proves that it can find."""
    passed = guarded.hits == 0 and plain.hits > 0
    detail = (
        f"{guarded.hits:,} hits in {guarded.size_bytes / 1e6:.0f} MB; without Sealwire {plain.hits:,} hits"
    )
    return Check("no covered text in files and logs", passed, detail)


def check_plan(plan: SearchPlan) -> Check:
    passed = "IXSCAN" in plan.stages and plan.index.startswith("nhs_number")
    return Check("a search by NHS number uses the index", passed, " <- ".join(plan.stages) + f" {plan.index}")


def check_join(guarded: tuple[AppStep, ...]) -> Check:
    """The server found pairs by ciphertext; that they are the right ones, the equal results say."""
    found = sum(step.result["found"] for step in guarded if step.name == lookup_visits.__name__)
    return Check(
        "a $lookup joins by encrypted NHS numbers", found > 0, f"{found:,} visits beside their patients"
    )


def check_refusal(refused: Refused | None) -> Check:
    """The regex was refused, with a reason that is a MongoDB error and names the field."""
    passed = refused is not None and refused.code != 0 and "nhs_number" in refused.message
    detail = "it was answered" if refused is None else f"{refused.code} {refused.code_name}"
    return Check("a regex on an encrypted field is refused", passed, detail)


def _run(stage: Stage, uri: str, how: str, announce: Announce) -> tuple[AppStep, ...]:
    # A step is announced when its predecessor ended; the last one's successor belongs to somebody else.
    names = [step.__name__.replace("_", " ") for step in STEPS]
    following = iter(names[1:])

    def on_step(_: AppStep) -> None:
        name = next(following, None)
        if name is not None:
            announce(f"{how}: {name}")

    announce(f"{how}: {names[0]}")
    log = stage.folder / f"application-{how.partition(' ')[0]}.log"
    return run_application(uri, stage.dataset, log, on_step)


def _sight(application: MongoClient[Any], raw: MongoClient[Any], patient: Patient) -> Sight:
    found = application.get_default_database()["patients"].find_one(
        {"nhs_number": patient["nhs_number"]}, {"_id": 0}
    )
    return Sight(found or {}, inspection.find_patient(raw, patient) or {})
