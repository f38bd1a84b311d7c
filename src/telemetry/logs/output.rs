//! Standard error, without ever waiting for whoever reads it.
//!
//! A pipe whose reader is slow takes no more at some point, and then a write waits. No thread that does the gateway's work may
//! be the one that waits. So a line is written at once where that is certain not to wait, and else put into a buffer that is
//! bounded, from which a thread of its own writes. What the buffer has no room for is dropped and counted.
//!
//! Lines of requests, of which there may be tens of thousands a second, always go through the buffer, and are written
//! together some milliseconds later.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a pipe that can be written to takes without waiting: `PIPE_BUF`, see pipe(7).
const CHUNK: usize = 4096;
/// Bytes that may wait.
const ROOM: usize = 256 * 1024;
/// How long lines of requests gather before they are written.
const GATHER: Duration = Duration::from_millis(10);
/// How often it is looked whether a pipe that has an end can be written to.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Where lines go.
pub(super) struct Output {
    file: OwnedFd,
    /// Held while a chunk is written, so that lines stay whole.
    writing: Mutex<()>,
    waiting: Mutex<Waiting>,
    more: Condvar,
    idle: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether somebody waits for them to be written.
    urgent: bool,
    /// Whether the writer has nothing to do.
    idle: bool,
}

/// What became of a try to write.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Yes,
    /// It would have to wait.
    Later,
    /// It cannot be written at all.
    Never,
}

impl Output {
    /// Lines go to `file`, once [`run`](Self::run) runs.
    pub(super) fn new(file: OwnedFd) -> Self {
        Self {
            file,
            writing: Mutex::default(),
            waiting: Mutex::default(),
            more: Condvar::new(),
            idle: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Writes a line: now if that is sure not to wait.
    pub(super) fn event(&self, line: &[u8]) {
        match self.try_write(line) {
            Written::Yes => {}
            Written::Later => self.put(line),
            Written::Never => self.drop_line(),
        }
    }

    /// Has a line written soon.
    pub(super) fn request(&self, line: &[u8]) {
        self.put(line);
    }

    /// Lines that were lost.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all is written, at most for `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let mut waiting = self.waiting();
        waiting.urgent = true;
        self.more.notify_one();
        let is_busy = |waiting: &mut Waiting| !(waiting.bytes.is_empty() && waiting.idle);
        drop(self.idle.wait_timeout_while(waiting, patience, is_busy));
    }

    /// Writes what is put into the buffer, for ever.
    pub(super) fn run(&self) {
        let mut taken = Vec::with_capacity(CHUNK);
        loop {
            self.take(&mut taken);
            let mut rest = taken.as_slice();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(chunk_length(rest));
                self.write(chunk);
                rest = after;
            }
            taken.clear();
        }
    }

    /// Waits for lines and lets others join them.
    fn take(&self, into: &mut Vec<u8>) {
        let mut waiting = self.waiting();
        while waiting.bytes.is_empty() {
            (waiting.idle, waiting.urgent) = (true, false);
            self.idle.notify_all();
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        let is_calm = |waiting: &mut Waiting| !waiting.urgent && waiting.bytes.len() < ROOM / 2;
        let gathered = self.more.wait_timeout_while(waiting, GATHER, is_calm);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.bytes, into);
    }

    fn put(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        let (before, after) = (waiting.bytes.len(), waiting.bytes.len() + line.len());
        if after > ROOM {
            drop(waiting);
            return self.drop_line();
        }
        waiting.bytes.extend_from_slice(line);
        // It sleeps with nothing to do, or waits for more: then only a lot is worth waking it.
        let wakes = waiting.idle || (before < ROOM / 2 && after >= ROOM / 2);
        waiting.idle = false;
        drop(waiting);
        if wakes {
            self.more.notify_one();
        }
    }

