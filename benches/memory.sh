#!/bin/bash
# Peak memory of the daemon while content is added, beside what it needs for 100 MiB: 10 GiB in one file, 1,000,000 files in 1,000
# folders, and the same files in one folder. Ours alone: what is asked for is that it does not grow.
#   memory.sh [PART…]     file folders folder; default all. GIB (10), FOLDERS (1000), FILES (1000 in each)
# Needs room on the disk for GIB and for the files.
. "$(dirname "$0")/lib.sh"
GIB=${GIB:-10}
FOLDERS=${FOLDERS:-1000}
FILES=${FILES:-1000}
PARTS=("$@")
[ ${#PARTS[@]} = 0 ] && PARTS=(file folders folder)
# peak NAME: the most memory the daemon ever had, in MiB.
peak() { awk '/^VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/${PID_OF[$1]}/status"; }
noise() { openssl enc -aes-128-ctr -K "$(printf '%032x' "$2")" -iv 0 < <(head -c "$1" /dev/zero) 2>/dev/null; }

base=''
# measured NAME COMMAND…: peak memory of a fresh daemon over one command, and its time.
measured() {
  local name=$1 begin; shift
  start_daemon "$name" || exit 1
  begin=$(now_ns)
  "$@" "$name" >/dev/null || { echo "$name failed"; exit 1; }
  PEAK=$(peak "$name") SECONDS_TAKEN=$((($(now_ns) - begin) / 1000000000))
  stop_daemon "$name"
  rm -rf "${REPO_OF[$name]}"
}
stream() { noise "$1" "$2" | kit "$3" add -Q -; }
tree() { kit "$2" add -r -Q "$1"; }
# files PATH FOLDERS FILES: that many small files, all different.
files() {
  local i
  for ((i = 0; i < $2; i++)); do
    mkdir -p "$1/d$i"
    (cd "$1/d$i" && noise $(($3 * 64)) $((i + 7)) | split -b 64 -a 7 -d - "f$i-")
  done
}

echo "<!-- $(machine) -->"
echo "| adding, peak memory of the daemon, MiB | peak | beyond 100 MiB's | goal | seconds |"
echo "|---|---|---|---|---|"
measured base stream $((100 << 20)) 1; base=$PEAK
echo "| 100 MiB in one file | $base | | | $SECONDS_TAKEN |"
row() { echo "| $1 | $PEAK | $(awk -v a="$PEAK" -v b="$base" 'BEGIN {printf "%+.1f", a - b}') | $2 | $SECONDS_TAKEN |"; }
for part in "${PARTS[@]}"; do
  case $part in
    file) measured file stream $((GIB << 30)) 2; row "$GIB GiB in one file" '+32' ;;
    folders)
      files "$SCRATCH/tree" "$FOLDERS" "$FILES"
      measured folders tree "$SCRATCH/tree"; row "$((FOLDERS * FILES)) files in $FOLDERS folders" '+32'
      rm -rf "$SCRATCH/tree" ;;
    folder)
      mkdir "$SCRATCH/tree"
      noise $((FOLDERS * FILES * 64)) 3 | (cd "$SCRATCH/tree" && split -b 64 -a 7 -d - f)
      measured folder tree "$SCRATCH/tree"; row "$((FOLDERS * FILES)) files in one folder" '+128'
      rm -rf "$SCRATCH/tree" ;;
    *) echo "no part is called $part"; exit 1 ;;
  esac
done
