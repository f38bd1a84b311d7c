//! How the parts of the gateway are doing, in the words that `/health` says.

/// How a part is doing, the better first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is not configured.
    Disabled,
    /// It does what it is there for.
    Ok,
    /// It has not done anything yet.
    Starting,
    /// It works, but not all of it, or not for long again.
    Degraded,
    /// It does not work.
    Error,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Ok => "ok",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Error => "error",
        }
    }
}

/// A part that a [`State`] is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// Takes requests, and writes what they ask for.
    Gateway,
    /// Answers the messages of chat platforms.
    Channels,
    /// Forgets what has expired.
    Scheduler,
    /// The language models.
    Provider,
    /// Makes the gateway reachable from elsewhere.
    Tunnel,
    /// Writes and reads the database, to see whether that works.
    Heartbeat,
    /// Puts what was said into memory, and makes it searchable.
    Indexer,
    /// Finds the work that an edit of the database made.
    Edits,
    /// Makes backups.
    Backups,
}

impl Component {
    /// All of them, in the order of `/health`.
    pub const ALL: [Self; 9] = [
        Self::Gateway,
        Self::Channels,
        Self::Scheduler,
        Self::Provider,
        Self::Tunnel,
        Self::Heartbeat,
        Self::Indexer,
        Self::Edits,
        Self::Backups,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Channels => "channels",
            Self::Scheduler => "scheduler",
            Self::Provider => "provider",
            Self::Tunnel => "tunnel",
            Self::Heartbeat => "heartbeat",
            Self::Indexer => "indexer",
            Self::Edits => "edits",
            Self::Backups => "backups",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_is_at_its_place() {
        assert!(Component::ALL.into_iter().enumerate().all(|(place, it)| it as usize == place));
    }

    #[test]
    fn the_worse_of_two_states_is_the_greater() {
        assert_eq!(State::Ok.max(State::Error), State::Error);
        assert_eq!(State::Disabled.max(State::Ok), State::Ok);
        assert_eq!(State::Degraded.max(State::Starting), State::Degraded);
    }
}
