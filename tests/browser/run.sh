#!/bin/sh
# Starts a `bellwether up` of its own, sends the demo, and runs the browser test against it.
# Usage: tests/browser/run.sh [PROGRAM]   (default: target/release/bellwether, else target/debug)
# Screenshots go to target/shots. Needs node and npm; a browser as home.mjs says.
set -eu
cd "$(dirname "$0")/../.."
program=${1:-target/release/bellwether}
[ -x "$program" ] || program=target/debug/bellwether
(cd tests/browser && npm ci --silent --no-audit --no-fund)
home=$(mktemp -d)
chmod 711 "$home"
"$program" up --dir "$home/kept" --ingest 127.0.0.1:0 --console 127.0.0.1:0 >"$home/output" &
up=$!
trap 'kill -TERM $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$home"' EXIT
n=0
until grep -q "bellwether is up" "$home/output"; do
  n=$((n + 1))
  [ $n -lt 600 ] || { echo "bellwether up did not come up"; exit 1; }
  sleep 0.1
done
"$program" demo --dir "$home/kept" --rate 40 --count 48 >/dev/null
value() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$home/kept/$2"; }
BW_CONSOLE=$(value console running.toml) BW_INGEST=$(value ingest running.toml) \
BW_SECRET=$(value sentry_secret secrets.toml) BW_KEY=$(cat "$home/kept/operator-key") \
BW_SHOTS=$PWD/target/shots node tests/browser/home.mjs
