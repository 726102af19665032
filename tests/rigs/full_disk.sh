#!/bin/bash
# A full disk and a failing one: nothing acknowledged is lost, errors say what to do, reading goes on. Run as root (tmpfs, strace).
# Needs strace; IPFS_KIT_BIN names the binary, else target/release/ipfs-kit.
command -v strace >/dev/null || { echo "strace is missing: apt-get install strace"; exit 1; }
. "$(dirname "$0")/lib.sh"
DISK=$SCRATCH/disk
mkdir -p "$DISK"
undo() { KEEP=1 tidy >/dev/null; umount "$DISK" 2>/dev/null; rm -rf "$SCRATCH"; }
trap 'undo' EXIT
mount -t tmpfs -o size=96m none "$DISK" || { echo "mounting a tmpfs needs root"; exit 1; }
REAL=$BIN
# It is the disk that ends first here, not what blocks may take of it.
export IPFS_KIT_STORAGE_MAX=1TiB

# fails WORDS COMMAND…: the command must fail, and say these words.
fails() {
  local words=$1 text code; shift
  text=$("$@" 2>&1); code=$?
  echo "exit code $code: $text"
  [ $code != 0 ] && grep -qF -- "$words" <<<"$text"
}
# same NAME CID FILE: whether the daemon gives the file back.
same() { kit "$1" cat "$2" --timeout 10s | cmp - "$3"; }
# start_faulty NAME INJECTION PATH [FLAG…]: a daemon whose system calls on PATH fail as strace's -e inject says. The daemon is the
# child, the tracer stands beside it.
start_faulty() {
  local name=$1 inject=$2 path=$3 code; shift 3
  cat >"$SCRATCH/faulty" <<EOF
#!/bin/sh
exec strace -D -f -qq -o "$SCRATCH/strace" -P "$path" -e trace=fdatasync,fsync,pwrite64 -e inject="$inject" "$REAL" "\$@"
EOF
  chmod +x "$SCRATCH/faulty"
  BIN=$SCRATCH/faulty start_daemon "$name" "$@"; code=$?
  return $code
}
add() { kit "$1" add "$2" --format json | jq -r .cid; }
# again NAME [FLAG…]: starts a daemon on a repo that had one; its old log must not pass for the new one's.
again() { : >"$SCRATCH/$1.log"; start_daemon "$@"; }
killed() { kill -9 "${PID_OF[$1]}" 2>/dev/null; wait "${PID_OF[$1]}" 2>/dev/null; return 0; }
pins_of() { kit "$1" list-pins --format json | jq '.pins | length'; }

echo "== the disk fills up"
REPO_OF[one]=$DISK/repo
start_daemon one || exit 1
make_file "$SCRATCH/small" 3000 1; make_file "$SCRATCH/medium" 4000000 2; make_file "$SCRATCH/huge" 200000000 3
MEDIUM=$(add one "$SCRATCH/medium")
check "a file is added" same one "$MEDIUM" "$SCRATCH/medium"
check "more than there is room for is refused" fails "error: " kit one add "$SCRATCH/huge"
check "it is not pinned" test "$(pins_of one)" = 1
# Smaller and smaller files until not even small ones are taken.
declare -A KEPT
for size in 1000000 100000 10000 1000; do
  for ((n = 0; n < 60; n++)); do
    make_file "$SCRATCH/fill-$size-$n" $size $((size + n))
    cid=$(kit one add "$SCRATCH/fill-$size-$n" --format json 2>"$SCRATCH/said" | jq -r .cid)
    [ -n "$cid" ] || break
    KEPT[$cid]=$SCRATCH/fill-$size-$n
  done
