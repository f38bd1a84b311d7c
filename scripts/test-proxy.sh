#!/bin/sh
# Runs packaging/nginx.conf or packaging/Caddyfile in front of a server, with addresses and a certificate of its own, and asks
# through it. Usage: scripts/test-proxy.sh nginx|caddy [path of moorgate]; needs curl, openssl, python3, and nginx or caddy.
set -eu
proxy=${1:?nginx or caddy}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
moorgate=$(realpath "${2:-$root/target/debug/moorgate}")
folder=$(mktemp -d)
processes=''
cleanup() {
    for process in $processes; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap cleanup EXIT
cd "$folder"
chmod 755 . # nginx gives up root, and then looks for its folders in here

fail() {
    echo "$proxy: $*" >&2
    cat ./*.log >&2
    exit 1
}
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Asks what comes after the expected status, and keeps the answer in `answer` and its head in `head`.
expect() {
    expected=$1
    shift
    status=$(curl -ks -o answer -D head -w '%{http_code}' "$@") || true
    test "$status" = "$expected" || fail "$status instead of $expected: $*"
}

export MOORGATE_CHANNELS_CONFIG__WHATSAPP__ACCESS_TOKEN=t MOORGATE_CHANNELS_CONFIG__WHATSAPP__PHONE_NUMBER_ID=1
export MOORGATE_CHANNELS_CONFIG__WHATSAPP__APP_SECRET=s MOORGATE_CHANNELS_CONFIG__WHATSAPP__VERIFY_TOKEN=v
export MOORGATE_GATEWAY__TRUST_FORWARDED_HEADERS=true MOORGATE_GATEWAY__TRUSTED_PROXIES=127.0.0.1
"$moorgate" serve --port 0 --print-json >banner 2>moorgate.log &
processes=$!
for _ in $(seq 100); do
    test -s banner && break
    sleep 0.1
done
backend=$(sed -n 's|.*"url":"http://\([^"]*\)".*|\1|p' banner)
code=$(sed -n 's/.*"pairing_code":"\([0-9]*\)".*/\1/p' banner)
secure=$(port)
url=https://localhost:$secure

case $proxy in
nginx)
    plain=$(port)
    openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 1 -subj /CN=localhost 2>/dev/null
    sed -e "s/127.0.0.1:3000/$backend/" -e '/\[::\]/d' -e "s/listen 443/listen 127.0.0.1:$secure/" \
        -e "s/listen 80/listen 127.0.0.1:$plain/" -e "s|/etc/letsencrypt.*fullchain|$folder/certificate|" \
        -e "s|/etc/letsencrypt.*privkey|$folder/key|" "$root/packaging/nginx.conf" >moorgate.conf
    cat >nginx.conf <<END
daemon off; pid nginx.pid; error_log nginx.log;
events {}
http { access_log off; client_body_temp_path bodies; proxy_temp_path answers; fastcgi_temp_path f; uwsgi_temp_path u;
       scgi_temp_path s; include moorgate.conf; }
END
    nginx -e nginx.log -p "$folder" -c nginx.conf &
    ;;
caddy)
    { echo '{ admin off
        auto_https disable_redirects
        skip_install_trust }' | sed 's/^{ /{\n/; s/ }$/\n}/'
    sed -e "s/gateway.example.com {/localhost:$secure {/" -e "s/reverse_proxy 127.0.0.1:3000/reverse_proxy $backend/" \
        "$root/packaging/Caddyfile"; } >Caddyfile
    XDG_DATA_HOME=$folder XDG_CONFIG_HOME=$folder caddy run --config Caddyfile --adapter caddyfile >caddy.log 2>&1 &
    ;;
*) fail 'nginx or caddy' ;;
esac
processes="$processes $!"
for _ in $(seq 100); do
    curl -ksf -o /dev/null "$url/ready" && break
    sleep 0.1
done

expect 200 "$url/ready"
expect 404 "$url/metrics"

# A client that claims to be others is locked out, and they are not.
guess() { # guess STATUS FROM CLAIMED
    expect "$1" -4 --interface "$2" -X POST "$url/pair" -H 'X-Pairing-Code: x' -H "X-Forwarded-For: $3" -H "Forwarded: for=$3"
}
for number in 1 2 3 4 5; do guess 403 127.0.0.5 "127.0.9.$number"; done
guess 429 127.0.0.5 127.0.9.6
guess 403 127.0.0.6 127.0.0.5
expect 200 -X POST "$url/pair" -H "X-Pairing-Code: $code"
token=$(sed -n 's/.*"token":"\([^"]*\)".*/\1/p' answer)
post() {
    expect "$1" "$url/webhook" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
        -H 'Idempotency-Key: order-1' -d "$2"
}
post 200 '{"message":"hello"}'
grep -qi '^x-request-id: ' head || fail 'no X-Request-Id'
post 200 '{"message":"hello"}'
grep -qi '^idempotency-replayed: true' head || fail 'the retry is not a replay'
post 422 '{"message":"another"}'
expect 401 "$url/webhook" -H 'Content-Type: application/json' -d '{"message":"hello"}'
grep -qi '^www-authenticate: bearer' head || fail 'no WWW-Authenticate'

# What is too long is refused by Moorgate, on /whatsapp from 3 MiB on.
head -c 70000 /dev/zero >long
expect 413 "$url/webhook" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' --data-binary @long
grep -q '"error"' answer || fail 'the answer to a long body is not that of Moorgate'
head -c 3000000 /dev/zero | tr '\0' ' ' >long
signature=$(openssl dgst -sha256 -hmac s long | awk '{print $NF}')
expect 400 "$url/whatsapp" -H "X-Hub-Signature-256: sha256=$signature" --data-binary @long
if test "$proxy" = nginx; then
    expect 308 "http://localhost:$plain/pair"
    grep -qi '^location: https://localhost/pair' head || fail 'no redirect'
fi
echo "ok: $proxy in front of $backend"
