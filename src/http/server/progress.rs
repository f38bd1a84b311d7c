//! How far one connection has come, as its stream and its service see it.
//!
//! hyper alone knows where a head ends; the stream sees bytes, the service sees requests. Each reports what
//! it sees here, and the [deadline](super::deadline) follows. One task owns all three, so the atomics are
//! there for `Send`, not for ordering: `Relaxed` throughout, no lock, no clock.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The first byte of the first head.
    Opening,
    /// The rest of a head.
    Head,
    /// The service: a request is being worked on.
    Busy,
    /// The client: it takes the answer and, some time, sends the first byte of another head.
    Idle,
    /// The client's end of the connection, after ours has been shut down.
    Lingering,
}

/// How the end of a request shows in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By an empty line: no body, or a chunked one.
    EmptyLine,
    /// By a count: `Content-Length`.
    Count,
}

/// The state shared by the parts of one connection.
pub(super) struct Progress {
    phase: AtomicU8,
    /// The phase was entered, perhaps anew, since [`Progress::take_entered`].
    entered: AtomicBool,
    /// The body of the last request has not been read to its end.
    unread: AtomicBool,
    /// The last request ends with an empty line.
    ends_with_empty_line: AtomicBool,
    /// The last four bytes received.
    tail: AtomicU32,
    /// A request was begun whose answer has not been written to its end.
    owes_answer: AtomicBool,
}

impl Progress {
    pub(super) const fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Opening as u8),
            entered: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            ends_with_empty_line: AtomicBool::new(false),
            tail: AtomicU32::new(0),
            owes_answer: AtomicBool::new(false),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        const PHASES: [Phase; 5] = [Phase::Opening, Phase::Head, Phase::Busy, Phase::Idle, Phase::Lingering];
        PHASES[usize::from(self.phase.load(Relaxed))]
    }

    /// The phase, if a time starts to run with it.
    pub(super) fn take_entered(&self) -> Option<Phase> {
        self.entered.load(Relaxed).then(|| {
            self.entered.store(false, Relaxed);
            self.phase()
        })
    }

    /// Bytes came in. They belong to a head unless a request is being worked on.
    pub(super) fn received(&self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(4)..];
        let tail = last.iter().fold(self.tail.load(Relaxed), |tail, byte| (tail << 8) | u32::from(*byte));
        self.tail.store(tail, Relaxed);
        match self.phase() {
            // The first head's time runs from the connection's start, so none starts here.
            Phase::Opening => self.phase.store(Phase::Head as u8, Relaxed),
            Phase::Idle => self.enter(Phase::Head),
            Phase::Head | Phase::Busy | Phase::Lingering => {}
        }
    }

    /// A head was complete and is now the service's. `unread`: a body follows it.
    pub(super) fn request_begun(&self, ending: Ending, unread: bool) {
        self.ends_with_empty_line.store(ending == Ending::EmptyLine, Relaxed);
        self.unread.store(unread, Relaxed);
        self.owes_answer.store(true, Relaxed);
        self.enter(Phase::Busy);
    }

    /// The request's body was read to its end.
    pub(super) fn body_read(&self) {
        self.unread.store(false, Relaxed);
    }

    /// Whether there is more of the last request's body than was read.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// The service has answered.
    ///
    /// A client that pipelines may have begun its next head by now, and hyper may hold those bytes already:
    /// then no byte will show that it did, but what came last is not the end of the request that was
    /// answered.
    pub(super) fn answered(&self) {
        let ended =
            self.is_unread() || !self.ends_with_empty_line.load(Relaxed) || self.has_empty_line_last();
        self.enter(if ended { Phase::Idle } else { Phase::Head });
    }

    /// All that hyper had to write is written.
    pub(super) fn flushed(&self) {
        if self.phase() != Phase::Busy {
            self.owes_answer.store(false, Relaxed);
        }
    }

    /// Whether an answer of the service is being written, or will be.
    pub(super) fn owes_answer(&self) -> bool {
        self.owes_answer.load(Relaxed)
    }

    /// Our side is shut down.
    pub(super) fn lingering(&self) {
        self.enter(Phase::Lingering);
    }

    /// Whether the client may be sending something that nobody will read: the rest of a body, or of a head.
    pub(super) fn is_sending(&self) -> bool {
        self.is_unread() || self.phase() == Phase::Head
    }

    /// Enters a phase, perhaps anew: its time starts to run.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.entered.store(true, Relaxed);
    }

    fn has_empty_line_last(&self) -> bool {
        let [_, a, b, c] = self.tail.load(Relaxed).to_be_bytes();
        (b, c) == (b'\n', b'\n') || (a, b, c) == (b'\n', b'\r', b'\n')
    }
}
