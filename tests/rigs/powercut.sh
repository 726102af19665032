#!/bin/bash
# Power cuts with writes under way: nothing acknowledged may be lost. Run as root (loop devices, mounts).
#   powercut.sh [CUTS]     default 20
# Every second cut comes while blocks, pins, log entries and states are written, the others while four adds are under way,
# pins move and the files tree changes; KIND=write or KIND=content makes it the one or the other for all of them.
# The disk is ext4 on a loop device, on nbdfuse, on nbdkit with a write-back cache. A cut kills nbdkit with SIGKILL: what a
# completed flush covered is in the image file, everything else is gone. Needs Debian's nbdkit, libnbd-bin, fuse3, e2fsprogs.
# CRASH_WRITER names the built example, else target/release/examples/crash_writer. SEED fixes the moments of the cuts.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CUTS=${1:-20}
WRITER=${CRASH_WRITER:-${CARGO_TARGET_DIR:-$ROOT/target}/release/examples/crash_writer}
[ -x "$WRITER" ] || { echo "no writer at $WRITER: cargo build --release --example crash_writer"; exit 1; }
for tool in nbdkit nbdfuse fusermount3 mkfs.ext4 losetup; do
  command -v $tool >/dev/null || { echo "$tool is missing: apt-get install nbdkit libnbd-bin fuse3 e2fsprogs"; exit 1; }
done
SEED=${SEED:-$(date +%N | sed 's/^0*//')}
RANDOM=$((SEED % 32768))
echo "seed $SEED"
D=$(mktemp -d /tmp/ipfs-kit-cut.XXXXXX)
mkdir -p "$D/mnt" "$D/fuse"
: >"$D/fuse/disk"
LOOP='' KIT='' FUSE='' WRITING=''

up() {
  rm -f "$D/nbd.sock" "$D/nbdkit.pid"
  nbdkit -f -P "$D/nbdkit.pid" -U "$D/nbd.sock" --filter=cache file "$D/disk.img" cache=writeback cache-max-size=4G 2>>"$D/nbdkit.log" &
  KIT=$!
  disown "$KIT"
  for ((i = 0; i < 100; i++)); do [ -S "$D/nbd.sock" ] && break; sleep 0.05; done
  setsid nbdfuse "$D/fuse/disk" --unix "$D/nbd.sock" </dev/null >"$D/nbdfuse.log" 2>&1 &
  FUSE=$!
  disown "$FUSE"
  for ((i = 0; i < 100; i++)); do [ "$(stat -c %s "$D/fuse/disk" 2>/dev/null || echo 0)" -gt 0 ] && break; sleep 0.05; done
  LOOP=$(losetup -f --show "$D/fuse/disk") || { echo "no loop device could be had"; return 1; }
  mount "$LOOP" "$D/mnt"
}

gone() { local i; for ((i = 0; i < 100; i++)); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.02; done; }

# After the cut the file system is dead; it is thrown away without a word to the disk.
down() {
  [ -n "$KIT" ] && kill -9 "$KIT" 2>/dev/null && gone "$KIT"
  [ -n "$WRITING" ] && kill -9 "$WRITING" 2>/dev/null && gone "$WRITING"
  mountpoint -q "$D/mnt" && umount -l "$D/mnt"
  [ -n "$LOOP" ] && losetup -d "$LOOP" 2>/dev/null
  [ -n "$FUSE" ] && kill "$FUSE" 2>/dev/null
  fusermount3 -u "$D/fuse/disk" 2>/dev/null
  [ -n "$FUSE" ] && gone "$FUSE"
  for ((i = 0; i < 60; i++)); do losetup -a | grep -q "$D/" || break; sleep 0.05; done
  LOOP='' KIT='' FUSE='' WRITING=''
}
tidy() { down; rm -rf "$D"; }
# A disk of its own for so many cuts, so that it does not fill.
FRESH=20
format() {
  rm -f "$D/disk.img"
  truncate -s "${DISK:-3G}" "$D/disk.img"
  mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$D/disk.img"
  : >"$D/acknowledged"
}
trap tidy EXIT
trap 'exit 130' INT TERM

good=0 bad=0
format
for ((cut = 1; cut <= CUTS; cut++)); do
  up || { echo "cut $cut: the disk does not come up again"; tail -n 3 "$D/nbdkit.log" "$D/nbdfuse.log"; exit 1; }
  if [ $cut -gt 1 ]; then
    # The image is what the last cut left; ext4 has just replayed its journal.
    if timeout 120 "$WRITER" check "$D/mnt/repo" <"$D/acknowledged" >"$D/check.log" 2>&1; then
      good=$((good + 1)); printf 'ok    after cut %2d: %s\n' $((cut - 1)) "$(tail -n 1 "$D/check.log")"
    else
      bad=$((bad + 1)); printf 'FAIL  after cut %2d (seed %s)\n' $((cut - 1)) "$SEED"; tail -n 12 "$D/check.log" | sed 's/^/      /'
      break
    fi
  fi
  if [ $cut -gt 1 ] && [ $(((cut - 1) % FRESH)) = 0 ]; then
    down
    format
    up || { echo "cut $cut: a new disk does not come up"; exit 1; }
  fi
  kind=${KIND:-$([ $((cut % 2)) = 0 ] && echo write || echo content)}
  before=$(wc -l <"$D/acknowledged")
  "$WRITER" "$kind" "$D/mnt/repo" >>"$D/acknowledged" 2>"$D/write.log" &
  WRITING=$!
  disown "$WRITING"
  # Cut between 0.3 and 2.3 s after the first acknowledgement of this round.
  for ((i = 0; i < 600; i++)); do [ "$(wc -l <"$D/acknowledged")" -gt "$before" ] && break; kill -0 "$WRITING" 2>/dev/null || break; sleep 0.05; done
  if ! kill -0 "$WRITING" 2>/dev/null; then echo "FAIL  the writer ended before cut $cut:"; tail -n 5 "$D/write.log"; bad=$((bad + 1)); break; fi
  sleep "$(printf '%d.%03d' $((RANDOM % 2)) $((300 + RANDOM % 700)))"
  down
done
if [ "$bad" = 0 ]; then
  up && if timeout 120 "$WRITER" check "$D/mnt/repo" <"$D/acknowledged" >"$D/check.log" 2>&1; then
    good=$((good + 1)); printf 'ok    after cut %2d: %s\n' "$CUTS" "$(tail -n 1 "$D/check.log")"
  else
    bad=$((bad + 1)); printf 'FAIL  after cut %2d (seed %s)\n' "$CUTS" "$SEED"; tail -n 12 "$D/check.log" | sed 's/^/      /'
  fi
fi
echo "power cuts: $good passed, $bad failed"
[ "$bad" = 0 ] && [ "$good" = "$CUTS" ]
