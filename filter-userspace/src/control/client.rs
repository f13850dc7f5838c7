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
use crate::events::Line;

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
    #[error("the daemon at {} has gone away", path.display())]
    Gone { path: PathBuf },
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
    let mut stream = connect(path)?;
    let question = Question {
        schema: SCHEMA,
        request,
        confirm,
        asker,
    };
    let line = exchange(&mut stream, &question).map_err(failed_at(path))?;
    read_answer(&line)
}

/// Events as they come.
pub struct Follower {
    reader: BufReader<UnixStream>,
    path: PathBuf,
    /// What was read of a line.
    line: Vec<u8>,
}

impl Follower {
    /// `request` is [`Request::FollowEvents`].
    pub fn begin(path: &Path, request: Request) -> Result<Self, ClientError> {
        let mut stream = connect(path)?;
        let question = Question {
            schema: SCHEMA,
            request,
            confirm: None,
            asker: Asker::default(),
        };
        send(&mut stream, &question).map_err(failed_at(path))?;
        let mut follower = Self {
            reader: BufReader::new(stream),
            path: path.to_owned(),
            line: Vec::new(),
        };
        let mut answer = String::new();
        let read = follower.reader.read_line(&mut answer);
        read.map_err(failed_at(path))?;
        read_answer(&answer)?;
        Ok(follower)
    }

    /// The next line of the stream; `None` when none comes before `wait` is over.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Line>, ClientError> {
        // 0 would be no limit.
        let wait = wait.max(Duration::from_millis(1));
        let timeout = self.reader.get_ref().set_read_timeout(Some(wait));
        timeout.map_err(failed_at(&self.path))?;
        match self.reader.read_until(b'\n', &mut self.line) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed_at(&self.path)(error)),
            Ok(_) if self.line.last() != Some(&b'\n') => {
                return Err(ClientError::Gone {
                    path: self.path.clone(),
                });
            }
            Ok(_) => {}
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(|source| ClientError::Parse { source })
    }
}

fn connect(path: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(path).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotPermitted {
            path: path.to_owned(),
        },
        _ => ClientError::NoDaemon {
            path: path.to_owned(),
            source,
        },
    })
}

fn failed_at(path: &Path) -> impl FnOnce(io::Error) -> ClientError + '_ {
    |source| ClientError::Io {
        path: path.to_owned(),
        source,
    }
}

fn read_answer(line: &str) -> Result<serde_json::Value, ClientError> {
    let answer: Answer =
        serde_json::from_str(line).map_err(|source| ClientError::Parse { source })?;
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

fn send(stream: &mut UnixStream, question: &Question) -> io::Result<()> {
    stream.set_write_timeout(Some(QUESTION_TIMEOUT))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn exchange(stream: &mut UnixStream, question: &Question) -> io::Result<String> {
    send(stream, question)?;
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
