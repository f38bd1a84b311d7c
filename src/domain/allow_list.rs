//! Who may talk with the model through a chat platform. An empty list allows nobody, the entry `*` everybody.

use std::{collections::HashSet, fmt};

/// The senders that are allowed, in the form in which they compare.
#[derive(Clone)]
pub struct AllowList {
    everybody: bool,
    names: HashSet<String>,
    normal_form: fn(&str) -> Option<String>,
}

impl AllowList {
    /// Phone numbers, which compare by their digits alone: `+1 (555) 123-4567` is `15551234567`.
    pub fn phone_numbers<T: AsRef<str>>(entries: impl IntoIterator<Item = T>) -> Self {
        Self::new(entries, digits_of)
    }

    /// Phone numbers, and e-mail addresses in any case.
    pub fn phone_numbers_and_emails<T: AsRef<str>>(entries: impl IntoIterator<Item = T>) -> Self {
        Self::new(
            entries,
            |text| if text.contains('@') { Some(text.to_lowercase()) } else { digits_of(text) },
        )
    }

    /// Users of Nextcloud: `alice` and `users/alice` are the same. Others, such as `guests/…`, are named in full.
    pub fn talk_users<T: AsRef<str>>(entries: impl IntoIterator<Item = T>) -> Self {
        Self::new(entries, talk_actor)
    }

    fn new<T: AsRef<str>>(
        entries: impl IntoIterator<Item = T>,
        normal_form: fn(&str) -> Option<String>,
    ) -> Self {
        let mut list = Self { everybody: false, names: HashSet::new(), normal_form };
        for entry in entries {
            match entry.as_ref().trim() {
                "*" => list.everybody = true,
                entry => list.names.extend(normal_form(entry)),
            }
        }
        list
    }

    /// Whether this sender may talk with the model.
    #[must_use]
    pub fn allows(&self, sender: &str) -> bool {
        self.everybody || (self.normal_form)(sender.trim()).is_some_and(|name| self.names.contains(&name))
    }
}

/// Who they are stays out of logs.
impl fmt::Debug for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.everybody { f.write_str("[everybody]") } else { write!(f, "[{} senders]", self.names.len()) }
    }
}

fn digits_of(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// The identifier with its kind before it, which for a user may be left out.
fn talk_actor(text: &str) -> Option<String> {
    match text.split_once('/') {
        None if text.is_empty() => None,
        None => Some(format!("users/{text}")),
        Some((_, id)) => (!id.is_empty()).then(|| text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_allows_nobody_and_a_star_everybody() {
        for list in [AllowList::phone_numbers, AllowList::phone_numbers_and_emails, AllowList::talk_users] {
            for sender in ["+15551234567", "a@example.com", "users/alice", "guests/x", ""] {
                assert!(!list(&[] as &[&str]).allows(sender), "{sender}");
                assert!(list(&["1", " * "]).allows(sender), "{sender}");
            }
        }
    }

    #[test]
    fn phone_numbers_compare_by_their_digits() {
        let list = AllowList::phone_numbers(["+1 (555) 123-4567", "49 30 1234"]);
        for allowed in ["+15551234567", "15551234567", "1-555-123-4567", "+49301234"] {
            assert!(list.allows(allowed), "{allowed}");
        }
        for other in ["+15551234568", "5551234567", "155512345670", "", "+", "*"] {
            assert!(!list.allows(other), "{other}");
        }
    }

    #[test]
    fn an_entry_without_digits_matches_nothing() {
        let list = AllowList::phone_numbers(["", "+", "**", "alice", "٣٤٥"]);
        for sender in ["", "+", "*", "alice", "bob", "٣٤٥"] {
            assert!(!list.allows(sender), "{sender}");
        }
    }

    #[test]
    fn email_addresses_compare_in_any_case_and_never_by_their_digits() {
        let list = AllowList::phone_numbers_and_emails([" Alice7@Example.com ", "+1 555"]);
        for allowed in ["alice7@example.com", "ALICE7@EXAMPLE.COM ", "+1555"] {
            assert!(list.allows(allowed), "{allowed}");
        }
        for other in ["alice@example.com", "7", "1555@example.com", "alice7", "@"] {
            assert!(!list.allows(other), "{other}");
        }
    }

    #[test]
    fn talk_users_compare_with_and_without_their_kind() {
        let list = AllowList::talk_users(["alice", " users/bob ", "users/", ""]);
        for allowed in ["users/alice", "alice", "users/bob", "bob", " users/bob"] {
            assert!(list.allows(allowed), "{allowed}");
        }
        for other in ["users/Alice", "users/carol", "guests/alice", "guests/bob", "users/", "", "/alice"] {
            assert!(!list.allows(other), "{other}");
        }
    }

    #[test]
    fn guests_are_named_in_full() {
        let list = AllowList::talk_users(["guests/0a1b", "0c2d"]);
        assert!(list.allows("guests/0a1b"));
        assert!(!list.allows("guests/0c2d") && !list.allows("0a1b") && !list.allows("users/0a1b"));
    }

    #[test]
    fn nobody_shows_in_debug() {
        assert_eq!(format!("{:?}", AllowList::phone_numbers(["+15551234567"])), "[1 senders]");
        assert_eq!(format!("{:?}", AllowList::phone_numbers(["*"])), "[everybody]");
    }
}
