"""What the tests of context keys in Vault share: connections, administrators, and refusals."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.store import ContextRow, ContextStore
from sealwire.keys.errors import KekUnavailable, KeysError, KeysReason
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.context_documents import ContextDocuments
from sealwire.keys.vault.settings import vault_settings
from sealwire.testbed.openbao import OpenBao
from tests.build_context import ROOT
from tests.keys.samples import NOW
from tests.support.reasons import refused

KEYS_PAGE = ROOT / "docs" / "operations" / "context-keys.md"


def connect(address: str, token: str, **options: str) -> VaultConnection:
    return VaultConnection(vault_settings({"address": address, **options}, {}), {"VAULT_TOKEN": token})


def documented_policy(name: str, path: str) -> str:
    """The rules that the page has for whoever has this name, for another path."""
    page = KEYS_PAGE.read_text(encoding="utf-8")
    found = re.search(rf"vault policy write {name} - <<'EOF'\n(.*?)\nEOF", page, re.DOTALL)
    assert found
    return found[1].replace("sealwire/contexts", path)


def unavailable(action: Callable[[], object]) -> KeysError:
    error = refused(action, KekUnavailable, KeysReason.CONTEXTS)
    assert error.hint
    return error


def destroyed(old: ContextRow) -> ContextRow:
    return replace(old, wrapped=None, destroyed=NOW)


def shredded(store: ContextStore, old: ContextRow) -> ContextRow:
    return shredding.shred(store, shredding.announce(store, old, NOW, timedelta(0)), NOW)


def as_root(bao: OpenBao, place: VaultDocument) -> Any:
    """Writes a document as an administrator would: past the store."""

    def put(fields: dict[str, Any], *parts: object) -> None:
        at = ContextDocuments(place).at(*parts)
        bao.client.secrets.kv.v2.create_or_update_secret(at.path, fields, mount_point=at.mount)

    return put
