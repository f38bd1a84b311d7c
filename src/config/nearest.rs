//! The known name that an unknown one was probably meant to be.

/// The one of `known` that is nearest to `given`, unless none is near.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (distance(given, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(2))
        .min()
        .map(|(_, name)| name)
}

/// The edits between two dotted names. The right key in a wrong section counts as one, and so does a name
/// without its ending.
fn distance(given: &str, name: &str) -> usize {
    if last_part(given) == last_part(name) || name.starts_with(given) { 1 } else { edits(given, name) }
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// The fewest insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal
/// string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        assert_eq!(edits("prot", "port"), 1);
        assert_eq!(edits("host", "hosts"), 1);
        assert_eq!(edits("", "port"), 4);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn a_name_is_found_by_a_slip_a_missing_ending_or_a_wrong_section() {
        let known = ["database.path", "gateway.port", "provider.timeout_secs"];
        let find = |given| nearest(given, known.into_iter());
        assert_eq!(find("gateway.prot"), Some("gateway.port"));
        assert_eq!(find("provider.timeout"), Some("provider.timeout_secs"));
        assert_eq!(find("port"), Some("gateway.port"));
        assert_eq!(find("storage.path"), Some("database.path"));
    }

    #[test]
    fn a_name_like_none_finds_none() {
        assert_eq!(nearest("tunnel", ["gateway", "database"].into_iter()), None);
    }
}
