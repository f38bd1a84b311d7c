#!/usr/bin/env bash
# Installs the OTLP receiver that tests/gateway/telemetry runs against, into .otlp-receiver/; does nothing if it is there. It
# needs python3 with pip.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.0.1a15

if [ -d ".otlp-receiver/rotel-$version.dist-info" ]; then
    exit
fi
python3 -m pip install --quiet --target .otlp-receiver --no-deps --only-binary :all: --disable-pip-version-check \
    --root-user-action ignore "rotel==$version"
