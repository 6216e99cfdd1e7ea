# Every target makes what it needs: `make demo` and `make test` work as the first command in a fresh clone.
# Needed on the machine: make, Python 3.11 or newer, and a package index that pip can reach; npm for the mongosh tests and the site;
# a C compiler and Python's headers for the compiled core.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The stamps: what is installed is as new as the files that say what to install.
INSTALLED := $(VENV)/.installed
DEMO_INSTALLED := $(VENV)/.demo
SITE_INSTALLED := $(if $(shell command -v npm 2>/dev/null),tools/node/node_modules/.installed)
NODE_INSTALLED := $(if $(shell command -v npm 2>/dev/null),tests/node/node_modules/.installed)

# Tests start some thousand processes. Where no byte code is kept, each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-backup demo-migration demo-governance test check-claims compiled wheels sbom release test-compiled coverage mutation test-slow clients driver-suite test-image test-server check docs format lock \
    bench soak clean

# What the compiled core can break: the modules that setup.py compiles, by their own tests, and whole conversations, by the
# widest of the differential tests. `make test` runs the others, whose modules are the same plain ones in both cores. PLAIN_TESTS are
# such modules in these folders: they read a file or a certificate once, and all other tests here use what they read. Models of orders have
# no code of the product in them.
COMPILED_TESTS := tests/test_compiled_core.py tests/wire tests/crypto tests/policies tests/keys/keyring/test_keyring.py tests/proxy/session \
    $(addprefix tests/proxy/server/,connections observability audit_writer/test_sink.py \
    $(addprefix test_,access_control.py back_pressure.py transports.py upstream.py) workers/test_pulse.py) \
    tests/faults/test_every_cut.py tests/integration/test_differential_sequences.py
PLAIN_TESTS := $(addprefix tests/,crypto/test_x509.py policies/file/test_lint.py policies/file/test_loader.py \
    $(addprefix policies/questions/test_,$(addsuffix interleavings.py,sort_ sorted_write_ random_) interleavings.py interleavings_of_writes.py))

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-21s %s\n", $$1, $$2 }'

setup: $(INSTALLED)  ## make .venv with the locked dependencies and Sealwire in it

# On the compiled core where that is built already, as a wheel or a tree.
DEMO := $(BIN)/python tools/compiled_tree.py --if-built --here --run sealwire demo

demo: $(DEMO_INSTALLED)  ## show an unchanged application before and behind Sealwire
	$(DEMO) $(ARGS)

demo-backup: $(DEMO_INSTALLED)  ## make, search, verify, drill, rekey and restore a backup of the clinic
	$(DEMO) backup $(ARGS)

demo-migration: $(DEMO_INSTALLED)  ## encrypt a clinic while it works, change a key, shred a patient, decrypt it again
	$(DEMO) migration $(ARGS)

demo-governance: $(DEMO_INSTALLED)  ## show who may see what, a breach, a patient's questions, a forged log, and proof
	$(DEMO) governance $(ARGS)

test: $(INSTALLED) $(NODE_INSTALLED)  ## run the tests (make test ARGS='-k framing' for some of them)
	$(if $(MEASURED),$(BIN)/python tools/coverage_run.py,$(BIN)/pytest --processes 4 -m "not slow") $(ARGS)

compiled: $(INSTALLED)  ## compile the core into build/compiled, when its sources have changed (needs a C compiler)
	$(BIN)/python tools/compiled_tree.py

wheels: $(INSTALLED)  ## compiled wheels for every CPython here, with SHA256SUMS, into build/wheels (ARGS='--python 3.13' for one)
	$(BIN)/python -m tools.wheels $(ARGS)

sbom: $(INSTALLED)  ## the parts of Sealwire as installed (CycloneDX), beside the wheels
	$(BIN)/python -m tools.sbom

# Of a commit, with nothing changed since. It signs and uploads nothing.
release: $(INSTALLED)  ## all that publishing needs, built twice and compared, into build/release (ARGS=--plain: no compiled wheels)
	$(BIN)/python -m tools.release $(ARGS)

test-compiled: $(INSTALLED)  ## run the data path's tests on the compiled core (TESTS=tests/wire ARGS=-x for some)
	$(BIN)/python tools/compiled_tree.py --run pytest --processes 2 -m "not slow and not plain_core" \
	    $(or $(TESTS),$(COMPILED_TESTS) $(addprefix --ignore=,$(PLAIN_TESTS))) $(ARGS)

coverage:  ## run the tests with coverage and hold each module to its threshold
	@$(MAKE) --no-print-directory test MEASURED=1

mutation: $(INSTALLED)  ## put faults into the core and see whether tests notice (ARGS='--room keys --sample 50')
	$(BIN)/python tools/mutation.py $(or $(ARGS),--sample 300)

