//! The answering side: accepts, checks who asks, and hands the request to the daemon's own task.

use std::{
    ffi::CString,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    MAX_CHANGE_BYTES, MAX_QUESTION_BYTES, QUESTION_TIMEOUT,
    follow::{Followed, MAX_FOLLOWERS},
    protocol::{Answer, Asker, Outcome, Question, Refusal, RefusalKind, Request, SCHEMA},
};
use crate::{events::Seen, history::changes::Actor};

/// Questions in flight; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 32;
const GROUP: &str = "cerco";

/// A request on its way to the daemon's task, and where the answer goes.
pub struct Asked {
    pub request: Request,
    /// See [`Question::confirm`].
    pub confirm: Option<Duration>,
    pub asker: Asker,
    pub actor: Actor,
    pub answer: oneshot::Sender<Result<serde_json::Value, Refusal>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("another daemon answers at {}: stop it first", path.display())]
    Taken { path: PathBuf },
    #[error("{} exists and is not a socket: move it away, or set [paths] socket", path.display())]
    NotASocket { path: PathBuf },
    #[error("failed to {attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Listens at `path`. A socket file there is replaced only when nobody answers behind it.
pub fn bind(path: &Path) -> Result<UnixListener, ServerError> {
    let io_error = |attempt| {
        move |source| ServerError::Io {
            attempt,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io_error("create the directory of"))?;
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(ServerError::Taken {
                    path: path.to_owned(),
                });
            }
            fs::remove_file(path).map_err(io_error("remove the stale socket"))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("look at")(error)),
    }
    // Between bind and chmod the socket must not be open to others. The umask belongs to the whole
    // process, which is still alone with itself here: the daemon binds before it spawns anything.
    // SAFETY: umask has no preconditions and cannot fail.
    let umask = unsafe { libc::umask(0o177) };
    let listener = UnixListener::bind(path);
    // SAFETY: as above.
    unsafe { libc::umask(umask) };
    let listener = listener.map_err(io_error("listen at"))?;
    if let Some(group) = group_id(GROUP) {
        match chown(path, None, Some(group)) {
            Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o660))
                .map_err(io_error("set the permissions of"))?,
            Err(error) => {
                warn!(
                    "only root can use {}: chown to {GROUP} failed: {error}",
                    path.display()
                );
            }
        }
    }
    Ok(listener)
}

/// Answers until the daemon's task is gone.
pub async fn serve(
    listener: UnixListener,
    daemon: mpsc::Sender<Asked>,
    events: broadcast::Sender<Arc<Seen>>,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let follower_slots = Arc::new(Semaphore::new(MAX_FOLLOWERS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let daemon = daemon.clone();
                let followed = Followed {
                    events: events.clone(),
                    slots: follower_slots.clone(),
                };
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, slot, daemon, followed).await {
                        debug!("control connection: {error}");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets others close theirs.
                warn!("control socket: accept failed: {error}");
                tokio::time::sleep(QUESTION_TIMEOUT).await;
            }
        }
    }
}

async fn converse(
    mut stream: UnixStream,
    slot: OwnedSemaphorePermit,
    daemon: mpsc::Sender<Asked>,
    followed: Followed,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let peer_uid = peer.uid();
    let actor = Actor::Peer {
        uid: peer_uid,
        pid: peer.pid(),
    };
    let mut line = String::new();
    let limit = match may_change(peer_uid) {
        true => MAX_CHANGE_BYTES,
        // Whoever may only read must not be able to fill the daemon's memory either.
        false => MAX_QUESTION_BYTES,
    };
    let mut reader = BufReader::new((&mut stream).take(limit as u64));
    timeout(QUESTION_TIMEOUT, reader.read_line(&mut line))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let question = read_question(&line, limit, peer_uid);
    if let Ok(Question {
        request: Request::FollowEvents { filter, heads },
        ..
    }) = question
    {
        // Whoever follows for hours must not keep others from asking.
        drop(slot);
        return followed.stream_to(stream, &filter, heads).await;
    }
    let outcome = match question {
        Ok(question) => ask_daemon(question, actor, daemon).await,
        Err(refusal) => Err(refusal),
    };
    write_line(&mut stream, &answer(outcome)).await
}

/// The answer to a question, as it goes over the wire.
pub(super) fn answer(outcome: Result<serde_json::Value, Refusal>) -> Answer {
    Answer {
        schema: SCHEMA,
        outcome: match outcome {
            Ok(reply) => Outcome::Ok(reply),
            Err(refusal) => Outcome::Error(refusal),
        },
    }
}

pub(super) async fn write_line(
    stream: &mut UnixStream,
    value: &impl serde::Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    write_in_time(stream, &line).await
}

pub(super) async fn write_in_time(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    timeout(QUESTION_TIMEOUT, stream.write_all(bytes))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn read_question(line: &str, limit: usize, peer_uid: u32) -> Result<Question, Refusal> {
    if !line.ends_with('\n') {
        return Err(Refusal::bad_request(format!(
            "a question is one line of at most {limit} bytes"
        )));
    }
    let question: Question = serde_json::from_str(line)
        .map_err(|error| Refusal::bad_request(format!("cannot read the question: {error}")))?;
    if question.schema != SCHEMA {
        return Err(Refusal::bad_request(format!(
            "the question has schema {}, this daemon speaks {SCHEMA}: use the `cerco` of the same \
             version",
            question.schema
        )));
    }
    if question.request.is_privileged() && !may_change(peer_uid) {
        return Err(Refusal {
            kind: RefusalKind::Forbidden,
            message: format!("user {peer_uid} may only read: run this as root"),
            hint: None,
        });
    }
    Ok(question)
}

async fn ask_daemon(
    question: Question,
    actor: Actor,
    daemon: mpsc::Sender<Asked>,
) -> Result<serde_json::Value, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let asked = Asked {
        request: question.request,
        confirm: question.confirm,
        asker: question.asker,
        actor,
        answer: sender,
    };
    let stopping = || Refusal::failed("the daemon is stopping");
    daemon.send(asked).await.map_err(|_| stopping())?;
    receiver.await.map_err(|_| stopping())?
}

fn may_change(uid: u32) -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    uid == 0 || uid == unsafe { libc::geteuid() }
}

/// The number of the group `name`, if the host has it.
fn group_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` ends in NUL. The entry lies in static memory that the next call overwrites;
    // only its number is copied out, and no other thread runs yet.
    unsafe { libc::getgrnam(name.as_ptr()).as_ref() }.map(|group| group.gr_gid)
}
