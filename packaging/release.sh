#!/usr/bin/env bash
# Makes everything that a release consists of, in target/release-VERSION, of a commit that is ready for it. Nothing is
# published: what is left to do by hand is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
source packaging/version.sh

refuse() { echo "release: $1; hint: $2" >&2; exit 1; }

[[ -z $(git status --porcelain) ]] || refuse "the work tree has changes that are not committed" "commit them, or put them away with \`git stash -u\`"
heading=$(sed -n '/^## /{s/^## //p;q}' CHANGELOG.md)
[[ ${heading%% *} == "$version" ]] ||
	refuse "CHANGELOG.md begins with \"$heading\", and Cargo.toml has the version $version" "make both the version to be released"
[[ -z $(git tag -l "v$version") ]] || refuse "the tag v$version is there already" "choose another version"

# By default what `make packages` builds; a test names what has been built.
read -ra packages <<<"${RELEASE_PACKAGES:-packages}"
make "${packages[@]}" PACKAGES_DIR=target/packages

out=target/release-$version
rm -rf "$out"
mkdir -p "$out"
cp target/packages/*.deb target/packages/*.rpm "$out/"
git archive --prefix="ocinet-$version/" HEAD | gzip -n -9 >"$out/ocinet-$version.tar.gz"
touch -d "@$SOURCE_DATE_EPOCH" "$out"/*
(cd "$out" && sha256sum -- *.deb *.rpm *.tar.gz >SHA256SUMS)

cat <<END

$out is complete:
$(cat "$out/SHA256SUMS")

To do by hand, once \`make test\` and \`make test-machines\` are green on this commit ($(git rev-parse --short HEAD)):
  git tag -s v$version -m "ocinet $version"
  gpg --detach-sign --armor $out/SHA256SUMS
  git push origin v$version
  upload the files of $out to the release v$version, with the part of CHANGELOG.md about $version as its text
END
