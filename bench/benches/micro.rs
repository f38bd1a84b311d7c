//! Micro-benchmarks of the pure rules that every request asks, and of the writer: `just micro`.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use criterion::{BatchSize, Criterion, Throughput};
use moorgate::{
    domain::{
        client::{ClientAddress, Owner},
        forwarded::{client_behind, forwarded, x_forwarded_for},
        id::TokenId,
        idempotency::{BodyHash, IdempotencyKey, KeyProgress, KeyRecord},
        message::{Account, Answer, MessageText},
        rate::{RateClient, RateTable},
        split::split,
        time::Millis,
        token::TokenHash,
    },
    repository::{ClaimOutcome, NewTurn, TurnEnd, TurnRepository as _},
    sqlite::{DatabaseSettings, Retention, SqliteStore, StoreLimits, StoreParts},
    system::{SteadyClock, SystemClock},
    telemetry::Metrics,
};
use tokio::task::JoinSet;

const KEY: &str = "5c0f6b0a-0f58-4a3e-9d0b-2f4a2f2f9c11";
const TTL: Duration = Duration::from_mins(5);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    windows(&mut criterion);
    keys(&mut criterion);
    callers(&mut criterion);
    replies(&mut criterion);
    writer(&mut criterion);
    criterion.final_summary();
}

fn client(number: u64) -> RateClient {
    RateClient { token: None, address: ClientAddress::V6Prefix(number) }
}

/// A hit of each client in turn, a thousand a second.
fn windows(criterion: &mut Criterion) {
    for clients in [1, 10_000] {
        let mut table = RateTable::new(1_000_000, 10_000);
        let mut now = 0_u64;
        criterion.bench_function(&format!("rate window: a hit, {clients} clients"), |bench| {
            bench.iter(|| {
                now += 1;
                black_box(table.hit(client(now % clients), Millis(now.cast_signed())))
            });
        });
    }
}

fn keys(criterion: &mut Criterion) {
    let quoted = format!(" \"{KEY}\" ");
    criterion.bench_function("idempotency key: read from its header", |bench| {
        bench.iter(|| IdempotencyKey::parse(black_box(quoted.as_bytes())));
    });
    let answer = Answer { text: "hello".into(), model: "echo".into() };
    let record =
        KeyRecord { body_hash: BodyHash([7; 32]), progress: KeyProgress::Answered(Millis(1), answer) };
    criterion.bench_function("idempotency key: what one on record says", |bench| {
        let judge = |record: KeyRecord| record.judge(black_box(BodyHash([7; 32])), Millis(2), TTL);
        bench.iter_batched(|| record.clone(), judge, BatchSize::SmallInput);
    });
}

fn callers(criterion: &mut Criterion) {
    let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let is_trusted = |address: IpAddr| address.is_loopback();
    let line: &[u8] = b"203.0.113.9, 198.51.100.7, 127.0.0.2";
    criterion.bench_function("forwarded: X-Forwarded-For of three", |bench| {
        bench.iter(|| client_behind(proxy, x_forwarded_for([black_box(line)].into_iter()), is_trusted));
    });
    let line: &[u8] = br#"for=203.0.113.9;proto=https, for="[2001:db8::7]:4711";by=10.0.0.1, for=127.0.0.2"#;
    criterion.bench_function("forwarded: Forwarded of three", |bench| {
        bench.iter(|| client_behind(proxy, forwarded([black_box(line)].into_iter()), is_trusted));
    });
    let token = format!("zc_{}", "0123456789abcdef".repeat(4));
    criterion.bench_function("bearer token: its hash", |bench| {
        bench.iter(|| TokenHash::of(black_box(token.as_bytes())));
    });
}

fn replies(criterion: &mut Criterion) {
    let reply = "A reply that has some words in it, and ends.\nA line more.\n\n".repeat(200);
    let mut group = criterion.benchmark_group("reply");
    group.throughput(Throughput::Bytes(reply.len() as u64));
    group.bench_function("split into parts of 4096 characters", |bench| {
        bench.iter(|| split(black_box(&reply), 4096));
    });
    group.finish();
}

/// Messages with keys and answers that come at once, and are written together: with `normal`, so that it is the processor that is
/// measured, and not the disk.
fn writer(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("moorgate-micro-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    let clock = Arc::new(SteadyClock::new(Arc::new(SystemClock::new())));
    let settings = DatabaseSettings {
        path: folder.join("moorgate.db"),
        full_sync: false,
        busy_timeout: Duration::from_secs(5),
        read_connections: 1,
    };
    let parts =
        StoreParts { limits: limits(), clock: Arc::clone(&clock), metrics: Metrics::disabled().into() };
    let Ok(store) = runtime.block_on(SqliteStore::open(&settings, parts)) else { return };
    let store = Arc::new(store);
    let mut number = 0;
    let mut group = criterion.benchmark_group("writer");
    for turns in [1_u64, 32, 256] {
        group.throughput(Throughput::Elements(turns));
        group.bench_function(format!("{turns} turns at once"), |bench| {
            let setup = || {
                number += turns;
                (number - turns..number).filter_map(turn).collect::<Vec<_>>()
            };
            bench.iter_batched(
                setup,
                |turns| runtime.block_on(write_all(&store, &clock, turns)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    runtime.block_on(store.close());
    std::fs::remove_dir_all(&folder).ok();
}

fn limits() -> StoreLimits {
    StoreLimits {
        pair_per_minute: 0,
        webhook_per_minute: 0,
        signature_per_minute: 0,
        rate_clients: 1,
        lockout: TTL,
        code_failures: 100,
        key_ttl: TTL,
        keys_per_owner: 10_000,
        channels: Vec::new(),
        waiting_messages: 0,
        saves_memory: false,
        retention: Retention::default(),
    }
}

fn turn(number: u64) -> Option<NewTurn> {
    let key = IdempotencyKey::stored(&format!("bench-{number:016x}")).ok()?;
    Some(NewTurn {
        owner: Owner::Token(TokenId(1)),
        key: Some((key, BodyHash([7; 32]))),
        session: None,
        text: Arc::new(MessageText::new(format!("hello {number}"))?),
        hit: None,
    })
}

async fn write_all(store: &Arc<SqliteStore>, clock: &SteadyClock, turns: Vec<NewTurn>) {
    let (now, count) = (clock.now(), turns.len());
    let mut tasks = JoinSet::new();
    for turn in turns {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let claimed = store.claim(Box::new(turn), now).outcome().await;
            let Ok(ClaimOutcome::Claimed(mut lease)) = claimed else { return false };
            let answer = Answer { text: "hello".into(), model: "echo".into() };
            let end = TurnEnd::Answered(answer, Account::default());
            store.settle(&mut lease, &end, now).await.is_ok()
        });
    }
    let written = tasks.join_all().await.into_iter().filter(|written| *written).count();
    assert_eq!(written, count, "every turn is written");
}
