//! The calls and ends of required operations in order of time, as a list out of which operations are taken and
//! put back.
//!
//! As in Lowe, "Testing for linearizability" (2017), after Wing and Gong (1993): what may be placed next is
//! what begins before the first end in the list.

/// Doubly linked; `2 * r` is the call of the `r`-th required operation and `2 * r + 1` its end.
#[derive(Debug)]
pub struct Links {
    next: Vec<u32>,
    previous: Vec<u32>,
    head: u32,
}

impl Links {
    /// A list of these operations, given by call and end.
    pub fn new(spans: &[(u64, u64)]) -> Self {
        let head = 2 * spans.len();
        let mut events: Vec<(u64, u32)> = Vec::with_capacity(head);
        for (r, (call, end)) in spans.iter().enumerate() {
            events.push((*call, 2 * r as u32));
            events.push((*end, 2 * r as u32 + 1));
        }
        events.sort_unstable();
        let head = head as u32;
        let mut links = Self {
            next: vec![head; events.len() + 1],
            previous: vec![head; events.len() + 1],
            head,
        };
        let mut last = head;
        for (_, event) in events {
            links.next[last as usize] = event;
            links.previous[event as usize] = last;
            last = event;
        }
        links.next[last as usize] = head;
        links.previous[head as usize] = last;
        links
    }

    /// Writes the operations that begin before the first end into `open`, and returns the operation of that
    /// end; none if the list is empty.
    pub fn open(&self, open: &mut Vec<u32>) -> Option<u32> {
        open.clear();
        let mut event = self.next[self.head as usize];
        while event != self.head {
            if event % 2 == 1 {
                return Some(event / 2);
            }
            open.push(event / 2);
            event = self.next[event as usize];
        }
        None
    }

    /// Takes an operation out.
    pub fn take_out(&mut self, r: u32) {
        for event in [2 * r, 2 * r + 1] {
            let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
            self.next[previous as usize] = next;
            self.previous[next as usize] = previous;
        }
    }

    /// Puts back the operation that was taken out last.
    pub fn put_back(&mut self, r: u32) {
        for event in [2 * r + 1, 2 * r] {
            let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
            self.next[previous as usize] = event;
            self.previous[next as usize] = event;
        }
    }
}
