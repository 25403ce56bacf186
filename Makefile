# Daypass. `make demo` shows it, `make test` tests it; the rest is for building it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO        ?= go
BIN       := bin/daypass
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Tools are built once for a machine, each in the folder of its version.
TOOLS     ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/daypass-tools
LINT      := $(TOOLS)/golangci-lint-v2.15.0/golangci-lint
SQLC      := $(TOOLS)/sqlc-v1.31.1/sqlc
LIVES     ?= 20000
FUZZTIME  ?= 5s

# One static binary, the same bytes from the same source.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$(VERSION)"

.PHONY: help demo dev build test setup ci lint race fuzz bench bench-postgres chaos faults mutate planted generate current release clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

build: ## Build bin/daypass
	@$(BUILD) -o $(BIN) ./cmd/daypass

demo: build ## See the whole story in half a minute
	@$(BIN) demo

dev: build ## Run a ready server for trying things
	@$(BIN) dev

setup: ## Install what the tests need and is not on the machine
	@tools/setup

test: setup ## Run all tests
	$(GO) test ./...
	$(GO) vet -tags failpoint ./...
	$(GO) test -tags failpoint ./internal/failpoint ./internal/chaos

race: setup ## Run all tests with the race detector
	$(GO) test -race -timeout 15m ./...

lint: $(LINT) ## Check style and common mistakes
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt would change:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(LINT) run ./...

fuzz: ## Run every fuzz target for FUZZTIME
	@tools/fuzz $(FUZZTIME)

bench: setup build ## Measure beside what it is compared with; writes docs/benchmarks.md
	@$(GO) build -o bin/bench ./bench
	@bin/bench -out docs/benchmarks.md $(BENCH)

bench-postgres: setup build ## Measure the PostgreSQL gateway beside pgbouncer
	@$(GO) build -o bin/bench ./bench
	@bin/bench -only postgres,grants,sessions,ends $(BENCH)

chaos: ## Kill a server at every point, 25 times each; SEED=… POINT=… repeats one
	@SEED=$(SEED) POINT=$(POINT) tools/chaos
	@test -n "$(POINT)" || SEED=$(SEED) tools/faults

faults: setup ## Have power, disk, clock and network fail, at length; RUN=… SEED=… repeats one
	@RUN=$(RUN) SEED=$(SEED) tools/faults

mutate: ## Break the domain one place at a time, and count what the tests notice (an hour; fails below 90 %)
	$(GO) run ./tools/mutate ./internal/access ./internal/policy ./internal/audit ./internal/credential

planted: ## Plant the bugs of docs/planted-bugs.md, and see each caught
	@tools/planted

generate: $(SQLC) ## Make the generated files anew
	SQLC=$(SQLC) tools/generate

current: ## Fail when a generated file is not current
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code -- docs/openapi.json docs/invariants.md internal/store || { echo 'generated files are not current: run make generate and commit'; exit 1; }

ci: ## All that CI checks: tests, race, lint, generated files, fuzz smoke, builds
	@tools/ci

release: ## Build archives, checksums and an SBOM in dist/
	VERSION=$(VERSION) tools/release

clean: ## Remove what was built
	rm -rf bin dist

$(LINT):
	GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

$(SQLC):
	GOBIN=$(@D) $(GO) install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
