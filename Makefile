# `make` alone lists what there is. The targets install what they need.
SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS     := -s -w -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build demo test bench lint servers

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

build: ## Build bin/pawl, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/pawl ./cmd/pawl

demo: build ## Watch a real PostgreSQL's passwords rotate while an application logs in
	@scripts/servers.sh postgres
	bin/pawl demo

test: servers ## Install missing test servers and run every test with the race detector
	$(GO) test -race -timeout 12m ./...

bench: build ## Rotations a second beside a bare driver's same logins and statements; start-up; memory
	@scripts/servers.sh postgres15
	$(GO) test -run '^$$' -bench Rotations -benchtime 1x -timeout 20m ./integration/
	$(GO) test -run 'TestStartUp|TestIdleMemory' -v ./integration/ | grep -E 'exec to|resident|^(ok|FAIL)'

lint: ## gofmt, go vet and staticcheck
	@test -z "$$(gofmt -l .)" || { echo 'gofmt would change:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

servers: ## Get the database servers the tests use; touches no existing cluster
	@scripts/servers.sh
