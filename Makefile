# One entry for everything. `make run` and `make test` also set up what a fresh Debian machine with Swift 6.3 needs.

.DEFAULT_GOAL := help
.PHONY: help run test test-long build bench lint format coverage mutants sanitize fuzz fuzz-cpu fuzz-client instructions abi reserved setup guests clean

KERNEL ?= guests/vmlinuz
INITRD ?= guests/initramfs
ARGS ?=
SECONDS ?= 60
SEED ?=
EXECUTOR ?=
FUZZ ?=
SANITIZER ?=
PART ?=
MUTANT ?=
CHECK ?=

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

# What runs on the translator a second time, with each piece of code translated before it is first executed: what sees most of the
# processor and takes little time.
TRANSLATED = ^ProcessorTests|^SoftKVMTests\.(Guest|Interaction|OptIn|LitmusCode|LitmusTranslation|[A-Za-z0-9]*Oracle)Tests/|PreloadTests\.ClientTests/

test: ## Run the tests, with guests booted in release mode
	@scripts/setup test
	@scripts/fetch-guests all || echo "make test: guests are missing; tests that boot them are skipped" >&2
	$(TEST)
	MARTLET_TEST_EXECUTOR=translator $(TEST) --skip-build --filter '$(TRANSLATED)'

# One after the other: those that run for minutes would keep the others from the few threads that there are, and two vCPUs'
# order of memory shows best with a processor for each.
test-long: ## Run what has no result yet of all tests, heavy ones too: hours, or minutes with PART=3/8; STATUS=1 says what is missing
ifdef STATUS
	@PART=$(PART) scripts/test-long --status
else
	@scripts/setup long
	@scripts/fetch-guests long
	@PART=$(PART) scripts/test-long $(TEST)
endif

# The preload library lives in other programs' processes: it brings Swift's runtime along, and shows them nothing else.
BUILD = swift build -c release -Xswiftc -static-stdlib -Xlinker --version-script=$(CURDIR)/Sources/Preload/exports.map

build: setup ## Build in release mode
	$(BUILD) --product martlet
	$(BUILD) --product martlet-kvm

bench: setup build ## Compare with the host and with QEMU TCG, interleaved, as ratios
	@scripts/setup bench
	@scripts/fetch-guests bench
	@bench/run $(ARGS)

lint: ## Check imports, layout, and that the list of planted bugs fits the sources
	@scripts/setup lint
	@scripts/mutants/run --check
	swift build --explicit-target-dependency-import-check error
	swift format lint --strict --recursive --parallel Sources Tests Fuzzers/Sources Package.swift Fuzzers/Package.swift
	@scripts/lint-suites

format: ## Lay out the sources
	swift format --in-place --recursive --parallel Sources Tests Fuzzers/Sources Package.swift Fuzzers/Package.swift

# An optimised build, since an unoptimised one interprets too slowly. Not by --enable-code-coverage, which fails for the profile
# of a command that a test has ended while it wrote it.
coverage: setup ## Run the tests and say what they reach
	@scripts/fetch-guests all
	@rm -rf .build-coverage/profiles
	LLVM_PROFILE_FILE=$(CURDIR)/.build-coverage/profiles/%m-%p.profraw \
		swift test -c release -Xswiftc -enable-testing -Xswiftc -profile-generate -Xswiftc -profile-coverage-mapping \
		--scratch-path .build-coverage
	@scripts/coverage .build-coverage

# PART=K/N: every Nth bug from the Kth on. MUTANT=name: that one. CHECK=1: only whether the list fits the sources.
mutants: ## Plant bugs of our own list, and say which of them the tests don't see
	@scripts/setup $(if $(CHECK),lint,mutants)
	@scripts/mutants/run $(if $(CHECK),--check) $(if $(PART),--part $(PART)) $(addprefix --mutant ,$(MUTANT)) $(ARGS)

