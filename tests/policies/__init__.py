"""Tests of the policies room: its modules, one file each."""
