//! The question before something is destroyed.

use std::io::{self, BufRead, IsTerminal as _, Write};

use clap::Args;

use super::Failure;

#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl ConfirmArgs {
    /// Asks on the terminal whether to go on, unless `--yes` says so.
    ///
    /// # Errors
    /// A [`Failure`] of usage if the answer is no, or there is no terminal to ask on.
    pub(super) fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let refused = |text| Err(Failure::new(Failure::USAGE, text));
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return refused("this needs --yes: there is no terminal to ask on");
        }
        if agreed(question, &mut io::stdin().lock(), &mut io::stderr().lock()) {
            return Ok(());
        }
        refused("nothing was changed")
    }
}

/// Whether the answer is yes. No answer is a no.
fn agreed(question: &str, answers: &mut impl BufRead, asked_on: &mut impl Write) -> bool {
    let mut answer = String::new();
    let asked = write!(asked_on, "{question} [y/N] ").and_then(|()| asked_on.flush());
    asked.and_then(|()| answers.read_line(&mut answer)).is_ok()
        && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_a_yes() {
        for (answer, agrees) in
            [("y\n", true), (" YES \n", true), ("n\n", false), ("\n", false), ("", false), ("yeah\n", false)]
        {
            let mut asked = Vec::new();
            assert_eq!(agreed("Really?", &mut answer.as_bytes(), &mut asked), agrees, "{answer:?}");
            assert_eq!(asked, b"Really? [y/N] ");
        }
    }
}
