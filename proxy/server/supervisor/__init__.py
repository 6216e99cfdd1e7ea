"""Several processes as one: what starts workers, watches and restarts them, and answers for them.

Owns: `supervisor`, which does what `roster` decides; and what it has of its workers: their processes, their
ports, and what they say when they are asked. It holds no key.

May not import: cryptography, hvac.
"""
