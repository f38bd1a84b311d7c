//! Every number that can be configured is in the table of limits, and the other way round.

use std::collections::BTreeSet;

/// Numbers that bound nothing.
const NO_LIMITS: [&str; 5] = [
    "gateway.port",
    "provider.temperature",
    "provider.max_tokens",
    "observability.otlp_interval_secs",
    "observability.trace_sample_ratio",
];

/// Complaints about limits that are in one place only.
pub fn undocumented_limits(example: &str, document: &str) -> Vec<String> {
    let (configured, documented) = (numbers(example), rows(document));
    let missing = configured.difference(&documented).filter(|key| !NO_LIMITS.contains(&key.as_str()));
    let missing = missing.map(|key| format!("{key} is not in the table of limits"));
    let gone = documented.difference(&configured).map(|key| format!("{key} is no number of the example"));
    missing.chain(gone).collect()
}

/// The dotted names of the keys whose value is a number.
fn numbers(example: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
            && value.parse::<f64>().is_ok()
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

/// The settings in the first column of the table of limits.
fn rows(document: &str) -> BTreeSet<String> {
    let table = document.split("## Limits").nth(1).and_then(|rest| rest.split("\n## ").next());
    let cells =
        table.unwrap_or_default().lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    cells.flat_map(|cell| cell.split(", ")).map(|key| key.trim_matches('`').to_owned()).collect()
}

#[test]
fn a_limit_that_is_in_one_place_only_is_found() {
    let example = "[a]\n# x = 5\nb = 3\nc = \"text\"\n[a.d]\ne = 0.5\n";
    let document = "| `z.z` | x |\n## Limits\n\n| `a.b`, `a.f` | 429 | x |\n\n## More\n| `a.d.e` | x |\n";
    let complaints = undocumented_limits(example, document);
    assert_eq!(complaints, ["a.d.e is not in the table of limits", "a.f is no number of the example"]);
}
