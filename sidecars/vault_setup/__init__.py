"""Sets up Vault or OpenBao for Sealwire, says what differs from it, and takes it away again.

Owns: what Sealwire wants of a server (keys with a rotation policy, key-value storage, least-privilege
policies, roles, an audit device), how that is compared with what is there, and the handing over of unseal
shares and credentials.

The walk: `settings.SetupSettings` says what the operator chose; `desired.resources` turns it into a tuple of
`desired.Resource`, each of which knows the paths of the server's API that read, make, change and remove it;
`plan.compare_all` compares them with the server and returns steps; `plan.carry_out` does what is left to do.
Nothing is remembered between runs: the server's state is the only state. `initialise` is the way from an
empty server to an unsealed one, `credentials` gives a role's login away inside a wrapping token,
`desired.rotate_now` makes a key new, `plan.take_away` is the rollback.

May not import: hvac, requests, wire, policies, proxy. Servers are reached through
`sealwire.keys.vault.admin`, which says what each method raises. None shows a body.
"""
