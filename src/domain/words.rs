//! A command line in words, as a shell reads it, without anything else that a shell does.

/// The words of a command line: separated by space, with `'…'`, `"…"` and backslashes for what belongs to a word. `None` if
/// a quote is left open or there is no word.
#[must_use]
pub fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().push(rest.next()?),
            (_, None) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (quote.is_none() && !words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_and_backslashes_keep_words_together() {
        for (text, words) in [
            ("ssh -R 80:localhost:3000 host", &["ssh", "-R", "80:localhost:3000", "host"][..]),
            (r#"  a 'b c' "d \" e" f\ g '' "#, &["a", "b c", "d \" e", "f g", ""]),
            ("x='y'z", &["x=yz"]),
        ] {
            assert_eq!(split(text).unwrap(), words);
        }
        for text in ["", "  ", "a 'b", "a \"b", "a \\"] {
            assert_eq!(split(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back_as_they_were(words in prop::collection::vec("[^']*", 1..5)) {
            let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
            prop_assert_eq!(split(&quoted.join(" ")), Some(words));
        }
    }
}
