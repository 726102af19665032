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
cli_repo() {
  both repo gc && echo garbage | remote block put && echo garbage | kubo block put && same repo gc && same repo gc --quiet \
    && remote repo stat --human && remote repo stat --size-only && [ "$(remote repo version -q)" = fs-repo@1 ] \
    && remote repo verify | tail -c 40 && [ "$(remote repo ls | wc -l)" = "$(remote refs local | wc -l)" ]
}
check "ipfs --api … block rm" cli_rm
check "ipfs --api … repo gc, stat, version, verify" cli_repo
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

# A Kubo repo moves: from the one that runs, from its folder, each interrupted once; and back into a Kubo by an archive.
prepare_move() {
  local tree direct pad i
  # Names so long that the folder is sharded.
  pad=$(printf 'n%.0s' {1..200}); mkdir "$SCRATCH/wide"
  for ((i = 0; i < 1300; i++)); do echo "$i" >"$SCRATCH/wide/$pad$i"; done
  tree=$(kubo add -r -Q --pin=false "$SCRATCH/wide") && kubo pin add --name 'a sharded folder' "$tree" && [ "$(kubo dag get "$tree" | jq '.Links | length')" -le 256 ] \
    && direct=$(echo direct | kubo add -Q --pin=false) && kubo pin add --recursive=false --name 'näme' "$direct" \
    && kubo pin add "$(echo "{\"l\": {\"/\": \"$tree\"}}" | kubo dag put)" \
    && kubo files mkdir -p /kept && kubo files cp "/ipfs/$tree" /kept/tree && echo 'in the files tree' | kubo files write --create /kept/note \
    && kubo key gen site && kubo key gen --type=rsa old-key && echo "$tree" >"$SCRATCH/wide.cid"
}
their_pins() { { kubo pin ls --names --type=recursive; kubo pin ls --names --type=direct; } | sed 's/ *$//' | sort; }
our_pins() { { kit "$1" pin ls --names --type recursive; kit "$1" pin ls --names --type direct; } | sort; }
new_repo() { REPO_OF[$1]=$SCRATCH/$1; kit "$1" init; }
# interrupted NAME ARGS…: an import killed after ever longer times until one is faster than that.
interrupted() {
  local name=$1 tenths=1 pid kills=0; shift
  while :; do
    IPFS_KIT_PATH=${REPO_OF[$name]} "$BIN" repo import "$@" --format json >"$SCRATCH/$name.json" 2>>"$SCRATCH/$name.err" </dev/null & pid=$!
    wait_gone "$pid" "$tenths" && { wait "$pid" || return 1; break; }
    kill -9 "$pid"; wait "$pid"; kills=$((kills + 1)); tenths=$((tenths + 2))
    kit "$name" pin verify || { echo "a pin without its blocks"; return 1; }
  done
  echo "$kills kills; $(cat "$SCRATCH/$name.json")"
  [ "$kills" -gt 0 ]
}
all_came() { # all_came NAME: pins with names, the files tree, every block below them, a sharded folder byte for byte
  local name=$1
  diff <(their_pins) <(our_pins "$name") || return 1
  [ "$(kubo files stat --hash /)" = "$(kit "$name" files stat --hash /)" ] || { echo "another files tree"; return 1; }
  kit "$name" pin verify && kit "$name" get "$(cat "$SCRATCH/wide.cid")" -o "$SCRATCH/$name-tree" && diff -r "$SCRATCH/$name-tree" "$SCRATCH/wide" \
    && kit "$name" files read /kept/note && [ "$(jq '.left_behind | map(select(.what != "key")) | length' "$SCRATCH/$name.json")" = 0 ]
}
move_running() {
  new_repo by-api || return 1
  interrupted by-api --from-kubo "$(cat "$SCRATCH/kubo/api")" && all_came by-api \
    && [ "$(jq -c '[.left_behind[].name] | sort' "$SCRATCH/by-api.json")" = '["old-key","site"]' ]
}
refused_while_it_runs() {
  new_repo refused && ! kit refused repo import --from-kubo "$SCRATCH/kubo" 2>"$SCRATCH/told" && cat "$SCRATCH/told" && grep -q 'a Kubo runs on' "$SCRATCH/told"
}
move_folder() {
  local before after
  new_repo by-folder || return 1
  before=$(cd "$SCRATCH/kubo" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  interrupted by-folder --from-kubo "$SCRATCH/kubo" --with-keys && [ "$(jq -c '.keys' "$SCRATCH/by-folder.json")" = '["old-key","site"]' ] || return 1
  after=$(cd "$SCRATCH/kubo" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  [ "$before" = "$after" ] || { echo "Kubo's folder was written"; return 1; }
  all_came by-folder && diff <(kit by-api refs local | sort) <(kit by-folder refs local | sort)
}
move_identity() {
  REPO_OF[heir]=$SCRATCH/heir
  kit heir repo import --from-kubo "$SCRATCH/kubo" --with-identity && [ "$(kit heir id --format json | jq -r .id)" = "$(kubo config Identity.PeerID)" ]
}
archive_back() {
  kit by-folder repo export "$SCRATCH/whole" && IPFS_PATH=$SCRATCH/second "$IPFS_BIN" init --profile=test --empty-repo >/dev/null \
    && IPFS_PATH=$SCRATCH/second "$IPFS_BIN" dag import --pin-roots=false "$SCRATCH/whole/blocks.car" \
    && IPFS_PATH=$SCRATCH/second "$IPFS_BIN" pin add "$(cat "$SCRATCH/wide.cid")"
}
check "a repo is made in Kubo" prepare_move
check "repo import --from-kubo ADDRESS, killed in between: pins, names, files tree" move_running
check "a folder with a running Kubo is refused" refused_while_it_runs
check "the daemon stops within six seconds" stop_daemon node
kubo shutdown; wait_gone "${PIDS[-1]}" 100
check "repo import --from-kubo DIR, killed in between: the same, and keys" move_folder
check "repo import --from-kubo DIR --with-identity is that node" move_identity
check "Kubo reads the archive of an export" archive_back
verdict "Kubo"
