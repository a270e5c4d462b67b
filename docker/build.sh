#!/bin/sh
# Builds the program for the image: what the Dockerfile runs, and what can be run without Docker.
# Usage: docker/build.sh FOLDER   (the program is put there)
set -eu
out=${1:?say where the program goes}
cd "$(dirname "$0")/.."
cargo build --release --locked --package bellwether --bin bellwether
mkdir -p "$out"
cp "${CARGO_TARGET_DIR:-target}/release/bellwether" "$out/bellwether"
"$out/bellwether" --version
