# What a person types. `make` alone lists it.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-rust test-loom test-python numpy-tests numpy-tests-all clients prove-python \
	build-python build-address test-address \
	soak prove fuzz array-api lint format cross-check docs bench bench-smoke \
	instructions instructions-update wheel clean check

# The virtual environment, and the Python it is made with: the first that is new enough and can make one.
VENV ?= .venv
fits := -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p $(fits) && echo $$p && break; done)
python := $(VENV)/bin/python
array_api_tests := $(or $(ARRAY_API_TESTS),target/array-api-tests)

# What the machine must have. Expanded when `check` runs; any gap ends make with one line.
have_cargo = $(shell cargo --version 2>/dev/null | awk -F'[ .]' '$$2 > 1 || $$3 >= 85')
have_linker = $(shell cc --version 2>/dev/null)
have_python = $(shell $(or $(PYTHON),false) $(fits) && echo yes)
gaps = $(if $(have_cargo),,[cargo >= 1.85: https://rustup.rs]) \
	$(if $(have_linker),,[a C linker: package gcc or build-essential]) \
	$(if $(have_python),,[Python >= 3.11 with venv: packages python3 and python3-venv, or say PYTHON=...])

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## train a network on handwritten digits, with ordinary arrays and in workspaces
	@$(python) examples/digits.py

test: test-rust test-loom test-python ## every test, Rust and Python

test-rust: check ## the tests of the core, without Python
	cargo test --locked

test-loom: check ## the interleavings of who frees and who leases, in models and in the crate itself
	RUSTFLAGS="--cfg loom" cargo test --locked --release --lib --target-dir target/loom loom_

test-python: $(VENV)/.test ## the tests of the package
	$(python) -m pytest -n auto

# The floor makes it nearly all arrays. NUMPY_TESTS=--capture-nothing runs the same tests without, to compare.
numpy-tests: $(VENV)/.test ## NumPy's own tests of arrays and ufuncs, inside a capture that poisons its memory
	NDARENA_CAPTURE_FLOOR=64 PYTHONPATH=tests/numpy_suite $(python) -m pytest -c tests/numpy_suite/pytest.ini \
		--pyargs numpy._core.tests.test_multiarray numpy._core.tests.test_umath $(NUMPY_TESTS)

numpy-tests-all: $(VENV)/.test ## all of NumPy's suites, inside a capture that poisons its memory and plain, compared
	$(python) tools/numpy_suites.py

clients: $(VENV)/.clients ## SciPy, pandas, scikit-learn and others on memory of workspaces, the same bits; what is not there is listed
	$(python) -m pytest -n auto -rs tests/clients

# At length what `make test-python` does in short. SEED=n takes other calls.
prove-python: $(VENV)/.test ## nonsense for every callable, faults at every point, code of others at every moment, readers, forks
	NONSENSE_CALLS=100000 NONSENSE_SEED=$(or $(SEED),1) READER_GRANTS=340000 BALANCE_CALLS=30 $(python) -m pytest -n auto --maxschedchunk=1 -o timeout=900 \
		tests/python/test_nonsense.py tests/python/test_reentry.py \
		tests/python/test_faults.py tests/python/test_contention.py tests/python/test_processes.py tests/python/test_balance.py

# What `prove-python` and `test-address` run: `make prove` builds it beside other proofs.
build-python: $(VENV)/.test
build-address: $(VENV)/.test
	$(python) tools/address.py --build $(if $(NIGHTLY),--nightly $(NIGHTLY))

test-address: $(VENV)/.test ## tests of the bindings with an extension that AddressSanitizer watches; NIGHTLY= says which toolchain, WHOLE=1 all tests
	$(python) tools/address.py $(if $(NIGHTLY),--nightly $(NIGHTLY)) $(if $(WHOLE),--whole)

soak: $(VENV)/.test ## everything at once for SOAK_MINUTES (30); a report and a picture in target/soak
	$(python) tools/soak.py --minutes $(or $(SOAK_MINUTES),30)

prove: check ## the proofs of SAFETY.md, with a table in target/prove; PROOFS="model miri" runs some, SEED=n those programs
	$(PYTHON) tools/prove.py $(PROOFS) $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS))

fuzz: check ## ten million programs that a fuzzer makes; EXECUTIONS= says how many
	$(PYTHON) tools/prove.py fuzz --executions $(or $(EXECUTIONS),10000000) $(if $(SEED),--seed $(SEED))

