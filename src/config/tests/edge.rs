//! Who is believed about clients.

use super::{config, refuses};

const TRUST: &str = "[gateway]\ntrust_forwarded_headers = true\n";

#[test]
fn proxies_are_addresses_and_blocks_of_them() {
    let given = config(&format!("{TRUST}trusted_proxies = [\"10.1.2.3/8\", \"::1\"]\n"), &[]);
    let shown: Vec<_> = given.gateway.proxies.networks.iter().map(ToString::to_string).collect();
    assert_eq!((shown, given.warnings), (vec!["10.0.0.0/8".to_owned(), "::1/128".to_owned()], vec![]));
    let variables = [
        ("MOORGATE_GATEWAY__TRUST_FORWARDED_HEADERS", "true"),
        ("MOORGATE_GATEWAY__TRUSTED_PROXIES", "192.0.2.1, 2001:db8::/32"),
    ];
    assert_eq!(config("", &variables).gateway.proxies.networks.len(), 2);
    let file = "[gateway]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy\"]\nforwarded_header = \"via\"\n";
    let problems = r#"
config.toml:2: gateway.trusted_proxies[1] must be an IP address, or a block of them such as 10.0.0.0/8, not "proxy"
config.toml:3: gateway.forwarded_header must be "either", "x-forwarded-for" or "forwarded", not "via""#;
    refuses(file, &[], problems.trim_start());
}

#[test]
fn the_proxy_protocol_is_for_proxies_that_are_named() {
    let file = "[gateway]\nproxy_protocol = true\n";
    let problem = "config.toml:2: gateway.proxy_protocol needs gateway.trusted_proxies: else any client can choose its \
                   address, and so escape limits and lockouts or turn them on others";
    refuses(file, &[], problem);
    let given = config(&format!("{file}trusted_proxies = [\"10.0.0.1\"]\n"), &[]);
    assert_eq!((given.gateway.proxies.protocol, given.warnings), (true, vec![]));
}

#[test]
fn trust_that_lets_any_client_choose_its_address_is_a_warning() {
    let warned = |file: &str| config(file, &[]).warnings.join("\n");
    assert!(warned(TRUST).starts_with(
        "config.toml:2: gateway.trust_forwarded_headers is true without gateway.trusted_proxies: any client can choose its address"
    ));
    let everybody = warned(&format!("{TRUST}trusted_proxies = [\"0.0.0.0/0\"]\n"));
    assert!(everybody.starts_with(
        "config.toml:3: gateway.trusted_proxies names everybody: any client can choose its address"
    ));
    assert_eq!(
        warned("[gateway]\ntrusted_proxies = [\"10.0.0.0/8\"]\n"),
        "config.toml:2: gateway.trusted_proxies is not used: gateway.trust_forwarded_headers is false"
    );
}

#[test]
fn a_proxy_on_the_machine_of_a_tunnel_is_a_warning_or_a_problem() {
    let gateway = |networks: &str, more: &str| format!("{TRUST}trusted_proxies = [{networks}]\n{more}\n");
    let custom = "\"custom\"\ncustom.start_command = \"x\"\ncustom.url_pattern = \"y\"";
    let named = format!("{custom}\ncustom.client_ip_header = \"X-Client\"");
    let warned = |gateway: &str, tunnel: &str| {
        config(&format!("{gateway}[tunnel]\nprovider = {tunnel}\n"), &[]).warnings.join("\n")
    };
    let here = gateway(r#""10.0.0.1", "127.0.0.0/8""#, "");
    for (tunnel, sentence) in [
        (r#""cloudflare""#, "unless the proxy here removes cf-connecting-ip from what clients send"),
        (&named, "unless the proxy here removes x-client from what clients send"),
        (custom, "unless the tunnel writes the header that the proxies write"),
    ] {
        let warnings = warned(&here, tunnel);
        let start =
            "config.toml:3: gateway.trusted_proxies has this machine, from which the tunnel comes, too";
        assert!(warnings.starts_with(start) && warnings.contains(sentence), "{tunnel}: {warnings}");
        assert!(warnings.contains("any client can choose its address"), "{tunnel}: {warnings}");
    }
    let forwarded = gateway(r#""::1""#, "forwarded_header = \"forwarded\"");
    assert!(warned(&forwarded, "\"ngrok\"").contains("removes x-forwarded-for"));
    for (gateway, tunnel) in
        [(&here, r#""ngrok""#), (&here, r#""none""#), (&gateway(r#""10.0.0.1""#, ""), r#""cloudflare""#)]
    {
        assert_eq!(warned(gateway, tunnel), "", "{gateway}{tunnel}");
    }
    let file = "[gateway]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n[tunnel]\nprovider = \"ngrok\"\n";
    let problem = "config.toml:2: gateway.proxy_protocol cannot be with a tunnel while gateway.trusted_proxies has this machine: \
                   the tunnel's connections come from it, too, and without that header they would be closed";
    refuses(file, &[], problem);
}
