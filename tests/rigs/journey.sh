#!/bin/bash
# Runs the README's journey for two machines line by line between two network namespaces. Run as root.
# Lines are `first$ COMMAND` or `second$ COMMAND`, `# prints NAME` takes NAME from the line's output for later lines. A line with
# `ipfs-kit daemon` keeps running until the same machine starts its next daemon or the journey ends.
. "$(dirname "$0")/lib.sh"
NET=ipfskit$$
ip netns add "$NET-first" && ip netns add "$NET-second" || { echo "network namespaces need root"; exit 1; }
undo() { tidy; ip netns del "$NET-first" 2>/dev/null; ip netns del "$NET-second" 2>/dev/null; }
trap 'undo' EXIT
ip link add kit-first netns "$NET-first" type veth peer name kit-second netns "$NET-second"
for side in first:10 second:11; do
  name=${side%:*}
  ip -n "$NET-$name" addr add "192.168.1.${side#*:}/24" dev "kit-$name"
  ip -n "$NET-$name" link set "kit-$name" up
  ip -n "$NET-$name" link set lo up
  mkdir -p "$SCRATCH/$name"
  ln -s "$BIN" "$SCRATCH/$name/ipfs-kit"
  cp -r "$ROOT/docs" "$SCRATCH/$name/docs"
  mkdir -p "$SCRATCH/$name/notes"
  for ((i = 0; i < 20; i++)); do printf 'note %d\nof the second machine\n' "$i" >"$SCRATCH/$name/notes/$i.txt"; done
done

# on MACHINE COMMAND…: that command in the machine's namespace, home and folder.
on() {
  local name=$1; shift
  ip netns exec "$NET-$name" env -i HOME="$SCRATCH/$name" PATH="$SCRATCH/$name:/usr/bin:/bin" RUST_LOG="${RUST_LOG:-}" \
    bash -c "cd \"\$HOME\" && $*"
}

declare -A DAEMON VALUE
STEP=0
run_daemon() { # MACHINE COMMAND
  local name=$1 log
  if [ -n "${DAEMON[$name]:-}" ]; then
    kill "${DAEMON[$name]}"; wait_gone "${DAEMON[$name]}" 60 || { echo "the daemon did not stop within six seconds"; return 1; }
  fi
  log=$SCRATCH/$name-daemon-$STEP.log
  ip netns exec "$NET-$name" env -i HOME="$SCRATCH/$name" PATH="$SCRATCH/$name:/usr/bin:/bin" RUST_LOG="${RUST_LOG:-}" \
    bash -c "cd \"\$HOME\" && exec $2" >"$log" 2>&1 </dev/null &
  DAEMON[$name]=$!
  PIDS+=("$!")
  wait_for 300 grep -q '^Daemon is ready' "$log" || { tail -n 15 "$log"; return 1; }
}
pattern_of() {
  case $1 in
  CID) echo '(Qm[1-9A-HJ-NP-Za-km-z]{44}|baf[a-z2-7]{50,})' ;;
  TOKEN) echo 'ipk1_[A-Za-z0-9_-]+' ;;
  ID) echo '\bb[a-z2-7]{50,}' ;;
  esac
}

while IFS= read -r line; do
  machine=${line%%\$ *}
  command=${line#*\$ }
  prints=$(sed -n 's/.*# prints \([A-Z]*\).*/\1/p' <<<"$command")
  command=$(sed -E 's/[[:space:]]+# .*$//' <<<"$command")
  for name in "${!VALUE[@]}"; do command=$(sed -E "s#\\b$name\\b#${VALUE[$name]}#g" <<<"$command"); done
  STEP=$((STEP + 1))
  shown="$machine\$ ${line#*\$ }"
  shown=$(sed -E 's/[[:space:]]+# .*$//' <<<"$shown")
  case $command in
  "ipfs-kit daemon"*) check "$shown" run_daemon "$machine" "$command" ;;
  *)
    check "$shown" on "$machine" "$command"
    if [ -n "$prints" ]; then
      # An id is the task's own: the last that looks like one may be a CID, so the first is taken; of a folder's CIDs the last.
      if [ "$prints" = CID ]; then pick=tail; else pick=head; fi
      VALUE[$prints]=$(grep -oE "$(pattern_of "$prints")" "$SCRATCH/check.log" | $pick -n 1)
      [ -n "${VALUE[$prints]}" ] || { echo "FAIL  the line printed no $prints:"; head -n 5 "$SCRATCH/check.log"; FAILED=$((FAILED + 1)); }
    fi ;;
  esac
  [ "$FAILED" = 0 ] || break
done < <(sed -n '/<!-- journey:/,/<!-- end of journey/p' "$ROOT/README.md" | grep -E '^(first|second)\$ ')
[ "$STEP" -ge 15 ] || [ "$FAILED" != 0 ] || { echo "FAIL  only $STEP lines were found in the README"; FAILED=1; }

same_docs() { diff -r "$SCRATCH/first/docs" "$SCRATCH/second/docs-of-first"; }
counts() { # the result equals wc over the input's files
  on first "ipfs-kit task result ${VALUE[ID]}" | tee "$SCRATCH/result.json"
  local words; words=$(cat "$SCRATCH/second/notes/"* | wc -w)
  [ "$(jq -r .words "$SCRATCH/result.json")" = "$words" ] && [ "$(jq -r .files "$SCRATCH/result.json")" = 20 ]
}
stays_member() { on second "ipfs-kit cluster status --format json" | tee "$SCRATCH/status.json"; [ "$(jq '.members | length' "$SCRATCH/status.json")" = 2 ]; }
if [ "$FAILED" = 0 ]; then
  check "what was fetched equals what was added" same_docs
  check "the task's result equals wc" counts
  check "the restarted worker is a member" stays_member
fi
verdict "journey"
