"""Bytes that a fuzzer makes up, given to what reads bytes: only documented errors escape.

    python -m tests.fuzz session --seconds 600     # one target; what it finds lies in build/fuzz/session/

`targets` says what is tried and what has to hold, `seeds` how a script of messages is changed so that its
frames stay whole, and writes the corpora anew. `crashers/` keeps what was found once.
"""
