use proptest::prelude::*;
use unicode_segmentation::GraphemeCursor;

use super::*;

#[test]
fn a_text_that_fits_stays_as_it_is() {
    for text in ["hi", " hi\n", "a\n\nb", "äöü€"] {
        assert_eq!(split(text, text.chars().count()), [text]);
    }
}

#[test]
fn a_blank_text_has_no_parts() {
    for text in ["", " ", "\n\n", "\u{a0}\u{3000}", &" ".repeat(100)] {
        assert_eq!(split(text, 10), [""; 0], "{text:?}");
    }
}

#[test]
fn the_best_place_in_reach_is_taken() {
    for (text, max_chars, parts) in [
        ("one two\nthree\n\nfour five", 20, vec!["one two\nthree", "four five"]),
        ("one two\n \t\nthree four", 15, vec!["one two", "three four"]),
        ("one two\r\n\r\nthree\r\nfour", 16, vec!["one two", "three\r\nfour"]),
        ("one two\nthree four", 12, vec!["one two", "three four"]),
        ("one two three", 9, vec!["one two", "three"]),
        ("one  two", 3, vec!["one", "two"]),
        ("exact\n\nfit of two", 5, vec!["exact", "fit", "of", "two"]),
        ("abcdefg", 3, vec!["abc", "def", "g"]),
        ("ab cdefgh", 4, vec!["ab", "cdef", "gh"]),
        ("    abcdef", 3, vec!["abc", "def"]),
        ("a      ", 3, vec!["a"]),
        ("ab", 0, vec!["a", "b"]),
    ] {
        assert_eq!(split(text, max_chars), parts, "{text:?} by {max_chars}");
    }
}

#[test]
fn no_character_is_cut() {
    let family = "👨‍👩‍👧"; // five scalar values
    assert_eq!(split(&family.repeat(3), 6), [family; 3]);
    assert_eq!(split("e\u{301}e\u{301}e\u{301}", 3), ["e\u{301}"; 3]);
    assert_eq!(split("🇩🇪🇫🇷🇮🇹", 3), ["🇩🇪", "🇫🇷", "🇮🇹"]);
    assert_eq!(split("abc \u{301}d", 4), ["abc", " \u{301}d"], "a space with an accent is no gap");
    assert_eq!(split("ab\r\ncd", 3), ["ab", "cd"]);
}

#[test]
fn a_character_longer_than_a_part_is_cut_all_the_same() {
    let accents = format!("e{}", "\u{301}".repeat(9));
    let parts = split(&accents, 4);
    assert_eq!(parts.iter().map(|part| part.chars().count()).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(parts.concat(), accents);
}

/// Each takes milliseconds if the time is linear, and minutes if it is not.
#[test]
fn hostile_texts_are_split_at_once() {
    let long = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    for piece in
        [" ", "\n", "a", "a ", "a\n\n", "\u{301}", "🇩", "👨\u{200d}", "\u{600}", "ก", " \u{301}", "क\u{94d}"]
    {
        for max_chars in [1, 4096] {
            let text = long(piece, 1 << 17);
            assert_sound(&text, &split(&text, max_chars), max_chars);
        }
    }
    for text in [
        format!("a\n\nb\nc d{}", long("e", 1 << 20)),
        format!("{}a", long(" ", 1 << 20)),
        format!("a{}b", long("\r\n", 1 << 20)),
    ] {
        assert_sound(&text, &split(&text, 4096), 4096);
    }
}

/// The parts are the text, but for white space between them; none is blank or too long.
fn assert_sound(text: &str, parts: &[&str], max_chars: usize) {
    let mut end = 0;
    for (number, part) in parts.iter().enumerate() {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        assert!(text[end..start].trim().is_empty(), "lost before part {number} of {text:.99?}");
        assert!(!part.trim().is_empty(), "part {number} of {text:.99?} is blank");
        assert!(part.chars().count() <= max_chars, "part {number} of {text:.99?} is too long");
        end = start + part.len();
    }
    assert!(text[end..].trim().is_empty(), "lost at the end of {text:.99?}");
}

/// No cut is inside a grapheme cluster that fits into a part.
fn assert_whole(text: &str, parts: &[&str], max_chars: usize) {
    let widest = text.graphemes(true).map(|cluster| cluster.chars().count()).max().unwrap_or(0);
    for part in parts.iter().skip(1).filter(|_| widest <= max_chars) {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        let is_boundary = GraphemeCursor::new(start, text.len(), true).is_boundary(text, 0);
        assert!(is_boundary.unwrap(), "cut inside a character of {text:?} at {start}");
    }
}

proptest! {
    #[test]
    fn nothing_but_white_space_is_lost(text in any::<String>(), max_chars in 1..40_usize) {
        let parts = split(&text, max_chars);
        assert_sound(&text, &parts, max_chars);
        assert_whole(&text, &parts, max_chars);
    }

    #[test]
    fn nothing_is_lost_of_what_is_hard_to_cut(
        text in "([a-c]{1,9}| |\n|\r\n|\t|e\u{301}| \u{301}|🇩|👨\u{200d}👩|\u{600}|\u{a0}){0,60}",
        max_chars in 1..12_usize,
    ) {
        let parts = split(&text, max_chars);
        assert_sound(&text, &parts, max_chars);
        assert_whole(&text, &parts, max_chars);
    }
}
