"""The same inputs for every side, decrypted into what they were; libmongocrypt does nothing besides."""

import os

import pytest
from bson import encode
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.synchronous.auto_encrypter import AutoEncrypter

from bench.parts.core_works import (
    COMPARED,
    KeyVault,
    UnexpectedRequest,
    inputs,
    pymongocrypt_works,
    sealwire_works,
)


def test_both_sides_do_every_work_that_is_compared() -> None:
    made = inputs(1)
    ours, theirs = sealwire_works(made), pymongocrypt_works(made)
    assert set(theirs) == set(COMPARED) <= set(ours)
    assert all(work() > 0 for work in (*ours.values(), *theirs.values()))


def test_a_libmongocrypt_that_would_encrypt_by_itself_is_stopped() -> None:
    options = MongoCryptOptions({"local": {"key": os.urandom(96)}}, bypass_encryption=False)
    encrypter = AutoEncrypter(KeyVault(), options)
    try:
        with pytest.raises(UnexpectedRequest):
            encrypter.encrypt("clinic", encode({"find": "patients", "filter": {}, "$db": "clinic"}))
    finally:
        encrypter.close()


def test_a_libmongocrypt_that_would_ask_a_key_service_is_stopped() -> None:
    with pytest.raises(UnexpectedRequest):
        KeyVault().kms_request(None)
