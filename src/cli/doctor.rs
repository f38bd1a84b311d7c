//! `moorgate doctor`: what could be wrong, and what helps.

use std::fmt::Write as _;

use clap::Args;

use super::{
    Failure, FileArgs, block_on, inputs,
    table::{OutputArgs, Record},
};
use crate::{
    app::doctor::{self, Cause, Finding, State},
    config,
    system::SystemClock,
};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate doctor")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(arguments: DoctorArgs) -> Result<(), Failure> {
    let DoctorArgs { output, files } = arguments;
    let inputs = inputs(files, Vec::new())?;
    let findings = match config::load(&inputs).and_then(|config| Ok((config, config::show(&inputs)?))) {
        Ok((config, settings)) => {
            block_on(async { Ok(doctor::examine(&config, &settings, &SystemClock::new()).await) })?
        }
        Err(error) => doctor::of_bad_configuration(&error),
    };
    output.all_done(text(&findings), &findings.iter().map(record).collect::<Vec<_>>());
    let cause = findings.iter().find_map(|finding| match finding.state {
        State::Error(cause) => Some(cause),
        State::Ok | State::Warning => None,
    });
    cause.map_or(Ok(()), |cause| Err(failure(cause, &findings)))
}

fn failure(cause: Cause, findings: &[Finding]) -> Failure {
    let code = match cause {
        Cause::Configuration => Failure::CONFIGURATION,
        Cause::Database => Failure::DATABASE,
        Cause::Unavailable => Failure::UNAVAILABLE,
    };
    let errors = findings.iter().filter(|finding| matches!(finding.state, State::Error(_))).count();
    Failure::new(code, if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") })
}

/// A line for each finding, and one below it with what helps.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, state, text: found, fix } in findings {
        // A String takes all.
        writeln!(text, "{:<8} {check:<14} {}", state.as_str(), indented(found)).ok();
        if let Some(fix) = fix {
            writeln!(text, "{:<23} fix: {}", "", indented(fix)).ok();
        }
    }
    text.trim_end().to_owned()
}

/// Text of several lines stays in its column.
fn indented(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(&format!("\n{:24}", ""))
}

fn record(finding: &Finding) -> Record {
    vec![
        ("check", finding.check.into()),
        ("state", finding.state.as_str().into()),
        ("finding", finding.text.as_str().into()),
        ("fix", finding.fix.as_deref().into()),
    ]
}
