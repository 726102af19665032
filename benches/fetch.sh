#!/bin/bash
# Node-to-node fetch of 256 MiB over Bitswap beside the raw stream limit, alternating in one run on this machine.
#   fetch.sh [ROUNDS]     default 5; BYTES sets the size
. "$(dirname "$0")/lib.sh"
ROUNDS=${1:-5}
BYTES=${BYTES:-268435456}
start_daemon giver || exit 1
"$EXAMPLES/raw_stream" serve >"$SCRATCH/raw.addr" 2>"$SCRATCH/raw.err" &
PIDS+=("$!")
wait_for 100 grep -q /quic-v1/p2p/ "$SCRATCH/raw.addr" || { echo "the raw stream does not serve:"; cat "$SCRATCH/raw.err"; exit 1; }

# raw_rate KIND: of one raw stream over tcp or quic-v1, in MB/s.
raw_rate() { "$EXAMPLES/raw_stream" pull "$(grep -m 1 "/$1/" "$SCRATCH/raw.addr")" "$BYTES" | awk '{printf "%.0f", $1 / 1e6}'; }

raw=() quic=() pinned=() got=()
for ((round = 1; round <= ROUNDS; round++)); do
  raw+=("$(raw_rate tcp)") quic+=("$(raw_rate quic-v1)")
  # New bytes and a new taker every round, so that nothing is held already. The giver's copy is in its page cache.
  make_file "$SCRATCH/big" "$BYTES" "$round"
  cid=$(kit giver add --format json "$SCRATCH/big" | jq -r .cid)
  for way in pin get; do
    start_daemon "taker-$round-$way" || exit 1
    kit "taker-$round-$way" connect "${SWARM_OF[giver]}" >/dev/null || exit 1
    begin=$(now_ns)
    if [ $way = pin ]; then kit "taker-$round-$way" pin "$cid" --timeout 120 >/dev/null || exit 1
    else kit "taker-$round-$way" get "$cid" -o "$SCRATCH/out" --timeout 120 >/dev/null || exit 1; cmp "$SCRATCH/out" "$SCRATCH/big" || exit 1; fi
    rate=$(awk -v b="$BYTES" -v n=$(($(now_ns) - begin)) 'BEGIN {printf "%.0f", b / n * 1000}')
    if [ $way = pin ]; then pinned+=("$rate"); else got+=("$rate"); fi
    stop_daemon "taker-$round-$way"
    rm -rf "${REPO_OF[taker-$round-$way]}" "$SCRATCH/out"
  done
done
r=$(median "${raw[@]}") q=$(median "${quic[@]}") p=$(median "${pinned[@]}") g=$(median "${got[@]}")
echo "<!-- $(machine) -->"
echo "| fetch of $((BYTES / 1048576)) MiB over TCP, $ROUNDS rounds, MB/s | median | all rounds | of the raw stream |"
echo "|---|---|---|---|"
echo "| one raw stream of \`net\`, 256 KiB pieces, nothing hashed or stored | $r | ${raw[*]} | 1.00 |"
echo "| the same over QUIC | $q | ${quic[*]} | $(awk "BEGIN {printf \"%.2f\", $q / $r}") |"
echo "| \`pin\`: Bitswap, every block hashed, stored and synced | $p | ${pinned[*]} | $(awk "BEGIN {printf \"%.2f\", $p / $r}") |"
echo "| \`get\`: the same, and the file written | $g | ${got[*]} | $(awk "BEGIN {printf \"%.2f\", $g / $r}") |"
