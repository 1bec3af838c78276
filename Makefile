# ocinet. `sudo make demo` shows it, `sudo make test` tests it; both install what is missing on Debian 12.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# sudo clears PATH: a toolchain that rustup put into the invoking user's home is looked for there too.
USER_HOME := $(shell getent passwd "$${SUDO_USER:-$$(id -un)}" | cut -d: -f6)
export PATH := $(PATH):$(USER_HOME)/.cargo/bin:/usr/sbin:/sbin
ifneq ($(wildcard $(USER_HOME)/.rustup),)
export RUSTUP_HOME ?= $(USER_HOME)/.rustup
endif

# What a container needs, and the demo.
PACKAGES := build-essential nftables runc crun podman conmon busybox-static iproute2 curl jq
# What makes packages, and what looks at them.
PACKAGE_TOOLS := debhelper lintian rpm
# What the tests need besides.
TEST_PACKAGES := $(PACKAGE_TOOLS) man-db strace valgrind iperf3 openssl chromium systemd prometheus iptables
# What makes real Debian machines, and emulates them.
MACHINE_PACKAGES := mmdebstrap qemu-system-x86 e2fsprogs debian-archive-keyring jq
# `make bench` compares with these.
RIVALS := containernetworking-plugins netavark iptables time prometheus-node-exporter

.PHONY: build unit lab test test-machines machine-deps soak attacks mutants code-mutants demo bench bench-path bench-scrape fuzz deny lint lint-tools deps test-deps bench-deps

build:
# Apart: what the exporter wants of a crate that both use would otherwise be built into the hook. Side by side: the end of
# the hook's build takes one processor.
	cargo build --release --locked -p ocinet & hook=$$!; \
		cargo build --profile exporter --locked -p ocinet-exporter || { kill $$hook; exit 1; }; \
		wait $$hook
	mkdir -p target/bin
	built=target/$$(rustc -vV | sed -n 's/^host: //p'); \
		install -m 0755 $$built/release/ocinet $$built/exporter/ocinet-exporter target/bin/

