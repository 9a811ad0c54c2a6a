//! One connection through a link: two directions, each forwarded or held.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::dialler::Desk;
use super::gate::{Gates, Route};
use super::{LinkEnd, Pair, Shared};

/// What is read at once, and so the most that is held of one direction of a connection: a few batches of a busy
/// leader, little enough for hundreds of connections.
const BUFFER_BYTES: usize = 64 << 10;

/// Pause after a failed accept. It fails when descriptors run out, and they come back as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Takes in connections for ever.
pub(super) async fn serve(shared: Arc<Shared>, desk: Desk, end: LinkEnd, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, source)) => {
                tokio::spawn(carry(Arc::clone(&shared), desk.clone(), end, stream, source));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The connection is over and both sides are to see it reset.
struct Broken;

type Cuts = watch::Receiver<BTreeSet<Pair>>;

async fn carry(shared: Arc<Shared>, desk: Desk, end: LinkEnd, mut dialler: TcpStream, source: SocketAddr) {
    let (out, back) = match desk.identify((source, end.listen)).await {
        Some(from) => (Route::Link((from, end.node)), Route::Link((end.node, from))),
        None => (Route::Unknown(end.node), Route::Unknown(end.node)),
    };
    let gates = &shared.gates;
    let mut cuts = gates.watch();
    if is_cut(&mut cuts, out) || is_cut(&mut cuts, back) {
        hang(gates, cuts, out, back, dialler).await;
        return;
    }
    // The node is down, or was cut off a moment ago: a dialler that was accepted cannot be refused any more.
    let Ok(mut owner) = connect(end.forward).await else {
        reset(dialler);
        return;
    };
    let carried = {
        // Nagle's wait would delay small messages that the dialler wanted sent at once.
        let _ = dialler.set_nodelay(true);
        let (from_dialler, to_dialler) = dialler.split();
        let (from_owner, to_owner) = owner.split();
        let there = pump(gates, cuts.clone(), out, back, from_dialler, to_owner);
        let here = pump(gates, cuts, back, out, from_owner, to_dialler);
        tokio::try_join!(there, here)
    };
    if let Err(Broken) = carried {
        reset(dialler);
        reset(owner);
    }
}

async fn connect(forward: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(forward).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Leaves a new connection hanging, neither forwarded nor refused, until both directions are healed.
async fn hang(gates: &Gates, mut cuts: Cuts, out: Route, back: Route, mut dialler: TcpStream) {
    let routes: BTreeSet<Route> = [out, back].into();
    for route in routes {
        if is_cut(&mut cuts, route) {
            gates.count(route, |blocked| blocked.dials += 1);
        }
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut taken = 0;
    let mut of_reads = cuts.clone();
    loop {
        tokio::select! {
            biased;
            () = healed(&mut cuts, [out, back]) => break,
            read = dialler.read(&mut buffer), if taken < BUFFER_BYTES => match read {
                // The dialler gave up.
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    taken += length;
                    if is_cut(&mut of_reads, out) {
                        gates.count(out, |blocked| blocked.bytes += length as u64);
                    }
                }
            },
        }
    }
    reset(dialler);
}

/// Forwards one direction until its end. Bytes go along `route`; what the receiver's side says of the connection
/// itself (that it is gone) goes along `reverse`.
async fn pump(
    gates: &Gates,
    mut cuts: Cuts,
    route: Route,
    reverse: Route,
    mut reader: ReadHalf<'_>,
    mut writer: WriteHalf<'_>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = reader.read(&mut buffer).await;
        if is_cut(&mut cuts, route) {
            // An end of the stream, or of the sender, is news as much as bytes are.
            let length = read.as_ref().map_or(1, |length| (*length).max(1));
            return hold(gates, cuts, route, length).await;
        }
        let mut rest = match read {
            Ok(0) => {
                // If the receiver is gone there is nobody to tell.
                let _ = writer.shutdown().await;
                return Ok(());
            }
            Ok(length) => &buffer[..length],
            Err(_) => return Err(Broken),
        };
        while !rest.is_empty() {
            let written = tokio::select! {
                biased;
                () = cut(&mut cuts, route) => return hold(gates, cuts, route, rest.len()).await,
                written = writer.write(rest) => written,
            };
            match written {
                Ok(length) if length > 0 => rest = &rest[length..],
                // The receiver is gone; the sender may learn that once its side of the link is whole.
                _ => {
                    healed(&mut cuts, [reverse, reverse]).await;
                    return Err(Broken);
                }
            }
        }
    }
}

/// Keeps what was read from its receiver until the link is healed, and the connection with it.
async fn hold(gates: &Gates, mut cuts: Cuts, route: Route, length: usize) -> Result<(), Broken> {
    gates.count(route, |blocked| blocked.bytes += length as u64);
    healed(&mut cuts, [route, route]).await;
    Err(Broken)
}

fn is_cut(cuts: &mut Cuts, route: Route) -> bool {
    route.is_cut(&cuts.borrow_and_update())
}

/// Returns once `route` is cut. If nobody can cut it any more, that is never, and the runtime ends this soon.
async fn cut(cuts: &mut Cuts, route: Route) {
    if cuts.wait_for(|cuts| route.is_cut(cuts)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns once neither route is cut, or nobody could heal it any more.
async fn healed(cuts: &mut Cuts, routes: [Route; 2]) {
    let _ = cuts
        .wait_for(|cuts| !routes.iter().any(|route| route.is_cut(cuts)))
        .await;
}

/// Ends a connection so that the other side sees a reset and not an orderly end.
fn reset(stream: TcpStream) {
    // If this fails the other side sees an orderly end, and dials again as well.
    let _ = stream.set_zero_linger();
}
