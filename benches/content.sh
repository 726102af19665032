#!/bin/bash
# Content through the daemon, ours and Kubo's in turn: the same data, fresh repos every round, nothing removed before the end.
#   content.sh [PART…]     big small pins; default all. ROUNDS (5), BYTES (1 GiB), FOLDERS (100), FILES (1000 in each),
#   PINS (10000, timed one by one), LISTED (100000, files in one folder, all pinned in the end)
# IPFS_BIN names the Kubo; without it our column stands alone. Needs room on the disk: 4 × BYTES a round for `big`.
. "$(dirname "$0")/lib.sh"
ROUNDS=${ROUNDS:-5}
BYTES=${BYTES:-1073741824}
FOLDERS=${FOLDERS:-100}
FILES=${FILES:-1000}
PINS=${PINS:-10000}
LISTED=${LISTED:-100000}
PARTS=("$@")
[ ${#PARTS[@]} = 0 ] && PARTS=(big small pins)
MEMORY=$(mktemp -d /dev/shm/ipfs-kit-bench.XXXXXX)
trap 'rm -rf "$MEMORY"; tidy' EXIT
COUNT=$((FOLDERS * FILES))
declare -A TIMES

# timed ROW SIDE COMMAND…: runs the command on a settled disk and notes its milliseconds. What it says goes to OUT, else to
# timed.out.
timed() {
  local key="$1/$2" begin end; shift 2
  sync
  begin=$(now_ns)
  "$@" >"${OUT:-$SCRATCH/timed.out}" 2>"$SCRATCH/timed.err" </dev/null || { echo "$key failed: $*" >&2; tail -n 5 "$SCRATCH/timed.err" >&2; TIMES[$key]+=" nan"; return 1; }
  end=$(now_ns)
  TIMES[$key]+=" $(((end - begin) / 1000000))"
}
# noted ROW SIDE SECONDS: a time somebody else took.
noted() { TIMES[$1/$2]+=" $(awk -v s="$3" 'BEGIN {printf "%d", s * 1000}')"; }

# kubo_start NAME [sync]: a Kubo daemon on a fresh repo. Sets KUBO_PID and KUBO_API (HOST:PORT).
kubo_start() {
  export IPFS_PATH=$SCRATCH/$1 IPFS_TELEMETRY=off
  "$IPFS_BIN" init --profile=test --empty-repo >/dev/null || return 1
  "$IPFS_BIN" config --json Bootstrap '[]' >/dev/null
  [ "${2:-}" = sync ] && { jq '(.Datastore.Spec.mounts[] | select(.child.type == "flatfs") | .child.sync) = true' "$IPFS_PATH/config" >"$SCRATCH/config" && cp "$SCRATCH/config" "$IPFS_PATH/config"; }
  "$IPFS_BIN" daemon >"$SCRATCH/$1.log" 2>&1 </dev/null &
  KUBO_PID=$!; PIDS+=("$KUBO_PID")
  wait_for 300 grep -q '^Daemon is ready' "$SCRATCH/$1.log" || { tail "$SCRATCH/$1.log"; return 1; }
  KUBO_API=$(sed -E 's#/ip4/([^/]+)/tcp/([0-9]+).*#\1:\2#' "$IPFS_PATH/api")
}
kubo_stop() { kill "$KUBO_PID" && wait_gone "$KUBO_PID" 300; }
kubo() { "$IPFS_BIN" "$@"; }
have_kubo() { [ -x "${IPFS_BIN:-}" ]; }
host_of() { sed 's#^http://##' <<<"$(http_of "$1")"; }

# make_tree PATH SEED: FOLDERS folders with FILES files of 1 KiB each, all different.
make_tree() {
  local i
  for ((i = 0; i < FOLDERS; i++)); do
    mkdir -p "$1/d$i"
    make_file "$SCRATCH/noise" $((FILES * 1024)) $(($2 * 100000 + i))
    (cd "$1/d$i" && split -b 1024 -a 6 -d --additional-suffix=.bin "$SCRATCH/noise" f)
  done
  rm "$SCRATCH/noise"
}

big() {
  make_file "$SCRATCH/big-$1" "$BYTES" "$1"
  local cid
  mkdir -p "$SCRATCH/limit-$1"
  noted 'add 1 file' limit "$("$EXAMPLES/limit" import "$SCRATCH/big-$1" "$SCRATCH/limit-$1")"
  start_daemon "big$1" || exit 1
  timed 'add 1 file' kit kit "big$1" add --format json "$SCRATCH/big-$1"; cid=$(jq -r .cid "$SCRATCH/timed.out")
  OUT=/dev/null timed 'cat 1 file' kit kit "big$1" cat "$cid"
  stop_daemon "big$1"
  if have_kubo; then
    for way in sync default; do
      kubo_start "kubo-big-$way-$1" $way || exit 1
      timed 'add 1 file' "kubo-$way" kubo add -Q --progress=false "$SCRATCH/big-$1"
      [ "$(cat "$SCRATCH/timed.out")" = "$cid" ] || { echo "the CIDs differ: $cid and $(cat "$SCRATCH/timed.out")" >&2; exit 1; }
      [ $way = default ] && OUT=/dev/null timed 'cat 1 file' kubo-default kubo cat --progress=false "$cid"
      kubo_stop
    done
  fi
}

small() {
  local tree=$SCRATCH/tree-$1 cid n=$1
  make_tree "$tree" "$n"
  mkdir "$SCRATCH/loop-$n" "$MEMORY/loop-$n"
  noted 'get onto the disk' limit "$("$EXAMPLES/limit" files "$SCRATCH/loop-$n" "$FOLDERS" "$FILES" 1024)"
  noted 'get into tmpfs' limit "$("$EXAMPLES/limit" files "$MEMORY/loop-$n" "$FOLDERS" "$FILES" 1024)"
  rm -rf "${MEMORY:?}/loop-$n"
  start_daemon "small$n" || exit 1
  timed 'add many files' kit kit "small$n" add -r --format json "$tree"; cid=$(jq -r .cid "$SCRATCH/timed.out")
  timed 'get into tmpfs' kit kit "small$n" get "$cid" -o "$MEMORY/kit"; rm -rf "$MEMORY/kit"
  timed 'get onto the disk' kit kit "small$n" get "$cid" -o "$SCRATCH/kit-out-$n"
  timed 'dag export' kit kit "small$n" dag export "$cid"; cp "$SCRATCH/timed.out" "$SCRATCH/car-$n"
  timed 'repo verify' kit kit "small$n" repo verify
  kit "small$n" unpin "$cid" >/dev/null
  timed 'repo gc' kit kit "small$n" repo gc --quiet
  stop_daemon "small$n"
  start_daemon "import$n" || exit 1
  timed 'dag import' kit kit "import$n" dag import "$SCRATCH/car-$n"
  stop_daemon "import$n"
  if have_kubo; then
    kubo_start "kubo-small-$n" || exit 1
    timed 'add many files' kubo-default kubo add -r -Q --progress=false "$tree"
    timed 'get into tmpfs' kubo-default kubo get --progress=false -o "$MEMORY/kubo" "$cid"; rm -rf "$MEMORY/kubo"
    timed 'get onto the disk' kubo-default kubo get --progress=false -o "$SCRATCH/kubo-out-$n" "$cid"
    timed 'dag export' kubo-default kubo dag export --progress=false "$cid"
    cmp -s "$SCRATCH/timed.out" "$SCRATCH/car-$n" || echo "note: the two CARs of round $n differ" >&2
    timed 'repo verify' kubo-default kubo repo verify
    kubo pin rm "$cid" >/dev/null
    timed 'repo gc' kubo-default kubo repo gc --quiet
    kubo_stop
    kubo_start "kubo-import-$n" || exit 1
    timed 'dag import' kubo-default kubo dag import "$SCRATCH/car-$n"
    kubo_stop
  fi
}

# ls_cids HOST:PORT CID: the CIDs in a folder, by the RPC that both speak.
ls_cids() { curl -sf -X POST "http://$1/api/v0/ls?arg=$2&resolve-type=false&size=false" | jq -r '.Objects[0].Links[].Hash'; }

pins() {
  local tree=$SCRATCH/pins-$1 cid folder n=$1 FOLDERS=1 FILES=$LISTED
  make_tree "$tree" $((n + 50))
  start_daemon "pins$n" || exit 1
  cid=$(kit "pins$n" add -r --pin=false --format json "$tree" | jq -r .cid)
  folder=$cid/d0
  ls_cids "$(host_of "pins$n")" "$folder" >"$SCRATCH/cids"
  noted 'pin one after another' kit "$("$EXAMPLES/pin_many" "$(host_of "pins$n")" < <(head -n "$PINS" "$SCRATCH/cids"))"
  "$EXAMPLES/pin_many" "$(host_of "pins$n")" < <(tail -n "+$((PINS + 1))" "$SCRATCH/cids") >/dev/null
  timed 'pin ls' kit kit "pins$n" pin ls --type recursive
  timed 'ls of one folder' kit kit "pins$n" ls "$folder"
  stop_daemon "pins$n"
  if have_kubo; then
    kubo_start "kubo-pins-$n" || exit 1
    cid=$(kubo add -r -Q --progress=false --pin=false "$tree")
    ls_cids "$KUBO_API" "$cid/d0" >"$SCRATCH/cids-kubo"
    noted 'pin one after another' kubo-default "$("$EXAMPLES/pin_many" "$KUBO_API" < <(head -n "$PINS" "$SCRATCH/cids-kubo"))"
    "$EXAMPLES/pin_many" "$KUBO_API" < <(tail -n "+$((PINS + 1))" "$SCRATCH/cids-kubo") >/dev/null
    timed 'pin ls' kubo-default kubo pin ls --type recursive
    timed 'ls of one folder' kubo-default kubo ls "$cid/d0"
    kubo_stop
  fi
}

for ((round = 1; round <= ROUNDS; round++)); do
  for part in "${PARTS[@]}"; do $part $round; done
done

# shown KEY: median and range in ms; times A B: how often the first goes into the second.
shown() { printf '%s\n' ${TIMES[$1]:-} | grep '[0-9]' | sort -n | awk '{v[NR]=$1} END {if (NR) {m=(NR%2)?v[(NR+1)/2]:(v[NR/2]+v[NR/2+1])/2; printf "%d (%d-%d)", m, v[1], v[NR]} else printf "-"}'; }
times() { awk -v a="${1%% *}" -v b="${2%% *}" 'BEGIN {if (a > 0 && b > 0) printf "%.2f", b / a; else printf "-"}'; }
# What is asked for, in times of Kubo's speed and as a share of the limit's; of `add 1 file` either both of Kubo's or the limit's.
declare -A GOAL=(
  [add 1 file/default]=2.5 [add 1 file/sync]=3 [add 1 file/limit]=0.8 [cat 1 file/default]=2.5 [add many files/default]=10
  [get into tmpfs/default]=4 [get onto the disk/limit]=0.8 [dag export/default]=5 [dag import/default]=15 [repo verify/default]=1
  [repo gc/default]=10 [pin one after another/default]=5 [pin ls/default]=5 [ls of one folder/default]=5
)
# reached ROW AGAINST RATIO: the ratio, what is asked for, and whether it is that.
reached() {
  local goal=${GOAL[$1/$2]:-}
  [ -z "$goal" ] && { echo "$3"; return; }
  awk -v r="$3" -v g="$goal" 'BEGIN {printf "%s of %s%s", r, g, (r == "-") ? "" : (r >= g) ? ", yes" : ", no"}'
}
echo "<!-- $(machine); $(have_kubo && "$IPFS_BIN" version; have_kubo && echo flatfs + leveldb); $ROUNDS rounds -->"
echo "| ms, median (range) of $ROUNDS | ipfs-kit, synced | Kubo, default | Kubo, sync: true | the bare limit | times Kubo's default | times Kubo's sync | of the limit |"
echo "|---|---|---|---|---|---|---|---|"
for row in 'add 1 file' 'cat 1 file' 'add many files' 'get into tmpfs' 'get onto the disk' 'dag export' 'dag import' 'repo verify' 'repo gc' 'pin one after another' 'pin ls' 'ls of one folder'; do
  [ -n "${TIMES[$row/kit]:-}" ] || continue
  ours=$(shown "$row/kit") default=$(shown "$row/kubo-default") synced=$(shown "$row/kubo-sync") limit=$(shown "$row/limit")
  echo "| $row | $ours | $default | $synced | $limit | $(reached "$row" default "$(times "$ours" "$default")") | $(reached "$row" sync "$(times "$ours" "$synced")") | $(reached "$row" limit "$(times "$ours" "$limit")") |"
done
echo
echo "One file: $((BYTES / 1048576)) MiB. Many files: $COUNT of 1 KiB in $FOLDERS folders. Pins timed: $PINS; listed: $LISTED."
