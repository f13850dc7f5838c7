//! A flood with a legitimate client in it, for as long as a test goes on, and an exact account of what the gate
//! made of it.
//!
//! The sender never has more on the way than the cable holds, so that what is lost was lost at the gate.

use crate::{
    error::Result,
    netns::NetNs,
    raw::RawSocket,
    site::{ABROAD, LINK, MACAU, Site},
    talk::{self, Conversation, EchoService},
    tap::{Count, Tap},
};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    ops::{Range, RangeInclusive},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Sources of the allowed country, to be banned by a test.
pub const SUSPECTS: [&str; 2] = ["198.51.100.99", "2001:db8:1::99"];

/// Denied frames in each burst; two of the legitimate client and two of the suspects go with them.
const DENIED_IN_BURST: usize = 8;
const BURST_PAUSE: Duration = Duration::from_micros(300);
/// Frames of the legitimate client that may be on the way; a veth holds 256 of all kinds.
const ON_THE_WAY: u64 = 20;
/// How long a frame may be on the way, on a machine that is busy, until it counts as lost.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(10);
/// Around the end of a ban nobody can tell what a frame will meet.
const BAN_END_MARGIN: Duration = Duration::from_millis(100);

const HOST: [u8; 4] = [192, 0, 2, 1];
/// No database knows it, so what it says passes as an answer only.
const SERVER: [u8; 4] = [192, 0, 2, 2];
const SERVICE: u16 = 53;
/// The port that the host asks from again and again.
const CLOCK: u16 = 123;
/// Those that it asks from once, and again after a minute at the earliest.
const NEW_PORTS: Range<u16> = 10_000..60_000;

/// What has happened since the beginning.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Toll {
    pub allowed_sent: u64,
    pub allowed_let_in: u64,
    pub denied_sent: u64,
    pub denied_let_in: u64,
    pub suspects_sent: u64,
    pub suspects_let_in: u64,
    /// Of `suspects_sent`, those that were sent after the end of their ban for sure.
    pub suspects_sent_free: u64,
    /// Of `suspects_sent`, those that were sent too close to the end to tell.
    pub suspects_sent_between: u64,
    /// Questions of the host to a server abroad: from new ports, from one and the same, and in a connection.
    pub asked: u64,
    pub answered: u64,
}

impl Toll {
    /// What has happened since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            allowed_sent: self.allowed_sent - earlier.allowed_sent,
            allowed_let_in: self.allowed_let_in - earlier.allowed_let_in,
            denied_sent: self.denied_sent - earlier.denied_sent,
            denied_let_in: self.denied_let_in - earlier.denied_let_in,
            suspects_sent: self.suspects_sent - earlier.suspects_sent,
            suspects_let_in: self.suspects_let_in - earlier.suspects_let_in,
            suspects_sent_free: self.suspects_sent_free - earlier.suspects_sent_free,
            suspects_sent_between: self.suspects_sent_between - earlier.suspects_sent_between,
            asked: self.asked - earlier.asked,
            answered: self.answered - earlier.answered,
        }
    }

    /// # Panics
    /// When an allowed frame or an answer did not come in.
    pub fn assert_served(&self, what: &str) {
        let lost = [
            self.allowed_sent - self.allowed_let_in,
            self.asked - self.answered,
        ];
        assert_eq!(
            lost,
            [0, 0],
            "{what}: allowed frames, answers lost: {self:?}"
        );
    }

    /// # Panics
    /// When a denied frame came in, or an allowed one did not.
    pub fn assert_frames_judged(&self, what: &str) {
        let wrong = [self.denied_let_in, self.allowed_sent - self.allowed_let_in];
        assert_eq!(
            wrong,
            [0, 0],
            "{what}: denied frames let in, allowed frames lost: {self:?}"
        );
    }

    /// # Panics
    /// When a denied frame came in, or an allowed one or an answer did not.
    pub fn assert_unharmed(&self, what: &str) {
        self.assert_frames_judged(what);
        self.assert_served(what);
    }
}

enum Order {
    /// Stop until the other side of the second channel is dropped.
    Hold(Sender<Toll>, Receiver<()>),
    /// The suspects' ban ends at one of these moments.
    BanEnds(RangeInclusive<Instant>),
}

