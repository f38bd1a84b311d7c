//! The whole of `/metrics`, read back the way a scraper reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::label::Label;
use super::*;
use crate::domain::{channel::ChannelKind, message::Usage};

/// One family: HELP, TYPE and its samples, each as (name, labels, value).
#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    samples: Vec<(String, String, f64)>,
}

/// Reads `text` line by line and fails on anything that is not Prometheus text.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            let family = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
            name.clone_into(&mut current);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE without HELP");
            kind.clone_into(&mut families.get_mut(name).unwrap().kind);
        } else {
            families.get_mut(&current).unwrap().samples.push(parse_sample(line, &current));
        }
    }
    families
}

/// Reads `name{labels} value`, where the name is the family's or one of a histogram's.
fn parse_sample(line: &str, family: &str) -> (String, String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| {
        (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("open braces: {line}")))
    });
    let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
    assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, quoted) = label.split_once('=').unwrap();
        assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
        assert!(quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"'), "{line}");
    }
    (name.to_owned(), labels.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let shown = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(shown.parse().unwrap())
}

/// Calls `use_value` with every value of a label.
fn each<L: Label>(use_value: impl FnMut(L)) {
    L::ALL.iter().copied().for_each(use_value);
}

/// Uses every instrument with every value of every closed label.
fn use_everything(metrics: &Metrics) {
    let second = Duration::from_secs(1);
    each(|route| {
        each(|method| each(|status| metrics.http.record(route, method, status, second)));
    });
    each(|outcome| metrics.admission.pairing(outcome));
    each(|scope| each(|outcome| metrics.admission.rate_limit(scope, outcome)));
    each(|outcome| metrics.admission.idempotency(outcome));
    each(|outcome| metrics.turns.outcome(outcome));
    each(|kind| metrics.writer.failed(kind));
    each(|component| metrics.agent.error(component));
    each(|provider| {
        let model = metrics.agent.model(provider, "m");
        model.requested();
        model.started();
        model.finished(second);
    });
    metrics.agent.latency(second);
    each(|provider| metrics.agent.attempts(provider).answered());
    metrics.agent.used(Usage { prompt_tokens: Some(5), completion_tokens: Some(2) });
    for channel in ChannelKind::ALL {
        each(|direction| metrics.channels.message(channel, direction));
        each(|outcome| metrics.channels.call(channel, outcome));
        each(|outcome| metrics.channels.item(channel, outcome));
        each(|outcome| metrics.channels.delivery(channel, outcome));
    }
    metrics.writer.committed(3, second);
    metrics.connections.refused();
    metrics.connections.address_refused();
    metrics.connections.proxy_header_refused();
    metrics.connections.head_refused();
    metrics.connections.timed_out();
    metrics.connections.accept_failed();
    each(|kind| metrics.store.removed(kind, 1));
    each(|why| metrics.own.lost(why, 1));
    each(|outcome| metrics.own.pushed(outcome));
    each(|why| metrics.agent.not_called(why));
    metrics.agent.shortened();
    metrics.http.hung_up();
    metrics.http.no_room();
}

/// What the documentation says of a family: its name, its type, its labels, and whether it is there from the start.
struct Documented {
    name: String,
    kind: String,
    labels: BTreeSet<String>,
    from_the_start: bool,
}

/// The table of metrics in `docs/OBSERVABILITY.md`.
fn documented() -> Vec<Documented> {
    let text = include_str!("../../../docs/OBSERVABILITY.md");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let [name, kind, labels, start, ..] = cells[..] else { return None };
        ["counter", "gauge", "histogram"].contains(&kind).then(|| Documented {
            name: name.trim_end_matches('`').to_owned(),
            kind: kind.to_owned(),
            labels: labels
                .split(", ")
                .filter(|it| !it.is_empty())
                .map(|it| it.trim_matches('`').to_owned())
                .collect(),
            from_the_start: start == "yes",
        })
    });
    rows.filter(|it| cfg!(target_os = "linux") || !it.name.starts_with("process_")).collect()
}