# Installs only what is missing, so that a machine that has everything needs no network.
define install_missing
	missing=(); for package in $(1); do \
		[[ $$(dpkg-query -W -f '$${Status}' $$package 2>/dev/null) == *'ok installed' ]] || missing+=($$package); \
	done; \
	if (( $${#missing[@]} )); then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -q --no-install-recommends "$${missing[@]}"; \
	fi
endef

deps:
	$(call install_missing,$(PACKAGES))
	command -v cargo >/dev/null || { echo "make: cargo is missing; install Rust 1.91 or newer, see https://rustup.rs" >&2; exit 1; }

test-deps: deps
	$(call install_missing,$(TEST_PACKAGES))

bench-deps: deps
	$(call install_missing,$(RIVALS))

# What `make lint` needs besides Rust's own tools. They run for seconds, so optimising them would take longer than it saves.
LINT_TOOLS := typos-cli@1.49.0 cargo-machete@0.9.2

lint-tools:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --locked --quiet --root target/tools $(LINT_TOOLS)

# Packages that ask for a newer Rust than ocinet itself. clippy's incompatible_msrv does the same for the standard library.
define NEWER_RUST
def version: split(".") | map(tonumber) | (. + [0, 0])[:3];
(.packages[] | select(.name == "ocinet").rust_version) as $$ours
| .packages[] | select(.rust_version != null and (.rust_version | version) > ($$ours | version))
| "\(.name) \(.version) needs Rust \(.rust_version), and ocinet promises \($$ours)"
endef
export NEWER_RUST

# The fuzz targets are only checked, with what clippy has checked of their dependencies. CUSTOM_LIBFUZZER_PATH names nothing: only
# linking needs libFuzzer, and building it takes longer than the check.
lint: lint-tools
	cargo fmt --all --check
	target/tools/bin/typos
	PATH="$$PWD/target/tools/bin:$$PATH" cargo machete --with-metadata --skip-target-dir
	newer=$$(cargo metadata --locked --format-version 1 | jq -r "$$NEWER_RUST"); \
		[[ -z $$newer ]] || { echo "$$newer" >&2; exit 1; }
	cargo clippy --locked --workspace --all-targets -- -D warnings
	CUSTOM_LIBFUZZER_PATH=/none/libnone.a cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir target
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# Every test that needs neither root nor a release build. T is a part of their names, RUN_AS a user that root gives the tests to: it
# cannot read root's cargo, which one test runs.
AS_USER = $(if $(RUN_AS),--config 'target."cfg(unix)".runner = "setpriv --reuid=$(RUN_AS) --regid=$(shell id -g $(RUN_AS)) --clear-groups"')
unit:
	cargo test --locked --workspace $(AS_USER) -- --quiet $(addprefix --skip=,$(if $(RUN_AS),licenses::)) $(T)

# The lab's tests with T in their names, with debug builds of both programs, which are built in seconds. They run as root: by sudo,
# where make does not. RELEASE=1 takes the programs of `make build`; tests of instructions:: count what those execute.
AS_ROOT = $(if $(filter-out 0,$(shell id -u)),--config 'target."cfg(unix)".runner = "sudo --preserve-env=$(LAB_VARIABLES)"')
LAB_VARIABLES := OCINET_BIN,OCINET_EXPORTER_BIN,OCINET_CYCLES,OCINET_KEEP,RUST_BACKTRACE,TMPDIR

lab: $(if $(RELEASE),build)
	@[[ -n "$(T)" ]] || { echo "make: which tests of the lab? \`make lab T=life\` runs those with life in their names" >&2; exit 1; }
	$(if $(RELEASE),,cargo build --locked --workspace --bin ocinet --bin ocinet-exporter)
	$(if $(RELEASE),,@echo "make: debug builds; tests of instructions:: need a release build and are left out (RELEASE=1 runs them)")
	built=$$PWD/target/$(if $(RELEASE),bin,$$(rustc -vV | sed -n 's/^host: //p')/debug); \
		OCINET_BIN=$$built/ocinet OCINET_EXPORTER_BIN=$$built/ocinet-exporter cargo test --locked --workspace --test lab $(AS_ROOT) \
			-- --include-ignored $(if $(RELEASE),,--skip=instructions::) $(T)

test: test-deps build lint
	cargo test --locked --workspace -- --include-ignored

# Real machines of these releases, emulated: ocinet's package beside systemd, podman, Docker and firewalls; see docs/machines.md.
# FULL=1 runs the lab in them as well, ONLY="30-drivers …" some parts alone.
DISTS ?= bookworm trixie
machine-deps:
	$(call install_missing,$(MACHINE_PACKAGES))

test-machines: machine-deps packages
	DISTS="$(DISTS)" ONLY="$(ONLY)" FULL="$(FULL)" tests/machines/run

# Two hundred containers start and stop at once, with hooks killed at random moments; CI does so for two minutes.
SOAK_SECONDS ?= 1800
soak: deps build
	cargo run --locked -p ocinet-tests --bin soak -- $(SOAK_SECONDS)

# The attacks of the lab on ocinet's containers and on those of netavark and Docker, with rules and without; see docs/attacks.md.
attacks: bench-deps build
	cargo run --locked -p ocinet-tests --bin attacks

# Takes every rule out of ocinet's tables in turn, and runs the test that docs/guards.md names, which must fail. FIND=1 looks for
# a test for each rule that has none there; CHAINS are the rules' chains, SINCE a commit: rules that it had are passed over.
mutants: deps build
	cargo run --locked -p ocinet-tests --bin mutants -- $(if $(FIND),--find) $(if $(SINCE),--since=$(SINCE)) $(CHAINS)

# Changes the code that decides what is done, in every small way that cargo-mutants knows: a test without root must fail. It takes
# half an hour. SINCE is a commit: code that it had is passed over. .cargo/mutants.toml has the scope.
code-mutants:
	cargo mutants --version >/dev/null 2>&1 || { echo "make: cargo-mutants is missing; run \`cargo install --locked cargo-mutants\`" >&2; exit 1; }
	mkdir -p target
	$(if $(SINCE),git diff $(SINCE) > target/since.diff)
	CARGO_PROFILE_DEV_DEBUG=0 cargo mutants --output target $(if $(SINCE),--in-diff target/since.diff)

deny:
	cargo deny check

demo: deps build
	packaging/demo.sh

bench: bench-deps build
	cargo run --locked -p ocinet-tests --bin bench -- --out docs/benchmark.md

# What a packet costs, beside the same rivals and beside no rule at all; NETAVARK2 names a newer netavark than Debian's, and DOCKER a
# folder with docker, dockerd, containerd and its shims. As a real-time process where that is allowed, so that other work on the
# machine disturbs it less.
bench-path: bench-deps build
	cargo build --locked -p ocinet-tests --bin bench
	$$(chrt -f 20 true 2>/dev/null && echo chrt -f 20) target/$$(rustc -vV | sed -n 's/^host: //p')/debug/bench path --out docs/benchmark-path.md

# What a scrape of 1,000 containers costs beside the bare netlink dumps that it needs, and beside node_exporter.
bench-scrape: bench-deps build
	cargo run --release --locked -p ocinet-tests --bin scrape

# Everything that ocinet reads, with libFuzzer, for so many seconds each. These flags are what `cargo fuzz` gives a nightly compiler.
FUZZ_SECONDS ?= 600
FUZZ_FLAGS := -Cpasses=sancov-module -Ccodegen-units=1 $(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table trace-compares)
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

fuzz:
	cd fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --release --locked
	mkdir -p $(addprefix fuzz/grown/,$(FUZZ_TARGETS)) fuzz/artifacts
	built=fuzz/target/$$(rustc -vV | sed -n 's/^host: //p')/release; \
		for target in $(FUZZ_TARGETS); do \
			$$built/$$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=fuzz/artifacts/$$target- \
				fuzz/grown/$$target fuzz/corpus/$$target; \
		done

include packaging/install.mk