/// What the host asks of a server abroad meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asking {
    /// From new ports, in a connection, and from one port again and again.
    Again,
    /// The same, but from no port twice: where a flow table begins empty, an answer that comes before all programs are
    /// there looks like something that the server began, and the same port may not ask it again for two minutes.
    Once,
    Nothing,
}

/// Dropping it ends the flood.
#[derive(Debug)]
pub struct Siege {
    orders: Option<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    _service: EchoService,
}

/// Nothing is sent for as long as this lives.
#[derive(Debug)]
pub struct Pause {
    pub toll: Toll,
    _resume: Sender<()>,
}

impl Siege {
    pub fn begin(site: &Site, asking: Asking) -> Result<Self> {
        let service = EchoService::start_at(&site.world, &[SERVER.into()], &[SERVICE]);
        let questions = Arc::new(Questions::default());
        let (orders, ordered) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let sender = Besieger::new(site, questions.clone())?;
        let (host, stop_client) = (site.host.clone(), stop.clone());
        Ok(Self {
            orders: Some(orders),
            threads: vec![
                thread::spawn(move || sender.run(&ordered)),
                thread::spawn(move || questions.ask_until(&host, asking, &stop_client)),
            ],
            stop,
            _service: service,
        })
    }

    /// Stops sending, and waits until all that was sent has arrived or is lost.
    pub fn pause(&self) -> Pause {
        let (tell, told) = channel();
        let (resume, resumed) = channel();
        self.order(Order::Hold(tell, resumed));
        Pause {
            toll: told.recv().expect("the flood goes on"),
            _resume: resume,
        }
    }

    /// The suspects are to be let in from one of these moments on, no one knows which.
    pub fn ban_ends(&self, at: RangeInclusive<Instant>) {
        self.order(Order::BanEnds(at));
    }

    fn order(&self, order: Order) {
        let orders = self.orders.as_ref().expect("invariant: taken in drop only");
        orders.send(order).expect("the flood goes on");
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.orders.take());
        for thread in self.threads.drain(..) {
            // A panic in there has been printed already; one more would end the process.
            let _ = thread.join();
        }
    }
}

/// The one thread that sends from outside.
struct Besieger {
    socket: RawSocket,
    frames: [Vec<Vec<u8>>; 3],
    taps: [Tap; 3],
    questions: Arc<Questions>,
    ban_ends: Option<RangeInclusive<Instant>>,
    toll: Toll,
    /// Allowed frames that were given up.
    lost: u64,
}

impl Besieger {
    fn new(site: &Site, questions: Arc<Questions>) -> Result<Self> {
        let groups: [&[&str]; 3] = [&MACAU, &ABROAD, &SUSPECTS];
        let frames = groups.map(|sources| sources.iter().map(|it| site.syn_from(it)).collect());
        let tap = |sources: &[&str]| {
            let sources: BTreeSet<IpAddr> = sources
                .iter()
                .map(|it| it.parse().expect("a constant address"))
                .collect();
            Tap::open(&site.host, LINK, &Count::From(&sources))
        };
        Ok(Self {
            socket: RawSocket::open_sender(&site.world, LINK)?,
            frames,
            taps: [tap(groups[0])?, tap(groups[1])?, tap(groups[2])?],
            questions,
            ban_ends: None,
            toll: Toll::default(),
            lost: 0,
        })
    }

    fn run(mut self, ordered: &Receiver<Order>) {
        loop {
            match ordered.try_recv() {
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => self.burst(),
                Ok(Order::BanEnds(at)) => self.ban_ends = Some(at),
                Ok(Order::Hold(tell, resumed)) => {
                    self.wait_for_arrival(0);
                    // Who asked may be gone, and so may who resumes.
                    let questions = self.questions.clone();
                    let _none_is_asked = questions.hold();
                    let _ = tell.send(self.toll());
                    let _ = resumed.recv();
                }
            }
        }
    }

