//! The names of what is in `[[provider.fallback]]`, the one list of tables that there is.
//!
//! The keys of the first table are `provider.fallback[0].kind` and so on. Each takes what the key of `[provider]` with the
//! same ending takes, which is how the compiled-in example describes it.

/// The name of the list.
pub(super) const LIST: &str = "provider.fallback";

/// What it must be, in words. No variable or flag can give it.
pub(super) const MUST: &str =
    "provider.fallback is a list of tables: [[provider.fallback]] in the configuration file";

/// The section whose keys the tables take.
const SECTION: &str = "provider";

/// The keys that a table takes, and whether it says what `[provider]` says where it says nothing itself.
const KEYS: [(&str, bool); 9] = [
    ("kind", false),
    ("model", false),
    ("base_url", false),
    ("api_key", false),
    ("api_key_file", false),
    ("temperature", true),
    ("max_tokens", true),
    ("timeout_secs", true),
    ("system_prompt", true),
];

/// The name of a table.
pub(super) fn table(index: usize) -> String {
    format!("{LIST}[{index}]")
}

/// The table that a key is in, and the key's ending; a table's own ending is blank.
fn parts(key: &str) -> Option<(&str, &str)> {
    let end = LIST.len() + key.strip_prefix(LIST)?.strip_prefix('[')?.find(']')? + 2;
    let (table, rest) = key.split_at(end);
    if rest.is_empty() { Some((table, rest)) } else { Some((table, rest.strip_prefix('.')?)) }
}

/// Whether this is a table of the list.
pub(super) fn is_table(key: &str) -> bool {
    parts(key).is_some_and(|(_, ending)| ending.is_empty())
}

/// The key of `[provider]` that describes a key of a table, and whether its value is the table's as well.
pub(super) fn described_by(key: &str) -> Option<(String, bool)> {
    let (_, ending) = parts(key)?;
    let (_, is_inherited) = KEYS.iter().find(|(name, _)| *name == ending)?;
    Some((format!("{SECTION}.{ending}"), *is_inherited))
}

/// The keys of the table that `key` is in, if it is in one.
pub(super) fn keys_beside(key: &str) -> Vec<String> {
    let Some((table, _)) = parts(key) else { return Vec::new() };
    KEYS.iter().map(|(ending, _)| format!("{table}.{ending}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_table_is_told_from_any_other() {
        let described = |key| described_by(key).map(|(by, _)| by);
        assert_eq!(described("provider.fallback[0].kind"), Some("provider.kind".into()));
        assert_eq!(described("provider.fallback[12].model"), Some("provider.model".into()));
        for key in [
            "provider.kind",
            "provider.fallback.kind",
            "provider.fallback[0]",
            "provider.fallback[0]kind",
            "provider.fallback[0].max_retries",
            "provider.fallback[0].kind.more",
            "provider.fallback[",
        ] {
            assert_eq!(described(key), None, "{key}");
        }
        assert!(is_table(&table(7)) && !is_table("provider.fallback[7].kind") && !is_table(LIST));
    }
}
