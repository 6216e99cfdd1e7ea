"""The tools beside the proxy, one folder each: backup, enforcement, luks, tls_check, vault_setup.

Owns: encrypted backups, validators that keep plaintext out, LUKS volumes for the data directory,
verification of TLS endpoints, and setting up Vault or OpenBao. Each is a `sealwire` subcommand in
sealwire/cli, which only reads options and shows results. Migrating plaintext data, erasing by key, the
coverage of a policy and reports for compliance get a folder each here when they are written.

The sidecars are independent of each other and of the proxy: none of them imports another one. They share
the shape of their errors (`errors`) and what it takes to work on a server past Sealwire (`direct`).
May not import: wire, proxy. Of the rooms they use keys and crypto, and enforcement uses policies.
"""
