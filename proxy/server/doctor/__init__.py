"""What `sealwire doctor` looks at: the host, the configuration and all that it names, each by itself.

Owns: `diagnosis`: one thing that was looked at, what the system says of itself, of ports, folders and room on
disks, and `diagnosis.examine`, which goes on where a start would end with its first error. It starts nothing,
and writes nothing that `serve --check` would not.

May not import: cryptography, hvac, proxy.server.connections.
"""
