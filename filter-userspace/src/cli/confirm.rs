//! A question that a person answers.

use std::io::{self, BufRead, IsTerminal, Write};

use super::Failure;

/// Asks on the terminal; without one it fails, since nobody has said yes.
pub fn confirmed(question: &str) -> Result<bool, Failure> {
    on_a_terminal()?;
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Fails where nobody could be asked.
pub fn on_a_terminal() -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::bad_usage(
        "there is no terminal to ask on; repeat it with --yes",
    ))
}
