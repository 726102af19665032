#!/bin/bash
# aioipfs (PyPI) runs each verb of /api/v0 against a daemon.
. "$(dirname "$0")/../rigs/lib.sh"
HERE=$ROOT/tests/interop/aioipfs
VENV=${CARGO_TARGET_DIR:-$ROOT/target}/ci-tools/aioipfs
bash "$HERE/venv.sh" "$VENV" || exit 1
start_daemon node || exit 1
mkdir "$SCRATCH/work"
timeout 300 "$VENV/bin/python" -W ignore "$HERE/check.py" "${API_OF[node]}" "$SCRATCH/work"
exit $?