array-api: $(VENV)/.array-api $(array_api_tests)/array-api/spec ## the array API's own tests, fetched unless ARRAY_API_TESTS=folder has them
	cd $(array_api_tests) && PYTHONPATH=$(CURDIR)/tests/array_api ARRAY_API_TESTS_MODULE="exec('from attached import xp')" \
		$(abspath $(python)) -m pytest -q -c pytest.ini --derandomize --disable-deadline --max-examples 20 \
		--xfails-file $(CURDIR)/tests/array_api/expected_failures.txt array_api_tests

$(array_api_tests)/array-api/spec:
	git clone --quiet https://github.com/data-apis/array-api-tests $(array_api_tests)
	git -C $(array_api_tests) checkout --quiet 41379d15d26d67a1e66c840e775d41a8a7fb1516 # 2026.02.26
	git -C $(array_api_tests) submodule --quiet update --init

lint: $(VENV)/.lint ## format, clippy, ruff, mypy and stubs, changing nothing
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	PYO3_PYTHON=$(abspath $(python)) cargo clippy --locked --all-targets --features python -- -D warnings
	$(python) -m ruff format --check
	$(python) -m ruff check
	$(python) -m mypy
	$(python) -m mypy.stubtest ndarena._core --mypy-config-file pyproject.toml --allowlist tests/stubtest.allow

format: $(VENV)/.lint ## format Rust and Python
	cargo fmt
	$(python) -m ruff format
	$(python) -m ruff check --fix

# What a platform lacks (forks, files as memory, huge pages) is absent there; clippy looks at all that is left.
platforms := aarch64-unknown-linux-gnu aarch64-apple-darwin x86_64-pc-windows-msvc
cross-check: check $(addprefix cross-,$(platforms)) cross-free-threaded ## type-check crate and bindings for the other platforms

cross-%:
	@rustc --print target-libdir --target $* | xargs test -d || rustup target add $*
	cargo clippy --locked --target-dir target/cross --target $* -- -D warnings
	cargo clippy --locked --target-dir target/cross --target $* --features python -- -D warnings

cross-free-threaded: # an interpreter without the global lock, as PyO3 is told of one that is not installed
	PYO3_CONFIG_FILE=$(abspath tools/free_threaded.cfg) cargo clippy --locked --target-dir target/cross --features python -- -D warnings

docs: $(VENV)/.docs ## the documentation, as pages in target/docs
	$(python) -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs target/docs

# OpenBLAS takes its own kernels for this processor, whatever the environment says; the report names them.
own_kernels := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE
bench: $(VENV)/.bench ## every benchmark, with a report and a picture in target/bench
	mkdir -p target/bench
	cargo bench --locked --bench core
	cargo bench --locked --bench bars -- --out target/bench/core.json
	$(own_kernels) $(python) -m benches.python --core target/bench/core.json --out target/bench

bench-smoke: $(VENV)/.bench ## every benchmark once: does it run, are the results equal
	cargo bench --locked -- --test
	$(python) -m benches.python --smoke

instructions: $(VENV)/.bench ## count instructions with valgrind, and compare them with benches/instructions.toml
	$(python) -m benches.python.instructions

instructions-update: $(VENV)/.bench ## keep today's counts
	$(python) -m benches.python.instructions --update

# Pairs of a Python and a NumPy: tools/check_wheel.py says which tests each of them runs.
wheel: $(VENV)/.maturin ## the wheel and the sdist in dist/, tried on every Python that is installed
	rm -rf dist
	PYO3_PYTHON=$(abspath $(python)) $(VENV)/bin/maturin build --release --out dist
	$(VENV)/bin/maturin sdist --out dist
	$(python) tools/check_wheel.py dist

clean: ## remove everything that was built
	rm -rf $(VENV) target dist python/ndarena/*.so .pytest_cache .hypothesis .mypy_cache .ruff_cache

check: # ends make if something is missing
	$(if $(strip $(gaps)),$(error please install: $(strip $(gaps))))@:

# A stamp per extra: the package, built and installed with what the extra needs. Python files need no new build.
sources := Cargo.toml Cargo.lock pyproject.toml $(shell find src -name '*.rs')

$(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.array-api $(VENV)/.bench $(VENV)/.clients: $(VENV)/.maturin $(sources)
	VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)/bin/maturin develop --release --extras $(patsubst .%,%,$(notdir $@))
	@touch $@

build_requires := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])
$(VENV)/.maturin: | check
	$(PYTHON) -m venv --clear $(VENV)
	$(python) -m pip install --quiet --disable-pip-version-check $$($(python) -c '$(build_requires)')
	@touch $@