/// The labels that a family is split by.
fn labels_of(family: &Family) -> BTreeSet<String> {
    let pairs = family
        .samples
        .iter()
        .flat_map(|(_, labels, _)| labels.split(',').filter_map(|pair| pair.split_once('=')));
    pairs.map(|(key, _)| key.to_owned()).filter(|key| key != "le").collect()
}

#[test]
fn every_family_is_documented_with_its_type_and_labels_and_every_documented_one_is_there() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    metrics.store.watch(std::path::Path::new("moorgate.db"), || 0);
    let at_first = parse(&metrics.render());
    use_everything(&metrics);
    let in_the_end = parse(&metrics.render());
    for Documented { name, kind, labels, from_the_start } in documented() {
        assert_eq!(at_first.contains_key(&name), from_the_start, "{name} at the first scrape");
        let family = in_the_end.get(&name).unwrap_or_else(|| panic!("{name} is documented and is not there"));
        assert_eq!(family.kind, kind, "{name}");
        assert_eq!(labels_of(family), labels, "{name}");
        assert!(!family.help.is_empty(), "{name} has no help");
        assert!(!family.samples.is_empty(), "{name} has no sample");
    }
    let documented: BTreeSet<_> = documented().into_iter().map(|it| it.name).collect();
    let shown: BTreeSet<_> = in_the_end.into_keys().collect();
    assert_eq!(shown.difference(&documented).collect::<Vec<_>>(), [""; 0], "not in docs/OBSERVABILITY.md");
}

#[test]
fn no_series_is_shown_twice_and_buckets_add_up() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    for _ in 0..2 {
        for (name, family) in parse(&metrics.render()) {
            let series: BTreeSet<_> = family.samples.iter().map(|(name, labels, _)| (name, labels)).collect();
            assert_eq!(series.len(), family.samples.len(), "{name} shows a series twice");
            if family.kind == "histogram" {
                check_buckets(&name, &family);
            }
        }
        use_everything(&metrics);
    }
}

/// Each series of a histogram: rising buckets up to `+Inf`, then the sum, then a count equal to the last bucket.
fn check_buckets(name: &str, family: &Family) {
    let mut below = 0.0;
    for (sample, labels, shown) in &family.samples {
        if sample.ends_with("_bucket") {
            assert!(*shown >= below, "{sample} {labels}");
            below = *shown;
        } else if sample.ends_with("_count") {
            assert!((shown - below).abs() < f64::EPSILON, "{name} {labels}");
            below = 0.0;
        }
    }
}

#[test]
fn a_closed_label_has_as_many_series_as_values() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    let series = |metrics: &Metrics, name: &str| parse(&metrics.render())[name].samples.len();
    assert_eq!(series(&metrics, "zeroclaw_rate_limit_decisions_total"), 9);
    use_everything(&metrics);
    use_everything(&metrics);
    let requests = HttpRoute::ALL.len() * HttpMethod::ALL.len() * HttpStatus::ALL.len();
    assert_eq!(series(&metrics, "zeroclaw_http_requests_total"), requests);
    let durations = parse(&metrics.render());
    let durations = durations["http_server_request_duration_seconds"].samples.iter();
    assert!(durations.filter(|(name, ..)| name.ends_with("_count")).count() <= requests);
    assert_eq!(series(&metrics, "zeroclaw_rate_limit_decisions_total"), 9);
    assert_eq!(series(&metrics, "zeroclaw_turns_total"), 5);
}