done
echo "   ${#KEPT[@]} files more were acknowledged, $(df -h --output=avail "$DISK" | tail -1) are free"
make_file "$SCRATCH/more" 500000 9
check "in the end nothing is taken, and what to do is said" fails "free some space" kit one add "$SCRATCH/more"
check "reading goes on" same one "$MEDIUM" "$SCRATCH/medium"
check "unpinning still finds room" kit one unpin "$MEDIUM"
check "pinning, too" kit one pin "$MEDIUM"
check "stopping is clean" stop_daemon one
check "it starts again beside the full store" again one
check "what was acknowledged is pinned" test "$(pins_of one)" = $((${#KEPT[@]} + 1))
"$REAL" --repo "$SCRATCH/other" init >/dev/null
OTHER=$("$REAL" --repo "$SCRATCH/other" add "$SCRATCH/more" --format json | jq -r .cid)
"$REAL" --repo "$SCRATCH/other" dag export "$OTHER" >"$SCRATCH/archive.car"
# Now without the last bytes either, as another program would take them.
head -c 200m /dev/zero >"$DISK/ballast" 2>/dev/null
check "nothing is left at all" test "$(df --output=avail "$DISK" | tail -1)" -lt 64
check "a small file is refused with what to do" fails "free some space" kit one add "$SCRATCH/small"
# Every other way to write, none of which may leave half of anything behind.
LISTED=$(kit one files ls / 2>&1)
check "a change of the files tree is refused with what to do" fails "free some space" kit one files write --create --parents /a/b "$SCRATCH/more"
check "a block is refused with what to do" fails "free some space" kit one block put "$SCRATCH/more"
check "an archive is refused with what to do" fails "free some space" kit one dag import "$SCRATCH/archive.car"
check "the files tree is what it was" test "$(kit one files ls / 2>&1)" = "$LISTED"
check "reading goes on without a byte left" same one "$MEDIUM" "$SCRATCH/medium"
check "the daemon lives on" kill -0 "${PID_OF[one]}"
rm "$DISK/ballast"
mount -o remount,size=200m "$DISK"
SMALL=$(add one "$SCRATCH/small")
check "with room again adding works" same one "$SMALL" "$SCRATCH/small"
killed one
check "it starts after a kill" again one
KEPT[$MEDIUM]=$SCRATCH/medium KEPT[$SMALL]=$SCRATCH/small
all_there() { local cid; for cid in "${!KEPT[@]}"; do same one "$cid" "${KEPT[$cid]}" || return 1; done; }
check "every acknowledged file is there" all_there
check "and pinned" test "$(pins_of one)" = ${#KEPT[@]}
stop_daemon one

echo "== a read-only disk"
mount -o remount,ro "$DISK"
check "no daemon starts, and why is said" fails "Read-only file system" timeout 60 "$REAL" --repo "$DISK/repo" daemon --api 127.0.0.1:0
check "no verb runs, and why is said" fails "Read-only file system" "$REAL" --repo "$DISK/repo" list-pins
mount -o remount,rw "$DISK"
check "written to again, it starts" again one
check "and everything is there" all_there
stop_daemon one

echo "== the disk fails to sync blocks"
start_daemon two || exit 1
BEFORE=$(add two "$SCRATCH/medium")
stop_daemon two
: >"$SCRATCH/two.log"
start_faulty two fdatasync:error=EIO:when=3+ "${REPO_OF[two]}/blocks/00000001.seg" || exit 1
ACKNOWLEDGED=1
for ((n = 0; n < 5; n++)); do kit two add "$SCRATCH/fill-1000000-$n" >/dev/null 2>"$SCRATCH/said" || break; ACKNOWLEDGED=$((ACKNOWLEDGED + 1)); done
echo "   after $((ACKNOWLEDGED - 1)) more files: $(cat "$SCRATCH/said")"
check "an add whose sync fails is not acknowledged" grep -q "Input/output error" "$SCRATCH/said"
check "some were before" test $ACKNOWLEDGED -gt 1
check "later writes are refused with what to do" fails "check the disk, then restart" kit two add "$SCRATCH/small"
check "reading goes on" same two "$BEFORE" "$SCRATCH/medium"
check "what was refused is not pinned" test "$(pins_of two)" = $ACKNOWLEDGED
killed two
check "it starts again" again two
check "what was acknowledged is there" same two "$BEFORE" "$SCRATCH/medium"
check "and pinned" test "$(pins_of two)" = $ACKNOWLEDGED
AFTER=$(add two "$SCRATCH/small")
check "adding works again" same two "$AFTER" "$SCRATCH/small"
stop_daemon two

# Pins and the files tree live in repo.redb. Wherever its writes begin to fail, and however, what was acknowledged before is
# there after a restart, and of what was not, all or nothing.
stage=0
for fault in fdatasync:error=EIO:when=3+ pwrite64:error=ENOSPC:when=4+ pwrite64:error=ENOSPC:when=9+ pwrite64:error=EROFS:when=14+; do
  stage=$((stage + 1))
  name=state-$stage
  echo "== pins and files cannot be kept ($fault)"
  start_daemon "$name" || exit 1
  CID=$(kit "$name" add "$SCRATCH/small" --pin=false --format json | jq -r .cid)
  stop_daemon "$name"
  : >"$SCRATCH/$name.log"
  start_faulty "$name" "$fault" "${REPO_OF[$name]}/repo.redb" || { echo "it does not start at this stage"; continue; }
  MADE=0
  for ((n = 0; n < 12; n++)); do kit "$name" files mkdir "/d$n" 2>"$SCRATCH/said" || break; MADE=$((MADE + 1)); done
  echo "   $MADE folders acknowledged, then: $(cat "$SCRATCH/said")"
  check "in the end none is acknowledged" test $MADE -lt 12
  check "no pin is acknowledged either" fails "error: " kit "$name" pin "$CID"
  check "reading goes on" same "$name" "$CID" "$SCRATCH/small"
  killed "$name"
  check "it starts again" again "$name"
  FOUND=$(kit "$name" files ls / | wc -l)
  check "folders that were acknowledged are there, and at most the one under way" test "$FOUND" -ge $MADE -a "$FOUND" -le $((MADE + 1))
  check "pinning works again" kit "$name" pin "$CID"
  stop_daemon "$name"
done

echo "== no room for a master's log"
REPO_OF[cramped]=$DISK/cramped
start_daemon cramped --dht-namespace full || exit 1
head -c 300m /dev/zero >"$DISK/ballast" 2>/dev/null
check "no cluster is founded, and why is said" fails "No space left" kit cramped cluster init
rm "$DISK/ballast"
stop_daemon cramped

# A master whose log cannot be written must neither acknowledge nor vote on.
for fault in fdatasync:error=EIO pwrite64:error=ENOSPC; do
  master=master-${fault%%:*}
  echo "== a master's log cannot be written ($fault)"
  start_daemon "$master" --dht-namespace full || exit 1
  kit "$master" cluster init >/dev/null
  FIRST=$(kit "$master" task submit noop --direct --format json | jq -r .id)
  stop_daemon "$master"
  : >"$SCRATCH/$master.log"
  start_faulty "$master" "$fault:when=12+" "${REPO_OF[$master]}/raft/cluster/0000000001.wal" --dht-namespace full || exit 1
  DONE=("$FIRST")
  for ((i = 0; i < 40; i++)); do
    id=$(kit "$master" task submit noop --direct --timeout 10s --format json 2>"$SCRATCH/said" | jq -r .id)
    [ -n "$id" ] || break
    DONE+=("$id")
  done
  echo "   ${#DONE[@]} tasks acknowledged, then: $(cat "$SCRATCH/said")"
  check "in the end none is acknowledged" test $i -lt 40
  check "later ones are refused with what to do" fails "then restart" kit "$master" task submit noop --direct --timeout 10s
  no_leader() { [ "$(kit "$master" cluster status --format json | jq -r .leader)" = null ]; }
  check "it calls itself leader no more" no_leader
  SIZE=$(sha256sum <"${REPO_OF[$master]}/raft/cluster/0000000001.wal")
  check "the log says why, once" test "$(grep -c 'the log cannot be written; it stops' "$SCRATCH/$master.log.err")" = 1
  check "reading and adding go on" kit "$master" add "$SCRATCH/small"
  check "nothing is written to the log any more" test "$SIZE" = "$(sha256sum <"${REPO_OF[$master]}/raft/cluster/0000000001.wal")"
  killed "$master"
  check "it starts again" again "$master" --dht-namespace full
  all_known() { local task; for task in "${DONE[@]}"; do kit "$master" task status "$task" || return 1; done; }
  check "every acknowledged task is there" wait_for 100 all_known
  check "and it leads again" kit "$master" task submit noop --direct
  stop_daemon "$master"
done
verdict full-disk
