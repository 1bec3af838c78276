# For the scripts beside it: what is packaged, and the time that all its files get.
# shellcheck shell=bash
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
maintainer="ocinet's maintainers <ocinet@users.noreply.github.com>"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
