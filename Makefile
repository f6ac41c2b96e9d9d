# One target a job; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -Eeuo pipefail -c
.DEFAULT_GOAL := build

TOOLS := $(notdir $(patsubst %/main.go,%,$(wildcard tools/*/main.go)))
export CGO_ENABLED = 0
# Of the module, of DKMS and of the tools.
VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' kernel/dkms.conf)
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
FUZZTIME ?= 5s
SOAK ?= 20m

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: build
build: ## build every tool, static and stripped, into bin/
	scripts/deps build
	go build -trimpath -ldflags='-s -w -X winnow/tools/internal/cli.version=$(VERSION)' -o bin/ $(TOOLS:%=./tools/%)

.PHONY: install deb
install: build ## below PREFIX=/usr/local, with the settings in SYSCONFDIR=/etc, inside DESTDIR
	PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) scripts/install $(DESTDIR)
deb: build ## the Debian package, artifacts/winnow_VERSION_ARCH.deb
	VERSION=$(VERSION) scripts/deb/build

.PHONY: demo
demo: ## the main job on real containers, from set-up to clean-up
	scripts/deps run
	$(MAKE) build
	scripts/demo

.PHONY: run
run: ## set up, govern in the foreground, clean up on Ctrl-C
	scripts/deps run
	$(MAKE) build
	scripts/run

.PHONY: module module-load module-unload
module: ## build the kernel module, for the running kernel or KDIR=...
	$(MAKE) -C kernel module
module-load: ## build it and load it; PARAMS="processes=0" and so on
	$(MAKE) -C kernel load
module-unload: ## take it out again
	$(MAKE) -C kernel unload

.PHONY: check
check: ## lint and the tests that need nothing of the host, in seconds
	scripts/deps check
	scripts/check

.PHONY: test
test: ## all checks and tests, on real Docker
	scripts/deps test
	scripts/test $(FUZZTIME)

.PHONY: soak
soak: ## the loop for SOAK (20m) while engine, log and stages go away and come back; for an otherwise idle machine
	scripts/deps test
	WINNOW_SOAK=$(SOAK) go test -count=1 -v -timeout 0 -run '^TestSoak$$' ./scripts

.PHONY: test-kernels test-sanitize
test-kernels: ## the module's tests on Linux 5.10, 6.1, 6.12 and 7.x
	scripts/deps test
	$(MAKE) -C kernel test-kernels
test-sanitize: ## its stress test on a kernel with KASAN, lockdep and kmemleak
	scripts/deps test
	$(MAKE) -C kernel test-sanitize

.PHONY: test-package
test-package: ## the package's life on a full Debian in an emulator, the agent's and Podman's there, and what lintian says
	scripts/deps test-package
	$(MAKE) deb VERSION=99
	$(MAKE) deb
	lintian --allow-root --fail-on error artifacts/winnow_$(VERSION)_*.deb
	WINNOW_PACKAGE=1 go test -count=1 -v -timeout 60m -run '^Test(Package|Engines)$$' ./kernel/test

.PHONY: lint
lint: ## gofmt, vet, shellcheck, shfmt, checkpatch and sparse
	scripts/lint
	$(MAKE) -C kernel lint

.PHONY: bench
bench: ## measure against named peers; prints JSON lines
	scripts/deps bench
	$(MAKE) build >&2
	go test -run '^$$' -bench . -benchtime 1x -timeout 180m ./... | tee >(grep -v '^{' >&2) | grep '^{'

.PHONY: clean
clean: ## remove what was built
	find bin -type f ! -name .gitignore -delete
	rm -rf artifacts