# Three processes for two processors: the slow tests wait more than they work. Beside them, with what they leave, the same
# mutants are tried each time. Where there is SEALWIRE_TESTS_UNTIL, in seconds since 1970, both say what they left out
# because it would have ended later.
MUTANTS_UNTIL := $(if $(SEALWIRE_TESTS_UNTIL),--until $(SEALWIRE_TESTS_UNTIL))
SLOW_AND_MUTANTS := mkdir -p build; \
    nice -n 5 $(BIN)/python tools/mutation.py --sample 300 $(if $(SEALWIRE_MUTANTS),--first $(SEALWIRE_MUTANTS)) --seed 7 --processes 1 $(MUTANTS_UNTIL) > build/mutation.log & \
    mutants=$$!; $(BIN)/pytest --processes 3 -m slow; slow=$$?; wait $$mutants; tried=$$?; cat build/mutation.log; \
    exit $$((slow ? slow : tried))

test-slow: $(INSTALLED) $(NODE_INSTALLED)  ## run the tests that take half a minute and more, or install packages
	$(if $(ARGS),$(BIN)/pytest -m slow $(ARGS),@$(SLOW_AND_MUTANTS))

check-claims: $(INSTALLED)  ## break what rows of the compliance page claim, and see that their tests fail (ARGS=D7)
	$(BIN)/python tools/claims.py $(ARGS)

# Each client's program directly and through Sealwire; docs/clients.json and the README's table are written from it.
clients: $(INSTALLED) $(NODE_INSTALLED)  ## run unchanged clients both ways and write the README's table of them
	SEALWIRE_WRITE_CLIENTS=1 $(BIN)/pytest -m "slow or not slow" tests/clients $(ARGS)
	$(BIN)/python -m tools.generate_docs

driver-suite: $(INSTALLED)  ## run the Python driver's own tests directly and through Sealwire (half an hour; ARGS=test/test_bulk.py)
	$(BIN)/python -m tests.clients.driver_suite $(ARGS)

test-image: $(INSTALLED)  ## build the image by buildah in a chroot, as root on Debian, and run a proxy in it
	$(BIN)/pytest -m slow tests/test_image_built.py $(ARGS)

# The program reads URI from its environment. Set it there, and the password is not in the list of processes.
test-server: $(INSTALLED) $(NODE_INSTALLED)  ## run the tests on a server of yours: make test-server URI=mongodb://...
	@$(BIN)/python -m tests.integration.outside $(ARGS)

check: $(INSTALLED)  ## lint, format, types, import contracts, dead code, the lock and its known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/dead_code.py
	$(BIN)/python -m tools.house_size
	$(BIN)/python tools/lock.py --check
	$(PIP) check
	$(BIN)/python tools/tracked_files.py
	$(BIN)/python tools/audit_dependencies.py

# Without npm the site shows the text of diagrams in their place.
docs: $(INSTALLED) $(SITE_INSTALLED)  ## build the documentation as a site into build/site; a broken link or anchor is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

format: $(INSTALLED)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The compiled core where it can be compiled; CORE=plain measures the plain one.
bench: $(INSTALLED)  ## measure what the proxy costs (ARGS=--quick for less, CORE=plain)
	$(BIN)/python $(if $(filter plain,$(CORE)),-m,tools/compiled_tree.py --or-plain --run) bench $(ARGS)

# As the benches: on the core that is installed elsewhere, where it can be compiled.
soak: $(INSTALLED)  ## run a mixed load for 20 minutes and draw what became of it (SEALWIRE_SOAK_SECONDS=300 for less, CORE=plain)
	$(BIN)/python $(if $(filter plain,$(CORE)),-m,tools/compiled_tree.py --or-plain --run) tests.soak --into $(CURDIR)/docs/assets

lock:  ## resolve the dependencies of pyproject.toml anew into requirements/*.txt
	tools/make_venv.sh build/lock-venv
	build/lock-venv/bin/python -m pip --disable-pip-version-check --quiet install 'uv>=0.9,<1'
	build/lock-venv/bin/python tools/lock.py $(ARGS)

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) build dist tests/node/node_modules tools/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name '*.egg-info' -prune -exec rm -rf {} +
	find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): requirements/dev.txt
# What the demos run: a part of the above, in half a minute.
$(DEMO_INSTALLED): requirements/demo.txt
$(INSTALLED) $(DEMO_INSTALLED): pyproject.toml setup.py tools/install.py tools/make_venv.sh
	@tools/make_venv.sh $(VENV)
	@$(BIN)/python tools/install.py $(filter requirements/%,$^)
	@touch $@

# No install scripts: mongosh runs without its optional native parts.
%/node/node_modules/.installed: %/node/package.json %/node/package-lock.json
	cd $(<D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
