PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/pip --disable-pip-version-check -qq install --root-user-action=ignore --no-warn-script-location

.PHONY: demo test test-all compat quality docs bench gpu clean

# A virtual environment with the package alone. A change of setup.py updates it.
$(VENV)/.ready: setup.py pyproject.toml
	@echo "Installing into $(VENV), once: some minutes, 6 GB on disk"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --upgrade pip
	@$(INSTALL) -e .
	@touch $@

# In the same environment, what the tests, the linter and the benchmarks need.
$(VENV)/.ready-test: $(VENV)/.ready
	@echo "Installing what the tests need into $(VENV), once"
	@$(INSTALL) -e '.[test]'
	@touch $@

# On one device: a small model gains nothing from more.
demo: $(VENV)/.ready
	@CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES-0} $(BIN)/python run_student.py --strategy ads

# Side by side: one process per core, with one thread each. More threads would be no faster.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist worksteal

test: $(VENV)/.ready-test
	$(PYTEST) -m "not slow"

# Also the slow ones: kills, several processes, true sizes, whole programs.
test-all: test
	$(PYTEST) -m slow

# The tests against the oldest version of every dependency.
compat:
	$(PYTHON) -m venv $(VENV)-compat
	$(VENV)-compat/bin/pip install --quiet -e '.[test,compat]'
	$(VENV)-compat/bin/python -m pytest

quality: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check --python $(VENV)

# The site, into build/site. Nothing comes from the network.
docs: $(VENV)/.ready
	@$(INSTALL) -e '.[docs]'
	@$(BIN)/python docs/build.py
	@$(BIN)/zensical build --strict --clean

bench: $(VENV)/.ready-test
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/soundscapes.py
	$(BIN)/python benchmarks/listing.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/matching.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/near_duplicates.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/spectrogram_cache.py

# Where there is a GPU; `benchmarks/gpu/wheels.py` brings along what such a machine without a network lacks.
gpu:
	$(PYTHON) benchmarks/gpu/run.py

clean:
	rm -rf $(VENV) $(VENV)-compat outputs build
