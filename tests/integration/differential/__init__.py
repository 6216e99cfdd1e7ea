"""The differential test: the same commands on plaintext and through Sealwire, and their answers compared.

The walk: `shapes` draws policies from a seed; `asking` has conditions that need a question; `values`,
`documents`, `filters`, `updates`, `pipelines` and `commands` make what applications send, for one shape;
`sequences` puts a collection, its indexes and a list of commands and transactions together. `sides` runs a
command one way and reduces the reply to what has to agree; `compare` says when two things are equal, and
opens stored documents without the proxy; `runner` does both ways and keeps a `tally`; `campaign` runs many
sequences with servers of their own. `malformed` makes commands that are to be rejected. `defects` names
what the database server itself gets wrong, the only exclusions there are.

A mismatch is a bug of Sealwire. A refusal with one of `policies.errors.Reason` is not, and is counted.
`python -m tests.integration.differential --help` runs it by hand.
"""
