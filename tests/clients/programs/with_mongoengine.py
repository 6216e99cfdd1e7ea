"""mongoengine: documents as classes, over pymongo."""

import sys
from typing import Any

import mongoengine
from bson import json_util
from lines import failure, head, say
from mongoengine import (
    Document,
    DynamicField,
    EmbeddedDocument,
    EmbeddedDocumentField,
    EmbeddedDocumentListField,
    FileField,
    IntField,
    NotUniqueError,
    OperationError,
    Q,
    StringField,
    connect,
)
from pymongo.errors import OperationFailure


class Address(EmbeddedDocument):
    postcode = StringField()


class Contact(EmbeddedDocument):
    kind = StringField()
    phone = StringField()


class Patient(Document):
    number = IntField(primary_key=True)
    nhs_number = StringField(unique=True, required=True)
    surname = StringField()
    address = EmbeddedDocumentField(Address)
    contacts = EmbeddedDocumentListField(Contact)
    visits = IntField()
    notes = DynamicField()
    ward = StringField(default="renal")
    meta = {"collection": "patients"}


class Scan(Document):
    number = IntField(primary_key=True)
    image = FileField()
    meta = {"collection": "scans"}


class Ward(Document):
    number = IntField(primary_key=True)
    meta = {"collection": "wards", "strict": False}


def patient(number: int) -> Patient:
    return Patient(
        number=number,
        nhs_number=f"canary-{number}",
        surname=("Smith canary", "smithson canary", "Jones canary")[number % 3],
        address=Address(postcode=f"canary M{number % 2}"),
        contacts=[Contact(kind="home", phone=f"canary-0{number}")],
        visits=number % 100,
        notes={"text": f"canary: {number}"},
    )


def shown(found: Any) -> Any:
    return json_util.loads(found.to_json())


def main(uri: str) -> None:
    head("mongoengine", mongoengine.__version__)
    client = connect(host=uri)
    database = client.get_default_database()
    client.drop_database(database.name)
    read_and_write()
    many()
    changes()
    scan = Scan(number=1)
    scan.image.put(b"scan" * 100_000, filename="scan.png")
    scan.save()
    say("files", Scan.objects.get(number=1).image.read() == b"scan" * 100_000)
    errors(database)
    mongoengine.disconnect()


def read_and_write() -> None:
    Patient.ensure_indexes()
    say("insert", [patient(number).save().pk for number in range(6)])
    say("find", shown(Patient.objects.get(nhs_number="canary-3")))
    say("queries", shown(Patient.objects(nhs_number__in=["canary-1", "canary-2"]).order_by("number")))
    either = Patient.objects(Q(address__postcode="canary M1") | Q(contacts__phone="canary-02"))
    say("either", [each.number for each in either.order_by("number")])
    say("range", Patient.objects(visits__gte=2, visits__lt=5).count())
    smiths = Patient.objects(surname__istartswith="smi").order_by("number")
    say("find by surname", [each.number for each in smiths])
    say("sort by surname", shown(Patient.objects.order_by("surname", "number")[:3]))
    one = Patient.objects.get(nhs_number="canary-4")
    one.contacts.create(kind="work", phone="canary-99")
    one.notes = "canary: changed"
    one.save()
    say("save", shown(Patient.objects.get(contacts__phone="canary-99")))
    changed = Patient.objects(address__postcode="canary M1").update(set__visits=9, push__contacts=Contact())
    say("update", [changed, shown(Patient.objects(visits=9).order_by("number"))])
    modified = Patient.objects(nhs_number="canary-0").modify(new=True, unset__notes=True, set__visits=8)
    say("find and modify", shown(modified))
    pipeline = [
        {"$group": {"_id": "$address.postcode", "patients": {"$sum": 1}, "first": {"$min": "$_id"}}},
        {"$sort": {"first": 1}},
    ]
    say("aggregate", list(Patient.objects.aggregate(pipeline)))
    say("distinct", sorted(Patient.objects.distinct("address.postcode")))


def many() -> None:
    Patient.objects.insert([patient(number) for number in range(1000, 1200)])
    found = [each.nhs_number for each in Patient.objects(number__gte=1000).order_by("number").batch_size(30)]
    say("bulk and cursor", [len(found), found[0], found[-1]])
    say("deleted", Patient.objects(number__gte=1000).delete())


def changes() -> None:
    with Patient._get_collection().watch(max_await_time_ms=3000) as stream:
        patient(30).save()
        event = stream.next()
    say("changes", [event["operationType"], event["fullDocument"]])


def errors(database: Any) -> None:
    again = patient(1)
    again.number = 99
    try:
        again.save(force_insert=True)
    except NotUniqueError as error:
        say("duplicate", type(error).__name__)
    database.create_collection("wards", validator={"$jsonSchema": {"required": ["name"]}})
    try:
        Ward(number=1).save()
    except OperationError as error:
        say("validation", type(error).__name__)
    try:
        say("prefix", Patient.objects(nhs_number__startswith="canary-2").count())
    except OperationFailure as error:
        say("prefix", failure(error))


if __name__ == "__main__":
    main(sys.argv[1])
