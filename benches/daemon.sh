#!/bin/bash
# A daemon alone: time until it is ready, time of one command against it and without it, memory while idle.
#   daemon.sh [ROUNDS]    default 20
# Where IPFS_BIN names a Kubo, the same of Kubo in the same run.
. "$(dirname "$0")/lib.sh"
ROUNDS=${1:-20}
# memory PID: resident memory in all and its anonymous part, MiB.
memory() { awk '/^VmRSS/{r=$2} /^RssAnon/{a=$2} END {printf "%.1f %.1f", r/1024, a/1024}' "/proc/$1/status"; }

ready=() command=() offline=()
IPFS_KIT_PATH=$SCRATCH/one "$BIN" init >/dev/null || exit 1
for ((i = 0; i < ROUNDS; i++)); do
  mkfifo "$SCRATCH/out$i"
  begin=$(now_ns)
  IPFS_KIT_PATH=$SCRATCH/one "$BIN" daemon --api 127.0.0.1:0 --swarm /ip4/127.0.0.1/tcp/0 --swarm /ip4/127.0.0.1/udp/0/quic-v1 >"$SCRATCH/out$i" 2>/dev/null </dev/null &
  pid=$!; PIDS+=("$pid")
  grep -m 1 -q '^Daemon is ready' "$SCRATCH/out$i"
  ready+=($((($(now_ns) - begin) / 10000)))
  cat "$SCRATCH/out$i" >/dev/null 2>&1 &
  begin=$(now_ns); IPFS_KIT_PATH=$SCRATCH/one "$BIN" id >/dev/null || exit 1; command+=($((($(now_ns) - begin) / 10000)))
  if [ $((i + 1)) = "$ROUNDS" ]; then sleep 10; read -r rss anon <<<"$(memory "$pid")"; fi
  kill "$pid"; wait_gone "$pid" 60 || { echo "the daemon did not stop"; exit 1; }
  begin=$(now_ns); IPFS_KIT_PATH=$SCRATCH/one "$BIN" id >/dev/null || exit 1; offline+=($((($(now_ns) - begin) / 10000)))
done
ms() { stats "$@" | awk '{printf "%.1f (max %.1f)", $1 / 100, $2 / 100}'; }
echo "<!-- $(machine) -->"
echo "| a daemon alone, $ROUNDS rounds | ipfs-kit | Kubo, same run |"
echo "|---|---|---|"
if [ -x "${IPFS_BIN:-}" ]; then
  export IPFS_PATH=$SCRATCH/kubo IPFS_TELEMETRY=off
  "$IPFS_BIN" init --profile=test --empty-repo >/dev/null; "$IPFS_BIN" config --json Bootstrap '[]' >/dev/null
  kready=() kcommand=() koffline=()
  for ((i = 0; i < ROUNDS; i++)); do
    mkfifo "$SCRATCH/k$i"
    begin=$(now_ns)
    "$IPFS_BIN" daemon >"$SCRATCH/k$i" 2>/dev/null </dev/null &
    pid=$!; PIDS+=("$pid")
    grep -m 1 -q '^Daemon is ready' "$SCRATCH/k$i"
    kready+=($((($(now_ns) - begin) / 10000)))
    cat "$SCRATCH/k$i" >/dev/null 2>&1 &
    begin=$(now_ns); "$IPFS_BIN" id >/dev/null; kcommand+=($((($(now_ns) - begin) / 10000)))
    if [ $((i + 1)) = "$ROUNDS" ]; then sleep 10; read -r krss kanon <<<"$(memory "$pid")"; fi
    kill "$pid"; wait_gone "$pid" 100 || kill -9 "$pid"
    begin=$(now_ns); "$IPFS_BIN" id >/dev/null; koffline+=($((($(now_ns) - begin) / 10000)))
  done
  k1=$(ms "${kready[@]}") k2=$(ms "${kcommand[@]}") k3=$(ms "${koffline[@]}") k4=$kanon k5=$krss
else
  k1=- k2=- k3=- k4=- k5=-
fi
echo "| start to \`Daemon is ready\`, ms, median | $(ms "${ready[@]}") | $k1 |"
echo "| one command (\`id\`) against it, ms, median | $(ms "${command[@]}") | $k2 |"
echo "| the same without a daemon, ms, median | $(ms "${offline[@]}") | $k3 |"
echo "| idle for 10 s: anonymous memory, MiB | $anon | $k4 |"
echo "| idle for 10 s: resident in all, MiB | $rss | $k5 |"