#[test]
fn each_label_value_is_at_its_index_and_unique() {
    fn check<L: Label>() {
        let texts: BTreeSet<_> = L::ALL.iter().map(|label| label.text()).collect();
        assert_eq!(texts.len(), L::ALL.len(), "{texts:?}");
        assert!(L::ALL.iter().enumerate().all(|(position, label)| label.index() == position), "{texts:?}");
    }
    check::<HttpRoute>();
    check::<HttpMethod>();
    check::<HttpStatus>();
    check::<PairingOutcome>();
    check::<RateScope>();
    check::<RateOutcome>();
    check::<IdempotencyOutcome>();
    check::<TurnOutcome>();
    check::<Direction>();
    check::<CallOutcome>();
    check::<ItemOutcome>();
    check::<DeliveryOutcome>();
    check::<WriterErrorKind>();
    check::<ProviderLabel>();
    check::<Component>();
    check::<NotCalled>();
    check::<RemovedKind>();
    check::<SpanLoss>();
    check::<Push>();
}

#[test]
fn each_method_moves_its_own_series() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    let rate = r#"zeroclaw_rate_limit_decisions_total{outcome="table_full",scope="pair"}"#;
    assert_eq!(value(&metrics, rate), Some(0.0));
    metrics.admission.rate_limit(RateScope::Pair, RateOutcome::TableFull);
    metrics.admission.pairing(PairingOutcome::LockedOut);
    metrics.admission.idempotency(IdempotencyOutcome::Mismatch);
    metrics.turns.outcome(TurnOutcome::Resumed);
    metrics.writer.failed(WriterErrorKind::Full);
    metrics.writer.committed(3, Duration::from_millis(2));
    metrics.agent.error(Component::Storage);
    metrics.connections.timed_out();
    metrics.http.record(HttpRoute::Pair, HttpMethod::Post, HttpStatus::Forbidden, Duration::from_millis(700));
    for (series, expected) in [
        (rate, 1.0),
        (r#"zeroclaw_rate_limit_decisions_total{outcome="table_full",scope="webhook"}"#, 0.0),
        (r#"zeroclaw_pairing_attempts_total{outcome="locked_out"}"#, 1.0),
        (r#"zeroclaw_idempotency_outcomes_total{outcome="mismatch"}"#, 1.0),
        (r#"zeroclaw_turns_total{outcome="resumed"}"#, 1.0),
        (r#"zeroclaw_writer_errors_total{kind="full"}"#, 1.0),
        (r#"zeroclaw_writer_batch_commands_bucket{le="2"}"#, 0.0),
        (r#"zeroclaw_writer_batch_commands_bucket{le="4"}"#, 1.0),
        (r#"zeroclaw_writer_commit_seconds_bucket{le="0.0025"}"#, 1.0),
        (r#"zeroclaw_errors_total{component="storage"}"#, 1.0),
        ("zeroclaw_connections_timed_out_total", 1.0),
        ("zeroclaw_connections_refused_total", 0.0),
        (r#"zeroclaw_http_requests_total{method="POST",route="/pair",status="403"}"#, 1.0),
        (
            r#"http_server_request_duration_seconds_sum{http_request_method="POST",http_response_status_code="403",http_route="/pair",url_scheme="http"}"#,
            0.7,
        ),
        (
            r#"http_server_request_duration_seconds_bucket{http_request_method="POST",http_response_status_code="403",http_route="/pair",url_scheme="http",le="0.5"}"#,
            0.0,
        ),
    ] {
        assert_eq!(value(&metrics, series), Some(expected), "{series}");
    }
}

#[test]
fn a_configured_model_is_shown_at_zero_and_any_name_is_quoted() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    let model = metrics.agent.model(ProviderLabel::OpenAi, r#"a"b\c"#);
    let series = r#"zeroclaw_agent_starts_total{model="a\"b\\c",provider="openai"}"#;
    assert_eq!(value(&metrics, series), Some(0.0));
    model.started();
    assert_eq!(value(&metrics, series), Some(1.0));
}

#[test]
fn tokens_are_added_up_and_the_last_answer_shows_its_own() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    let tokens = |kind: &str| value(&metrics, &format!(r#"zeroclaw_tokens_used_total{{kind="{kind}"}}"#));
    let shown = || (tokens("prompt"), tokens("completion"), value(&metrics, "zeroclaw_tokens_used_last"));
    assert_eq!(shown(), (Some(0.0), Some(0.0), Some(0.0)));
    metrics.agent.used(Usage { prompt_tokens: Some(11), completion_tokens: Some(18) });
    metrics.agent.used(Usage { prompt_tokens: Some(5), completion_tokens: None });
    metrics.agent.used(Usage::default());
    assert_eq!(shown(), (Some(16.0), Some(18.0), Some(5.0)));
}

#[test]
fn gauges_follow_their_guards() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    metrics.connections.opened();
    metrics.connections.opened();
    let turn = metrics.turns.running();
    assert_eq!(value(&metrics, "zeroclaw_connections_open"), Some(2.0));
    assert_eq!(value(&metrics, "zeroclaw_turns_in_flight"), Some(1.0));
    metrics.connections.closed();
    drop(turn);
    assert_eq!(value(&metrics, "zeroclaw_connections_open"), Some(1.0));
    assert_eq!(value(&metrics, "zeroclaw_turns_in_flight"), Some(0.0));
    let queue = metrics.writer.queue();
    queue.raise(5);
    queue.lower(2);
    assert_eq!(value(&metrics, "zeroclaw_writer_queue_depth"), Some(3.0));
    queue.lower(9);
    assert_eq!(value(&metrics, "zeroclaw_writer_queue_depth"), Some(0.0));
}

#[test]
fn a_metric_outlives_every_clone_but_the_last() {
    let metrics = Arc::new(Metrics::prometheus("zeroclaw").unwrap());
    metrics.connections.refused();
    let clones: Vec<_> = (0..3).map(|_| Arc::clone(&metrics)).collect();
    let other = Metrics::prometheus("zeroclaw").unwrap();
    drop((clones, other));
    metrics.connections.refused();
    for _ in 0..2 {
        assert_eq!(value(&metrics, "zeroclaw_connections_refused_total"), Some(2.0));
    }
}

#[test]
fn disabled_metrics_say_so_and_count_nothing() {
    let metrics = Metrics::disabled();
    use_everything(&metrics);
    drop((metrics.connections.opened(), metrics.turns.running()));
    let expected =
        "# Prometheus backend not enabled. Set [observability] backend = \"prometheus\" in config.\n";
    assert_eq!(metrics.render(), expected);
}

#[test]
fn a_namespace_that_cannot_begin_a_name_is_refused() {
    for namespace in ["", "_", "9lives", "my-gateway", "a b", "a:b", "gäte", &"x".repeat(65)] {
        let error = Metrics::prometheus(namespace).err().unwrap();
        assert!(error.to_string().contains(&format!("{namespace:?}")), "{error}");
    }
    for (namespace, name) in [("moorgate", "moorgate_turns_in_flight"), ("a_", "a_turns_in_flight")] {
        assert_eq!(value(&Metrics::prometheus(namespace).unwrap(), name), Some(0.0));
    }
}

#[test]
fn nothing_is_lost_when_many_threads_count_while_another_scrapes() {
    let metrics = Metrics::prometheus("zeroclaw").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let millisecond = Duration::from_millis(1);
                    metrics.http.record(HttpRoute::Webhook, HttpMethod::Post, HttpStatus::Ok, millisecond);
                    drop(metrics.turns.running());
                }
            });
        }
        scope.spawn(|| (0..20).for_each(|_| drop(parse(&metrics.render()))));
    });
    let series = r#"zeroclaw_http_requests_total{method="POST",route="/webhook",status="200"}"#;
    assert_eq!(value(&metrics, series), Some(4000.0));
    let count = r#"http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200",http_route="/webhook",url_scheme="http"}"#;
    assert_eq!(value(&metrics, count), Some(4000.0));
    assert_eq!(value(&metrics, "zeroclaw_turns_in_flight"), Some(0.0));
}
