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

PREFIX ?= /usr

PACKAGES := build-essential nftables runc crun podman conmon busybox-static iproute2 curl jq strace iperf3
# `make bench` compares with these.
RIVALS := containernetworking-plugins netavark iptables time

.PHONY: build test demo bench deny lint deps bench-deps install

build:
	cargo build --release --locked -p ocinet -p ocinet-exporter
	mkdir -p target/bin
	release=target/$$(rustc -vV | sed -n 's/^host: //p')/release; \
		install -m 0755 $$release/ocinet $$release/ocinet-exporter target/bin/

# Installs only what is missing, so that a machine that has everything needs no network.
define install_missing
	missing=(); for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing+=($$package); \
	done; \
	if (( $${#missing[@]} )); then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -q --no-install-recommends "$${missing[@]}"; \
	fi
endef

deps:
	$(call install_missing,$(PACKAGES))
	command -v cargo >/dev/null || { echo "make: cargo is missing; install Rust 1.91 or newer, see https://rustup.rs" >&2; exit 1; }

bench-deps: deps
	$(call install_missing,$(RIVALS))

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

test: deps build lint
	cargo test --locked --workspace -- --include-ignored

deny:
	cargo deny check

demo: deps build
	packaging/demo.sh

bench: bench-deps build
	cargo run --locked -p ocinet-tests --bin bench -- --out docs/benchmark.md

install: build
	install -D -m 0755 target/bin/ocinet $(DESTDIR)$(PREFIX)/bin/ocinet
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/containers/oci/hooks.d packaging/hooks.d/*.json
