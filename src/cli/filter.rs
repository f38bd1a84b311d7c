//! Which messages, replies and conversations a list shows, and why one of them was not changed.

use std::time::Duration;

use clap::Args;

use super::{Failure, duration};
use crate::{
    domain::time::Millis,
    repository::admin::{Change, Filter, Refusal},
};

/// How messages come in.
const CHANNELS: [&str; 4] = ["webhook", "whatsapp", "linq", "nextcloud_talk"];

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Of one channel only
    #[arg(long, value_parser = CHANNELS)]
    channel: Option<String>,
    /// Of the last so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    since: Option<Duration>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

impl FilterArgs {
    pub(super) fn filter(self, state: Option<String>, now: Millis) -> Filter {
        let since = self.since.map(|age| now.minus(age));
        Filter { state, channel: self.channel, since, limit: self.limit, ..Filter::default() }
    }
}

/// What a command shows that goes on and on.
#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    /// Of one channel only
    #[arg(long, value_parser = CHANNELS)]
    channel: Option<String>,
    /// Begin with those of the last so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Begin with at most so many that are there already
    #[arg(long, default_value_t = 10)]
    lines: u32,
}

impl FollowArgs {
    pub(super) fn filter(self, state: Option<String>, now: Millis) -> Filter {
        let Self { channel, since, lines } = self;
        FilterArgs { channel, since, limit: lines }.filter(state, now)
    }
}

/// Nothing has this id.
pub(super) fn not_found(what: &str, id: i64) -> Failure {
    Failure::new(Failure::USAGE, format!("there is no {what} {id}"))
}

/// What was changed, or why nothing was.
pub(super) fn changed<T>(change: Change<T>, what: &str, id: i64) -> Result<T, Failure> {
    let refusal = match change {
        Change::Done(done) => return Ok(done),
        Change::Refused(refusal) => refusal,
    };
    Err(match refusal {
        Refusal::NotFound => not_found(what, id),
        Refusal::OfWebhook => usage(format!(
            "{what} {id} came in through /webhook: its sender knows what came of it, and sends it again by itself"
        )),
        Refusal::AtWork => usage(format!(
            "{what} {id} is at work just now (or was, when the server was killed: the next start takes it up)"
        )),
        Refusal::Ended(state) => usage(format!("{what} {id} is {state}: that is final")),
    })
}

fn usage(text: String) -> Failure {
    Failure::new(Failure::USAGE, text)
}
