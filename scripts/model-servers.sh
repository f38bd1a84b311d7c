#!/usr/bin/env bash
# Installs the model servers of others that tests/gateway/provider runs against, into .model-servers/; does nothing if they
# are there. It needs node, 20.15 or newer, with npm. scripts/smoke-model.sh brings a real model by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@copilotkit/aimock
version=1.43.0
manifest=.model-servers/node_modules/$package/package.json

if grep -qsF "\"version\": \"$version\"" "$manifest"; then
    exit
fi
npm install --prefix .model-servers --no-save --no-package-lock --engine-strict --ignore-scripts --no-audit --no-fund \
    "$package@$version"
