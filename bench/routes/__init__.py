"""The ways from a client to a server that are measured, and the programs at both ends."""
