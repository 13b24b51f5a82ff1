# `make run` and `make test` need Go 1.26, make and git; they fetch what else they need from the Go module proxy.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# What `make run` gives to `signet serve`, `make test` to the summary of the tests (see test/summary), and `make fuzz` to each target.
ARGS ?=
FUZZTIME ?= 10s

# Runs a pinned tool, which is built when it is first asked for.
tool = $(subst -,_,$(1))=$$(tools/build.sh $(1)) && "$$$(subst -,_,$(1))"
# The folders with Rego in them.
REGO := rego bundles

.PHONY: help
help: ## show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## build Signet and start it on sample images (ARGS='--listen ADDR' …)
	@exec bin/signet serve --demo $(ARGS)

.PHONY: samples
samples: ## serve the registry that the examples in docs/ use, with two sample images (127.0.0.1:5000)
	@go run ./internal/testkit/cmd/samples

.PHONY: build
build: ## build bin/signet, which knows its commit when nothing is changed
	@commit=$$(git diff --quiet HEAD 2>/dev/null && git rev-parse HEAD 2>/dev/null || true); \
	go build -ldflags "-X main.commit=$$commit" -o bin/signet ./cmd/signet

.PHONY: test
test: ## run the tests: Go, Rego, scenarios; ends with what was skipped (ARGS='-only ./internal/facts' for some)
	@opa=$$(tools/build.sh opa) && go run ./test/summary -opa "$$opa" $(ARGS)

.PHONY: cover
cover: ## show what the last `make test` did not reach, as bin/cover.html
	go tool cover -html=bin/cover.out -o bin/cover.html
	@echo bin/cover.html

.PHONY: lint
lint: lint-go lint-rego ## run golangci-lint, regal, opa fmt and opa check

.PHONY: lint-go
lint-go: ## … golangci-lint only
	$(call tool,golangci-lint) run ./...

.PHONY: lint-rego
lint-rego: ## … regal, opa fmt and opa check only
	$(call tool,opa) fmt --list --fail $(REGO)
	$(call tool,opa) check --strict --capabilities rego/capabilities.json --schema rego/schemas rego/signing
	$(call tool,regal) lint rego # a test lints bundles/starter together with the library that goes into it

.PHONY: fmt
fmt: ## format Go and Rego
	$(call tool,golangci-lint) fmt ./...
	$(call tool,opa) fmt --write $(REGO)

.PHONY: generate
generate: ## make the generated files anew (needs npm, for the editor of the page)
	go generate ./...

.PHONY: web
web: ## build the scripts and style sheets of the page out of web/src and web/editor (needs npm), which check-generated holds them to
	@tools/web.sh

.PHONY: docs
docs: ## write rego/README.md from the METADATA of the library
	go generate ./rego

.PHONY: check-generated
check-generated: ## fail when `make generate` would change a file
	@tools/check-generated.sh

.PHONY: bench
bench: build ## run the benchmarks
	go test -run='^$$' -bench=. ./test/bench/...

.PHONY: big-data
big-data: ## read lists and the page among a million verdicts, 10,000 signers and 100,000 watched images, and fail where one is slow
	go run ./test/bigdata

.PHONY: fuzz
fuzz: ## fuzz every parser of outside bytes, 10 s each (FUZZTIME=30s)
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: fuzz-long
fuzz-long: ## … 10 min each
	@tools/fuzz.sh 10m

.PHONY: tools
tools: ## build the pinned tools that are not built yet, two at a time: while one is downloaded or linked, the other compiles
	@tools/build.sh --list | xargs -n 1 -P 2 tools/build.sh

.PHONY: clean
clean: ## remove what was built here (the pinned tools stay in the cache)
	rm -rf bin
