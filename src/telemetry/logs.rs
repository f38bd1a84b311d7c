//! Log lines on standard error.
//!
//! Standard output belongs to the start banner, which scripts read, so no log line ever goes there. The chosen level
//! holds for the gateway's own code; libraries speak from `warn` up, whatever the level, because at `debug` an HTTP or
//! database library writes out headers and statements.
//!
//! A line that cannot be written (the reader of the pipe is slow or has gone, the disk is full) is dropped and counted. Losing
//! a log line is better than losing the request that wrote it.

mod output;

use std::{
    io::{self, IsTerminal},
    os::fd::AsFd as _,
    sync::OnceLock,
    thread,
    time::Duration,
};

use thiserror::Error;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use output::Output;

/// The target of the one line that each request has.
pub const REQUEST: &str = "moorgate::request";

/// Where lines go, once logging is set up.
static OUTPUT: OnceLock<Output> = OnceLock::new();

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, target, message and fields on one line, in colour on a terminal.
    #[default]
    Text,
    /// For machines: one JSON object per line with `timestamp`, `level`, `target`, `fields` and `span`.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The level is none of the names that exist.
    #[error("unknown log level {given:?}: expected off, error, warn, info, debug or trace")]
    Level {
        /// What was given instead.
        given: String,
    },
    /// Standard error is not there, or there is no thread to write to it.
    #[error("standard error cannot be written to: {0}")]
    Output(#[from] io::Error),
    /// Something in this process logs already.
    #[error("logging is already set up in this process")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging to standard error, for the rest of the process.
///
/// `level` is `off`, `error`, `warn`, `info`, `debug` or `trace`, in any case; it holds for `moorgate`, and everything
/// else logs from `warn` up.
///
/// # Errors
///
/// [`LogError::Level`] for any other level, [`LogError::AlreadySet`] when called twice.
pub fn init(format: LogFormat, level: &str) -> Result<(), LogError> {
    let filter = filter(level)?;
    let file = io::stderr().as_fd().try_clone_to_owned()?;
    let output = OUTPUT.get_or_init(|| Output::new(file));
    thread::Builder::new().name("log".into()).spawn(|| output.run())?;
    subscriber(format, filter, Lines(output), io::stderr().is_terminal()).try_init()?;
    Ok(())
}

/// Waits until what was logged is written, at most for `patience`.
pub fn flush(patience: Duration) {
    if let Some(output) = OUTPUT.get() {
        output.flush(patience);
    }
}

/// Lines that were lost since the start.
#[must_use]
pub fn dropped() -> u64 {
    OUTPUT.get().map_or(0, Output::dropped)
}

/// Hands lines to the output.
struct Lines(&'static Output);

/// Hands over one line.
struct Line(&'static Output, bool);

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line(self.0, false)
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Line {
        Line(self.0, metadata.target() == REQUEST)
    }
}

impl io::Write for Line {
    /// Takes a whole line: that is how they come.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.1 {
            self.0.request(line);
        } else {
            self.0.event(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The filter for a level: that level for the gateway's own code, `warn` for the libraries.
fn filter(level: &str) -> Result<EnvFilter, LogError> {
    const NAMES: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let name = level.to_ascii_lowercase();
    if !NAMES.contains(&name.as_str()) {
        return Err(LogError::Level { given: level.to_owned() });
    }
    Ok(EnvFilter::new(format!("warn,moorgate={name}")))
}

/// A subscriber that writes to `writer`.
///
/// Internal errors are not reported: the report would go to standard error with `eprintln!`, which panics when standard
/// error is the very thing that is broken.
fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
    ansi: bool,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().with_span_list(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written by one event of the gateway and one of a library, each at `info`.
    fn logged(format: LogFormat, level: &str, ansi: bool) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(format, filter(level).unwrap(), move || writer.clone(), ansi);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "moorgate::http", port = 3000, "gateway line");
            tracing::info!(target: "hyper::proto", "library line");
            tracing::warn!(target: "hyper::proto", "library warning");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_level_holds_for_the_gateway_and_libraries_speak_from_warn_up() {
        let text = logged(LogFormat::Text, "info", false);
        assert!(text.contains("gateway line") && text.contains("library warning"), "{text}");
        assert!(!text.contains("library line"), "{text}");

        let text = logged(LogFormat::Text, "ERROR", false);
        assert!(!text.contains("gateway line") && text.contains("library warning"), "{text}");
    }

    #[test]
    fn colour_is_written_only_when_asked_for() {
        assert!(!logged(LogFormat::Text, "info", false).contains('\u{1b}'));
        assert!(logged(LogFormat::Text, "info", true).contains('\u{1b}'));
        assert!(!logged(LogFormat::Json, "info", true).contains('\u{1b}'));
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields_apart() {
        let text = logged(LogFormat::Json, "info", false);
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("{\"timestamp\":\"") && first.ends_with('}'), "{first}");
        assert!(first.contains("\"level\":\"INFO\""), "{first}");
        assert!(first.contains("\"fields\":{\"message\":\"gateway line\",\"port\":3000}"), "{first}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn an_unknown_level_is_refused_by_name() {
        for level in ["", "loud", "3", "info,hyper=trace", " info"] {
            let message = init(LogFormat::Text, level).unwrap_err().to_string();
            assert!(message.contains(&format!("{level:?}")), "{message}");
        }
    }

    #[test]
    fn a_writer_that_fails_does_not_stop_the_caller() {
        struct Broken;
        impl io::Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        for format in [LogFormat::Text, LogFormat::Json] {
            let subscriber = subscriber(format, filter("info").unwrap(), || Broken, false);
            tracing::subscriber::with_default(
                subscriber,
                || tracing::warn!(target: "moorgate", "into the void"),
            );
        }
    }
}
