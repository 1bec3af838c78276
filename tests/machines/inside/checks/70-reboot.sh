# A real reboot, with containers that podman starts again.
# shellcheck shell=bash
topic reboot

start_for_good() {
	local runtime=$1 name=$2
	shift 2
	mkdir -p "$bundles/$name"
	echo "podman-$runtime" >"$bundles/$name/runtime"
	podman --runtime "$runtime" run -d --restart=always --network=none --name "$name" --hostname "$name" \
		"${@/#/--annotation=}" machine sh -c "$serve"
}

all_start() {
	start_for_good crun web net.driver=bridge net.ports=8080:80 net.subnet="10.90.0.0/16 fd00:90::/64"
	start_for_good runc routed net.driver=veth net.ports=8081:80
	start_for_good crun onlan net.driver=macvlan net.ip=198.51.100.150
	systemctl enable podman-restart.service
	all_are_served
	for name in web routed; do address "$name" 4; done >/var/lib/machine/addresses
}

all_are_served() {
	reaches lan web 198.51.100.10:8080 198.51.100.1
	reaches lan web '[2001:db8:1::10]:8080' 2001:db8:1::1
	reaches lan routed 198.51.100.10:8081
	reaches lan onlan 198.51.100.150:80
	reaches web internet 203.0.113.1:80 198.51.100.10
	reaches onlan internet 203.0.113.1:80 198.51.100.150
}

addresses_stay() {
	expect addresses "$(cat /var/lib/machine/addresses)" "$(for name in web routed; do address "$name" 4; done)"
}

exporter_tells() {
	local page
	page=$(curl -sS -m "$patience" --retry 8 --retry-delay 1 --retry-connrefused http://127.0.0.1:9477/metrics)
	expect_in metrics "$(id_of web)" "$page"
}

only_the_living_have_records() {
	expect "list" "$(podman ps -q --no-trunc | sort)" "$(ocinet list --json | jq -r '.[].id' | sort)"
}

if ! has_rebooted; then
	check "containers with restart=always start and are served" all_start
	# One of runc's, which nobody starts again: its record is another boot's then.
	start runc gone net.ports=8089:80 >/dev/null 2>&1
	reboot_now
fi
check "podman starts them again and they are served" eventually 120 all_are_served
check "bridge and veth containers have their addresses again" addresses_stay
check "who lived before and does not now has no record" only_the_living_have_records
check "no unit has failed" no_unit_failed
check "the exporter tells of them" exporter_tells
check "the reload timer runs" systemctl is-active ocinet-reload.timer
check "nothing is wrong" nothing_is_wrong
check "the port of one that is gone is free" eval "start crun other net.ports=8089:80; reaches lan other 198.51.100.10:8089; stop other"
