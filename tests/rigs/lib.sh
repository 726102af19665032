# Shared by the scripts in tests/interop, tests/rigs and benches: a scratch folder, daemons, checks. Sourced, not run.
# Needs bash, jq and the built binary: IPFS_KIT_BIN names it, else target/release/ipfs-kit.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${IPFS_KIT_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/release/ipfs-kit}
[ -x "$BIN" ] || { echo "no binary at $BIN: build it with cargo build --release, or name it in IPFS_KIT_BIN"; exit 1; }
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/ipfs-kit-rig.XXXXXX")
PIDS=()
PASSED=0
FAILED=0

# Ends what this script started, by process id, and removes its scratch folder.
tidy() {
  local pid
  for pid in "${PIDS[@]:-}"; do [ -n "$pid" ] && kill "$pid" 2>/dev/null; done
  for pid in "${PIDS[@]:-}"; do [ -n "$pid" ] && wait_gone "$pid" 60 || { [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null; }; done
  if [ "${KEEP:-}" = 1 ]; then echo "kept $SCRATCH"; else rm -rf "$SCRATCH"; fi
}
trap 'tidy' EXIT
trap 'exit 130' INT TERM

# wait_gone PID TENTHS: whether the process ends within that many tenths of a second.
wait_gone() {
  local i
  for ((i = 0; i < $2; i++)); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  ! kill -0 "$1" 2>/dev/null
}

# wait_for TENTHS COMMAND…: repeats the command until it succeeds.
wait_for() {
  local tenths=$1 i; shift
  for ((i = 0; i < tenths; i++)); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
  return 1
}

# check NAME COMMAND…: runs the command, prints one line with its verdict and time, keeps its output when it fails.
check() {
  local name=$1 start end out; shift
  out=$SCRATCH/check.log
  start=$(date +%s%N)
  if "$@" >"$out" 2>&1 </dev/null; then
    end=$(date +%s%N); PASSED=$((PASSED + 1))
    printf 'ok    %-62s %6d ms\n' "$name" $(((end - start) / 1000000))
  else
    FAILED=$((FAILED + 1))
    printf 'FAIL  %s\n' "$name"; tail -n "${CHECK_LINES:-15}" "$out" | sed 's/^/      /'
  fi
}

# verdict LABEL: prints the totals and ends the script with them.
verdict() {
  echo "$1: $PASSED passed, $FAILED failed"
  [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
  exit $?
}

# start_daemon NAME [FLAG…]: a daemon on its own repo and free loopback ports. Sets REPO_OF[NAME], PID_OF[NAME], API_OF[NAME],
# SWARM_OF[NAME] (first TCP address with its peer id) and PEER_OF[NAME].
declare -A REPO_OF PID_OF API_OF SWARM_OF PEER_OF
start_daemon() {
  local name=$1 log repo swarm; shift
  repo=${REPO_OF[$name]:-$SCRATCH/$name}
  log=$SCRATCH/$name.log
  REPO_OF[$name]=$repo
  # The log of an earlier start says that it is ready: whoever believed it would ask before the daemon answers, and a
  # command that finds no daemon takes the repo itself.
  rm -f "$repo/api" "$log"
  swarm=(--swarm /ip4/127.0.0.1/tcp/0 --swarm /ip4/127.0.0.1/udp/0/quic-v1)
  case " $* " in *" --swarm "*) swarm=() ;; esac
  IPFS_KIT_PATH=$repo "$BIN" daemon --api 127.0.0.1:0 "${swarm[@]}" "$@" >"$log" 2>"$log.err" </dev/null &
  PID_OF[$name]=$!
  PIDS+=("$!")
  if ! wait_for 300 grep -qs '^Daemon is ready' "$log"; then
    echo "the daemon $name did not become ready:"; tail -n 20 "$log" "$log.err"; return 1
  fi
  API_OF[$name]=$(sed -n 's/^API server listening on //p' "$log" | head -1)
  PEER_OF[$name]=$(kit "$name" id --format json | jq -r .id)
  SWARM_OF[$name]=$(sed -n 's/^Swarm listening on //p' "$log" | grep /tcp/ | head -1)
  case ${SWARM_OF[$name]} in */p2p/*) ;; *) SWARM_OF[$name]=${SWARM_OF[$name]}/p2p/${PEER_OF[$name]} ;; esac
}

# stop_daemon NAME: SIGTERM, five seconds.
stop_daemon() {
  kill "${PID_OF[$1]}" 2>/dev/null
  wait_gone "${PID_OF[$1]}" 60 || { echo "the daemon $1 did not stop within six seconds of SIGTERM"; kill -9 "${PID_OF[$1]}"; return 1; }
}

# kit NAME ARGUMENT…: one command against that daemon's repo.
kit() { local name=$1; shift; IPFS_KIT_PATH=${REPO_OF[$name]} "$BIN" "$@"; }

# http_of NAME: the API's address as http://HOST:PORT.
http_of() { sed -E 's#^/ip[46]/([^/]+)/tcp/([0-9]+).*#http://\1:\2#' <<<"${API_OF[$1]}"; }

# make_file PATH BYTES SEED: the same noise on every run.
make_file() { head -c "$2" /dev/zero | openssl enc -aes-128-ctr -K "$(printf '%032x' "$3")" -iv 0 >"$1" 2>/dev/null; }

# make_folder PATH COUNT: small text files.
make_folder() {
  local i; mkdir -p "$1"
  for ((i = 0; i < $2; i++)); do printf 'this is file %d of the daemon\n' "$i" >"$1/$(printf 'file-%04d.txt' "$i")"; done
}

# listing_of FOLDER: digest over "name sha256" lines, as the peers in tests/interop compute it; names have no spaces.
listing_of() { (cd "$1" && sha256sum -- * | awk '{ print $2, $1 }' | LC_ALL=C sort | sha256sum | cut -d' ' -f1); }
