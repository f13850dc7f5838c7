//! An HTTPS server that answers as badly as a test wants.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{
    error::{Error, Result},
    netns::NetNs,
};

/// Between two looks for a visitor, or for the end.
const PAUSE: Duration = Duration::from_millis(5);
/// For a client that neither speaks nor leaves.
const CLIENT_LIMIT: Duration = Duration::from_secs(20);

/// What a client asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// With the query.
    pub path: String,
    /// As they came, `Name: value`.
    headers: Vec<String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What it gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, headers, body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// 200, with a length that is not reached.
    CutOff(Vec<u8>),
    /// 200, and bytes until the client leaves.
    Endless,
    /// Nothing, until the client leaves.
    Silence,
    /// 200 and half of a body, then nothing.
    SilenceWithin(Vec<u8>),
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, Vec::new(), body.into())
    }

    pub fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), b"no".to_vec())
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::Whole(302, vec![("Location", to.into())], Vec::new())
    }
}

/// A server on 127.0.0.1 inside a namespace; it ends when it is dropped.
pub struct HttpsServer {
    port: u16,
    certificate: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpsServer {
    pub fn start(
        netns: &NetNs,
        reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .map_err(|error| Error::os("make a certificate", io::Error::other(error)))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let chain = vec![made.cert.der().clone()];
                builder.with_no_client_auth().with_single_cert(chain, key)
            })
            .map_err(|error| Error::os("configure TLS", io::Error::other(error)))?;
        let listener = netns
            .run(|| TcpListener::bind("127.0.0.1:0"))?
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| Error::os("listen on 127.0.0.1", source))?;
        let port = listener
            .local_addr()
            .map_err(|source| Error::os("read the port", source))?
            .port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let server = Server {
            config: Arc::new(config),
            reply: Arc::new(reply),
            asked: asked.clone(),
            stop: stop.clone(),
        };
        Ok(Self {
            port,
            certificate: made.cert.pem(),
            asked,
            stop,
            thread: Some(thread::spawn(move || server.serve(&listener))),
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.host())
    }

    /// Address and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Who trusts this trusts the server.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(|it| it.into_inner()))
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the server is a failed answer, which the test has seen.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Server {
    config: Arc<ServerConfig>,
    reply: Arc<dyn Fn(&Asked) -> Reply + Send + Sync>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    fn serve(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            while !self.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        // A client that leaves early is what many tests are about.
                        scope.spawn(move || self.converse(stream));
                    }
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        });
    }

    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(CLIENT_LIMIT))?;
        stream.set_write_timeout(Some(CLIENT_LIMIT))?;
        let connection = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        let asked = read_question(&mut stream)?;
        let reply = (self.reply)(&asked);
        self.asked
            .lock()
            .unwrap_or_else(|it| it.into_inner())
            .push(asked);
        match reply {
            Reply::Whole(status, headers, body) => {
                let more: String = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                let len = match status {
                    304 => String::new(),
                    _ => format!("Content-Length: {}\r\n", body.len()),
                };
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\n{more}{len}Connection: close\r\n\r\n"
                )?;
                stream.write_all(&body)?;
                stream.flush()?;
                stream.conn.send_close_notify();
                stream.flush()
            }
            Reply::CutOff(body) => {
                head(&mut stream, &format!("Content-Length: {}", body.len() * 2))?;
                stream.write_all(&body)?;
                stream.flush()
            }
            Reply::Endless => {
                head(&mut stream, "X-Length: endless")?;
                let block = [b'1'; 16 * 1024];
                while !self.stop.load(Ordering::Relaxed) {
                    stream.write_all(&block)?;
                }
                Ok(())
            }
            Reply::Silence => self.wait_for_the_end(&mut stream),
            Reply::SilenceWithin(body) => {
                head(&mut stream, &format!("Content-Length: {}", body.len() * 2))?;
                stream.write_all(&body)?;
                stream.flush()?;
                self.wait_for_the_end(&mut stream)
            }
        }
    }

    fn wait_for_the_end(&self, stream: &mut impl Read) -> io::Result<()> {
        let mut byte = [0];
        while !self.stop.load(Ordering::Relaxed) && stream.read(&mut byte)? > 0 {}
        Ok(())
    }
}

fn head(stream: &mut impl Write, header: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\n{header}\r\nConnection: close\r\n\r\n"
    )
}

fn read_question(stream: &mut impl Read) -> io::Result<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let mut line = || lines.next().unwrap_or_else(|| Ok(String::new()));
    let first = line()?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        match line()? {
            end if end.is_empty() => return Ok(Asked { path, headers }),
            header => headers.push(header),
        }
    }
}