# Threads of a command that a signal has ended are not waited for: no leak. What the sanitizers leave out, by name:
# - BootTests: a kernel's boot, which an unoptimised interpreter takes too long for.
# - MissingMemoryTests, HostFaultTests, TranslatedFaultTests and single tests of other suites: memory that goes under the guest.
#   The fault is caught and the frames between are abandoned, which the sanitizers, who count entries and exits of functions and
#   mark their stacks, can't follow.
# - CPUOracleTests: the process that executes their cases natively needs the low addresses, which the sanitizers keep for
#   themselves.
# - XCTest, which has no test here: it leaks its own objects.
# - PreloadTests: a sanitized library can't be loaded into a program that is not. What it calls is tested without it.
UNSANITIZED = --skip BootTests --skip MissingMemoryTests --skip HostFaultTests --skip TranslatedFaultTests \
	--skip theHostsMemoryIsGone --skip FaultsAreStillServed --skip memoryThatGoes --skip CPUOracleTests --skip PreloadTests --disable-xctest
# - By the thread sanitizer also tests of one processor on one thread, where it has nothing to see: those that need memory at an
#   address of their own, which it keeps for itself, and the random ones, which it makes too slow.
UNTHREADED = --skip IntegerProgramTests --skip HostileGuestTests

SANITIZED_TEST = TSAN_OPTIONS=report_thread_leaks=0 LSAN_OPTIONS="suppressions=$(CURDIR)/scripts/address-sanitizer.supp" \
	swift test --sanitize=$(SANITIZER) --scratch-path .build-$(SANITIZER) --disable-xctest \
	$(if $(filter thread,$(SANITIZER)),-Xlinker $(CURDIR)/.build-thread/mutex.o)

sanitize: setup ## Run the tests under the thread and address sanitizers
	@mkdir -p .build-thread
	clang -O -Wall -Wextra -Werror -c scripts/thread-sanitizer.c -o .build-thread/mutex.o
	TSAN_OPTIONS=report_thread_leaks=0 \
		swift test --sanitize=thread --scratch-path .build-thread -Xlinker $(CURDIR)/.build-thread/mutex.o \
		$(UNSANITIZED) $(UNTHREADED)
	LSAN_OPTIONS="suppressions=$(CURDIR)/scripts/address-sanitizer.supp" \
		swift test --sanitize=address --scratch-path .build-address $(UNSANITIZED)

fuzz: setup ## Fuzz for SECONDS each, or FUZZ="decoder page-walk interpreter boot-file" alone
	@scripts/fuzz $(SECONDS) $(FUZZ)

fuzz-cpu: setup ## Compare random sequences with the host's CPU for SECONDS on EXECUTOR; findings go to findings/
	$(BUILD) --product cpu-oracle
	@mkdir -p findings
	.build/release/cpu-oracle --seconds $(SECONDS) --folder findings $(if $(SEED),--seed $(SEED)) \
		$(if $(EXECUTOR),--executor $(EXECUTOR))

# SANITIZER=thread or address: under that one.
fuzz-client: setup ## Let hostile clients at each interface, one after the other, for SECONDS each, from SEED
	@[ "$(SANITIZER)" != thread ] || { mkdir -p .build-thread && \
		clang -O -Wall -Wextra -Werror -c scripts/thread-sanitizer.c -o .build-thread/mutex.o; }
	MARTLET_LONG_TESTS=$(SECONDS) $(if $(SEED),MARTLET_SEED=$(SEED)) \
		$(if $(SANITIZER),$(SANITIZED_TEST) --skip PreloadTests,$(TEST)) --filter HostileClientTests --no-parallel

instructions: setup ## Write docs/instructions.md: what shows each instruction right
	MARTLET_LONG_TESTS=1 MARTLET_INSTRUCTION_REPORT=$(CURDIR)/docs/instructions.md $(TEST) --filter CPUOracleTests/everyRowInEveryForm

reserved: setup ## Write docs/reserved.md: what becomes of each bit of the interface's structures
	MARTLET_RESERVED_REPORT=$(CURDIR)/docs/reserved.md $(TEST) --filter theDocumentSaysWhatIsDone

abi: setup ## Write docs/abi.md: each exit, capability and ioctl, and the test that shows it
	MARTLET_ABI_REPORT=1 $(TEST) --filter InterfaceReportTests/theDocument

clean: ## Remove what was built; fetched guests stay
	rm -rf .build .build-* .fuzz/bin
