//! The asking side of the control socket, blocking: the CLI has nothing else to do meanwhile.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    ANSWER_TIMEOUT, MAX_ANSWER_BYTES, QUESTION_TIMEOUT,
    protocol::{Answer, Asker, Outcome, Question, Refusal, Request, SCHEMA},
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {}: {source}", path.display())]
    NoDaemon { path: PathBuf, source: io::Error },
    #[error(
        "not allowed to open {}: run as root, or join the group `cerco` to read", path.display()
    )]
    NotPermitted { path: PathBuf },
    #[error("failed to talk to the daemon at {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the daemon answered what this version does not understand: {source}")]
    Parse { source: serde_json::Error },
    #[error("the daemon speaks schema {theirs}, this command {SCHEMA}: restart the daemon")]
    Schema { theirs: u32 },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Asks the daemon behind the socket `path`. `confirm`: undo the change after this time, unless it is
/// confirmed.
pub fn ask(
    path: &Path,
    request: Request,
    confirm: Option<Duration>,
) -> Result<serde_json::Value, ClientError> {
    ask_as(path, Asker::default(), request, confirm)
}

/// As [`ask`], on behalf of somebody.
pub fn ask_as(
    path: &Path,
    asker: Asker,
    request: Request,
    confirm: Option<Duration>,
) -> Result<serde_json::Value, ClientError> {
    let stream = UnixStream::connect(path).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotPermitted {
            path: path.to_owned(),
        },
        _ => ClientError::NoDaemon {
            path: path.to_owned(),
            source,
        },
    })?;
    let question = Question {
        schema: SCHEMA,
        request,
        confirm,
        asker,
    };
    let line = exchange(stream, &question).map_err(|source| ClientError::Io {
        path: path.to_owned(),
        source,
    })?;
    let answer: Answer =
        serde_json::from_str(&line).map_err(|source| ClientError::Parse { source })?;
    if answer.schema != SCHEMA {
        return Err(ClientError::Schema {
            theirs: answer.schema,
        });
    }
    match answer.outcome {
        Outcome::Ok(reply) => Ok(reply),
        Outcome::Error(refusal) => Err(refusal.into()),
    }
}

fn exchange(mut stream: UnixStream, question: &Question) -> io::Result<String> {
    stream.set_write_timeout(Some(QUESTION_TIMEOUT))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES as u64)).read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the answer ends in the middle",
        ));
    }
    Ok(answer)
}
