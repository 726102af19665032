#!/bin/bash
# Kubo itself, where IPFS_BIN names an `ipfs` binary: its CIDs, its command line on our API, and content both ways.
. "$(dirname "$0")/../rigs/lib.sh"
if [ -z "${IPFS_BIN:-}" ] || [ ! -x "${IPFS_BIN:-}" ]; then
  echo "LOUD: Kubo is left out: IPFS_BIN names no ipfs binary"; exit 77
fi
export TEST_DHT_STUB=1 IPFS_TELEMETRY=off
FILE_BYTES=${FILE_BYTES:-67108864}
FILES=${FILES:-1000}
kubo() { IPFS_PATH=$SCRATCH/kubo "$IPFS_BIN" "$@"; }
# Kubo's command line talking to our daemon, without its own repo.
remote() { IPFS_PATH=$SCRATCH/none "$IPFS_BIN" --api "${API_OF[node]}" "$@"; }

kubo init --profile=test --empty-repo >/dev/null || { echo "ipfs init failed"; exit 1; }
kubo config --json Bootstrap '[]' >/dev/null
start_daemon node || exit 1

# A tree with everything that makes CIDs differ: sizes around the chunk, names, a hidden file, a symlink, empty things.
TREE=$SCRATCH/tree
mkdir -p "$TREE/deep/er" "$TREE/empty"
for size in 0 1 262143 262144 262145 1048577 45613057; do make_file "$TREE/size-$size" "$size" "$size"; done
printf 'ünï cödé\n' >"$TREE/näme with späce"
printf 'hidden' >"$TREE/.hidden"
printf 'below' >"$TREE/deep/er/below.txt"
ln -s ../size-1 "$TREE/deep/link"
ln -s nowhere "$TREE/dangling"
make_file "$SCRATCH/big" "$FILE_BYTES" 3
make_folder "$SCRATCH/folder" "$FILES"

same_cid() { # same_cid PATH…: ours (without a daemon) and Kubo's are equal
  local ours theirs
  ours=$(IPFS_KIT_PATH=$SCRATCH/offline "$BIN" add -r --format json "$@" | jq -r .cid)
  theirs=$(kubo add -n -r -Q "$@")
  echo "ours $ours, Kubo's $theirs"; [ -n "$ours" ] && [ "$ours" = "$theirs" ]
}
IPFS_KIT_PATH=$SCRATCH/offline "$BIN" init >/dev/null || exit 1
check "a tree has Kubo's CID (hidden file, symlinks, empty folder)" same_cid "$TREE"
for size in 0 1 262143 262144 262145 1048577 45613057; do check "a file of $size bytes has Kubo's CID" same_cid "$TREE/size-$size"; done
check "a folder of $FILES files has Kubo's CID" same_cid "$SCRATCH/folder"

