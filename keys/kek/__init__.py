"""Key-encryption keys: what wraps data keys, and where such a key comes from on this machine.

Owns: `kek.KeyEncryptionKey`, keys from the environment, from files and from passphrases, and key pairs for
backups.

May not import: keys.vault, keys.providers, keys.keyring.
"""
