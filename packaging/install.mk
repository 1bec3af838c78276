# Installing, and packages. Every way to install begins with one tree, STAGE, that has each file at its place below PREFIX.

PREFIX ?= /usr
BUILT ?= target/bin
PAGES ?= target/pages
STAGE ?= target/stage
PACKAGES_DIR ?= target/packages

bindir := $(PREFIX)/bin
# podman, systemd and its tmpfiles look at places of their own, whatever the prefix is. podman's other place, below /etc, is
# not looked at unless a configuration names it (podman 4.3 and 5.4).
HOOKS_DIR ?= /usr/share/containers/oci/hooks.d
ifneq ($(filter $(PREFIX),/usr /usr/local),)
UNIT_DIR ?= $(PREFIX)/lib/systemd/system
else
UNIT_DIR ?= /etc/systemd/system
endif
ifeq ($(PREFIX),/usr)
TMPFILES_DIR ?= /usr/lib/tmpfiles.d
else
TMPFILES_DIR ?= /etc/tmpfiles.d
endif
ZSH_DIR ?= $(PREFIX)/share/zsh/site-functions

# Files that name the program name it where it is.
define stage_naming_program
	install -d $(STAGE)$(1)
	for file in $(2); do \
		sed 's|/usr/bin/ocinet|$(bindir)/ocinet|g' "$$file" >"$(STAGE)$(1)/$${file##*/}"; \
		chmod 0644 "$(STAGE)$(1)/$${file##*/}"; \
	done
endef

.PHONY: pages stage install install-files uninstall packages package-deps

# The tree, without building anything.
stage:
	rm -rf $(STAGE)
	install -D -m 0755 -t $(STAGE)$(bindir) $(BUILT)/ocinet $(BUILT)/ocinet-exporter
	$(call stage_naming_program,$(HOOKS_DIR),packaging/hooks.d/*.json)
	$(call stage_naming_program,$(UNIT_DIR),packaging/systemd/*)
	install -D -m 0644 -t $(STAGE)$(TMPFILES_DIR) packaging/tmpfiles.d/*.conf
	install -D -m 0644 packaging/etc/ocinet-exporter.default $(STAGE)/etc/default/ocinet-exporter
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/ocinet/grafana packaging/grafana/*.json
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/ocinet/prometheus $(filter-out %.test.yml,$(wildcard packaging/prometheus/*.yml))
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/doc/ocinet/examples packaging/etc/config.toml
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/doc/ocinet README.md SECURITY.md
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/doc/ocinet/docs $(addprefix docs/,annotations.md policy.md doctor.md metrics.md files.md evidence.md attacks.md guards.md machines.md)
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/doc/ocinet/docs/decisions $(wildcard docs/decisions/*.md)
	for page in $(PAGES)/man/*; do \
		install -D -m 0644 -t $(STAGE)$(PREFIX)/share/man/man$${page##*.} "$$page"; \
	done
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/bash-completion/completions $(PAGES)/completions/bash/*
	install -D -m 0644 -t $(STAGE)$(ZSH_DIR) $(PAGES)/completions/zsh/*
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/fish/vendor_completions.d $(PAGES)/completions/fish/*
	install -D -m 0644 -t $(STAGE)$(PREFIX)/share/doc/ocinet $(PAGES)/third-party-licenses.txt

# Man pages, completions, the notices of third parties. The tool is none of the programs' own: it is built as the tests are.
pages:
	rm -rf $(PAGES)
	cargo run --quiet --locked -p ocinet-packaging -- $(PAGES)

install: build pages
	$(MAKE) --no-print-directory install-files

# The same, of what has been built already.
install-files: stage
	packaging/install.sh install $(STAGE) "$(DESTDIR)" $(PREFIX)

uninstall:
	packaging/install.sh uninstall "$(DESTDIR)" $(PREFIX)

package-deps:
	$(call install_missing,build-essential $(PACKAGE_TOOLS))

# ocinet_VERSION-1_ARCH.deb and ocinet-VERSION-1.ARCH.rpm in target/packages.
packages: package-deps build pages
	$(MAKE) package-files

.PHONY: package-files
package-files:
	rm -rf $(PACKAGES_DIR)
	$(MAKE) --no-print-directory stage PREFIX=/usr STAGE=$(PACKAGES_DIR)/build/deb/tree ZSH_DIR=/usr/share/zsh/vendor-completions
	packaging/deb.sh $(PACKAGES_DIR)
	$(MAKE) --no-print-directory stage PREFIX=/usr STAGE=$(PACKAGES_DIR)/build/rpm/tree
	packaging/rpm.sh $(PACKAGES_DIR)
	rm -rf $(PACKAGES_DIR)/build
	ls -l $(PACKAGES_DIR)

.PHONY: release
release: package-deps
	packaging/release.sh
