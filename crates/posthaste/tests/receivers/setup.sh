#!/usr/bin/env bash
# Installs what the receivers need: the official Standard Webhooks libraries and one for ed25519, each from its own registry.
# Does nothing where that was done already for the same versions.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
place=${CARGO_TARGET_DIR:-$here/../../../../target}/receivers
mkdir -p "$place"

if ! cmp -s "$here/requirements.txt" "$place/venv/requirements.txt"; then
  rm -rf "$place/venv"
  python3 -m venv "$place/venv"
  "$place/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$place/venv/"
fi

# Node looks for modules beside the script that imports them, so that is where they go.
if ! cmp -s "$here/package-lock.json" "$here/node_modules/.installed-lock.json"; then
  (cd "$here" && npm ci --no-audit --no-fund --loglevel=error)
  cp "$here/package-lock.json" "$here/node_modules/.installed-lock.json"
fi
