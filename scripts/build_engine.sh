#!/usr/bin/env bash
# Build engines for this machine's GPU into engines/, with its class's profile; extra arguments go to `rtdeblur build`.
set -euo pipefail
cd "$(dirname "$0")/.."

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader --id=0)
profile=$(grep -l "^compute_capabilities.*\"$capability\"" engines/*.toml | head -n 1) || true
if [ -z "$profile" ]; then
    echo "engines/ has no profile for compute capability $capability; see engines/README.md" >&2
    exit 1
fi
exec rtdeblur build --profile "$profile" --engine-dir engines "$@"
