//! The dashboard and the alerts ask for metrics that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::documented;

const DASHBOARD: &str = include_str!("../../../packaging/grafana/dashboard.json");
const RULES: &str = include_str!("../../../packaging/grafana/rules.yml");

/// The metrics that a query asks for, without what a histogram adds to its name.
fn asked(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words
        .filter(|word| ["zeroclaw_", "http_server_", "process_"].iter().any(|start| word.starts_with(start)));
    let base = |name: &str| {
        let stripped = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        stripped.unwrap_or(name).to_owned()
    };
    names.map(base).collect()
}

fn assert_documented(query: &str) {
    let (documented, _) = documented();
    let unknown: Vec<_> = asked(query).into_iter().filter(|name| !documented.contains(name)).collect();
    assert_eq!(unknown, [""; 0], "{query}");
}

#[test]
fn every_panel_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries: Vec<_> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(queries.len() > 20, "{queries:?}");
    for query in queries {
        assert!(!asked(query).is_empty(), "{query}");
        assert_documented(query);
    }
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let position = &panel["gridPos"];
        assert!(position["x"].as_u64().unwrap() + position["w"].as_u64().unwrap() <= 24, "{panel}");
        assert!(panel["type"] == "row" || panel["description"].is_string(), "{panel}");
    }
}

#[test]
fn every_alert_asks_for_metrics_that_there_are() {
    assert!(RULES.contains("- alert: MoorgateDown"));
    RULES.lines().for_each(assert_documented);
}
