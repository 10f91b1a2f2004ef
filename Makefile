# One entry for everything. `make run` and `make test` also set up what a fresh Debian machine with Swift 6.3 needs.

.DEFAULT_GOAL := help
.PHONY: help run test test-long build bench lint format coverage sanitize fuzz fuzz-cpu instructions setup guests clean

KERNEL ?= guests/vmlinuz
INITRD ?= guests/initramfs
ARGS ?=

# Tests see into modules, which costs speed: they have a build of their own, so that neither build undoes the other.
TEST = swift test -c release -Xswiftc -enable-testing --scratch-path .build-tests

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup:
	@scripts/setup

guests: setup
	@scripts/fetch-guests

run: guests build ## Boot Debian's cloud kernel to a shell on this terminal
	@.build/release/martlet run --kernel $(KERNEL) --initrd $(INITRD) $(ARGS)

test: setup ## Run the tests, with guests booted in release mode
	@scripts/fetch-guests all || echo "make test: guests are missing; tests that boot them are skipped" >&2
	$(TEST)

test-long: setup ## Run the tests, the heavy ones among them
	@scripts/fetch-guests all
	MARTLET_LONG_TESTS=1 $(TEST)

build: setup ## Build in release mode
	swift build -c release --product martlet

bench: guests build ## Compare with QEMU TCG, interleaved, as ratios
	@scripts/setup bench
	@bench/run

lint: ## Check imports and layout
	swift build --explicit-target-dependency-import-check error
	swift format lint --strict --recursive --parallel Sources Tests Package.swift

format: ## Lay out the sources
	swift format --in-place --recursive --parallel Sources Tests Package.swift

coverage: setup ## Run the tests and say what they reach
	@scripts/fetch-guests all
	swift test --enable-code-coverage
	@scripts/coverage

sanitize: setup ## Run the tests under the thread and address sanitizers
	swift test --sanitize=thread --scratch-path .build-thread
	swift test --sanitize=address --scratch-path .build-address

fuzz: setup ## Feed the kernel loaders and the decoder random input for a while
	MARTLET_LONG_TESTS=1 $(TEST) --filter 'Corrupt|Fuzz|Random'

SECONDS ?= 60
SEED ?=

fuzz-cpu: setup ## Compare random sequences with the host's CPU for SECONDS; findings go to findings/
	swift build -c release --product cpu-oracle
	@mkdir -p findings
	.build/release/cpu-oracle --seconds $(SECONDS) --folder findings $(if $(SEED),--seed $(SEED))

instructions: setup ## Write docs/instructions.md: what shows each instruction right
	MARTLET_LONG_TESTS=1 MARTLET_INSTRUCTION_REPORT=$(CURDIR)/docs/instructions.md $(TEST) --filter CPUOracleTests/everyRowInEveryForm

clean: ## Remove what was built; fetched guests stay
	rm -rf .build .build-*
