//! `moorgate message tail`: messages as they come in, and as what becomes of them is known.

use std::{collections::HashMap, io, time::Duration};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::MissedTickBehavior;

use super::{STATES, row};
use crate::{
    cli::{
        Failure, FileArgs,
        beside::{self, Beside},
        filter::FollowArgs,
        signals::Signals,
        table::{LiveTable, OutputArgs},
    },
    domain::id::MessageId,
    repository::admin::{Filter, MessageAdminRepository as _, MessageEntry, MessageMark},
};

/// The pause between two looks at the database.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// New messages that one look finds at most; what is more is found by the next one.
const MOST: u32 = 500;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  moorgate message tail --channel whatsapp
  moorgate message tail --state failed --since 1h --json

A message is shown when it comes in, and again whenever its state changes; one that is answered at once is shown once.
Ctrl-C ends it.")]
pub(in crate::cli) struct TailArgs {
    /// Only what comes into this state
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(in crate::cli) fn run(arguments: TailArgs) -> Result<(), Failure> {
    let TailArgs { state, follow, output, files } = arguments;
    beside::run(files, async |beside| {
        let mut signals = Signals::catch()?;
        let filter = follow.filter(state, beside.now);
        tokio::select! {
            followed = follow_on(beside, &filter, output.live()) => followed,
            () = signals.next() => Ok(()),
        }
    })
}

/// Shows what there is already, and then what is new, until nobody reads it any more.
async fn follow_on(beside: &Beside, filter: &Filter, mut table: LiveTable) -> Result<(), Failure> {
    let mut seen = Seen::begin(beside).await?;
    let mut news = beside.store.list_messages(filter).await?;
    news.retain(|message| message.id <= seen.last);
    news.reverse();
    for message in &news {
        seen.keep(message.mark());
    }
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for message in news.drain(..).filter(|message| fits(message, filter)) {
            if table.row(&row(message)).is_err() {
                return Ok(());
            }
        }
        look.tick().await;
        if is_closed(&io::stdout()) {
            return Ok(());
        }
        news = seen.look(beside).await?;
    }
}

fn fits(message: &MessageEntry, filter: &Filter) -> bool {
    filter.state.as_ref().is_none_or(|state| *state == message.state)
        && filter.channel.as_ref().is_none_or(|channel| *channel == message.channel)
}

/// Whether standard output is a pipe whose other end is closed: `head` need not wait for another message.
fn is_closed(output: &io::Stdout) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(output, PollFlags::empty())];
    poll(&mut polled, Some(&at_once)).is_ok() && polled[0].revents().contains(PollFlags::ERR)
}

/// Up to where messages are known, and how those stood that have not ended.
struct Seen {
    last: MessageId,
    open: HashMap<MessageId, MessageMark>,
}

impl Seen {
    /// All that is there now.
    async fn begin(beside: &Beside) -> Result<Self, Failure> {
        let newest = Filter { limit: 1, ..Filter::default() };
        let newest = beside.store.list_messages(&newest).await?;
        let last = newest.first().map_or(MessageId(0), |message| message.id);
        let mut seen = Self { last, open: HashMap::new() };
        let marks = beside.store.watch_messages(last, &[], MOST).await?;
        seen.note(marks.into_iter().filter(|mark| mark.id <= last));
        Ok(seen)
    }

    /// What has changed since: new messages, and those whose state is another.
    async fn look(&mut self, beside: &Beside) -> Result<Vec<MessageEntry>, Failure> {
        let open: Vec<MessageId> = self.open.keys().copied().collect();
        let marks = beside.store.watch_messages(self.last, &open, MOST).await?;
        let mut changed = Vec::new();
        for mark in &marks {
            if mark.id > self.last || self.open.get(&mark.id) != Some(mark) {
                changed.extend(beside.store.find_message(mark.id).await?);
            }
        }
        self.note(marks.into_iter());
        Ok(changed)
    }

    fn note(&mut self, marks: impl Iterator<Item = MessageMark>) {
        self.open.clear();
        for mark in marks {
            self.last = self.last.max(mark.id);
            self.keep(mark);
        }
    }

    fn keep(&mut self, mark: MessageMark) {
        if matches!(mark.state.as_str(), "accepted" | "running") {
            self.open.insert(mark.id, mark);
        } else {
            self.open.remove(&mark.id);
        }
    }
}
