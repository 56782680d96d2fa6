# Warren's habits, one command each; CI runs the same ones. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

GO       ?= go
# The tools have a module of their own, so that go.mod holds only what the product uses.
TOOL     := $(GO) tool -modfile=packaging/tools/go.mod
FUZZTIME ?= 30s
BENCH    ?= .
# Tests with the race detector, but not inside SQLite (C that was translated to Go), the arithmetic of passwords and the shaping of
# text, which share no memory with us and would be several times slower. Only packages without generic functions may be left out: the linker
# keeps one copy of those for all, and one that the detector does not see into has it take sync.Map for a race. By GOFLAGS,
# so that the programs that tests build are built alike, from the same cache.
RACE     := GOFLAGS="$$($(GO) env GOFLAGS) -gcflags=modernc.org/...=-d=checkptr=0 -gcflags=modernc.org/sqlite/lib=-race=false \
	-gcflags=golang.org/x/crypto/argon2=-race=false -gcflags=github.com/go-text/typesetting/harfbuzz=-race=false" $(GO) test -race
# The packages whose tests take minutes, the longest first: begun last, they would leave processors idle at the end.
LONGEST  := ./daemon/e2e ./coord/server ./coord/warren-coord ./app/internal/ui ./daemon/internal/firewall
# How often `make soak` repeats the end-to-end tests.
SOAK     ?= 10
# How often `make bench-nat` measures each pair.
TIMES    ?= 10
# How often `make kills` kills the coordination server.
KILLS    ?= 200

