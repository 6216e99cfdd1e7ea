"""Tests of the proxy room."""
