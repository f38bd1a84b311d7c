//! What the sections of the chat platforms have in common: when one is used, and what it then needs.

use super::super::reader::Reader;
use crate::domain::secret::Secret;

/// The section of a chat platform.
pub(super) struct Platform {
    /// Its name for people.
    pub(super) title: &'static str,
    /// Its name in the file.
    pub(super) section: &'static str,
    /// Its keys of which any one that is not blank says that the channel is used.
    pub(super) starters: [&'static str; 2],
}

/// A platform that is used.
pub(super) struct Used {
    platform: &'static Platform,
    /// The key that says so.
    because: String,
}

impl Platform {
    /// Whether the channel is used; if not, warns of what was given in vain.
    pub(super) fn find_used(&'static self, r: &mut Reader<'_>) -> Option<Used> {
        let because = self.starters.iter().find_map(|name| r.find_given(&self.key(name)));
        if because.is_none() {
            let [first, second] = self.starters;
            let reason = format!("{} is off while {first} and {second} are blank", self.title);
            r.warn_unused(self.section, &reason);
        }
        because.map(|because| Used { platform: self, because })
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.section)
    }
}

impl Used {
    /// Notes a problem if a key, and that of its file, is blank; `why` says what it is for.
    pub(super) fn need(&self, r: &mut Reader<'_>, name: &str, why: &str) {
        let key = self.platform.key(name);
        if r.find_given(&key).is_none() {
            let text = format!("{key} must not be blank while {} is given: {why}", self.because);
            r.problem(self.place_of(r, &key), text);
        }
    }

    /// Notes a problem if the secret that signatures are checked with is blank, unless it need not be given;
    /// warns of the danger in that.
    pub(super) fn need_signature(&self, r: &mut Reader<'_>, name: &str, allow_unsigned: bool) {
        let (title, flag) = (self.platform.title, self.platform.key("allow_unsigned"));
        match (r.find_given(&self.platform.key(name)), allow_unsigned) {
            (None, true) => r.warning(&flag, format!("{flag} is true: anyone can post as {title}")),
            (Some(secret), true) => {
                r.warning(
                    &flag,
                    format!("{flag} has no effect: signatures are checked, since {secret} is given"),
                );
            }
            (_, false) => {
                let why = format!(
                    "it is needed so that nobody else can post as {title}; {flag} = true does without"
                );
                self.need(r, name, &why);
            }
        }
    }

    /// Warns of an allow-list that lets nobody in.
    pub(super) fn warn_of_nobody(&self, r: &mut Reader<'_>, name: &str, allowed: &[Secret]) {
        if allowed.is_empty() {
            let key = self.platform.key(name);
            let text = format!("{key} is empty: nobody can write to {}", self.platform.title);
            r.warning(self.place_of(r, &key), text);
        }
    }

    /// Where to point when `key` says too little: at it, or at what needs it where it was not given at all.
    fn place_of<'a>(&'a self, r: &Reader<'_>, key: &'a str) -> &'a str {
        if r.is_mentioned(key) { key } else { &self.because }
    }
}

/// What stands for something needed: blank where it is missing, which was noted.
pub(super) fn needed(secret: Option<Secret>) -> Secret {
    secret.unwrap_or_else(|| Secret::new(""))
}
