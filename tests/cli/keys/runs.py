"""What the tests of `sealwire keys` share."""

# An exit code, and what ends with it.
MISTAKES: tuple[tuple[int, list[str]], ...] = (
    (73, ["create", "--keyring", "k.json", "a"]),
    (73, ["create", "--keyring", "new.json", "a", "a"]),
    (78, ["create", "--keyring", "new.json", "9"]),
    (78, ["create", "--keyring", "no/such/k.json", "a"]),
    (78, ["verify", "--keyring", "missing.json"]),
    (77, ["verify", "--keyring", "open.json"]),
    (77, ["list", "--keyring", "open.json"]),
    (65, ["verify", "--keyring", "text.json"]),
    (65, ["verify", "--keyring", "forged.json"]),
    (77, ["verify", "--keyring", "k.json", "--kek", "env:OTHER"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "env:UNSET"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "nonsense"]),
    (
        78,
        [
            "verify",
            "--keyring",
            "k.json",
            "--kek",
            "file:missing.json",
            "--passphrase-file",
            "passphrase",
        ],
    ),
    (78, ["verify", "--keyring", "k.json", "--kek", "file:k.json"]),
    (78, ["create-kek", "--file", "kek.json", "--passphrase-file", "passphrase"]),
    (77, ["rewrap", "--keyring", "k.json", "--kek", "env:OTHER"]),
    (78, ["rewrap", "--keyring", "k.json", "--to", "env:UNSET"]),
    (78, ["rewrap", "--keyring", "k.json", "--to", "nonsense"]),
    (78, ["rewrap", "--keyring", "missing.json"]),
    (2, ["create", "--keyring", "k.json"]),
    (2, ["list"]),
)
