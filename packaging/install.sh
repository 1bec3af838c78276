#!/usr/bin/env bash
# install STAGE DESTDIR PREFIX: copies a tree, and writes down which files and folders it made.
# uninstall DESTDIR PREFIX: removes what is written down.
set -euo pipefail

# What an administrator changes is neither replaced nor removed.
is_configuration() { [[ $1 == /etc/default/* ]]; }

# The folders above a file that are not there yet, the outermost first.
missing_folders() {
	local folder=${1%/*} missing=()
	while [[ -n $folder && ! -d $destdir$folder ]]; do
		missing=("$folder" "${missing[@]}")
		folder=${folder%/*}
	done
	(( ${#missing[@]} == 0 )) || printf '%s\n' "${missing[@]}"
}

install_tree() {
	local stage=$1 path mode folder
	local new=$destdir$manifest.new
	: >"$work/folders"
	: >"$work/files"
	[[ ! -e $destdir$manifest ]] || sed -n 's/^folder //p' "$destdir$manifest" >"$work/folders"
	missing_folders "$manifest" >>"$work/folders"
	while read -r mode path; do
		missing_folders "$path" >>"$work/folders"
		while read -r folder; do install -d -m 0755 "$destdir$folder"; done < <(missing_folders "$path")
		echo "$path" >>"$work/files"
		if is_configuration "$path" && [[ -e $destdir$path ]]; then
			cmp -s "$stage$path" "$destdir$path" || echo "install: $destdir$path stays as it is"
			continue
		fi
		install -m "$mode" "$stage$path" "$destdir$path"
	done < <(cd "$stage" && find . -type f -printf '%m /%P\n' | sort -k 2)
	# What an older version brought and this one does not.
	if [[ -e $destdir$manifest ]]; then
		sed -n 's/^file [0-9a-f]* //p' "$destdir$manifest" | sort | comm -23 - <(sort "$work/files") |
			while read -r path; do rm -f "$destdir$path"; done
	fi
	{
		sed 's/^/folder /' "$work/folders"
		while read -r path; do echo "file $(sha256sum <"$stage$path" | cut -d' ' -f1) $path"; done <"$work/files"
	} >"$new"
	mv "$new" "$destdir$manifest"
}

uninstall_tree() {
	local sum path
	[[ -e $destdir$manifest ]] || { echo "uninstall: nothing is installed below $destdir$prefix by make install" >&2; exit 1; }
	while read -r _ sum path; do
		if is_configuration "$path" && [[ -e $destdir$path && $(sha256sum <"$destdir$path" | cut -d' ' -f1) != "$sum" ]]; then
			echo "uninstall: $destdir$path has been changed and stays"
			continue
		fi
		rm -f "$destdir$path"
	done < <(grep '^file ' "$destdir$manifest")
	sed -n 's/^folder //p' "$destdir$manifest" | sort -ru >"$work/folders"
	rm -f "$destdir$manifest"
	while read -r path; do
		[[ ! -d $destdir$path ]] || rmdir --ignore-fail-on-non-empty "$destdir$path"
	done <"$work/folders"
}

action=$1
[[ $action == install ]] && { stage=$2; shift; }
destdir=$2 prefix=$3
manifest=$prefix/share/ocinet/installed
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case $action in
install) install_tree "$stage" ;;
uninstall) uninstall_tree ;;
esac
