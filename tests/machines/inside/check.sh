# What a check is: a name, and a command that succeeds. Each runs in a shell of its own that ends at the first failure, so
# that a function is a list of things that must hold, and no longer than $limit seconds.
# shellcheck shell=bash

results=/share/result
limit=180
topic=

# Which part of the suite the next checks belong to.
topic() {
	topic=$1
	note "== $topic"
}

# A line for the people who read the result.
note() { printf '%s\n' "$*" | tee -a "$results"; }

# The machine as it is right after a failure, for the people who look for its cause.
witness() {
	local look
	for look in "ip address" "ip route show table all" "ip -6 route show table all" "ip rule" "nft list ruleset" "conntrack -L" \
		"iptables-legacy-save" "ss -anp" "ps axf" "ocinet list" "ocinet doctor" "journalctl -b -n 80 --no-pager"; do
		echo "== $look"
		$look
	done
}

# check NAME COMMAND…: prints the name with ok or FAILED, and what the command said where it failed.
check() {
	local name="$topic: $1" said=/run/checks/said began=$SECONDS
	shift
	set -m
	(
		set -euo pipefail
		"$@"
	) </dev/null >"$said" 2>&1 &
	local worker=$!
	(
		sleep "$limit"
		echo "this check took more than $limit seconds" >>"$said"
		kill -KILL -- "-$worker"
	) >/dev/null 2>&1 &
	local watch=$!
	set +m
	if wait "$worker" 2>/dev/null; then
		echo "ok" >>/var/lib/machine/outcomes
		note "ok      $name ($((SECONDS - began)) s)"
	else
		echo "FAILED" >>/var/lib/machine/outcomes
		note "FAILED  $name ($((SECONDS - began)) s)"
		tail -n 40 "$said" | sed 's/^/        | /' | tee -a "$results"
		witness >"/share/failed-$(wc -l </var/lib/machine/outcomes).txt" 2>&1
	fi
	kill -KILL -- "-$watch" 2>/dev/null
	wait "$watch" 2>/dev/null
}

# expect WHAT WANTED FOUND: says what differs.
expect() {
	[[ $2 == "$3" ]] || { printf '%s: wanted %q, found %q\n' "$1" "$2" "$3"; return 1; }
}

# expect_in WHAT PART TEXT
expect_in() {
	[[ $3 == *"$2"* ]] || { printf '%s: wanted %q in %q\n' "$1" "$2" "$3"; return 1; }
}

# refused CODE TEXT COMMAND…: the command must fail with that exit code, and say the text.
refused() {
	local code=0 said
	said=$("${@:3}" 2>&1) || code=$?
	expect "exit code of ${*:3} ($said)" "$1" "$code"
	expect_in "what ${3} says" "$2" "$said"
}

# eventually SECONDS COMMAND…: repeats the command until it succeeds. It runs in the background, since the shell lets a
# function go on after a failure wherever its outcome is asked for at once.
eventually() {
	local end=$((SECONDS + $1))
	shift
	while true; do
		"$@" >/run/checks/attempt 2>&1 &
		if wait "$!"; then return 0; fi
		((SECONDS < end)) || { echo "never so: $*"; cat /run/checks/attempt; return 1; }
		sleep 0.3
	done
}

# The last line of a run, which the other side of the wall looks for.
finish() {
	local passed failed
	passed=$(grep -c '^ok' /var/lib/machine/outcomes)
	failed=$(grep -c '^FAILED' /var/lib/machine/outcomes)
	note "$passed passed, $failed failed"
	((failed == 0))
}
