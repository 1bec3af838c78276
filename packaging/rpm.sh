#!/usr/bin/env bash
# Makes the .rpm of the tree that lies in DIR/build/rpm/tree.
set -euo pipefail
cd "$(dirname "$0")/.."
source packaging/version.sh

build=$(realpath "$1")/build/rpm
install -D -m 0644 -t "$build/tree/usr/share/licenses/ocinet" LICENSE
install -m 0644 CHANGELOG.md "$build/tree/usr/share/doc/ocinet/"
rpmbuild -bb --quiet --define "_topdir $build" --define "_rpmdir $build/made" --define "_dbpath $build/db" \
	--define "version $version" --define "tree $build/tree" \
	--define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" --define "_buildhost localhost" \
	packaging/rpm/ocinet.spec
mv "$build"/made/*/*.rpm "$1/"
