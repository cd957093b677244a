# make demo, make test: both work in a fresh clone, with nothing but python3 (3.11 or later) and pip.
#
# Where PyPI's torch comes with CUDA, and that is not wanted:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
# An empty TORCH leaves the choice to pip.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0

PIP = $(VENV)/bin/pip --disable-pip-version-check -q
SOURCES := pyproject.toml README.md $(shell find src -type f -not -name '*.pyc')

# From here on `ssic` and `python` are those of the environment.
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: demo test clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.installed
	@echo && echo "# A photograph (from matplotlib) and a hand-made label map of it"
	python examples/lay_out.py demo-out
	@echo && echo "# Encode it as semantic groups, the face better than the rest"
	cd demo-out && ssic encode photo.jpg -o photo.ssic --mask labels.png --names names.json --quality 50 --group-quality face=80
	@echo && echo "# Decode all of it; one group; two, cut out"
	cd demo-out && ssic decode photo.ssic -o whole.png
	cd demo-out && ssic decode photo.ssic -o face.png --groups face
	cd demo-out && ssic decode photo.ssic -o cutout.png --groups face,cap --fill transparent --crop
	@echo && echo "# Leave a group out for good: its bytes are not in the new file"
	cd demo-out && ssic extract photo.ssic -o nameless.ssic --groups backdrop,flag,uniform,face,cap,ribbons
	cd demo-out && ssic decode nameless.ssic -o nameless.png --fill mean
	@echo && echo "The pictures are in demo-out/: photo.jpg, whole.png, face.png, cutout.png, nameless.png"

test: $(VENV)/test.installed
	python -m pytest

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(PIP) install $(TORCH))

$(VENV)/%.installed: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install ".[$*]"
	@touch $@

clean:
	rm -rf .venv demo-out
