"""Which keys of the configuration count from a start on only, and what becomes of a new value until then."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from sealwire.proxy.server.config.settings import Config, Member

_KEYS: Mapping[str, Callable[[Config], object]] = {
    "keyring": lambda config: config.keyring,
    "kek": lambda config: config.kek,
    "keys.cache": lambda config: config.keys.cache,
    "vault": lambda config: config.vault,
    "admin.address": lambda config: config.admin,
    "audit.path": lambda config: config.audit,
    "workers": lambda config: config.workers,
    "busy_poll_us": lambda config: config.busy_poll_us,
}

_MEMBER_KEYS: Mapping[str, Callable[[Member], object]] = {
    "listen.address": lambda member: member.listen,
    "listen.advertise": lambda member: member.advertise,
    "upstream.address": lambda member: member.upstream,
}


def changed(old: Config, new: Config) -> list[str]:
    """The keys of which `new` says something else, and that need a restart to count."""
    return _changed_members(old, new) + [key for key, value in _KEYS.items() if value(old) != value(new)]


def _changed_members(old: Config, new: Config) -> list[str]:
    if old.members == new.members:
        return []
    if len(old.members) != 1 or len(new.members) != 1:
        return ["members"]
    one, other = old.members[0], new.members[0]
    return [key for key, value in _MEMBER_KEYS.items() if value(one) != value(other)]


def effective(old: Config, new: Config) -> Config:
    """What counts after a reload: `new`, but for what needs a restart."""
    return replace(
        new,
        members=old.members,
        keyring=old.keyring,
        kek=old.kek,
        keys=replace(new.keys, cache=old.keys.cache),
        vault=old.vault,
        admin=old.admin,
        audit=old.audit,
        workers=old.workers,
        busy_poll_us=old.busy_poll_us,
    )
