# The exporter's unit and socket.
# shellcheck shell=bash
topic exporter

metrics() { curl -sS -m "$patience" --retry 8 --retry-delay 1 --retry-connrefused http://127.0.0.1:9477/metrics; }

tells_of_web() {
	local page
	page=$(metrics)
	expect_in metrics "ocinet_published_port" "$(grep 'id="web"' <<<"$page")"
	! grep -E '^ocinet_scrape_collector_success\{.*\} 0' <<<"$page"
}

counts_connections() {
	local before after round
	connections() { metrics | awk '/^ocinet_published_port_connections_total\{.*id="web"/ {sum += $NF} END {print sum + 0}'; }
	before=$(connections)
	for round in 1 2 3; do reaches lan web 198.51.100.10:8080; done
	after=$(connections)
	expect "connections counted" 3 $((after - before))
}

is_an_ordinary_user() {
	local pid
	pid=$(systemctl show -P MainPID ocinet-exporter)
	[[ $(stat -c %U "/proc/$pid") != root ]]
	expect "its capabilities" "CapEff: 0000000000001000" "$(grep CapEff "/proc/$pid/status" | tr '\t' ' ')"
}

forgets_web() {
	local page
	stop web
	page=$(metrics)
	! grep 'id="web"' <<<"$page"
}

socket_serves() {
	cp /etc/default/ocinet-exporter /run/checks/default
	systemctl stop ocinet-exporter.service
	echo 'OPTIONS=--web.systemd-socket' >/etc/default/ocinet-exporter
	systemctl start ocinet-exporter.socket
	metrics | grep -c '^ocinet_'
	systemctl is-active ocinet-exporter.service
	systemctl stop ocinet-exporter.socket ocinet-exporter.service
	cp /run/checks/default /etc/default/ocinet-exporter
	systemctl start ocinet-exporter.service
	metrics | grep -c '^ocinet_'
}

check "its unit starts" eval "systemctl enable --now ocinet-exporter; systemctl is-active ocinet-exporter"
check "it is an ordinary user with CAP_NET_ADMIN alone" is_an_ordinary_user
check "a container starts" start crun web net.ports=8080:80
check "it tells of the container, and every source works" tells_of_web
check "it counts connections exactly" counts_connections
check "it forgets a container that ended" forgets_web
check "it starts again after a crash" eval "systemctl kill -s KILL ocinet-exporter; eventually 30 systemctl is-active ocinet-exporter; metrics | grep -c ^ocinet_"
check "its socket starts it" socket_serves
stop_all
