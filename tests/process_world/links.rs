//! Links: what passes, what is held, what is reset.
//!
//! The nodes are sockets of this test. As the dialler is told by its process, exactly one node is said to be this
//! process, and that is the node which dials.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use tribunal::world::process::{Addresses, Blocked, LinkEnd, Links, Process};
use tribunal_history::NodeId;

use crate::{BOUND, eventually};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

/// Three nodes, of which `dialler` is this process.
struct Net {
    links: Links,
    addresses: Addresses,
}

impl Net {
    fn new(dialler: Option<NodeId>) -> Self {
        let addresses = Addresses::claim(3).expect("free addresses");
        let ends = [N1, N2, N3].map(|node| LinkEnd {
            node,
            listen: addresses.link(node),
            forward: addresses.peer(node),
        });
        let links = Links::new(&ends).expect("links");
        if let Some(node) = dialler {
            links.set_process(node, Some(Process::with_pid(std::process::id()).expect("we run")));
        }
        Self { links, addresses }
    }

    fn listen(&self, node: NodeId) -> TcpListener {
        TcpListener::bind(self.addresses.peer(node)).expect("the block is ours")
    }

    fn dial(&self, node: NodeId) -> TcpStream {
        dial(self.addresses.link(node))
    }

    /// A connection to `node`: the dialler's end and the node's.
    fn pair(&self, node: NodeId) -> (TcpStream, TcpStream) {
        let listener = self.listen(node);
        let near = self.dial(node);
        let (far, _) = listener.accept().expect("the link dials");
        far.set_read_timeout(Some(BOUND)).expect("a timeout");
        (near, far)
    }

    fn wait_for_bytes(&self, from: NodeId, to: NodeId, bytes: u64) {
        eventually("the link holds the bytes", || {
            self.links.blocked(from, to).bytes == bytes
        });
    }
}

fn dial(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("the link accepts");
    stream.set_read_timeout(Some(BOUND)).expect("a timeout");
    stream
}

fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("sent");
}

#[track_caller]
fn hears(stream: &mut TcpStream, text: &str) {
    let mut buffer = vec![0; text.len()];
    stream.read_exact(&mut buffer).expect("something arrives");
    assert_eq!(String::from_utf8_lossy(&buffer), text);
}

