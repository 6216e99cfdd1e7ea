"""How a deterministic class gets another data key while applications read and write: the frontier.

Owns which of two forms of a value is the valid one, what a proxy has to wait for, and when the job may move
values. It knows no server, no clock and no thread: whoever calls hands in what was read, and the time.
May import `keys.errors` and the crypto room. docs/adr/0031 has the construction and what it rests on.
"""
