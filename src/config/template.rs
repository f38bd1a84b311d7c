//! A configuration file to begin with: the keys that a provider and channels need, with their comments out of
//! `config.toml.example`, so that they never say anything else.

use std::fmt::Write as _;

use super::{provider::ProviderKind, setting::EXAMPLE, value::quote};

/// What the file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What answers.
    pub kind: ProviderKind,
    /// The model to ask for.
    pub model: Option<String>,
    /// The channels that messages come in through.
    pub channels: Vec<ChannelName>,
}

/// A chat platform, by its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChannelName {
    /// `[channels_config.whatsapp]`.
    WhatsApp,
    /// `[channels_config.linq]`.
    Linq,
    /// `[channels_config.nextcloud_talk]`.
    NextcloudTalk,
}

/// The file, and what is left to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What is in it.
    pub text: String,
    /// The keys that are blank in it and must not stay so.
    pub missing: Vec<String>,
}

const HEAD: &str = "\
# Moorgate. What is not here has its default: `moorgate config show` prints all there is, config.toml.example
# explains it. `moorgate config check` says what is wrong or missing. Every secret can be in a file instead:
# api_key_file = \"/run/secrets/api_key\".
";

/// Keys of every file.
const ALWAYS: [&str; 4] = ["gateway.host", "gateway.port", "database.path", "database.backup_folder"];

impl ChannelName {
    /// The keys to write, which must all be filled in.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::WhatsApp => &[
                "channels_config.whatsapp.access_token",
                "channels_config.whatsapp.phone_number_id",
                "channels_config.whatsapp.verify_token",
                "channels_config.whatsapp.app_secret",
                "channels_config.whatsapp.allowed_numbers",
            ],
            Self::Linq => &[
                "channels_config.linq.api_token",
                "channels_config.linq.from_phone",
                "channels_config.linq.signing_secret",
                "channels_config.linq.allowed_senders",
            ],
            Self::NextcloudTalk => &[
                "channels_config.nextcloud_talk.base_url",
                "channels_config.nextcloud_talk.webhook_secret",
                "channels_config.nextcloud_talk.allowed_users",
            ],
        }
    }
}

/// Makes the file.
#[must_use]
pub fn template(wanted: &Wanted) -> Template {
    let mut writer = TemplateWriter::default();
    for key in ALWAYS {
        writer.key(key, None, false);
    }
    provider(&mut writer, wanted);
    let mut channels = wanted.channels.clone();
    channels.sort_unstable();
    channels.dedup();
    for key in channels.iter().flat_map(|channel| channel.keys()) {
        writer.key(key, None, true);
    }
    Template { text: format!("{HEAD}{}", writer.text), missing: writer.missing }
}

fn provider(writer: &mut TemplateWriter, wanted: &Wanted) {
    writer.key("provider.kind", Some(wanted.kind.as_str()), false);
    if wanted.kind == ProviderKind::Echo {
        return;
    }
    writer.key("provider.model", wanted.model.as_deref(), true);
    writer.key("provider.base_url", None, false);
    if wanted.kind != ProviderKind::Ollama {
        writer.key("provider.api_key", None, true);
    }
    writer.key("provider.system_prompt", None, false);
}

#[derive(Default)]
struct TemplateWriter {
    text: String,
    section: String,
    missing: Vec<String>,
}

impl TemplateWriter {
    /// Writes a key with its comment and this text, or its default.
    fn key(&mut self, key: &str, text: Option<&str>, is_needed: bool) {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        if self.section != section {
            section.clone_into(&mut self.section);
            write!(self.text, "\n[{section}]\n").ok(); // a String takes all
        }
        let (comment, default) = documented(section, name);
        let value = text.map_or_else(|| default.to_owned(), quote);
        if is_needed && matches!(value.as_str(), "\"\"" | "[]") {
            self.missing.push(key.to_owned());
        }
        write!(self.text, "\n{comment}{name} = {value}\n").ok();
    }
}

/// The comment above a key in the example, its lines with their ends, and its default as written there.
fn documented(section: &str, name: &str) -> (String, &'static str) {
    let header = format!("[{section}]");
    let mut comment = String::new();
    for line in EXAMPLE.lines().skip_while(|line| *line != header).skip(1) {
        if line.starts_with('[') {
            break;
        }
        match line.split_once(" = ") {
            Some((found, value)) if found == name => return (comment, value),
            _ if line.starts_with('#') => {
                comment.push_str(line);
                comment.push('\n');
            }
            _ => comment.clear(),
        }
    }
    (String::new(), "\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_example_with_its_comment() {
        let channels = [ChannelName::WhatsApp, ChannelName::Linq, ChannelName::NextcloudTalk];
        let keys = channels.iter().flat_map(|channel| channel.keys()).copied().chain(ALWAYS);
        for key in
            keys.chain(["provider.kind", "provider.model", "provider.api_key", "provider.system_prompt"])
        {
            let (section, name) = key.rsplit_once('.').unwrap();
            assert!(documented(section, name).0.contains("Default: "), "{key}");
        }
    }

    #[test]
    fn a_channel_named_twice_is_written_once() {
        let channels = vec![ChannelName::Linq, ChannelName::WhatsApp, ChannelName::Linq];
        let text = template(&Wanted { kind: ProviderKind::Echo, model: None, channels }).text;
        assert_eq!(text.matches("[channels_config.linq]").count(), 1, "{text}");
    }
}
