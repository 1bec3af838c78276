# With FULL=1: the lab's own tests, on this kernel and with these programs. What a module said is in lab-MODULE.txt beside the result.
# Tests that kill a start at each of its steps take hours in an emulated machine, and are left out.
# shellcheck shell=bash
lab_module() {
	local said=/share/lab-$1.txt tests
	mapfile -t tests < <(/share/lab --list | sed -n "s/^\($1::.*\): test$/\1/p" | grep -v _at_every_step)
	((${#tests[@]} > 0)) || return
	if OCINET_BIN=/usr/bin/ocinet OCINET_EXPORTER_BIN=/usr/bin/ocinet-exporter TMPDIR=/var/tmp \
		/share/lab --exact "${tests[@]}" --include-ignored --test-threads=2 >"$said" 2>&1; then
		return
	fi
	grep -E '^test .* FAILED|^test result' "$said"
	return 1
}

if [[ -e /share/lab ]]; then
	topic lab
	checkout=$(cat /share/checkout)
	mkdir -p "$checkout/tests"
	ln -sfn /share/packaging "$checkout/packaging"
	dpkg -i "$package" >/dev/null 2>&1
	# The lab wants bridges to ask the rules, too, and a helper of connection tracking that works behind masquerade.
	modprobe -a br_netfilter nf_nat_tftp
	limit=5400
	modules="reach publish networks routed spoof flushed life macvlan ipvlan overlay connections reload gc check"
	for module in $(cat /share/modules 2>/dev/null || echo "$modules"); do
		check "$module" lab_module "$module"
	done
	limit=180
fi