    fn burst(&mut self) {
        let [allowed, denied, suspects] = &self.frames;
        let begun = Instant::now();
        for frame in denied.iter().cycle().take(DENIED_IN_BURST).chain(suspects) {
            self.socket.send(frame).expect("send into the cable");
        }
        // The last ones: when they have arrived, all of the burst was judged.
        for frame in allowed {
            self.socket.send(frame).expect("send into the cable");
        }
        let suspects = suspects.len() as u64;
        self.toll.denied_sent += DENIED_IN_BURST as u64;
        self.toll.suspects_sent += suspects;
        self.toll.allowed_sent += allowed.len() as u64;
        if self.ban_ends.is_some() {
            // Then it counts when they are judged.
            self.wait_for_arrival(0);
        }
        let over = Instant::now();
        match &self.ban_ends {
            Some(ends) if begun >= *ends.end() + BAN_END_MARGIN => {
                self.toll.suspects_sent_free += suspects;
            }
            Some(ends) if over + BAN_END_MARGIN >= *ends.start() => {
                self.toll.suspects_sent_between += suspects;
            }
            _ => {}
        }
        self.wait_for_arrival(ON_THE_WAY);
        thread::sleep(BURST_PAUSE);
    }

    /// Returns when at most `on_the_way` allowed frames have not arrived, or they must be lost.
    fn wait_for_arrival(&mut self, on_the_way: u64) {
        let since = Instant::now();
        loop {
            let is_last = since.elapsed() > ARRIVAL_LIMIT;
            let arrived = self.taps[0].total().expect("read a tap");
            let missing = (self.toll.allowed_sent - self.lost).saturating_sub(arrived);
            if missing <= on_the_way {
                return;
            }
            if is_last {
                self.lost += missing;
                return;
            }
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn toll(&mut self) -> Toll {
        let [allowed, denied, suspects] = &mut self.taps;
        let read = |tap: &mut Tap| tap.total().expect("read a tap");
        let (asked, answered) = self.questions.so_far();
        Toll {
            allowed_let_in: read(allowed),
            denied_let_in: read(denied),
            suspects_let_in: read(suspects),
            asked,
            answered,
            ..self.toll
        }
    }
}

/// What the host asks of the world while it is besieged.
#[derive(Debug, Default)]
struct Questions {
    /// Held while one is on its way, and in a pause.
    turn: Mutex<()>,
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Questions {
    fn ask_until(&self, host: &NetNs, asking: Asking, stop: &AtomicBool) {
        if asking == Asking::Nothing {
            return;
        }
        let server = SocketAddr::from((SERVER, SERVICE));
        // Open all the time; an answer that is lost comes again, so only its end is a fault.
        let mut conversation = Conversation::open(host, HOST.into(), server)
            .expect("reach the server before the siege");
        // Without a peer, as time daemons have it: only what leaves tells whom it speaks to.
        let clock = host.run(|| UdpSocket::bind((Ipv4Addr::from(HOST), CLOCK)));
        let clock = clock.expect("enter the host");
        let mut turns = 0_u16;
        let ask = |socket: &io::Result<UdpSocket>| {
            let socket = socket
                .as_ref()
                .map_err(|error| io::Error::from(error.kind()))?;
            socket.set_read_timeout(Some(ARRIVAL_LIMIT))?;
            socket.send_to(b"what time is it?", server)?;
            talk::uninterrupted(|| socket.recv(&mut [0; 64])).map(|_| ())
        };
        while !stop.load(Ordering::Relaxed) {
            let turn = self.hold();
            let port = NEW_PORTS.start + turns % NEW_PORTS.len() as u16;
            turns = turns.wrapping_add(1);
            // With a peer, as resolvers have it.
            let new_port = host.run(|| {
                let socket = UdpSocket::bind((Ipv4Addr::from(HOST), port))?;
                socket.connect(server).map(|()| socket)
            });
            let mut outcomes = vec![
                (
                    "a datagram from a new port",
                    ask(&new_port.expect("enter the host")),
                ),
                ("a segment", conversation.say(b"are you still there?")),
            ];
            if asking == Asking::Again {
                outcomes.push(("a datagram from the port of before", ask(&clock)));
            }
            for (what, outcome) in outcomes {
                if let Err(error) = &outcome {
                    eprintln!("no answer to {what}: {error}");
                }
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.answered
                    .fetch_add(outcome.is_ok().into(), Ordering::Relaxed);
            }
            drop(turn);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn hold(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asked and answered, while none is on its way.
    fn so_far(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.asked), read(&self.answered))
    }
}
