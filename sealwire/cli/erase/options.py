"""What the commands share that look for a person: policy, keys, server, and whom they look for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from sealwire.audit.pseudonyms import Identifier, PseudonymKey, load_pseudonym_key
from sealwire.cli.options.common import Decorator, declare, settings
from sealwire.cli.options.keys import (
    KekOptions,
    contexts_option,
    kek_options,
    keyring_option,
    open_keyring_store,
)
from sealwire.cli.options.policies import policy_argument
from sealwire.cli.options.server import required_uri, server_options
from sealwire.cli.options.subjects import ask_identifier, subjects_key_option, subjects_of
from sealwire.crypto import selftest
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import parse_place
from sealwire.keys.providers import Providers
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet, Subjects
from sealwire.proxy.server.config.reader import read_named_file
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.erasure.search import PersonSearch
from sealwire.sidecars.erasure.stored_forms import Persons, spellings, stored_forms

RIGHTS: Final = "the user needs readWrite and listCollections on the policy's databases"


@dataclass(frozen=True, slots=True)
class OpenSite:
    """A server, a policy and all keys. Holds keys."""

    client: Client
    policies: PolicySet
    policy_hash: str
    keyring: Keyring
    contexts: ContextStore | None
    key: PseudonymKey
    persons: Persons

    def __repr__(self) -> str:
        return "OpenSite()"

    @property
    def subjects(self) -> Subjects:
        """Whose data documents are."""
        return subjects_of(self.policies)

    def search(self, identifier: Identifier) -> PersonSearch:
        """What looks for a person. Raises as `stored_forms`."""
        field_class = self.policies.classes[self.subjects.class_name]
        forms = stored_forms(identifier, field_class, self.keyring, self.contexts)
        pseudonym, *others = map(self.key.pseudonym, spellings(identifier))
        return PersonSearch(
            self.client, self.policies, self.subjects, forms, self.persons, pseudonym, frozenset(others)
        )


@dataclass(frozen=True, slots=True)
class PersonOptions:
    """What the options say; opened when it is asked for."""

    policy: Path
    keyring: str
    contexts: str | None
    subjects_key: Path

    @contextmanager
    def asked(self, kek: KekOptions, uri: str) -> Iterator[tuple[OpenSite, PersonSearch]]:
        """Asks for the identifier first. Raises as `opened`, and as `OpenSite.search`."""
        source = read_named_file(self.policy, "the policy")
        identifier = ask_identifier(load_policy(source, str(self.policy)))
        with self.opened(kek, uri) as site:
            yield site, site.search(identifier)

    @contextmanager
    def opened(self, kek: KekOptions, uri: str) -> Iterator[OpenSite]:
        """Raises what opening all this raises; SidecarError, also for what the server says in the block."""
        selftest.run()
        source = read_named_file(self.policy, "the policy")
        policies = load_policy(source, str(self.policy))
        field_class = policies.classes[subjects_of(policies).class_name]
        key = load_pseudonym_key(self.subjects_key)
        address = required_uri(uri)
        providers = Providers()
        keyring = load_keyring(open_keyring_store(self.keyring, providers), kek.open(providers))
        with ExitStack() as stack:
            store = None
            if self.contexts is not None:
                store = providers.context_store(parse_place(self.contexts), create=False)
                stack.callback(store.close)
            client = stack.enter_context(connected(address, RIGHTS))
            persons = Persons(key, field_class, keyring, store)
            yield OpenSite(client, policies, sha256(source).hexdigest(), keyring, store, key, persons)


def person_options() -> Decorator:
    """Gives the command `person: PersonOptions`, `kek: KekOptions` and `uri`."""
    taken = settings(
        "person",
        PersonOptions,
        policy_argument,
        keyring_option,
        contexts_option("The store of the keys of contexts, where a class has a key for each."),
        subjects_key_option,
    )
    return declare(taken, kek_options, server_options)
