#!/bin/bash
# Adding 1 MiB, synced, while other things are so: idle, while a million dead blocks are collected, and with 10,000 and with
# 10,000,000 blocks of 1 KiB stored. Ours alone.
#   gc_latency.sh [PART…]     collecting stored; default both. DEAD (1000000), STORED (10000000), ADDS (400)
# `stored` needs 2 KiB of the disk for each block while it fills, `collecting` the same of its dead ones.
. "$(dirname "$0")/lib.sh"
DEAD=${DEAD:-1000000}
STORED=${STORED:-10000000}
ADDS=${ADDS:-400}
PARTS=("$@")
[ ${#PARTS[@]} = 0 ] && PARTS=(collecting stored)
MEMORY=$(mktemp -d /dev/shm/ipfs-kit-bench.XXXXXX)
trap 'rm -rf "$MEMORY"; tidy' EXIT

# fill NAME BLOCKS SEED: that many different blocks of 1 KiB, not pinned, from standard input.
fill() { make_noise $(($2 * 1024)) "$3" | kit "$1" add -Q --pin=false --raw-leaves=true --chunker size-1024 - >/dev/null; }
make_noise() { openssl enc -aes-128-ctr -K "$(printf '%032x' "$2")" -iv 0 < <(head -c "$1" /dev/zero) 2>/dev/null; }
latency() { "$EXAMPLES/add_latency" "$(http_of "$1")" "$MEMORY/file" "${2:-$ADDS}"; }
field() { sed -E "s/.*$1 ([0-9.]+).*/\1/" <<<"$2"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", b / a}'; }

echo "<!-- $(machine) -->"
echo "| add of 1 MiB, synced, ms | p50 | p99 | max | adds | against | goal |"
echo "|---|---|---|---|---|---|---|"
row() { echo "| $1 | $(field p50 "$2") | $(field p99 "$2") | $(field max "$2") | $(field count "$2") | $3 | $4 |"; }
for part in "${PARTS[@]}"; do
  case $part in
    collecting)
      start_daemon gc || exit 1
      fill gc "$DEAD" 1 || exit 1
      latency gc 50 >/dev/null || exit 1
      idle=$(latency gc) || exit 1
      row "idle, $DEAD dead blocks stored" "$idle" '' ''
      mkfifo "$SCRATCH/end"
      latency gc 0 <"$SCRATCH/end" >"$SCRATCH/during" & adding=$!; PIDS+=("$adding")
      exec 9>"$SCRATCH/end"
      kit gc repo gc --quiet >/dev/null || { echo "collecting failed"; exit 1; }
      exec 9>&-
      wait "$adding" || exit 1
      during=$(cat "$SCRATCH/during")
      row 'while they are collected' "$during" "p99: $(ratio "$(field p99 "$idle")" "$(field p99 "$during")") times idle" 'p99 at most 2.5 times' ;;
    stored)
      start_daemon stored || exit 1
      fill stored 10000 2 || exit 1
      latency stored 50 >/dev/null || exit 1
      few=$(latency stored) || exit 1
      row '10000 blocks stored' "$few" '' ''
      fill stored "$STORED" 3 || exit 1
      many=$(latency stored) || exit 1
      row "$STORED blocks stored" "$many" "p50: $(ratio "$(field p50 "$few")" "$(field p50 "$many")") times 10000" 'p50 at most 1.25 times'
      stop_daemon stored ;;
    *) echo "no part is called $part"; exit 1 ;;
  esac
done
