#!/usr/bin/env bash
# From `bao server` to an encrypted insert, on this machine, in one go: a server with TLS and storage, its first
# keys, the set-up, a keyring in it, a proxy that logs in with a wrapped credential, one patient.
#
# Usage: quickstart.sh FOLDER        FOLDER is made and keeps everything; all processes end with the script
# Needs: sealwire with its `demo` extra, openssl, and `bao` (or BAO=/path/to/bao). Not for production: the unseal
# shares and the root token lie in FOLDER.
set -euo pipefail

folder=${1:?usage: quickstart.sh FOLDER}
bao=${BAO:-bao}
vault_port=${VAULT_PORT:-8200} cluster_port=${CLUSTER_PORT:-8201}
database_port=${DATABASE_PORT:-27017} proxy_port=${PROXY_PORT:-27018} admin_port=${ADMIN_PORT:-9464}

umask 077
mkdir "$folder"
cd "$folder"
unset VAULT_TOKEN BAO_TOKEN
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT

say() { printf '\n== %s\n' "$*"; }
wait_for() {  # PORT
  for _ in {1..300}; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    sleep 0.1
  done
  echo "nothing listens on port $1; see the logs in $PWD" >&2
  return 1
}

say "a server with TLS, storage and an audit log"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=vault-quickstart \
  -addext 'subjectAltName=IP:127.0.0.1' -addext 'keyUsage=critical,digitalSignature,keyCertSign' \
  -keyout vault.key -out vault.crt 2>/dev/null
mkdir raft
cat >openbao.hcl <<EOF
storage "raft" {
  path                   = "$PWD/raft"
  node_id                = "node-1"
  performance_multiplier = "1"
}
listener "tcp" {
  address       = "127.0.0.1:$vault_port"
  tls_cert_file = "$PWD/vault.crt"
  tls_key_file  = "$PWD/vault.key"
}
api_addr     = "https://127.0.0.1:$vault_port"
cluster_addr = "https://127.0.0.1:$cluster_port"
audit "file" "sealwire" {
  options {
    file_path = "$PWD/audit.log"
  }
}
EOF
"$bao" server -config=openbao.hcl >bao.log 2>&1 &
wait_for "$vault_port"
export VAULT_ADDR=https://127.0.0.1:$vault_port VAULT_CACERT=$PWD/vault.crt

say "its first keys: three shares, two of which unseal it"
sealwire vault init --shares 3 --threshold 2 --output shares --root-token-file root-token

say "keys, policies, roles, storage"
sealwire vault setup --token-file root-token --yes

say "data keys for the policy, made under the rotation role, in a keyring inside the server"
cat >policy.yaml <<'EOF'
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
collections:
  clinic.patients:
    nhs_number: nhs_number
EOF
rotation_role_id=$(sealwire vault credentials rotation --token-file root-token --secret-id-file rotation-secret-id)
SEALWIRE_VAULT_AUTH=approle SEALWIRE_VAULT_ROLE_ID=$rotation_role_id \
  SEALWIRE_VAULT_SECRET_ID_FILE=rotation-secret-id SEALWIRE_VAULT_SECRET_ID_WRAPPED=true \
  sealwire keys create --keyring vault:secret/sealwire/keyring --kek vault:transit/sealwire-proxy \
  --policy policy.yaml

say "a credential for the proxy, opened where the proxy runs; the root token ends here"
proxy_role_id=$(sealwire vault credentials proxy --token-file root-token --secret-id-file proxy-secret-id)
sealwire vault unwrap proxy --secret-id-file proxy-secret-id
VAULT_TOKEN=$(cat root-token) "$bao" token revoke -self
rm root-token

say "a database, and the proxy in front of it"
secantusd-py --port "$database_port" --storage-path database >database.log 2>&1 &
wait_for "$database_port"
cat >sealwire.yaml <<EOF
listen:
  address: 127.0.0.1:$proxy_port
  tls: {mode: plaintext}
upstream:
  address: 127.0.0.1:$database_port
  access_control: none
  tls: {mode: plaintext}
policy: policy.yaml
keyring: vault:secret/sealwire/keyring
kek: {provider: vault, name: sealwire-proxy}
vault:
  auth: approle
  role_id: $proxy_role_id
  secret_id_file: proxy-secret-id
admin:
  address: 127.0.0.1:$admin_port
EOF
sealwire serve --config sealwire.yaml >sealwire.log 2>&1 &
wait_for "$proxy_port"

say "one patient, through the proxy and as the database has it"
python3 - "$proxy_port" "$database_port" <<'EOF'
import sys
from pymongo import MongoClient

proxy, database = (
    MongoClient("127.0.0.1", int(port), directConnection=True)["clinic"]["patients"] for port in sys.argv[1:]
)
proxy.insert_one({"_id": 1, "nhs_number": "943 476 5919"})
print("through the proxy:", proxy.find_one({"nhs_number": "943 476 5919"}))
print("in the database:  ", database.find_one({"_id": 1}))
EOF
