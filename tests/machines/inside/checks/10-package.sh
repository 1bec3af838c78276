# The package on a machine that has never seen ocinet.
# shellcheck shell=bash
topic package

is_installed() {
	dpkg -i "$package"
	expect "status" "install ok installed" "$(dpkg-query -W -f '${Status}' ocinet)"
}

programs_answer() {
	ocinet --version
	ocinet-exporter --version
	expect "list" "[]" "$(ocinet list --json)"
}

units_verify() {
	local said
	said=$(systemd-analyze verify /usr/lib/systemd/system/ocinet*.{service,timer,socket} 2>&1 | grep ocinet || true)
	expect "what systemd says of the units" "" "$said"
}

units_are_on() {
	local unit
	for unit in ocinet-reload.service ocinet-reload-firewalld.service ocinet-reload.timer; do
		expect "$unit" enabled "$(systemctl is-enabled "$unit")"
	done
	systemctl is-active ocinet-reload.timer
}

install_leaves_the_network_alone() { same_host_as /run/checks/before-package; }

host_state >/run/checks/before-package
check "dpkg -i installs it" is_installed
check "both programs answer" programs_answer
check "the units have no mistake" units_verify
check "the reload units are on" units_are_on
check "no unit has failed" no_unit_failed
check "links, routes, rules and forwarding are as before" install_leaves_the_network_alone
check "nothing is wrong" nothing_is_wrong
