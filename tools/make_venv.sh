#!/bin/sh
# Make the virtual environment $1 with pip in it, or say in two lines what the machine lacks.
#
# The first Python that is 3.11 or newer and can bring pip along is taken; PYTHON=... chooses another one.
# Debian splits ensurepip off into python3-venv: where only its pip is there, that pip serves from outside.
# An environment that already works is left as it is.
set -eu

venv=$1
lock=$(dirname "$0")/../requirements/dev.txt

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
if "$venv/bin/python" -c "$new_enough" 2>/dev/null && "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    exit 0
fi

# Each candidate is run, not only looked up: a version manager's shim may exist and refuse to start.
found=
for python in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    "$python" -c "$new_enough" 2>/dev/null || continue
    found=${found:-$python}
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        exec "$python" -m venv --clear "$venv"
    fi
done
for python in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    if "$python" -c "import pip, venv; $new_enough" 2>/dev/null; then
        "$python" -m venv --clear --without-pip "$venv"
        # pip's own pinned and hashed lines of the lock: nothing unpinned enters the environment.
        sed -n '/^pip==/,/[^\\]$/p' "$lock" >"$venv/pip.txt"
        exec "$python" -m pip --python "$venv/bin/python" install --quiet --require-hashes -r "$venv/pip.txt"
    fi
done

if [ -n "$found" ]; then
    echo "make: error: $found cannot make a virtual environment (it has no ensurepip and no pip)" >&2
    echo "make: hint: on Debian or Ubuntu run 'apt-get install python3-venv', then make again" >&2
else
    echo "make: error: no Python 3.11 or newer was found${PYTHON:+ (looked at PYTHON=$PYTHON)}" >&2
    echo "make: hint: install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12" >&2
fi
exit 78