/// Nothing has arrived. The link said before that it holds what was sent, so nothing is on its way either.
#[track_caller]
fn hears_nothing(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("set");
    let heard = (&mut &*stream).read(&mut [0; 16]);
    stream.set_nonblocking(false).expect("set");
    assert_eq!(heard.err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
}

/// The stream ends, without another byte, in a reset.
#[track_caller]
fn is_reset(stream: &mut TcpStream) {
    let heard = stream.read(&mut [0; 16]);
    assert_eq!(heard.err().map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_whole_link_carries_both_directions_to_their_ends() {
    let net = Net::new(Some(N1));
    let (mut near, mut far) = net.pair(N2);
    say(&mut near, "ping");
    hears(&mut far, "ping");
    near.shutdown(std::net::Shutdown::Write).expect("half closed");
    assert_eq!(far.read(&mut [0; 1]).expect("an orderly end"), 0);
    say(&mut far, "pong");
    hears(&mut near, "pong");
    drop(far);
    assert_eq!(near.read(&mut [0; 1]).expect("an orderly end"), 0);
}

#[test]
fn a_cut_holds_the_diallers_bytes_and_lets_the_answers_pass() {
    let net = Net::new(Some(N1));
    let (mut near, mut far) = net.pair(N2);
    say(&mut near, "before");
    hears(&mut far, "before");

    net.links.cut(&[(N1, N2)]);
    say(&mut near, "held");
    net.wait_for_bytes(N1, N2, 4);
    hears_nothing(&far);
    say(&mut far, "answer");
    hears(&mut near, "answer");
    assert!(net.links.blocked(N2, N1).is_nothing());

    net.links.heal(&[(N1, N2)]);
    is_reset(&mut near);
    is_reset(&mut far);
}

#[test]
fn a_cut_holds_the_answers_of_a_node_that_was_dialled() {
    let net = Net::new(Some(N2));
    let (mut near, mut far) = net.pair(N1);
    net.links.cut(&[(N1, N2)]);
    say(&mut near, "question");
    hears(&mut far, "question");
    say(&mut far, "held");
    net.wait_for_bytes(N1, N2, 4);
    hears_nothing(&near);
    net.links.heal_all();
    is_reset(&mut near);
    is_reset(&mut far);
}

#[test]
fn links_of_others_are_not_touched() {
    let net = Net::new(Some(N1));
    let (mut near, mut far) = net.pair(N2);
    net.links.cut(&[(N1, N3), (N3, N1), (N2, N3), (N3, N2)]);
    say(&mut near, "ping");
    hears(&mut far, "ping");
    say(&mut far, "pong");
    hears(&mut near, "pong");
}

#[test]
fn a_connection_on_which_nothing_was_held_goes_on() {
    let net = Net::new(Some(N1));
    let (mut near, mut far) = net.pair(N2);
    net.links.cut(&[(N1, N2), (N2, N1)]);
    net.links.heal_all();
    say(&mut near, "ping");
    hears(&mut far, "ping");
}

#[test]
fn the_end_of_a_stream_is_held_too() {
    let net = Net::new(Some(N1));
    let (near, mut far) = net.pair(N2);
    net.links.cut(&[(N1, N2)]);
    drop(near);
    net.wait_for_bytes(N1, N2, 1);
    hears_nothing(&far);
    net.links.heal_all();
    is_reset(&mut far);
}

#[test]
fn a_new_connection_hangs_while_either_direction_is_cut() {
    for cut in [(N1, N2), (N2, N1)] {
        let net = Net::new(Some(N1));
        let listener = net.listen(N2);
        net.links.cut(&[cut]);
        let mut near = net.dial(N2);
        say(&mut near, "hello");
        eventually("the dial is counted", || net.links.blocked(cut.0, cut.1).dials == 1);
        hears_nothing(&near);
        listener.set_nonblocking(true).expect("set");
        assert!(listener.accept().is_err(), "the node was dialled");

        net.links.heal_all();
        is_reset(&mut near);
        listener.set_nonblocking(false).expect("set");
        let mut again = net.dial(N2);
        let (mut far, _) = listener.accept().expect("the link dials");
        say(&mut again, "hello");
        hears(&mut far, "hello");
    }
}

#[test]
fn bytes_of_a_hanging_connection_prove_the_cut_of_their_own_direction_only() {
    let net = Net::new(Some(N1));
    net.links.cut(&[(N1, N2), (N2, N1)]);
    let mut near = net.dial(N2);
    say(&mut near, "hello");
    net.wait_for_bytes(N1, N2, 5);
    assert_eq!(net.links.blocked(N2, N1), Blocked { bytes: 0, dials: 1 });
}

#[test]
fn an_unknown_dialler_is_held_while_any_link_of_the_node_is_cut() {
    let net = Net::new(None);
    let (mut near, mut far) = net.pair(N2);
    say(&mut near, "ping");
    hears(&mut far, "ping");
    net.links.cut(&[(N1, N3)]);
    say(&mut near, "not theirs");
    hears(&mut far, "not theirs");

    net.links.cut(&[(N3, N2)]);
    say(&mut near, "there");
    say(&mut far, "back");
    let listener = net.listen(N2);
    listener.set_nonblocking(true).expect("set");
    let mut new = net.dial(N2);
    let held = Blocked { bytes: 9, dials: 1 };
    eventually("all of it is held", || net.links.blocked_unidentified(N2) == held);
    hears_nothing(&near);
    hears_nothing(&far);
    assert!(net.links.blocked(N3, N2).is_nothing(), "nobody knows whose they are");
    net.links.heal(&[(N3, N2)]);
    is_reset(&mut new);
    is_reset(&mut near);
    is_reset(&mut far);
    assert!(listener.accept().is_err(), "the node was dialled");
}

#[test]
fn a_held_sender_feels_back_pressure() {
    let net = Net::new(Some(N1));
    let (mut near, _far) = net.pair(N2);
    net.links.cut(&[(N1, N2)]);
    near.set_nonblocking(true).expect("set");
    let chunk = [7; 1 << 16];
    // Buffers of the kernel grow to some megabytes and no further.
    let refused = (0..4096).find_map(|_| near.write(&chunk).err());
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    let held = net.links.blocked(N1, N2).bytes;
    assert!(held <= 1 << 16, "{held} bytes were read from a link that is cut");
}

#[test]
fn a_dial_to_a_node_that_is_down_is_reset() {
    let net = Net::new(Some(N1));
    let mut near = net.dial(N2);
    is_reset(&mut near);
}

/// However often links are cut and healed, what a node hears on one connection is the beginning of what was said
/// on it. Half of the connections say 8 MiB and end, the others speak until they are reset.
#[test]
fn no_byte_is_ever_missing_from_a_stream() {
    let net = Net::new(Some(N1));
    let listener = net.listen(N2);
    let (connections, length) = (20, 8 << 20);

    let reader = thread::spawn(move || {
        (0..connections)
            .map(|_| listens_to_a_pattern(listener.accept().expect("the link dials").0))
            .collect::<Vec<_>>()
    });
    for round in 0..connections {
        let is_cut = round % 2 == 0;
        let near = net.dial(N2);
        let writer = thread::spawn(move || says_a_pattern(near, if is_cut { usize::MAX } else { length }));
        if is_cut {
            net.links.cut(&[(N1, N2)]);
            eventually("something is held", || !net.links.blocked(N1, N2).is_nothing());
            net.links.heal_all();
        }
        writer.join().expect("the writer ends");
        if is_cut && net.links.blocked(N1, N2).dials > 0 {
            // The cut came before the link had dialled on; make up for the connection that the reader waits for.
            says_a_pattern(net.dial(N2), 1);
        }
    }
    let heard = reader.join().expect("each stream was whole as far as it went");
    let whole: Vec<usize> = heard.iter().skip(1).step_by(2).copied().collect();
    assert_eq!(
        whole,
        vec![length; connections / 2],
        "rounds without a cut arrive whole"
    );
}

/// A prime period, so that no lost buffer of any usual size goes unnoticed.
const PERIOD: usize = 251;

fn says_a_pattern(mut stream: TcpStream, length: usize) {
    let chunk: Vec<u8> = (0..PERIOD * 64).map(|place| (place % PERIOD) as u8).collect();
    let mut left = length;
    while left > 0 {
        let next = &chunk[..left.min(chunk.len())];
        if stream.write_all(next).is_err() {
            return;
        }
        left -= next.len();
    }
    // Until the other side has heard it all.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0; 1]);
}

fn listens_to_a_pattern(mut stream: TcpStream) -> usize {
    stream.set_read_timeout(Some(BOUND)).expect("a timeout");
    let (mut buffer, mut heard) = (vec![0; 1 << 16], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return heard,
            Ok(length) => {
                let expected = |place: usize| ((heard + place) % PERIOD) as u8;
                let wrong = buffer[..length]
                    .iter()
                    .enumerate()
                    .find(|(place, byte)| **byte != expected(*place));
                assert_eq!(wrong, None, "after {heard} bytes");
                heard += length;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "after {heard} bytes");
                return heard;
            }
        }
    }
}
