# An upgrade of the package with containers running, removal and purge. The containers of the reboot run, or are made here.
# shellcheck shell=bash
topic upgrade

# The same package with a higher version.
next_version() {
	rm -rf /run/checks/next
	dpkg-deb -R "$package" /run/checks/next
	sed -i 's/^Version: .*/&+next/' /run/checks/next/DEBIAN/control
	dpkg-deb -Znone -b /run/checks/next /run/checks/ocinet-next.deb
}

listens() { [[ -n $(from "$1" ss -Hltn "sport = :$2") ]]; }

# A connection that is older than the upgrade and goes on after it.
hold_a_connection() {
	rm -f /run/checks/held
	nsenter --net="/proc/$(pid_of web)/ns/net" socat -u TCP4-LISTEN:82,reuseaddr CREATE:/run/checks/held </dev/null >/dev/null 2>&1 &
	local server=$!
	eventually 20 listens web 82
	(for beat in $(seq 600); do echo "$beat"; sleep 0.2; done) | from lan socat -u - "TCP4:198.51.100.10:8082" >/dev/null 2>&1 &
	echo "$server $!" >/run/checks/holders
	eventually 20 test -s /run/checks/held
}

goes_on() {
	local before
	before=$(wc -l </run/checks/held)
	eventually 20 eval "(( \$(wc -l </run/checks/held) > $before + 5 ))"
}

upgrades() {
	local list exporter
	list=$(ocinet list --json | jq -S '[.[] | {id, attachments}]')
	exporter=$(systemctl show -P MainPID ocinet-exporter)
	dpkg -i /run/checks/ocinet-next.deb
	expect_in version "+next" "$(dpkg-query -W -f '${Version}' ocinet)"
	expect "list" "$list" "$(ocinet list --json | jq -S '[.[] | {id, attachments}]')"
	eventually 20 systemctl is-active ocinet-exporter
	[[ $exporter != "$(systemctl show -P MainPID ocinet-exporter)" ]] || { echo "the exporter is still the old one"; return 1; }
}

is_served() {
	reaches lan web 198.51.100.10:8080
	reaches web internet 203.0.113.1:80
}

a_changed_configuration_stays() {
	mkdir -p /etc/ocinet
	echo 'max-ports = 7' >/etc/ocinet/config.toml
	echo 'OPTIONS="--web.listen-address=127.0.0.1:9999"' >/etc/default/ocinet-exporter
	dpkg -i --force-confold "$package" 2>&1
	expect_in "/etc/default/ocinet-exporter" 9999 "$(cat /etc/default/ocinet-exporter)"
	expect "config.toml" "max-ports = 7" "$(cat /etc/ocinet/config.toml)"
	rm /etc/ocinet/config.toml
	is_served
}

# Containers that run keep their network while the program is away, and end well once it is there again.
is_removed_beside_containers() {
	dpkg -r ocinet
	[[ ! -e /usr/bin/ocinet && ! -e /usr/share/containers/oci/hooks.d/ocinet-create.json ]]
	is_served
	dpkg -i "$package"
	is_served
	nothing_is_wrong
}

# No record of the package's own folder is about such a container, which lives by the same tables.
is_removed_beside_another_folders_container() {
	local state folder=/run/checks/other
	unshare --net sleep 600 &
	until [[ $(readlink "/proc/$!/ns/net") != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.1; done
	state='{"ociVersion":"1.0.2","id":"other","pid":'$!',"bundle":"/run/checks","annotations":{"net.driver":"bridge"}}'
	mkdir -p "$folder"
	ocinet --state-dir "$folder" createRuntime <<<"$state"
	dpkg -r ocinet 2>&1 | tee /run/checks/removal
	grep "containers are running" /run/checks/removal
	nft list table inet ocinet >/dev/null
	dpkg -i "$package"
	kill "$!"
	ocinet --state-dir "$folder" poststop <<<"$state"
	rm -r "$folder"
}

is_removed() {
	dpkg -r ocinet
	[[ ! -e /usr/bin/ocinet && ! -e /usr/bin/ocinet-exporter ]]
	expect "units that are still active" "" "$(systemctl list-units --plain --no-legend 'ocinet*')"
	no_unit_failed
}

is_purged() {
	dpkg -P ocinet
	expect "status" "" "$(dpkg-query -W -f '${Status}' ocinet 2>/dev/null || true)"
	expect "files" "" "$(find /etc /usr /var/lib /run -xdev -iname '*ocinet*' -not -path '/run/checks/*' -not -path '/var/lib/dpkg/*' 2>/dev/null)"
	expect "tables" "" "$(nft list tables | grep ocinet || true)"
	expect "links" "" "$(ip -br link | grep -E '^(oc|ocinet)' || true)"
}

others_go_on() {
	podman run --rm --network=none machine true
	mkdir -p "$bundles/pod"
	echo podman-crun >"$bundles/pod/runtime"
	podman run -d --name pod --hostname pod -p 8091:80 machine sh -c "$serve"
	reaches lan pod 198.51.100.10:8091
	podman rm -f -t 0 pod
}

comes_back() {
	dpkg -i "$package"
	start runc web net.ports=8080:80
	is_served
	stop web
}

stop_all
check "a container starts" start podman-crun web net.driver=bridge "net.ports=8080:80 8082:82"
check "a connection is open" hold_a_connection
check "a package of a higher version is made" next_version
check "dpkg -i upgrades, and list and exporter go on" upgrades
check "the connection goes on" goes_on
check "served after it, and nothing is wrong" eval "is_served; nothing_is_wrong"
# shellcheck disable=SC2046
kill $(cat /run/checks/holders) 2>/dev/null
check "what an administrator changed in /etc stays" a_changed_configuration_stays
check "removed and installed again while a container runs" is_removed_beside_containers
check "the container ends" stop web
check "removed and installed again while a container of another state folder runs" is_removed_beside_another_folders_container
check "dpkg -r removes it" is_removed
check "dpkg -P leaves nothing" is_purged
check "podman goes on without it" others_go_on
check "it is installed again and works" comes_back
stop_all