    fn drop_line(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes as soon as that does not keep others waiting.
    fn write(&self, chunk: &[u8]) {
        let written = loop {
            match self.try_write(chunk) {
                Written::Later if chunk.len() > CHUNK => break self.write_all(chunk).is_ok(),
                Written::Later => self.wait_for_room(),
                written => break written == Written::Yes,
            }
        };
        if !written {
            let lines = chunk.split_inclusive(|byte| *byte == b'\n').count();
            self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
        }
    }

    /// Writes if that is certain not to wait.
    fn try_write(&self, bytes: &[u8]) -> Written {
        if bytes.len() > CHUNK {
            return Written::Later;
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut looked = [PollFd::new(&self.file, PollFlags::OUT)];
        match poll(&mut looked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) => return Written::Later,
            Ok(_) => {}
            Err(_) => return Written::Never,
        }
        if self.write_all(bytes).is_ok() { Written::Yes } else { Written::Never }
    }

    fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.file, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => self.wait_for_room(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) {
        poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&LOOK)).ok(); // then it is tried again
    }

    /// Nothing under the lock can panic half-way.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many whole lines as a pipe takes at once; a line that is longer by itself.
fn chunk_length(bytes: &[u8]) -> usize {
    let fits = &bytes[..bytes.len().min(CHUNK)];
    let end_of = |bytes: &[u8], last: bool| {
        let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        if last { ends.next_back() } else { ends.next() }
    };
    end_of(fits, true).or_else(|| end_of(bytes, false)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, sync::Arc, thread};

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn running() -> (Arc<Output>, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let output = Arc::new(Output::new(writer.into()));
        let runs = Arc::clone(&output);
        thread::spawn(move || runs.run());
        (output, reader)
    }

    fn read(reader: &mut io::PipeReader, bytes: usize) -> String {
        let mut read = vec![0; bytes];
        reader.read_exact(&mut read).unwrap();
        String::from_utf8(read).unwrap()
    }

    #[test]
    fn an_event_is_there_at_once_and_a_request_after_a_flush() {
        let (output, mut reader) = running();
        output.event(b"event\n");
        assert_eq!(read(&mut reader, 6), "event\n");
        output.request(b"request\n");
        output.flush(PATIENCE);
        assert_eq!(read(&mut reader, 8), "request\n");
        assert_eq!(output.dropped(), 0);
    }

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read_and_what_is_lost_is_counted() {
        let (output, mut reader) = running();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..1000 {
            output.event(&line);
            output.request(&line);
        }
        let dropped = output.dropped();
        assert!((1..2000).contains(&dropped), "{dropped}");
        let kept = usize::try_from(2000 - dropped).unwrap();
        let text = read(&mut reader, kept * 1024);
        assert!(text.lines().all(|line| line.len() == 1023), "lines stay whole");
        output.event(b"after\n");
        assert_eq!(read(&mut reader, 6), "after\n");
    }

    #[test]
    fn without_a_reader_lines_are_lost_and_counted() {
        let (output, reader) = running();
        drop(reader);
        output.event(b"event\n");
        output.request(b"one\ntwo\n");
        output.flush(PATIENCE);
        assert_eq!(output.dropped(), 3);
    }

    #[test]
    fn a_line_that_is_longer_than_a_chunk_is_written_whole() {
        let (output, mut reader) = running();
        let line = "y".repeat(3 * CHUNK) + "\n";
        output.event(line.as_bytes());
        assert_eq!(read(&mut reader, line.len()), line);
    }

    #[test]
    fn chunks_end_with_lines() {
        assert_eq!(chunk_length(b"a\nb\nc"), 4);
        assert_eq!(chunk_length(b"abc"), 3);
        let long = ["z".repeat(2 * CHUNK), "\n".into(), "more\n".into()].concat();
        assert_eq!(chunk_length(long.as_bytes()), 2 * CHUNK + 1);
        let two = ["z".repeat(CHUNK - 2), "\n".into(), "more\n".into()].concat();
        assert_eq!(chunk_length(two.as_bytes()), CHUNK - 1);
    }
}
