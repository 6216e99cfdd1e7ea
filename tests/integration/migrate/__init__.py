"""Tests of `sealwire migrate` on a server."""
