# The loop: make check while you work, make test before it lands, make demo to see it live.

GO ?= go
VERSION ?= 0.1

.PHONY: build check check-long mutate test minute setup demo bench torture soak fuzz deb vuln clean

build: ## build/porchlight
	$(GO) build -o build/porchlight ./cmd/porchlight

check: export GOGC = 400
check: ## format, vet, staticcheck, all tests, with the race detector where there is more than one goroutine
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on the files above" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -timeout 30m ./policy/...
	$(GO) test -timeout 30m -run '$(MANY)|$(ALONE)' ./broker/delivery ./cmd/porchlight
	$(GO) test -race -p 3 -timeout 30m -skip '$(ALONE)' $(LONGEST) $$($(GO) list ./... | grep -v '^porchlight/policy')

# What tries a great many cases one after the other: all of them without the race detector, and a few with it.
MANY = TestPromises$$|TestCapsAreNeverExceeded|TestIndexChangesNothing|TestWokenInTime

# What has one goroutine, or is one command after the other, each a process: without the race detector.
ALONE = TestRehears|TestScripts

# These begin first, since they take longest; what runs beside them, three packages at a time, mostly waits: for
# clocks, the disk and other processes.
LONGEST = ./cmd/porchlight ./broker/delivery ./cmd/porchlight-torture ./broker

check-long: ## a million of everything: decisions, conditions, pairs of worlds, withdrawals under fire; hours
	PORCHLIGHT_LONG=1 $(GO) test -timeout 60m -run 'Promise|Reference|Agrees|Condition|Caps|OnlyAYes|MinuteByMinute' ./policy ./policy/consent
	cd cmd/porchlight-bench && $(GO) vet . && $(GO) run . -json "" -opinions 200000
	PORCHLIGHT_LONG=1 $(GO) test -timeout 60m -run 'TestPromise' ./broker/api
	PORCHLIGHT_LONG=1 $(GO) test -timeout 90m -run 'Caps|Altered' ./broker/delivery
	PORCHLIGHT_LONG=1 $(GO) test -race -timeout 90m -run 'TestPromises|TestNoReleaseAfterStopping' ./broker/delivery

mutate: ## every operator of the judge turned into its neighbour, one at a time: which change does no test notice?
	PORCHLIGHT_MUTATE=all $(GO) test -count 1 -timeout 3h -run TestMutants -v ./policy

test: setup build ## everything that decides what lands
	@$(MAKE) --no-print-directory -j 2 check minute
	build/porchlight demo --once

minute: # of fuzzing, and each benchmark once, so that none is broken: beside what check begins with, on one processor
	$(GO) test -run '^$$' -fuzz FuzzLetThrough -fuzztime 60s -parallel 1 ./broker
	$(GO) test -run '^$$' -bench . -benchtime 1x -cpu 1 $(BENCHED)

BENCHED = ./policy ./device/wire ./device/store ./broker ./broker/delivery ./cmd/porchlight

# What nobody here wrote: MQTT clients, a browser of DNS-SD, and what the device in C is made of.
# Where something is missing and cannot be installed, the tests that need it say so and are skipped.
PARTS = mosquitto-clients libmosquitto-dev libpaho-mqtt-dev libcbor-dev libssl-dev pkg-config iproute2 python3-zeroconf

setup:
	@command -v cc >/dev/null || { echo "porchlight needs a C compiler (SQLite is C)" >&2; exit 1; }
	@if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then echo "no Debian packages here: some tests will be skipped" >&2; exit 0; fi; \
	want=""; for p in $(PARTS); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || want="$$want $$p"; done; \
	command -v npm >/dev/null || want="$$want nodejs npm"; \
	test -z "$$want" || { test "$$(id -u)" = 0 && \
	  { apt-get install -y -q --no-install-recommends $$want || { apt-get update -q && apt-get install -y -q --no-install-recommends $$want; }; }; } || \
	echo "not installed:$$want: the tests that use them will be skipped" >&2

demo: build ## a home, a brand and six scenes on the terminal
	build/porchlight demo

bench: build ## the figures of the README, printed again; those beside peers go to build/bench.json, too
	cd cmd/porchlight-bench && $(GO) run . -json ../../build/bench.json
	$(GO) test -run '^$$' -bench . -benchtime 2s $(BENCHED)

torture: ## a million operations of devices and brands while the gateway is killed, cut off, filled up and lied to, on a database of the schema version before; some ten minutes
	@git cat-file -e $(BEFORE)^{commit} 2>/dev/null || { echo "the repository's history is not here: torture begins with a database of today" >&2; exit 0; }; \
	test -x build/before/porchlight || { rm -rf build/before && mkdir -p build/before/source && git archive $(BEFORE) | tar -x -C build/before/source && \
	( cd build/before/source && $(GO) build -o ../porchlight ./cmd/porchlight ) && rm -r build/before/source; }
	$(GO) run ./cmd/porchlight-torture $$(test ! -x build/before/porchlight || echo -old build/before/porchlight)

# The last commit of schema version 1: its gateway makes the database that torture begins with.
BEFORE = 04481bf3d8caf93345f3ff7c4ce98e26b1dcd296

soak: ## an hour at half of what it can do: is everything flat? The picture is build/soak.svg
	mkdir -p build
	$(GO) run ./cmd/porchlight-torture soak -for 1h -rate half -svg build/soak.svg

fuzz: ## each fuzzer for half a minute
	$(GO) test -run '^$$' -fuzz FuzzDecode -fuzztime 30s ./device/wire
	$(GO) test -run '^$$' -fuzz FuzzLayout -fuzztime 30s ./device/wire
	$(GO) test -run '^$$' -fuzz FuzzTopic -fuzztime 30s ./device/wire
	$(GO) test -run '^$$' -fuzz FuzzBinding -fuzztime 30s ./device/wire
	$(GO) test -run '^$$' -fuzz FuzzParseRequest -fuzztime 30s ./device/authority
	$(GO) test -run '^$$' -fuzz FuzzParseSigned -fuzztime 30s ./broker/delivery
	$(GO) test -run '^$$' -fuzz FuzzLetThrough -fuzztime 30s ./broker
	$(GO) test -run '^$$' -fuzz FuzzDenied -fuzztime 30s ./policy/consent/signals
	$(GO) test -run '^$$' -fuzz FuzzDiscoveryHears -fuzztime 30s ./broker

deb: ## build/porchlight_VERSION_ARCH.deb, with make deb VERSION=1.0
	$(GO) build -trimpath -ldflags "-s -w -X main.release=$(VERSION)" -o build/porchlight-release ./cmd/porchlight
	configs/debian/build.sh build/porchlight-release $(VERSION) build

vuln: ## is something that the program calls known to be vulnerable? Needs Go's module proxy and vuln.go.dev
	@out=$$($(GO) run golang.org/x/vuln/cmd/govulncheck@latest ./cmd/porchlight 2>&1) && { echo "$$out"; exit 0; }; \
	case "$$out" in *"exit status 3"*) echo "$$out" >&2; exit 1;; esac; \
	echo "$$out" | tail -n 2 >&2; echo "not run: govulncheck or its database cannot be reached" >&2

clean:
	rm -rf build
