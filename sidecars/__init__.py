"""The tools beside the proxy, from backup and coverage to tls_check and vault_setup.

Owns: encrypted backups, finding plaintext that is stored, fields that look personal, validators that keep
plaintext out, erasing a person's data, LUKS volumes for the data directory, moving stored values to and from
encryption, verification of TLS endpoints, alerts and incidents of what the audit log shows, and setting up
Vault or OpenBao. Each has its commands beside it (`commands`), which only read options and show results.
What a deployment was found to be is held against law and principles in `compliance`.

The sidecars are independent of each other and of the proxy: none of them imports another one. The exceptions
are their commands, and `compliance`, which looks at all of them. They share the shape of their errors
(`errors`), what it takes to work on a server past Sealwire (`direct`), and what a policy covers there
(`covered`).
May not import: proxy. Of the rooms they use keys and crypto; coverage, drift, enforcement, erasure and
migration use policies, drift, erasure and migration use wire, erasure and detection use audit.
"""
