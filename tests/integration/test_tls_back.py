"""TLS is taken off the server and Sealwire, and put back: what is stored stays, and no half of it serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pymongo import MongoClient

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.testbed.errors import TestbedError, TestbedReason
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.conftest import Document
from tests.integration.outside.chosen import own_server
from tests.integration.running_site import NHS, RULES

pytestmark = [pytest.mark.integration, own_server("it is started anew")]

NUMBER = "943 476 5919"


@contextmanager
def started(options: DatabaseOptions) -> Iterator[DatabaseProcess]:
    database = DatabaseProcess(options)
    database.start()
    try:
        yield database
    finally:
        database.stop()


def stored_number(options: ProxyOptions, database: DatabaseProcess) -> object:
    """What an application finds through a Sealwire with these settings before this server."""
    with (
        ProxyProcess(replace(options, upstream=database.address)) as proxy,
        MongoClient[Document](proxy.uri(), serverSelectionTimeoutMS=5000) as client,
    ):
        client["clinic"]["patients"].update_one({"_id": 1}, {"$set": {NHS: NUMBER}}, upsert=True)
        (found,) = client["clinic"]["patients"].find({NHS: NUMBER})
        return found[NHS]


def test_tls_is_taken_off_and_put_back_and_the_data_stays(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "authority")
    issued = authority.issue("database")
    plain = DatabaseOptions(tmp_path / "database")
    tls = replace(plain, tls=ServerTls(issued.certificate, issued.key, authority.certificate_file))
    (tmp_path / "policy.yaml").write_text(RULES)
    back = ProxyOptions(tmp_path / "proxy", tmp_path / "policy.yaml", "", access_control=False)
    forth = replace(back, certificate=authority.issue("sealwire"), authority=authority.certificate_file)
    with started(tls) as database:
        assert stored_number(forth, database) == NUMBER
    with started(plain) as database:
        with pytest.raises(TestbedError) as caught:
            stored_number(forth, database)  # a server without TLS is not used until the configuration says so
        assert caught.value.reason is TestbedReason.DIED
        assert stored_number(back, database) == NUMBER
        with database.connect() as raw:
            assert raw["clinic"]["patients"].count_documents({NHS: NUMBER}) == 0
    with started(tls) as database:
        assert stored_number(forth, database) == NUMBER
