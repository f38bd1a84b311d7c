//! Puts load on an HTTP/1.1 server and measures how it answers.
//!
//! It shares the machine with the server it measures, so it does as little as it can: a task per kept-alive
//! connection, one write and one read per request, reused buffers, one clock reading per answer, no allocation.
//!
//! Without a rate the loop is closed: a connection sends its next request when it has the answer to the last one, which
//! finds the highest throughput. With a rate the loop is open: requests are due at fixed times, whether or not the
//! server keeps up, and a latency counts from when its request was *due*. A server that stalls is charged with every
//! request that had to wait meanwhile (no coordinated omission).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::message::{Message, Reader, Status};
use crate::stats::{Histogram, as_f64};
use pace::Pace;
pub use webhook::{webhook_request, webhook_without_key, webhook_without_token};
pub use whatsapp::{APP_SECRET, PHONE_NUMBER_ID, whatsapp_request};

mod pace;
#[cfg(test)]
mod tests;
mod webhook;
mod whatsapp;

/// How long the answers that are still out at the end are waited for.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a server may refuse connections before the run is given up.
const REFUSED: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Numbers the requests of this process, so that no two runs in it ever share an idempotency key.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// Appends one whole request, head and body, to an empty buffer. The number is unique in this process.
pub type Request = Arc<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

/// What to send, where, for how long.
#[derive(Clone)]
pub struct Load {
    /// The server.
    pub addr: SocketAddr,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// How long to send before anything counts.
    pub warmup: Duration,
    /// How long to count after that.
    pub duration: Duration,
    /// Writes the requests.
    pub request: Request,
    /// The status of a good answer; others are counted apart.
    pub expect_status: u16,
    /// Requests due per second over all connections, or `None` for as many as the server answers.
    pub rate: Option<u32>,
    /// Requests in all: the run ends with the last of them, or with its duration.
    pub total: Option<u64>,
    /// Threads of the generator.
    pub threads: usize,
}

impl Load {
    /// 32 connections from one thread in a closed loop, for five seconds after one of warming up.
    #[must_use]
    pub fn new(addr: SocketAddr, request: Request, expect_status: u16) -> Self {
        Self {
            addr,
            connections: 32,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(5),
            request,
            expect_status,
            rate: None,
            total: None,
            threads: 1,
        }
    }

    /// The paired client that others are measured beside: four connections with so many requests a second.
    #[must_use]
    pub fn of_a_client(addr: SocketAddr, token: String, rate: u32, duration: Duration) -> Self {
        let request: Request = Arc::new(move |sequence, out| webhook_request(&token, sequence, out));
        let (connections, warmup) = (4, Duration::from_millis(500));
        Self { connections, warmup, duration, rate: Some(rate), ..Self::new(addr, request, 200) }
    }

    fn check(&self) -> Result<(), String> {
        if self.connections == 0 || self.threads == 0 || self.duration.is_zero() || self.rate == Some(0) {
            return Err("connections, threads, duration and rate must not be zero".to_owned());
        }
        Ok(())
    }
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Answers with the expected status that arrived between the end of the warm-up and the end of the run.
    pub requests: u64,
    /// The seconds between the two.
    pub seconds: f64,
    /// `requests` by `seconds`.
    pub per_second: f64,
    /// The latency half of the expected answers did not exceed. All latencies include the answers that were still out
    /// at the end of the run, so that a server cannot hide a stall there.
    pub p50: Duration,
    /// The latency 99 % of the expected answers did not exceed.
    pub p99: Duration,
    /// The longest latency of an expected answer.
    pub max: Duration,
    /// Other statuses since the end of the warm-up, and how often each came.
    pub unexpected: BTreeMap<u16, u64>,
    /// Connections opened anew after the server closed one, warm-up included.
    pub reconnects: u64,
    /// Requests sent without ever getting an answer, warm-up included.
    pub unanswered: u64,
    /// Requests of an open loop that were due but found no free connection before the end. When there are any, the
    /// server did not keep up, and the latencies are those of the requests that came first.
    pub unsent: u64,
}

impl Report {
    /// Whether every answer was as expected.
    ///
    /// # Errors
    /// If not, what was found, as text.
    pub fn check(&self) -> Result<(), String> {
        if self.unanswered > 0 || !self.unexpected.is_empty() {
            return Err(format!("not every answer was as expected: {self:?}"));
        }
        Ok(())
    }
}

/// Runs the load to its end and blocks until then, on threads of its own.
///
/// # Errors
/// When the load makes no sense, the server cannot be reached, or it does not speak HTTP.
pub fn run(load: &Load) -> Result<Report, String> {
    load.check()?;
    thread::scope(|scope| {
        let run = thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, || run_here(load));
        let run = run.map_err(|problem| format!("cannot start the load generator: {problem}"))?;
        run.join().unwrap_or_else(|_| Err("the load generator panicked".to_owned()))
    })
}

fn run_here(load: &Load) -> Result<Report, String> {
    let runtime = runtime(load.threads).map_err(|problem| format!("cannot start a runtime: {problem}"))?;
    let streams = runtime.block_on(connect_all(load))?;
    let run = Arc::new(Run::new(load));
    thread::scope(|scope| {
        if let Some(pace) = &run.pace {
            let pacer = thread::Builder::new().name("pace".to_owned()).spawn_scoped(scope, || pace.keep());
            pacer.map_err(|problem| format!("cannot start the pacer: {problem}"))?;
        }
        let outcome = runtime.block_on(drive_all(&run, streams));
        run.pace.iter().for_each(Pace::stop);
        outcome
    })?;
    Ok(run.report(load))
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    if threads == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

async fn connect_all(load: &Load) -> Result<Vec<TcpStream>, String> {
    let mut streams = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let stream = connect(load.addr).await;
        streams.push(stream.map_err(|problem| format!("cannot connect to {}: {problem}", load.addr))?);
    }
    Ok(streams)
}

async fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Runs every connection to its end, and waits no longer than `DRAIN` for the last answers.
async fn drive_all(run: &Arc<Run>, streams: Vec<TcpStream>) -> Result<(), String> {
    let paced = Arc::clone(run);
    tokio::spawn(async move {
        if let Some(pace) = &paced.pace {
            pace.release().await;
        }
    });
    let mut connections = JoinSet::new();
    for stream in streams {
        let run = Arc::clone(run);
        connections.spawn(async move { run.drive(stream).await });
    }
    let deadline = tokio::time::sleep_until((run.end + DRAIN).into());
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                Some(ended) => ended.map_err(|problem| format!("a connection's task failed: {problem}"))??,
                None => return Ok(()),
            },
            () = &mut deadline => {
                run.tally().unanswered += connections.len() as u64;
                return Ok(());
            }
        }
    }
}

/// One run, as its connections share it.
struct Run {
    addr: SocketAddr,
    request: Request,
    expect_status: u16,
    count_from: Instant,
    end: Instant,
    pace: Option<Pace>,
    /// Requests that may still be sent.
    left: AtomicU64,
    /// One for all connections: with one thread the lock is never contended, and cheaper than many cold histograms.
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    requests: u64,
    latencies: Histogram,
    unexpected: BTreeMap<u16, u64>,
    reconnects: u64,
    unanswered: u64,
    last: Option<Instant>,
}

impl Run {
    fn new(load: &Load) -> Self {
        let begin = Instant::now();
        let (count_from, end) = (begin + load.warmup, begin + load.warmup + load.duration);
        Self {
            addr: load.addr,
            request: Arc::clone(&load.request),
            expect_status: load.expect_status,
            count_from,
            end,
            pace: load.rate.map(|rate| Pace::new(rate, begin, end)),
            left: AtomicU64::new(load.total.unwrap_or(u64::MAX)),
            tally: Mutex::default(),
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends requests over one connection after another until the end.
    async fn drive(&self, mut stream: TcpStream) -> Result<(), String> {
        let (mut reader, mut request) = (Reader::default(), Vec::with_capacity(1024));
        let mut now = Instant::now();
        while let Some(begun) = self.next_start(now).await {
            request.clear();
            (self.request)(SEQUENCE.fetch_add(1, Ordering::Relaxed), &mut request);
            let answer = exchange(&mut stream, &mut reader, &request).await;
            now = Instant::now();
            let usable = match answer {
                Ok(Some(message)) => {
                    self.count(message.start, begun, now);
                    !message.close
                }
                Err(problem) if problem.kind() == ErrorKind::InvalidData => return Err(problem.to_string()),
                Ok(None) | Err(_) => {
                    self.tally().unanswered += 1;
                    false
                }
            };
            if !usable {
                let Some(fresh) = self.reconnect().await? else { return Ok(()) };
                stream = fresh;
                reader.clear();
                now = Instant::now();
            }
        }
        Ok(())
    }

    /// From when the next request's latency counts; `None` at the end. `now` is when the last one was answered.
    async fn next_start(&self, now: Instant) -> Option<Instant> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if taken.is_err() {
            return None;
        }
        match &self.pace {
            Some(pace) => pace.next().await,
            None => (now < self.end).then_some(now),
        }
    }

    fn count(&self, status: Status, begun: Instant, ended: Instant) {
        if ended < self.count_from {
            return;
        }
        let tally = &mut *self.tally();
        if status.0 != self.expect_status {
            *tally.unexpected.entry(status.0).or_default() += 1;
            return;
        }
        tally.latencies.record(ended.saturating_duration_since(begun));
        tally.requests += u64::from(ended <= self.end);
        tally.last = Some(ended);
    }

    /// A new connection, or `None` when the run ends first.
    async fn reconnect(&self) -> Result<Option<TcpStream>, String> {
        let begun = Instant::now();
        while Instant::now() < self.end {
            match connect(self.addr).await {
                Ok(stream) => {
                    self.tally().reconnects += 1;
                    return Ok(Some(stream));
                }
                Err(problem) if begun.elapsed() > REFUSED => {
                    return Err(format!("the server at {} is gone: {problem}", self.addr));
                }
                Err(_) => tokio::time::sleep(RECONNECT_PAUSE).await,
            }
        }
        Ok(None)
    }

    fn report(&self, load: &Load) -> Report {
        let tally = self.tally();
        let until_last = tally.last.map(|last| last.saturating_duration_since(self.count_from));
        let seconds = load.total.and(until_last).unwrap_or(load.duration).as_secs_f64();
        Report {
            requests: tally.requests,
            seconds,
            per_second: as_f64(tally.requests) / seconds,
            p50: tally.latencies.quantile(500),
            p99: tally.latencies.quantile(990),
            max: tally.latencies.max(),
            unexpected: tally.unexpected.clone(),
            reconnects: tally.reconnects,
            unanswered: tally.unanswered,
            unsent: self.pace.as_ref().map_or(0, Pace::unsent),
        }
    }
}

/// Sends a request and reads its answer; `None` when the server closes instead.
async fn exchange(
    stream: &mut TcpStream,
    reader: &mut Reader<Status>,
    request: &[u8],
) -> std::io::Result<Option<Message<Status>>> {
    stream.write_all(request).await?;
    loop {
        match reader.read(stream).await? {
            Some(Message { start: Status(100..200), .. }) => {} // interim: the answer is still to come
            answer => return Ok(answer),
        }
    }
}
