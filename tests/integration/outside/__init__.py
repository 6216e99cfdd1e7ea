"""The tests on a server that the user has: `make test-server URI=mongodb://...`.

The walk: `server` reads the connection string, asks the server what it is, and puts Sealwire before it;
`chosen` holds the server for this run, so that the tests' fixtures start none of their own, and puts the
prefix of the run before the name of each database; `campaigns` runs generated sequences and `files` the files
of tests; `report` makes the table. Without such a server every name stays as it is.

Everything is written below databases whose names begin with `sealwire_test_` and eight random characters,
and those are dropped at the end, whatever comes of the tests.
"""
