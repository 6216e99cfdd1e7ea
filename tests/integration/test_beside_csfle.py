"""Values that MongoDB's own client-side encryption wrote (subtype 6) pass Sealwire untouched, both ways.

The application encrypts explicitly with pymongocrypt (libmongocrypt), and lets the driver decrypt. Automatic
encryption would need MongoDB's own library for query analysis. The bytes in Queryable Encryption's form
are made here: without that library no driver writes them.
"""

import os
from collections.abc import Iterator

import pytest
from bson.binary import Binary
from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongo.encryption import ClientEncryption
from pymongo.encryption_options import AutoEncryptionOpts
from pymongo.encryption_shared import Algorithm

from tests.integration.conftest import Document, Stack, found_in
from tests.integration.outside.chosen import named
from tests.support.secantus import CLINIC

pytestmark = pytest.mark.integration

SECRET = "blue folder"
NHS = "943 476 5919"
LOCAL = {"local": {"key": bytes(range(96))}}
ENCRYPTED = 6

QUERYABLE_KINDS = (3, 4, 5, 6, 7, 9, 11, 13, 14, 15, 16, 17)
"""First bytes of ciphertexts that Queryable Encryption sends or stores."""


@pytest.fixture
def vault(stack: Stack) -> str:
    """A key vault that the application keeps on the same server, through Sealwire."""
    stack.raw["patients"].delete_many({})
    stack.raw["application_keys"].drop()
    return f"{named('clinic')}.application_keys"


@pytest.fixture
def encryption(stack: Stack, vault: str) -> Iterator[ClientEncryption[Document]]:
    with ClientEncryption[Document](LOCAL, vault, stack.client, CodecOptions()) as encryption:
        encryption.create_data_key("local", key_alt_names=["app"])
        yield encryption


def sealed(encryption: ClientEncryption[Document], text: str) -> Binary:
    return encryption.encrypt(text, Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Deterministic, key_alt_name="app")


def test_what_the_application_encrypts_is_stored_as_it_sent_it(
    stack: Stack, encryption: ClientEncryption[Document]
) -> None:
    value = sealed(encryption, SECRET)
    assert value.subtype == ENCRYPTED
    stack.clinic["patients"].insert_one({"_id": 1, "nhs_number": NHS, "alias": value})
    raw = found_in(stack.raw["patients"], {"_id": 1})
    assert (raw["alias"], raw["alias"].subtype) == (value, ENCRYPTED)
    assert isinstance(raw["nhs_number"], bytes)
    found = stack.clinic["patients"].find_one({"alias": value, "nhs_number": NHS})
    assert found == {"_id": 1, "nhs_number": NHS, "alias": value}
    assert encryption.decrypt(found["alias"]) == SECRET


def test_updates_and_pipelines_leave_it_alone(stack: Stack, encryption: ClientEncryption[Document]) -> None:
    patients, value, other = stack.clinic["patients"], sealed(encryption, SECRET), sealed(encryption, "x")
    patients.insert_one({"_id": 1, "nhs_number": NHS, "alias": value})
    assert patients.update_one({"alias": value}, {"$set": {"alias": other, "w": 1}}).modified_count == 1
    assert patients.distinct("alias") == [other]
    rows = list(patients.aggregate([{"$match": {"nhs_number": NHS}}, {"$group": {"_id": "$alias"}}]))
    assert rows == [{"_id": other}]


def test_a_driver_that_decrypts_by_itself_reads_both_through_sealwire(
    stack: Stack, vault: str, encryption: ClientEncryption[Document]
) -> None:
    document = {"_id": 1, "nhs_number": NHS, "alias": sealed(encryption, SECRET)}
    stack.clinic["patients"].insert_one(document)
    options = AutoEncryptionOpts(LOCAL, vault, bypass_auto_encryption=True)
    with MongoClient[Document](stack.proxy.uri(CLINIC, "clinic"), auto_encryption_opts=options) as client:
        found = client[named("clinic")]["patients"].find_one({"_id": 1})
    assert found == {"_id": 1, "nhs_number": NHS, "alias": SECRET}


def test_below_a_random_class_it_is_encrypted_once_more_and_comes_back_as_it_was(
    stack: Stack, encryption: ClientEncryption[Document]
) -> None:
    value = sealed(encryption, SECRET)
    stack.clinic["patients"].insert_one({"_id": 1, "notes": value})
    raw = stack.raw["patients"].find_one({"_id": 1})
    found = stack.clinic["patients"].find_one({"_id": 1})
    assert raw is not None
    assert raw["notes"].subtype == 0x80
    assert found == {"_id": 1, "notes": value}
    assert found["notes"].subtype == ENCRYPTED


@pytest.mark.parametrize("kind", QUERYABLE_KINDS)
def test_bytes_of_queryable_encryption_pass(stack: Stack, vault: str, kind: int) -> None:
    value = Binary(bytes((kind,)) + os.urandom(80), ENCRYPTED)
    looks_ours = Binary(bytes((kind,)) + b"SW\1\1" + os.urandom(60), ENCRYPTED)
    document = {
        "_id": 1,
        "nhs_number": NHS,
        "a": value,
        "b": [looks_ours],
        "c": {"d": Binary(b"SW\1\1", ENCRYPTED)},
    }
    stack.clinic["patients"].insert_one(dict(document))
    assert stack.raw["patients"].find_one({"_id": 1}, {"nhs_number": 0}) == {
        name: each for name, each in document.items() if name != "nhs_number"
    }
    assert stack.clinic["patients"].find_one({"a": value}) == document
