//! A question that a person answers.

use std::io::{self, BufRead, IsTerminal, Write};

use super::Failure;

/// Asks on the terminal; without one it fails, since nobody has said yes.
pub fn confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::bad_usage(
            "there is no terminal to ask on; repeat it with --yes",
        ));
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
