# An OpenBao server for Sealwire on one machine, with TLS, storage on its disk and an audit log.
# docs/operations/vault.md says how it is set up. Vault reads the same file, but for the audit block: there
# `sealwire vault setup --audit-file PATH` enables the audit log.

storage "raft" {
  path    = "/var/lib/openbao"
  node_id = "node-1"
}

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/etc/openbao/tls/server.crt"
  tls_key_file  = "/etc/openbao/tls/server.key"
}

# What other nodes and clients reach this one by.
api_addr     = "https://vault.example:8200"
cluster_addr = "https://vault.example:8201"

# Requests fail when the log cannot be written: give it a disk of its own, and rotate it.
audit "file" "sealwire" {
  options {
    file_path = "/var/log/openbao/audit.log"
  }
}
