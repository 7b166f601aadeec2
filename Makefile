PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test compat quality bench clean

# A virtual environment with the package and what its tests need; made anew when setup.py changes.
$(VENV)/.ready: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[test]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/accelerate launch run_student.py --strategy ads

test: $(VENV)/.ready
	$(BIN)/python -m pytest

# The tests against the oldest version of every dependency.
compat:
	$(PYTHON) -m venv $(VENV)-compat
	$(VENV)-compat/bin/pip install --quiet -e '.[test,compat]'
	$(VENV)-compat/bin/python -m pytest

quality: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/soundscapes.py
	$(BIN)/python benchmarks/listing.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/matching.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/spectrogram_cache.py

clean:
	rm -rf $(VENV) $(VENV)-compat outputs
