"""Key-encryption keys: what wraps data keys, and where such a key comes from.

Owns: `kek.KeyEncryptionKey`; keys from the environment, from files and from passphrases; keys that stay in a
service or a token (`kek.RemoteKek`; their answers: `kek.KeyService`); key pairs for backups.

May not import: keys.vault, keys.providers, keys.keyring.
"""

# Here, so that settings and help texts that name them do not import cryptography.
DEFAULT_VARIABLE = "SEALWIRE_KEK"
PASSPHRASE_VARIABLE = "SEALWIRE_PASSPHRASE"  # noqa: S105 - the variable
