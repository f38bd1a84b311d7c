#!/bin/sh
# Runs the Litestream set-up of docs/BACKUP.md: posts to a server, kills it, restores what Litestream has, and checks it.
# Usage: scripts/test-litestream.sh [path of moorgate]; needs litestream, curl and sqlite3.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
moorgate=$(realpath "${1:-$root/target/debug/moorgate}")
folder=$(mktemp -d)
server='' replication=''
cleanup() {
    for process in $server $replication; do kill "$process" 2>/dev/null || true; done
    rm -rf "$folder"
}
trap cleanup EXIT
cd "$folder"

# The configuration as it is documented, with the paths of this test.
sed -n '/^```yaml$/,/^```$/p' "$root/docs/BACKUP.md" | grep -v '^```' |
    sed -e "s|/var/lib/moorgate|$folder|" -e "s|/backups/litestream|$folder/replica|" >litestream.yml
grep -q "path: $folder/moorgate.db" litestream.yml

export MOORGATE_GATEWAY__REQUIRE_PAIRING=false MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE=0
"$moorgate" serve --port 0 --print-json >banner 2>moorgate.log &
server=$!
for _ in $(seq 100); do
    url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' banner)
    test -n "$url" && break
    sleep 0.1
done
litestream replicate -config litestream.yml >litestream.log 2>&1 &
replication=$!
for number in $(seq 1 100); do
    curl -sf "$url/webhook" -H "Idempotency-Key: order-$number" -H 'Content-Type: application/json' \
        -d "{\"message\":\"message $number\"}" >/dev/null
done
sleep 5 # Litestream copies once a second
kill -9 "$server"
server=''
kill -INT "$replication" && wait "$replication" || true
replication=''

litestream restore -config litestream.yml -o restored.db "$folder/moorgate.db"
"$moorgate" db check --database restored.db >checked
test "$(sqlite3 restored.db "SELECT count(*) FROM message WHERE state = 'answered'")" = 100
"$moorgate" db restore restored.db --yes >/dev/null
"$moorgate" db check >/dev/null
echo "ok: 100 messages, $(grep -c ': ok$' checked) checks"
