#!/bin/bash
# Makes a virtual environment with aioipfs at the pinned versions, unless it is there:  venv.sh FOLDER
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENV=$1
cmp -s "$HERE/requirements.txt" "$VENV/requirements.txt" && exit 0
rm -rf "$VENV"
python3 -m venv "$VENV" || { echo "no virtual environment can be made: install python3-venv"; exit 1; }
# All of what it needs stands in the file, so nothing else is looked for.
"$VENV/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$HERE/requirements.txt" || exit 1
cp "$HERE/requirements.txt" "$VENV/requirements.txt"
