"""Which keys of the configuration count from a start on only, and what becomes of a new value until then."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sealwire.proxy.server.config.settings import Config, Discovery

_FIELDS: Mapping[str, str] = {
    "keyring": "keyring",
    "kek": "kek",
    "vault": "vault",
    "frontier.uri_file": "frontier_uri_file",
    "listen.load_balanced": "load_balanced",
    "admin.address": "admin",
    "admin.tls": "admin_tls",
    "admin.page": "admin_page",
    "audit": "audit",
    "traces": "traces",
    "workers": "workers",
    "busy_poll_us": "busy_poll_us",
}
"""From a key to the field of `Config`, but for the members, `keys.cache`, `keys.contexts`."""

_MEMBER_KEYS: Mapping[str, str] = {
    "listen": "listen.address",
    "advertise": "listen.advertise",
    "upstream": "upstream.address",
}
"""From a field of `Member` to its key where there is but one."""


def changed(old: Config, new: Config) -> list[str]:
    """The keys of which `new` says something else, and that need a restart to count."""
    cache = ["keys.cache"] if old.keys.cache != new.keys.cache else []
    cache += ["keys.contexts"] if old.keys.contexts != new.keys.contexts else []
    return (
        _changed_members(old, new)
        + cache
        + [key for key, name in _FIELDS.items() if getattr(old, name) != getattr(new, name)]
    )


def _changed_members(old: Config, new: Config) -> list[str]:
    if old.discovery != new.discovery:
        return [_changed_discovery(old.discovery, new.discovery)]
    if old.discovery is not None:
        return []  # who they are is not in the file
    if len(old.members) == len(new.members) == 1:
        names = [field.name for field in fields(old.members[0])]
        return [
            _MEMBER_KEYS[name]
            for name in names
            if getattr(old.members[0], name) != getattr(new.members[0], name)
        ]
    return ["members"] if old.members != new.members else []


def _changed_discovery(old: Discovery | None, new: Discovery | None) -> str:
    if old is None or new is None or old.seeds != new.seeds:
        return "upstream.uri"
    return "listen.ports" if replace(old, heartbeat_s=new.heartbeat_s) != new else "upstream.heartbeat_s"


def effective(old: Config, new: Config) -> Config:
    """What counts after a reload: `new`, but for what needs a restart."""
    kept: dict[str, Any] = {name: getattr(old, name) for name in _FIELDS.values()}
    return replace(
        new,
        members=old.members,
        discovery=old.discovery,
        keys=replace(new.keys, cache=old.keys.cache, contexts=old.keys.contexts),
        **kept,
    )
