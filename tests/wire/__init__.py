"""Tests of the wire room, and the BSON corpus that other rooms test with."""