# Each program that exists. A main package states `var version = "dev"` and, if it
# shows it, `var date string`; the build stamps both from git: the nearest tag (or the
# commit), "-dirty" for a tree with changes, and the commit's own date, never the clock,
# so that one commit always gives the same bytes.
PROGRAMS := $(sort $(dir $(wildcard $(addsuffix /*.go,app/warren daemon/warrend coord/warren-coord relay/warren-relay))))
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
DATE     := $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)
LDFLAGS  := -s -w -buildid= -X main.version=$(VERSION) -X main.date=$(DATE)
COMPILE  := $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
BUILD    := CGO_ENABLED=0 $(COMPILE)
# The tray's window needs C and the headers of X11 and OpenGL; no other program does. Compiling these with the race detector
# takes minutes and finds nothing of ours: what the program does is tested in the packages that it is made of, and the
# program itself, built as it is, by daemon/e2e.
TRAY     := app/warren-tray

# nft, ip and tcpdump are not in an ordinary user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

##@ Build
.PHONY: build
build: programs ## Build every program into bin/ (static but for the tray, reproducible)
	@if packaging/deps has tray; then \
		echo "Building warren-tray: minutes the first time, then seconds."; \
		CGO_ENABLED=1 $(COMPILE) -o bin/ ./$(TRAY); \
	else \
		echo "warren-tray was left out: it needs a C compiler and X11's headers. Get them with 'packaging/deps tray', then 'make build' again."; \
	fi

.PHONY: programs
programs: ## Build all but the tray, which takes longer
	@mkdir -p bin
	$(if $(PROGRAMS),$(BUILD) -o bin/ $(addprefix ./,$(PROGRAMS)),@echo "no programs yet")

.PHONY: packages
packages: ## Build .deb and .rpm packages of all programs into bin/packages (amd64 and arm64, the tray for this machine; reproducible)
	@packaging/build '$(VERSION)' bin/packages

.PHONY: apt-repository
apt-repository: packages ## Make a repository of the packages in bin/apt, signed with gpg's key APT_KEY, for whoever hosts it
	@packaging/deps packages
	@packaging/repository '$(APT_KEY)' bin/packages bin/apt

.PHONY: image
image: ## Write the servers as containers' images into bin/image, in OCI's layout (amd64 and arm64; no daemon is needed)
	@packaging/image '$(VERSION)' bin/image

.PHONY: clean
clean: ## Remove what make built (the Go caches stay)
	rm -rf bin

##@ Check
.PHONY: test
test: deps ## Install what is missing, then vet, lint and all tests with the race detector
	$(GO) vet ./...
	$(MAKE) lint
	$(GO) test -p 1 -run '^(TestRandomScenarios|TestEveryPairOfNetworks.*)$$' ./daemon/internal/peerpath ./daemon/e2e
	$(RACE) -p 2 -timeout 40m $(LONGEST) $$($(GO) list ./... | grep -v -e '/$(TRAY)$$' -e '/packaging/install$$')

.PHONY: lint
lint: ## gofumpt, staticcheck and govulncheck, in the versions that packaging/tools pins
	@unformatted=$$($(TOOL) gofumpt -l .); \
	if [ -n "$$unformatted" ]; then \
		echo "not formatted (run 'make fmt'):" >&2; echo "$$unformatted" >&2; exit 1; \
	fi
	$(TOOL) staticcheck ./...
	cd packaging/tools && $(GO) vet ./... && $(GO) tool staticcheck ./...
	GO=$(GO) packaging/vulncheck ./...

.PHONY: fmt
fmt: ## Format the tree with gofumpt
	$(TOOL) gofumpt -l -w .

.PHONY: fuzz
fuzz: ## Run every fuzz target of the tree for FUZZTIME (30s) each
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | \
	while IFS=: read -r file _ func; do \
		name=$${func#func }; \
		echo "== $$(dirname $$file) $$name"; \
		$(GO) test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "$$(dirname $$file)" </dev/null; \
	done

.PHONY: bench
bench: programs ## Run every benchmark (those of daemon/e2e need root)
	@packaging/deps bench-relay
	@grep -rlE --include='*_test.go' '^func Benchmark' . | xargs -r -n1 dirname | sort -u | \
	xargs -r $(GO) test -run='^$$' -bench='$(BENCH)' -benchmem -p 1 -timeout 60m

.PHONY: bench-exit
bench-exit: ## Measure an exit node against plain routing, and the resolver (needs root)
	@packaging/deps bench
	@$(GO) test -run='^$$' -bench='^Benchmark(Exit|Names)' -timeout 20m ./daemon/e2e

.PHONY: bench-relay
bench-relay: ## Measure the relay, over UDP and WebSocket, against the direct path and coturn (needs root)
	@packaging/deps bench-relay
	@$(GO) test -run='^$$' -p 1 -bench='^Benchmark(Relay|IdleClients)' -timeout 40m ./daemon/e2e ./relay/server

.PHONY: bench-policy
bench-policy: ## Measure access rules: compile times by size, a machine's change, an edit; packets by the number of rules (root)
	@packaging/deps bench
	@$(GO) test -run='^$$' -bench='^Benchmark(Compile|Put|Parse|PolicyChange)$$' -benchmem -p 1 -timeout 30m ./coord/internal/policy ./coord/internal/state
	@$(GO) test -run='^$$' -bench='^BenchmarkPolicy(Packets|Load)$$' -timeout 20m ./daemon/internal/firewall

.PHONY: bench-tray
bench-tray: ## Measure the tray and its window: start to icon, memory, wake-ups, 5,000 machines (each promised below 100 ms)
	@packaging/deps test
	@$(GO) test -run='^$$' -bench='^Benchmark(Program|Window|AnswerInAFlood|FiveThousand)' -p 1 -timeout 20m ./app/internal/tray ./app/internal/ui ./app/internal/view

.PHONY: bench-idle
bench-idle: ## Count how often an idle daemon wakes, with 0, 10 and 1,000 peers (needs root)
	@packaging/deps bench
	@$(GO) test -run='^$$' -bench='^BenchmarkIdle$$' -benchtime=1x -timeout 30m ./daemon/e2e

.PHONY: bench-nat
bench-nat: ## Measure TIMES (10) times how soon every pair of networks is direct (needs root)
	@packaging/deps bench
	@WARREN_TIMES=$(TIMES) $(GO) test -run='^$$' -v -bench='^BenchmarkNAT$$' -benchtime=1x -timeout 120m ./daemon/e2e

.PHONY: bench-coord
bench-coord: ## Measure a coordination server with NODES (10000) simulated machines, and two on one PostgreSQL
	@$(BUILD) -o bin/ ./coord/warren-coord
	@$(BUILD) -o bin/coord-bench ./coord/warren-coord/bench
	@bin/coord-bench
	@$(GO) test -run='^$$' -bench='^BenchmarkChangeLatency$$' ./coord/server

.PHONY: soak
soak: deps ## Play a million random scenarios of paths, then the end-to-end tests SOAK (10) times, stopping at the first failure
	$(GO) test -timeout 6h -run '^TestRandomScenarios$$' ./daemon/internal/peerpath -rapid.checks=10000
	$(RACE) -count=$(SOAK) -failfast -p 1 -timeout 12h ./daemon/e2e/...
	WARREN_TEST_FILTERS=5000 $(GO) test -count=1 -timeout 2h -run '^TestTheKernelAndTheRulesAgree$$' ./daemon/internal/firewall
	WARREN_TEST_FILTERS=500 $(GO) test -count=1 -timeout 2h -run '^TestFromThePolicyFileToThePacket$$' ./daemon/internal/firewall

.PHONY: kills
kills: deps ## Kill the coordination server KILLS (200) times under load, and look for what it had acknowledged
	WARREN_KILLS=$(KILLS) $(GO) test -count=1 -v -timeout 2h -run '^TestNothingAcknowledgedIsLostByAKill$$' ./coord/warren-coord

.PHONY: test-packages
test-packages: packages image ## Build the packages again (the same bytes), look at them, and install them in two small Debians (needs root)
	@packaging/deps packages
	@rm -rf bin/packages-again && packaging/build '$(VERSION)' bin/packages-again >/dev/null
	@for file in bin/packages-again/*; do cmp "$$file" "bin/packages/$${file##*/}"; done
	desktop-file-validate packaging/desktop/*.desktop
	appstreamcli validate --no-net packaging/desktop/*.metainfo.xml
	lintian --allow-root --fail-on error,warning bin/packages-again/*.deb
	WARREN_PACKAGES=$(CURDIR)/bin/packages-again WARREN_IMAGES=$(CURDIR)/bin/image $(GO) test -count=1 -v -timeout 25m ./packaging/install

##@ See it
.PHONY: demo
demo: ## Two machines behind two NATs find each other (BROWSER=1: you log in yourself)
	@packaging/deps demo
	@echo "Building the programs: minutes the first time, then seconds."
	@$(MAKE) programs
	@$(BUILD) -o bin/demo ./daemon/e2e/demo
	@if [ "$$(id -u)" -eq 0 ]; then BROWSER='$(BROWSER)' bin/demo; \
	else sudo env BROWSER='$(BROWSER)' "PATH=$$PATH" bin/demo; fi

##@ Other
.PHONY: deps
deps: ## Install the system packages that the tests need, if any is missing
	@packaging/deps test

.PHONY: screens
screens: deps ## Take pictures of the tray in a real panel, light and dark, into bin/screens
	@rm -rf bin/screens && mkdir -p bin/screens
	$(GO) test -count=1 -artifacts -outputdir bin/screens -run '^TestTheTrayInARealPanel$$' ./daemon/e2e
	@find bin/screens -name '*.png'

.PHONY: help
help: ## Show this
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
