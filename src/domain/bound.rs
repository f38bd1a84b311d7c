//! Texts within bounds: not longer than they may be, and without characters that steer terminals.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;

/// What a text ends with that was cut.
pub const CUT_MARK: &str = " […]";

/// Cuts a text that has more than `max_chars` characters (Unicode scalar values) between what a reader takes for
/// characters, and marks the place; the mark is within the bound if that has room for it. `None`: it fits.
#[must_use]
pub fn cut(text: &str, max_chars: usize) -> Option<String> {
    text.char_indices().nth(max_chars)?;
    let room = max_chars.saturating_sub(CUT_MARK.chars().count());
    let limit = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
    // Whether there is a boundary before a character depends on nothing behind it.
    let window = &text[..text.ceil_char_boundary(limit + 1)];
    let end = window.grapheme_indices(true).map(|(at, _)| at).take_while(|at| *at <= limit).last();
    let kept = &text[..end.filter(|end| *end > 0).unwrap_or(limit)];
    Some(kept.trim_end().to_owned() + CUT_MARK)
}

/// The text without control characters (Unicode category Cc), but for line feeds and tabs: chat programs and terminals
/// would act on them.
#[must_use]
pub fn without_controls(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(steers) { text.replace(steers, "").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_is_cut_and_marked() {
        assert_eq!(cut("twelve chars", 12), None);
        assert_eq!(cut("twelve chars!", 12).as_deref(), Some("twelve c […]"));
        assert_eq!(cut("a  bcdefgh", 7).as_deref(), Some("a […]"));
        assert_eq!(cut("", 0), None);
    }

    #[test]
    fn what_a_reader_takes_for_one_character_stays_whole() {
        let family = "👨‍👩‍👧‍👦";
        let text = format!("ab{family}{}", "x".repeat(20));
        assert_eq!(cut(&text, 8).as_deref(), Some("ab […]"));
        assert_eq!(cut(&text, 13).as_deref(), Some(format!("ab{family} […]").as_str()));
    }

    #[test]
    fn control_characters_are_left_out() {
        assert_eq!(without_controls("a\u{1b}[31mred\0\r\n\tb\u{9b}2J\u{7f}"), "a[31mred\n\tb2J");
        assert!(matches!(without_controls("plain\n"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn a_cut_text_is_its_beginning_within_the_bound(text in any::<String>(), max in 4..40_usize) {
            match cut(&text, max) {
                None => prop_assert!(text.chars().count() <= max),
                Some(cut) => {
                    prop_assert!(cut.chars().count() <= max);
                    prop_assert!(text.starts_with(cut.strip_suffix(CUT_MARK).unwrap()));
                }
            }
        }
    }
}
