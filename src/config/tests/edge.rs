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
