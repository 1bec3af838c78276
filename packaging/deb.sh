#!/usr/bin/env bash
# Makes the .deb of the tree that lies in DIR/build/deb/tree.
set -euo pipefail
cd "$(dirname "$0")/.."
source packaging/version.sh

build=$(realpath "$1")/build/deb
install -D -m 0644 -t "$build/debian" packaging/debian/*
chmod 0755 "$build/debian/rules"
install -m 0644 CHANGELOG.md "$build/"
cat >"$build/debian/changelog" <<END
ocinet ($version-1) unstable; urgency=medium

  * Version $version; its changes are in changelog.gz.

 -- $maintainer  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
END
(cd "$build" && dh_testdir && debian/rules binary)
mv "$build"/../*.deb "$1/"
