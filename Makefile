# The loop: make check while you work, make test before it lands, make demo to see it live.

GO ?= go

.PHONY: build check test setup demo bench fuzz clean

build: ## build/porchlight
	$(GO) build -o build/porchlight ./cmd/porchlight

check: ## format, vet, staticcheck, all tests with the race detector
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on the files above" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -race ./...

test: setup check build ## everything that decides what lands
	build/porchlight demo --once

# The MQTT clients that nobody here wrote. Where they are missing and cannot be installed, the
# tests that need them say so and are skipped.
setup:
	@command -v cc >/dev/null || { echo "porchlight needs a C compiler (SQLite is C)" >&2; exit 1; }
	@command -v mosquitto_pub >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -y -q mosquitto-clients || { apt-get update -q && apt-get install -y -q mosquitto-clients; }; } || \
	  echo "mosquitto-clients is not installed: the tests that use it will be skipped" >&2; }

demo: build ## a home, a brand and six scenes on the terminal
	build/porchlight demo

bench: ## the figures of the README, printed again
	$(GO) test -run '^$$' -bench . -benchtime 2s ./policy ./device/wire ./device/store ./broker/delivery ./cmd/porchlight

fuzz: ## each fuzzer for half a minute
	$(GO) test -run '^$$' -fuzz FuzzDecode -fuzztime 30s ./device/wire
	$(GO) test -run '^$$' -fuzz FuzzTopic -fuzztime 30s ./device/wire

clean:
	rm -rf build
