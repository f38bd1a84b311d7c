//! Real proxies in front: limits and lockouts fall on the right client, with spoofed headers and without.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use reqwest::Method;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{
    client::{Client, Reply},
    gateway::Gateway,
    process::{Running, free_address},
    tool,
    wait::until,
};

const TRUST: [(&str, &str); 2] =
    [("gateway.trust_forwarded_headers", "true"), ("gateway.trusted_proxies", "127.0.0.1")];
const SPOOFED: [&[(&str, &str)]; 5] = [
    &[],
    &[("X-Forwarded-For", "127.0.9.1")],
    &[("X-Forwarded-For", "127.0.9.2, 127.0.0.1"), ("X-Forwarded-For", "127.0.0.1")],
    &[("Forwarded", "for=127.0.9.3"), ("X-Real-IP", "127.0.9.3")],
    &[("X-Forwarded-For", "unknown"), ("Forwarded", "for=\"")],
];

async fn pair(proxy: &Client, from: &str, code: &str, headers: &[(&str, &str)]) -> Reply {
    let client = proxy.seen_from(from);
    let request = client.request(Method::POST, "/pair").header("X-Pairing-Code", code);
    client.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// Five wrong codes of one client lock it out, whatever it says of itself, and nobody else behind the same proxy.
async fn assert_clients_are_told_apart(gateway: &Gateway, proxy: SocketAddr) {
    let client = Client::new(proxy);
    for headers in SPOOFED {
        assert_eq!(pair(&client, "127.0.0.5", "x", headers).await.status, 403, "{headers:?}");
    }
    for headers in SPOOFED {
        assert_eq!(pair(&client, "127.0.0.5", "x", headers).await.status, 429, "{headers:?}");
    }
    assert_eq!(gateway.sql("SELECT client FROM pairing_lockout"), "127.0.0.5");
    let code = gateway.code.clone().unwrap();
    let paired = pair(&client, "127.0.0.6", &code, &[("X-Forwarded-For", "127.0.0.5")]).await;
    assert_eq!(paired.status, 200, "{paired:?}");
    for from in ["127.0.0.7", "127.0.0.8"] {
        let client = client.seen_from(from);
        for (number, status) in [(1, 401), (2, 401), (3, 429)] {
            let spoofed = format!("127.0.9.{number}");
            let request = client.message("", None, "hello").header("X-Forwarded-For", spoofed);
            assert_eq!(client.send(request).await.status, status, "{from} {number}");
        }
    }
}

async fn until_it_listens(address: SocketAddr) {
    until("the proxy listens", async || TcpStream::connect(address).await.is_ok()).await;
}

fn is_installed(program: &str) -> bool {
    tool::on_path(program, &format!("Debian: apt-get install {program}")).is_some()
}

async fn behind(settings: &[(&'static str, &str)]) -> Gateway {
    let limit = ("gateway.webhook_rate_limit_per_minute", "2");
    Gateway::start_with(&[settings, &[limit]].concat()).await
}

/// The `location` of `packaging/nginx.conf` in a configuration without root, TLS or fixed ports.
fn nginx_conf(folder: &Path, listen: SocketAddr, gateway: SocketAddr) -> String {
    let packaged = include_str!("../../../packaging/nginx.conf");
    let from = packaged.find("    location / {").unwrap();
    let location = &packaged[from..from + packaged[from..].find("    }\n").unwrap() + 6];
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\nevents {{}}\n\
         http {{ access_log off;\n{temp}upstream moorgate {{ server {gateway}; keepalive 8; }}\n\
         server {{ listen {listen};\n{location} }} }}\n",
        folder = folder.display()
    )
}

/// Failures 20 and 21.
#[tokio::test]
async fn behind_nginx_limits_fall_on_the_right_client() {
    if !is_installed("nginx") {
        return;
    }
    let gateway = behind(&TRUST).await;
    let (folder, proxy) = (TempDir::new().unwrap(), free_address(20));
    let conf = folder.path().join("nginx.conf");
    fs::write(&conf, nginx_conf(folder.path(), proxy, gateway.address())).unwrap();
    let errors = folder.path().join("error.log");
    let mut command = Command::new("nginx");
    command.arg("-e").arg(errors).arg("-p").arg(folder.path()).arg("-c").arg(conf);
    let _nginx = Running::spawn(&mut command);
    until_it_listens(proxy).await;
    assert_clients_are_told_apart(&gateway, proxy).await;
}

/// A proxy that knows nothing of HTTP.
#[tokio::test]
async fn behind_haproxy_with_the_proxy_protocol_limits_fall_on_the_right_client() {
    if !is_installed("haproxy") {
        return;
    }
    for (number, version) in [(21, "send-proxy"), (22, "send-proxy-v2")] {
        let [_, proxies] = TRUST;
        let gateway = behind(&[proxies, ("gateway.proxy_protocol", "true")]).await;
        let (folder, proxy) = (TempDir::new().unwrap(), free_address(number));
        let conf = folder.path().join("haproxy.cfg");
        let text = format!(
            "global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 30s\n timeout client 60s\n timeout server 60s\n\
             listen moorgate\n bind {proxy}\n server one {} {version}\n",
            gateway.address()
        );
        fs::write(&conf, text).unwrap();
        let mut command = Command::new("haproxy");
        let _haproxy = Running::spawn(command.arg("-db").arg("-f").arg(conf));
        until_it_listens(proxy).await;
        assert_clients_are_told_apart(&gateway, proxy).await;
        // Whoever is no proxy is served as before, whatever it sends in front.
        assert_eq!(gateway.client.seen_from("127.0.0.9").get("/ready").await.status, 200);
    }
}
