# Shared by the scripts in this folder: the rigs' daemons, and medians. Sourced, not run.

# It is measured how fast and how large, not what the default limit allows.
export IPFS_KIT_STORAGE_MAX=1TiB
. "$(dirname "${BASH_SOURCE[0]}")/../tests/rigs/lib.sh"
EXAMPLES=$(dirname "$BIN")/examples

# stats NUMBER…: median and maximum.
stats() { printf '%s\n' "$@" | sort -n | awk '{v[NR]=$1} END {m=(NR%2)?v[(NR+1)/2]:(v[NR/2]+v[NR/2+1])/2; printf "%s %s", m, v[NR]}'; }
median() { stats "$@" | cut -d' ' -f1; }

# now_ns: nanoseconds, for differences.
now_ns() { date +%s%N; }

# machine: one line about where this was measured.
machine() { printf '%s cores, %s, Linux %s, %s\n' "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(uname -r | cut -d. -f1,2)" "$(date -u +%Y-%m-%d)"; }
