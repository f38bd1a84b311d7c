//! `moorgate pair`: issues a pairing code. The server may be running on the same file, and knows the code at once.

use std::{net::Ipv6Addr, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};
use qrcode::{QrCode, render::unicode::Dense1x2, types::QrError};

use super::{Failure, FileArgs, beside, duration, load, print, table::OutputArgs};
use crate::{app::StartError, config::Gateway};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  moorgate pair --label phone --ttl 10m
  moorgate pair --qr --url https://gateway.example.com")]
pub(super) struct PairArgs {
    /// A name for the client that will pair with the code
    #[arg(long, default_value = "client", value_parser = NonEmptyStringValueParser::new())]
    label: String,
    /// How long the code is good [default: as configured]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
    /// Print a link with the code, and its QR code
    #[arg(long)]
    qr: bool,
    /// Where the client reaches the gateway, for the link [default: where it listens]
    #[arg(long, value_parser = base_url)]
    url: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(arguments: PairArgs) -> Result<(), Failure> {
    let mut config = load(arguments.files, Vec::new())?;
    config.gateway.pairing_code_ttl = arguments.ttl.unwrap_or(config.gateway.pairing_code_ttl);
    let ttl = config.gateway.pairing_code_ttl;
    let base = arguments.url.or_else(|| listens_on(&config.gateway));
    if arguments.qr && base.is_none() {
        return Err(Failure::new(
            Failure::USAGE,
            "a link needs --url, since the gateway chooses its own port",
        ));
    }
    let (code, now) = beside::run_on(&config, async |beside| {
        let issued = beside.pairing.issue_code(&arguments.label, beside.now).await;
        Ok((issued.map_err(StartError::from)?, beside.now))
    })?;
    // What follows the # stays with the client: it is in nobody's log.
    let link = base.map(|base| format!("{base}/pair#code={}", code.expose()));
    let record = vec![
        ("code", code.expose().into()),
        ("label", arguments.label.into()),
        ("expires_at", now.plus(ttl).into()),
        ("link", link.clone().into()),
    ];
    let minutes = ttl.as_secs().div_ceil(60);
    let sentence = format!("X-Pairing-Code: {}\nGood for one client, for {minutes} minutes.", code.expose());
    arguments.output.done(sentence, &record);
    match link.filter(|_| arguments.qr && !arguments.output.is_json()) {
        Some(link) => print_qr(&link),
        None => Ok(()),
    }
}

/// The longest that a QR code has room for whatever follows, with much to spare.
const LONGEST_URL: usize = 1000;

/// The base of an address that a client can reach.
fn base_url(text: &str) -> Result<String, String> {
    let is_url = ["http://", "https://"].iter().any(|scheme| {
        text.strip_prefix(scheme).is_some_and(|rest| !rest.starts_with('/') && !rest.is_empty())
    });
    let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || "?#".contains(c));
    if text.len() > LONGEST_URL {
        return Err(format!("expected {LONGEST_URL} characters at most"));
    }
    if is_url && is_plain {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err("expected an address such as https://gateway.example.com".into())
}

/// Where the configuration lets the gateway listen, unless it is a port that nobody knows before.
fn listens_on(gateway: &Gateway) -> Option<String> {
    let Gateway { host, port, .. } = gateway;
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.clone() };
    (*port != 0).then(|| format!("http://{host}:{port}"))
}

fn print_qr(link: &str) -> Result<(), Failure> {
    let failed =
        |error: QrError| Failure::new(Failure::USAGE, format!("no QR code has room for the link: {error}"));
    let code = QrCode::new(link).map_err(failed)?;
    print(format_args!("\n{link}\n\n{}\n", drawn(&code)));
    Ok(())
}

/// Two rows of it in a line. Terminals are dark: what is light is drawn.
fn drawn(code: &QrCode) -> String {
    code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_begins_with_an_address() {
        assert_eq!(base_url("https://gateway.example.com/"), Ok("https://gateway.example.com".into()));
        assert_eq!(base_url("http://[::1]:3000/moorgate"), Ok("http://[::1]:3000/moorgate".into()));
        for bad in
            ["", "gateway.example.com", "http://", "https:///x", "https://a b", "https://a#b", "ftp://a"]
        {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        let long = |hosts| format!("https://{}", "a".repeat(hosts));
        assert!(base_url(&long(992)).is_ok() && base_url(&long(993)).is_err());
        assert!(QrCode::new(long(992) + "/pair#code=123456").is_ok());
    }

    #[test]
    fn a_qr_code_has_a_light_frame_so_that_it_can_be_read() {
        let code = QrCode::new("http://127.0.0.1:3000/pair#code=123456").unwrap();
        let lines: Vec<String> = drawn(&code).lines().map(str::to_owned).collect();
        let width = code.width() + 8;
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert_eq!(lines[0], "█".repeat(width));
        // An odd number of rows: the last line has one.
        assert!(
            lines[1..lines.len() - 1].iter().all(|line| line.starts_with("████") && line.ends_with("████"))
        );
        assert_eq!(lines.last(), Some(&"▀".repeat(width)));
    }
}
