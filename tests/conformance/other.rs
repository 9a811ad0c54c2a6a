//! The program of the member that answers: the same code in every world.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tribunal_env::{CallError, PeerStream};

/// What the panic of a handler says, so that it is not taken for a mistake of the suite.
pub const ON_PURPOSE: &str = "a handler that panics on purpose";

/// What the other member shares with the test: it says what it does, and waits where it is told to.
#[derive(Clone)]
pub struct Script {
    said: mpsc::UnboundedSender<Bytes>,
    heard: Arc<Mutex<mpsc::UnboundedReceiver<Bytes>>>,
    gate: Arc<Semaphore>,
}

impl Default for Script {
    fn default() -> Self {
        let (said, heard) = mpsc::unbounded_channel();
        Self {
            said,
            heard: Arc::new(Mutex::new(heard)),
            gate: Arc::new(Semaphore::new(0)),
        }
    }
}

impl Script {
    /// Lets one waiter go on.
    pub fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    /// What the other member says next.
    pub async fn hear(&self) -> Bytes {
        self.heard.lock().await.recv().await.expect("the script says it")
    }

    /// What it has said that nobody has heard yet.
    pub async fn unheard(&self) -> Vec<Bytes> {
        let mut heard = self.heard.lock().await;
        std::iter::from_fn(|| heard.try_recv().ok()).collect()
    }

    fn say(&self, bytes: impl Into<Bytes>) {
        // The test may be over.
        let _ = self.said.send(bytes.into());
    }

    async fn pass_gate(&self) {
        self.gate.acquire().await.expect("it is never closed").forget();
    }

    /// Executes a call.
    pub async fn answer(self, method: String, body: Bytes) -> Result<Bytes, CallError> {
        match method.as_str() {
            "echo" => Ok(body),
            "say" => {
                self.say(body);
                Ok(Bytes::new())
            }
            "refuse" => Err(CallError::Refused("not now".to_owned())),
            "fail" => Err(CallError::TimedOut("half done".to_owned())),
            "panic" => panic!("{ON_PURPOSE}"),
            "wait" => {
                self.say("began");
                self.pass_gate().await;
                self.say("ended");
                Ok(Bytes::from_static(b"late"))
            }
            _ => Err(CallError::Refused(format!("there is no method {method:?}"))),
        }
    }

    /// Converses over a stream.
    pub async fn converse(self, method: String, mut stream: impl PeerStream) {
        match method.as_str() {
            "echo" => {
                while let Ok(Some(message)) = stream.receive().await {
                    if stream.send(message).await.is_err() {
                        break;
                    }
                }
            }
            "collect" => loop {
                match stream.receive().await {
                    Ok(Some(message)) => self.say(message),
                    Ok(None) => return self.say("closed"),
                    Err(_) => return self.say("broken"),
                }
            },
            "burst" => {
                for number in 0..BURST {
                    if stream.send(number.to_be_bytes().to_vec().into()).await.is_err() {
                        return self.say("broken");
                    }
                }
            }
            _ => {
                self.say("began");
                self.pass_gate().await;
            }
        }
    }
}

/// How many messages a burst has: more than any window holds.
pub const BURST: u32 = 1000;
