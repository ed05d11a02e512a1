# `make` alone lists what there is. The targets install what they need.
SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS     := -s -w -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build lambda demo test test-embedded test-postgres bench soak chaos lint servers

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

build: ## Build bin/pawl, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/pawl ./cmd/pawl

# LAMBDA_FILES are packed beside the program, such as a CA file that PAWL_RULES names.
LAMBDA_FILES ?=
lambda: ## Build dist/pawl-lambda-{arm64,amd64}.zip for AWS Lambda (docs/lambda.md)
	@mkdir -p dist
	@for arch in arm64 amd64; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -tags lambda.norpc -trimpath -ldflags '$(LDFLAGS)' -o dist/bootstrap-$$arch ./cmd/pawl; \
		$(GO) run ./scripts/lambdazip dist/pawl-lambda-$$arch.zip dist/bootstrap-$$arch $(LAMBDA_FILES); \
		rm dist/bootstrap-$$arch; \
	done

demo: build ## Watch a real PostgreSQL's passwords rotate while an application logs in
	@scripts/servers.sh postgres
	bin/pawl demo

# The race detector watches everything but these: SQLite, which is C translated to
# Go, and the hash that every login repeats thousands of times. Watching them takes
# longer than all the rest. None of them may have generic code that others share, or
# the detector reports races that are none.
UNWATCHED := modernc.org/sqlite/lib modernc.org/libc modernc.org/memory \
	crypto/internal/fips140/sha256 crypto/internal/fips140/hmac
RACE      := -race $(foreach p,$(UNWATCHED),-gcflags=$(p)=-race=false)

# What is run on the PostgreSQL store too (store/teststore): the rules, the wire, and
# of the whole program whatever dies, is cut off, or is done from two sides at once.
# make soak has those too where it is the target that fails.
ON_POSTGRES := ./service ./server ./integration/conformance
FAULTS      := Recovery|NothingToGoOnFrom|SomebodyPuts|ConnectionCut|RotateKilled|ServeKilled
FAULTS      := $(FAULTS)|DaemonKilledWhileAFunctionRuns|DaemonAndTenCommands
FAULTS      := $(FAULTS)|Reload|Healthcheck|Revocation|RotateSecretThroughTheAPI
AT_TARGET   := BlockedByALock|FrozenServer|Undo|NoWayBack

# Both at a time: either waits more than it works. Built before that, because each
# would build everything for itself.
test: servers ## Install missing test servers and run every test with the race detector
	$(GO) build $(RACE) ./...
	@$(MAKE) --no-print-directory -j2 test-embedded test-postgres

# The longest package first, so that the others run beside it.
test-embedded:
	$(GO) test $(RACE) -timeout 18m -parallel 4 ./integration ./...

test-postgres:
	PAWL_TEST_STORE=postgres $(GO) test $(RACE) -timeout 18m -parallel 4 -run '^Test($(FAULTS))$$' ./integration
	PAWL_TEST_STORE=postgres $(GO) test $(RACE) -timeout 18m -p 1 $(ON_POSTGRES)

bench: build ## Rotations and requests a second beside a bare floor; 100,000 secrets; start-up; memory
	@scripts/servers.sh postgres15
	$(GO) test -run '^$$' -bench 'Rotations|Reads|Writes|ManySecrets' -benchtime 1x -timeout 20m ./integration/
	$(GO) test -run 'TestStartUp|TestIdleMemory' -v ./integration/ | grep -E 'exec to|resident|^(ok|FAIL)'

soak: ## Three minutes of hostile clients against the server; the longest tests in full; fuzzing
	PAWL_SOAK=3m $(GO) test -race -run Soak -v -timeout 10m ./server/
	PAWL_THOROUGH=1 $(GO) test -timeout 60m ./service/ ./integration/
	PAWL_THOROUGH=1 PAWL_TEST_STORE=postgres $(GO) test -timeout 60m -run '^Test($(FAULTS)|$(AT_TARGET))$$' ./integration/
	@grep -rHoE '^func Fuzz[A-Za-z]+' --include=*_test.go . | sed -E 's|/[^/]*:func | |' | while read -r pkg target; do \
		echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime 20s $$pkg || exit 1; done

chaos: ## Ten minutes of three replicas killed, paused, cut off and with wrong clocks (PAWL_CHAOS=1m, PAWL_CHAOS_SEED=…)
	@scripts/servers.sh postgres15 postgres18
	PAWL_CHAOS=$${PAWL_CHAOS:-10m} $(GO) test -count=1 -run TestChaos -v -timeout 60m ./integration/chaos/

lint: ## gofmt, go vet and staticcheck
	@test -z "$$(gofmt -l .)" || { echo 'gofmt would change:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

servers: ## Get the database servers the tests use; touches no existing cluster
	@scripts/servers.sh
