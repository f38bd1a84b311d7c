//! Crowds: a thousand clients that send a head a byte a second, and ten thousand that do nothing; and what a paired client
//! notices of them. The limits are the gateway's defaults. It needs `ulimit -n 20000`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{
    load::{self, Load, Report},
    process::{Process, pair},
    scenario::Settings,
    stats::{Table, format_latency, median, median_duration},
};

const PATIENCE: Duration = Duration::from_mins(1);
/// Clients that send a byte a second.
const SLOW: usize = 1000;
/// Clients that do nothing.
const IDLE: usize = 10_000;
/// The addresses that they come from, so that it is not the cap of an address that refuses them.
const ADDRESSES: usize = 20;
/// The paired client's requests a second.
const CLIENT_RATE: u32 = 100;
/// How long the client is watched: as long as the slow are there.
const WATCHED: Duration = Duration::from_secs(10);

struct Measured {
    quiet: Report,
    with_slow: Report,
    gone: Duration,
    with_idle: Report,
    refused: usize,
}

/// Measures both crowds and prints the table.
///
/// # Errors
/// What went wrong, as text.
pub fn run(settings: &Settings) -> Result<(), String> {
    let mut measured = Vec::new();
    for round in 0..settings.rounds {
        let folder = settings.folder.join(format!("crowd-{round}"));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        measured.push(measure(settings, &folder)?);
        std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    }
    println!("\n### {SLOW} clients that send a byte a second, {IDLE} that do nothing\n");
    let of = |value: &dyn Fn(&Measured) -> Duration| {
        median_duration(&measured.iter().map(value).collect::<Vec<_>>())
            .map(format_latency)
            .unwrap_or_default()
    };
    let ratio = |value: &dyn Fn(&Measured) -> &Report| {
        let ratios = measured.iter().map(|it| value(it).p99.as_secs_f64() / it.quiet.p99.as_secs_f64());
        median(&ratios.collect::<Vec<_>>()).map(|ratio| format!("{ratio:.2}")).unwrap_or_default()
    };
    let refused = measured.iter().map(|it| it.refused.to_string()).collect::<Vec<_>>().join(", ");
    let mut table = Table::new(&["measure", "median"]);
    for (name, value) in [
        ("a client's /webhook p99, quiet", of(&|it| it.quiet.p99)),
        ("the same with the slow", of(&|it| it.with_slow.p99)),
        ("… of quiet", ratio(&|it| &it.with_slow)),
        ("from the first of the slow to the end of the last", of(&|it| it.gone)),
        ("p99 with the idle", of(&|it| it.with_idle.p99)),
        ("… of quiet", ratio(&|it| &it.with_idle)),
        ("of the idle, refused (each round)", refused),
    ] {
        table.row(&[name.to_owned(), value]);
    }
    println!("{table}");
    Ok(())
}

fn measure(settings: &Settings, folder: &Path) -> Result<Measured, String> {
    let process = Process::start(settings.serve(folder), PATIENCE)?;
    let banner = process.banner();
    let addr = banner.addr;
    let token = pair(addr, banner.pairing_code.as_deref().unwrap_or_default())?;
    let client = Load::of_a_client(addr, token, CLIENT_RATE, WATCHED);
    let quiet = load::run(&client)?;
    let (with_slow, gone) = beside(&client, || slow(addr))?;
    let (with_idle, refused) = beside(&client, || idle(addr))?;
    process.stop(PATIENCE)?;
    for report in [&quiet, &with_slow, &with_idle] {
        report.check()?;
    }
    Ok(Measured { quiet, with_slow, gone, with_idle, refused })
}

/// Watches the client while a crowd, which comes a second later, is there.
fn beside<T: Send>(
    client: &Load,
    crowd: impl FnOnce() -> Result<T, String> + Send,
) -> Result<(Report, T), String> {
    thread::scope(|scope| {
        let watched = scope.spawn(|| load::run(client));
        thread::sleep(Duration::from_secs(1));
        let crowd = crowd()?;
        let watched = watched.join().unwrap_or_else(|_| Err("the client panicked".to_owned()))?;
        Ok((watched, crowd))
    })
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

async fn connect(number: usize, to: SocketAddr) -> std::io::Result<TcpStream> {
    let last = u8::try_from(number % ADDRESSES).unwrap_or(0) + 1;
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 1, last), 0).into())?;
    socket.connect(to).await
}

/// How long until all slow clients are gone.
fn slow(to: SocketAddr) -> Result<Duration, String> {
    runtime()?.block_on(async {
        let begun = Instant::now();
        let mut crowd = JoinSet::new();
        for number in 0..SLOW {
            let stream = connect(number, to).await.map_err(|error| error.to_string())?;
            crowd.spawn(drip(stream));
        }
        while crowd.join_next().await.is_some() {}
        Ok(begun.elapsed())
    })
}

/// Sends a byte of a head every second until the gateway closes.
async fn drip(mut stream: TcpStream) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut head = b"GET /health HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
    let mut answer = [0; 1];
    loop {
        tokio::select! {
            _ = stream.read(&mut answer) => return,
            _ = second.tick() => {
                let byte = head.next().unwrap_or(b'x');
                stream.write_all(&[byte]).await.ok(); // the reading notices that it is closed
            }
        }
    }
}

/// How many of the idle clients are refused at once. All stay until the client is no longer watched.
fn idle(to: SocketAddr) -> Result<usize, String> {
    runtime()?.block_on(async {
        let begun = Instant::now();
        let mut crowd = Vec::with_capacity(IDLE);
        for number in 0..IDLE {
            crowd.push(connect(number, to).await.map_err(|error| error.to_string())?);
        }
        // The gateway cuts those that it let in after ten seconds without a head.
        tokio::time::sleep(Duration::from_secs(5).saturating_sub(begun.elapsed())).await;
        let mut refused = 0;
        let mut answer = [0; 12];
        for stream in &crowd {
            match stream.try_read(&mut answer) {
                Ok(12) if answer.starts_with(b"HTTP/1.1 503") => refused += 1,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => return Err(format!("an idle client gets {other:?}")),
            }
        }
        Ok(refused)
    })
}
