use std::{path::PathBuf, time::Duration};

use tokio::sync::{broadcast, mpsc};

use super::{
    client::{ClientError, ask},
    protocol::{Refusal, Request, RuleVerb, Target},
    server::{Asked, ServerError, bind, serve},
};
use crate::policy::Port;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn every_request() -> Vec<Request> {
    let duration = Duration::from_secs(90);
    let prefix = "2001:db8::/32".parse().unwrap();
    vec![
        Request::Status,
        Request::Countries,
        Request::Rules,
        Request::Bans,
        Request::Preview,
        Request::Explain {
            address: "192.0.2.1".parse().unwrap(),
            packet: Some(super::protocol::PacketKind::Tcp(443)),
        },
        Request::AddRule {
            rule: RuleVerb::Allow,
            target: "cn".parse().unwrap(),
            ports: vec![Port::Tcp(80), Port::Udp(53)],
            limit: Some("residents".into()),
            duration: Some(duration),
            comment: Some("a \"word\"\nand a line".into()),
        },
        Request::RemoveRule {
            target: Target::Prefix(prefix),
            port: Some(Port::Tcp(80)),
        },
        Request::Ban { prefix, duration },
        Request::BanAll {
            // More than the 64 KiB that a question had once.
            prefixes: vec![prefix; 5000],
            duration,
        },
        Request::Unban { prefix },
        Request::Events {
            filter: crate::events::Filter {
                reason: Some("banned".into()),
                class: None,
            },
        },
        Request::SetMode {
            mode: super::protocol::ModeWord::Enforce,
        },
        Request::Reload,
    ]
}

#[test]
fn every_request_arrives_as_it_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cerco.sock");
    let count = every_request().len();
    runtime().block_on(async {
        let listener = bind(&path).unwrap();
        let (sender, mut receiver) = mpsc::channel::<Asked>(1);
        tokio::spawn(serve(listener, sender, broadcast::Sender::new(1)));
        let client_path = path.clone();
        let client = tokio::task::spawn_blocking(move || {
            every_request()
                .into_iter()
                .map(|request| ask(&client_path, request, None))
                .collect::<Vec<_>>()
        });
        let mut seen = Vec::new();
        while seen.len() < count {
            let asked = tokio::time::timeout(Duration::from_secs(10), receiver.recv())
                .await
                .expect("a question within ten seconds")
                .unwrap();
            let reply = match asked.request {
                Request::Reload => Err(Refusal::bad_request("config is broken")),
                _ => Ok(serde_json::json!({ "number": seen.len() })),
            };
            seen.push(asked.request);
            asked.answer.send(reply).unwrap();
        }
        assert_eq!(seen, every_request());
        let answers = client.await.unwrap();
        assert_eq!(
            answers[3].as_ref().unwrap(),
            &serde_json::json!({ "number": 3 })
        );
        match answers.last().unwrap() {
            Err(ClientError::Refused(refusal)) => {
                assert_eq!(*refusal, Refusal::bad_request("config is broken"));
            }
            other => panic!("{other:?}"),
        }
    });
}

fn raw_answer(path: PathBuf, bytes: Vec<u8>) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The daemon may answer and hang up before it has read all of a question that is too long.
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn bad_questions_are_answered_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cerco.sock");
    runtime().block_on(async {
        let listener = bind(&path).unwrap();
        let (sender, _receiver) = mpsc::channel::<Asked>(1);
        tokio::spawn(serve(listener, sender, broadcast::Sender::new(1)));
        let cases: [(&str, Vec<u8>, &str); 5] = [
            ("no JSON", b"hello\n".to_vec(), "cannot read the question"),
            (
                "unknown verb",
                b"{\"schema\":1,\"verb\":\"explode\"}\n".to_vec(),
                "unknown variant `explode`",
            ),
            (
                "other schema",
                b"{\"schema\":9,\"verb\":\"status\"}\n".to_vec(),
                "this daemon speaks 1",
            ),
            (
                "no end of line",
                b"{\"schema\":1".to_vec(),
                "one line of at most",
            ),
            (
                "host bits",
                b"{\"schema\":1,\"verb\":\"remove_rule\",\"target\":\"192.0.2.1/24\"}\n".to_vec(),
                "192.0.2.0/24",
            ),
        ];
        for (name, bytes, expected) in cases {
            let path = path.clone();
            let answer = tokio::task::spawn_blocking(move || raw_answer(path, bytes))
                .await
                .unwrap();
            assert!(answer.contains(expected), "{name}: {answer}");
            assert!(answer.contains("bad_request"), "{name}: {answer}");
        }
    });
}

#[test]
fn stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cerco.sock");
    let _runtime = runtime();
    let _context = _runtime.enter();
    let first = bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(ServerError::Taken { .. })));
    drop(first);
    assert!(path.exists(), "a dropped listener leaves its file");
    let second = bind(&path).unwrap();
    drop(second);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path), Err(ServerError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn no_daemon_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let error = ask(&directory.path().join("none.sock"), Request::Status, None).unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error:?}");
}
