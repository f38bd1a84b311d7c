//! A long reply as several messages: chat platforms bound the length of one.

use unicode_segmentation::UnicodeSegmentation as _;

/// Splits a text into parts of at most `max_chars` characters (Unicode scalar values; 0 counts as 1): between paragraphs
/// where it can, else between lines, else between words, else between what a reader takes for characters (grapheme
/// clusters, UAX #29), and inside of one only if it is longer than a part.
///
/// White space at a cut is dropped, and so is a part that would be blank; nothing else is. The time is linear in the
/// length of the text.
#[must_use]
pub fn split(text: &str, max_chars: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((limit, _)) = rest.char_indices().nth(max_chars.max(1)) {
        let cut = cut_within(rest, limit);
        parts.push(&rest[..cut.end]);
        rest = &rest[cut.next..];
    }
    parts.push(rest);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Where a part ends and the next one starts; white space may lie between.
struct Cut {
    end: usize,
    next: usize,
}

/// What lies between two words. Better places for a cut are greater.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    Word,
    Line,
    Paragraph,
}

/// The best cut of a text that is longer than `limit`, the offset of the first character too many.
fn cut_within(text: &str, limit: usize) -> Cut {
    // Whether there is a boundary before a character depends on nothing behind it.
    let window = &text[..text.ceil_char_boundary(limit + 1)];
    let mut best: Option<(Gap, Cut)> = None;
    let (mut boundary, mut gap_end) = (0, 0);
    for (at, cluster) in window.grapheme_indices(true) {
        boundary = at;
        if at < gap_end || !is_white(cluster) {
            continue;
        }
        let (gap, len) = gap_at_start(&text[at..]);
        gap_end = at + len;
        if best.as_ref().is_none_or(|(best, _)| gap >= *best) {
            best = Some((gap, Cut { end: at, next: gap_end }));
        }
    }
    let inside = if boundary == 0 { limit } else { boundary };
    best.map_or(Cut { end: inside, next: inside }, |(_, cut)| cut)
}

/// The white space at the start of a text, with its length.
fn gap_at_start(text: &str) -> (Gap, usize) {
    let (mut lines, mut len) = (0, 0);
    for cluster in text.graphemes(true).take_while(|cluster| is_white(cluster)) {
        lines += usize::from(cluster.ends_with(['\n', '\r']));
        len += cluster.len();
    }
    let gap = match lines {
        0 => Gap::Word,
        1 => Gap::Line,
        _ => Gap::Paragraph,
    };
    (gap, len)
}

/// A space with an accent on it is none.
fn is_white(cluster: &str) -> bool {
    cluster.chars().all(char::is_whitespace)
}

#[cfg(test)]
mod tests;
