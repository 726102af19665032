#!/bin/bash
# Fuzzes every decoder of a file or an upload, or the named ones.
#   run.sh [TARGET…]
# FUZZ_SECONDS is the time for all of them together (600), JOBS how many run side by side (2), FUZZ_SEED where chance begins (1):
# with the same seed, compiler and nothing found before, a run tries the same inputs in the same order. What is found new goes to
# target/fuzz/found/TARGET and is where the next run begins; what crashes goes to target/fuzz/crashes, and its name is printed.
# Needs cargo-fuzz and a C++ compiler; CARGO_FUZZ names it when it is not on the path.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
OUT=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
JOBS=${JOBS:-2}
TARGETS=("$@")
[ ${#TARGETS[@]} -gt 0 ] || mapfile -t TARGETS < <(cd fuzz/fuzz_targets && ls | sed 's/\.rs$//')
EACH=$((${FUZZ_SECONDS:-600} / ${#TARGETS[@]}))
[ "$EACH" -ge 1 ] || EACH=1
# libFuzzer's coverage and AddressSanitizer are unstable flags of the compiler, not another compiler.
export RUSTC_BOOTSTRAP=1
"${CARGO_FUZZ:-cargo-fuzz}" fuzz build --codegen-units 16 --target-dir "$OUT" || exit 1
BINARIES=$OUT/$(rustc -vV | sed -n 's/^host: //p')/release
mkdir -p "$OUT/crashes" "$OUT/logs"

# one TARGET: a line with what it did; fails when something was found.
one() {
  local name=$1 log=$OUT/logs/$1.log code stat
  mkdir -p "$OUT/found/$name"
  # A minute for one input is a hang, whatever else the machine does.
  "$BINARIES/$name" -max_total_time="$EACH" -max_len=4096 -seed="${FUZZ_SEED:-1}" -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$OUT/crashes/$name-" "$OUT/found/$name" "fuzz/corpus/$name" >"$log" 2>&1
  code=$?
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  if [ $code = 0 ]; then
    printf 'ok    %-12s %4d s %11d executions, %5d new inputs\n' "$name" "$EACH" "$(stat number_of_executed_units)" "$(stat new_units_added)"
  else
    printf 'FAIL  %-12s\n' "$name"
    grep -E 'panicked at|SUMMARY|Test unit written|^ *left|^ *right|assertion' "$log" | head -n 8 | cut -c1-300 | sed 's/^/      /'
  fi
  return $code
}

failed=0
running=0
for name in "${TARGETS[@]}"; do
  [ -x "$BINARIES/$name" ] || { echo "no target is called $name; they are in fuzz/fuzz_targets"; exit 2; }
  if [ $running = "$JOBS" ]; then wait -n || failed=$((failed + 1)); running=$((running - 1)); fi
  one "$name" &
  running=$((running + 1))
done
while [ $running -gt 0 ]; do wait -n || failed=$((failed + 1)); running=$((running - 1)); done
echo "fuzz: $((${#TARGETS[@]} - failed)) targets passed, $failed failed, $EACH s each"
[ $failed = 0 ]
