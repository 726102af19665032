#!/bin/bash
# A cluster of three masters, a worker and a leecher as processes on this machine: no-op tasks from submitting to the verified
# outcome, direct and by gossip; then kills of the leader, from SIGKILL to the next acknowledged write.
#   cluster.sh [TASKS [KILLS]]     default 300 and 50
. "$(dirname "$0")/lib.sh"
TASKS=${1:-300}
KILLS=${2:-50}
start_daemon m1 --dht-namespace bench-$$ || exit 1
kit m1 cluster init >/dev/null || exit 1
token() { kit m1 cluster token create --role "$1" --format json | jq -r .token; }
for name in m2:master m3:master w1:worker l1:leecher; do
  start_daemon "${name%:*}" --dht-namespace bench-$$ --join "${SWARM_OF[m1]}" --token "$(token "${name#*:}")" --role "${name#*:}" || exit 1
done
three_voters() { [ "$(kit m1 cluster status --format json | jq '[.members[] | select(.voter)] | length')" = 3 ]; }
wait_for 300 three_voters || { echo "three voters never came to be"; kit m1 cluster status; exit 1; }

echo "<!-- $(machine) -->"
echo "| no-op tasks one at a time through a leecher's API, $TASKS each, ms | p50 | p99 | max |"
echo "|---|---|---|---|"
for way in direct gossip; do
  "$EXAMPLES/task_latency" "$(http_of l1)" "$TASKS" $way >"$SCRATCH/latency" || { echo "the $way run failed"; exit 1; }
  while read -r w what _ p50 _ p99 _ max _; do echo "| $w, submit to $what | $p50 | $p99 | $max |"; done <"$SCRATCH/latency"
done

masters=(m1 m2 m3)
times=()
for ((kill = 1; kill <= KILLS; kill++)); do
  # Any living master can be asked; the leader is found by its peer id.
  leader=''
  for ((try = 0; try < 200; try++)); do
    id=$(kit l1 cluster status --format json 2>/dev/null | jq -r '.leader // empty')
    for name in "${masters[@]}"; do [ "${PEER_OF[$name]}" = "$id" ] && leader=$name; done
    [ -n "$leader" ] && kill -0 "${PID_OF[$leader]}" 2>/dev/null && break
    leader=''; sleep 0.1
  done
  [ -n "$leader" ] || { echo "no leader before kill $kill"; exit 1; }
  for name in "${masters[@]}"; do [ "$name" != "$leader" ] && survivor=$name; done
  kill -9 "${PID_OF[$leader]}"
  begin=$(now_ns)
  disown "${PID_OF[$leader]}" 2>/dev/null
  # One write, asked of a survivor until it is acknowledged.
  while ! kit "$survivor" task submit noop --direct --timeout 5 >/dev/null 2>"$SCRATCH/kill.err"; do
    [ $(($(now_ns) - begin)) -lt 20000000000 ] || { echo "kill $kill: no write for 20 s:"; cat "$SCRATCH/kill.err"; exit 1; }
  done
  times+=($((($(now_ns) - begin) / 1000000)))
  wait_gone "${PID_OF[$leader]}" 20
  # It comes back where it was, as a configured master does. One that has just started may take itself for the leader it was.
  mapfile -t listens < <(sed -n 's/^Swarm listening on //p' "$SCRATCH/$leader.log" | sed 's#/p2p/.*##')
  start_daemon "$leader" --dht-namespace bench-$$ $(printf -- '--swarm %s ' "${listens[@]}") || exit 1
  follows() { kit "$leader" cluster status --format json | jq -e --arg me "${PEER_OF[$leader]}" '.leader != null and .leader != $me'; }
  wait_for 100 follows || { echo "kill $kill: $leader does not follow"; exit 1; }
done
read -r med max <<<"$(stats "${times[@]}")"
echo
echo "| leader killed (SIGKILL) to the next acknowledged write, $KILLS kills, 3 masters, ms | median | max |"
echo "|---|---|---|"
echo "| heartbeat 100 ms, election 400-800 ms | $med | $max |"