HELLO=Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD
cli_add() { local got; got=$(printf 'hello world' | remote add -Q); echo "got $got"; [ "$got" = "$HELLO" ]; }
cli_add_folder() { local got want; got=$(remote add -r -Q "$SCRATCH/folder"); want=$(kubo add -n -r -Q "$SCRATCH/folder"); echo "got $got, want $want"; [ "$got" = "$want" ]; }
cli_cat() { [ "$(remote cat "$HELLO")" = "hello world" ]; }
cli_get() { rm -rf "$SCRATCH/out"; remote get -o "$SCRATCH/out" "$(remote add -r -Q "$SCRATCH/folder")" && diff -r "$SCRATCH/out" "$SCRATCH/folder"; }
cli_ls() { remote ls "$(remote add -r -Q "$SCRATCH/folder")" >"$SCRATCH/ls" && head -3 "$SCRATCH/ls"; [ "$(wc -l <"$SCRATCH/ls")" = "$FILES" ]; }
cli_id() { remote id | tee "$SCRATCH/id" && [ "$(jq -r .ID "$SCRATCH/id")" = "${PEER_OF[node]}" ]; }
cli_pins() {
  remote pin ls --type=recursive | grep -q "$HELLO" && remote pin rm "$HELLO" && ! remote pin ls --type=recursive | grep -q "$HELLO" \
    && remote pin add "$HELLO" && remote pin ls "$HELLO"
}
cli_block() { local c; c=$(printf 'raw' | remote block put) && [ "$(remote block get "$c")" = raw ]; }
cli_version() { remote version --all || remote version; }
# same VERB…: Kubo's command line prints the same, and ends with the same code, on our daemon and on its own repo.
same() {
  local ours theirs o t
  ours=$(remote "$@" 2>/dev/null | sha256sum; exit "${PIPESTATUS[0]}"); o=$?
  theirs=$(kubo "$@" 2>/dev/null | sha256sum; exit "${PIPESTATUS[0]}"); t=$?
  echo "$*: ours $ours ($o), Kubo's $theirs ($t)"; [ "$ours" = "$theirs" ] && [ "$o" = "$t" ]
}
both() { remote "$@" >/dev/null && kubo "$@" >/dev/null; } # both ARGS…: done on both
cli_formats() {
  local root list map dir
  both add -r -Q --pin=false "$TREE" && dir=$(kubo add -n -r -Q "$TREE") || return 1
  list=$(echo "[1, {\"/\": \"$dir\"}, 1.5, \"x\"]" | kubo dag put --store-codec dag-json)
  [ "$(echo "[1, {\"/\": \"$dir\"}, 1.5, \"x\"]" | remote dag put --store-codec dag-json)" = "$list" ] || { echo "dag put gives another CID"; return 1; }
  map=$(echo "{\"l\": {\"/\": \"$list\"}, \"b\": {\"/\": {\"bytes\": \"AQI\"}}}" | kubo dag put)
  [ "$(echo "{\"l\": {\"/\": \"$list\"}, \"b\": {\"/\": {\"bytes\": \"AQI\"}}}" | remote dag put)" = "$map" ] || return 1
  same dag get "$map" && same dag get "$dir" && same dag get "$map/l/3" && same dag get "$list" --output-codec dag-cbor \
    && same dag get "$map/nowhere" && same dag resolve "$map/l/2" && same dag resolve "$map/l/1/deep" && same resolve "/ipfs/$map/l/1/deep/er" \
    && same resolve --cid-base base36 "/ipfs/$dir/deep" && same dag stat --progress=false "$map" "$list" && same dag export "$map" \
    && same dag export "$dir" && same refs "$dir" && same refs -r "$map" && same refs -r -u --edges "$map" \
    && same refs --format '<linkname> <dst>' "$dir" && same refs -r --max-depth 2 "$map" && same block stat "$dir" && same block get "$map" \
    && same block stat --cid-base base32 "$dir" && same block rm nonsense
}
cli_car() {
  local root; root=$(kubo add -r -Q "$SCRATCH/folder") && kubo dag export "$root" >"$SCRATCH/folder.car" || return 1
  remote dag import --stats "$SCRATCH/folder.car" && remote dag export "$root" | cmp - "$SCRATCH/folder.car" && remote pin ls --type recursive "$root"
}
cli_rm() {
  local c; c=$(echo "to be removed" | remote block put) && remote block rm "$c" && ! remote block rm "$c" && remote block rm -f "$c" \
    && c=$(echo "kept" | remote block put --pin) && ! remote block rm "$c"
}
. "$(dirname "$0")/kubo_verbs.sh"
verbs_prepare || { echo "the verbs' content could not be added"; exit 1; }
for verb in add cat get ls refs cid block dag files pin repo; do
  CHECK_LINES=60 check "ipfs --api … $verb, option by option, as on Kubo" "verb_$verb"
done
check "ipfs --api … dag, refs, resolve, block print what they print on Kubo" cli_formats
check "ipfs --api … dag import, and the export is Kubo's" cli_car
check "ipfs --api … block rm" cli_rm
check "ipfs --api … add" cli_add
check "ipfs --api … add -r" cli_add_folder
check "ipfs --api … cat" cli_cat
check "ipfs --api … get" cli_get
check "ipfs --api … ls" cli_ls
check "ipfs --api … id" cli_id
check "ipfs --api … pin add, ls, rm" cli_pins
check "ipfs --api … block put, get" cli_block
check "ipfs --api … version" cli_version

IPFS_PATH=$SCRATCH/kubo "$IPFS_BIN" daemon >"$SCRATCH/kubo.log" 2>&1 </dev/null &
PIDS+=("$!")
wait_for 300 grep -q '^Daemon is ready' "$SCRATCH/kubo.log" || { echo "Kubo did not start:"; tail -n 5 "$SCRATCH/kubo.log"; exit 1; }
KUBO=$(kubo id | jq -r '.Addresses[]' | grep /ip4/127.0.0.1/tcp/ | head -1)
BIG=$(kit node add --format json "$SCRATCH/big" | jq -r .cid)
FOLDER=$(kit node add -r --format json "$SCRATCH/folder" | jq -r .cid)
cli_connect() { remote swarm connect "$KUBO" && remote swarm peers | tee "$SCRATCH/peers" && grep -q "${KUBO##*/}" "$SCRATCH/peers"; }
they_get_file() { kubo get -o "$SCRATCH/k-big" "$BIG" --timeout 120s && cmp "$SCRATCH/k-big" "$SCRATCH/big"; }
they_get_folder() { kubo pin add "$FOLDER" --timeout 120s && kubo get -o "$SCRATCH/k-folder" "$FOLDER" && diff -r "$SCRATCH/k-folder" "$SCRATCH/folder"; }
we_get_file() { kit node get "$(kubo add -Q "$SCRATCH/their-big")" -o "$SCRATCH/o-big" --timeout 120 && cmp "$SCRATCH/o-big" "$SCRATCH/their-big"; }
we_get_folder() { kit node get "$(kubo add -r -Q "$SCRATCH/their-folder")" -o "$SCRATCH/o-folder" --timeout 120 && diff -r "$SCRATCH/o-folder" "$SCRATCH/their-folder"; }
check "ipfs --api … swarm connect, peers" cli_connect
check "Kubo fetches a file of $FILE_BYTES bytes from the daemon" they_get_file
check "Kubo fetches a folder of $FILES files from the daemon" they_get_folder
make_file "$SCRATCH/their-big" "$FILE_BYTES" 4
mkdir "$SCRATCH/their-folder"; for ((i = 0; i < FILES; i++)); do echo "this is file $i of Kubo" >"$SCRATCH/their-folder/$i.txt"; done
check "the daemon fetches a file of $FILE_BYTES bytes from Kubo" we_get_file
check "the daemon fetches a folder of $FILES files from Kubo" we_get_folder
check "the daemon stops within six seconds" stop_daemon node
verdict "Kubo"
