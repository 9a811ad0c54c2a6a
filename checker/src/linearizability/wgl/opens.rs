//! What may be placed next, for each configuration on the path.
//!
//! As in Lowe, "Testing for linearizability" (2017), after Wing and Gong (1993): what may be placed next is what begins
//! before the first end of what is not placed. Lowe keeps one list of calls and ends and walks through it at every
//! configuration. Here each configuration has its list, made from the one before it by taking one operation out and
//! letting in those that begin before the next end; coming back to a configuration then costs nothing.

/// The lists, one behind the other. Operations are numbered in order of their ends.
#[derive(Debug)]
pub struct Opens {
    /// Operations in order of their calls.
    by_call: Vec<u32>,
    /// By operation: call and end.
    spans: Vec<(u64, u64)>,
    lists: Vec<u32>,
    /// For each list: where it begins, and how many of `by_call` it has let in or the ones before it had.
    begins: Vec<(usize, usize)>,
}

impl Opens {
    /// The list of the configuration in which nothing is placed, given calls and ends in order of the ends.
    pub fn new(spans: Vec<(u64, u64)>) -> Self {
        assert!(
            spans.is_sorted_by_key(|span| span.1),
            "operations are numbered by their ends"
        );
        let mut by_call: Vec<u32> = (0..spans.len() as u32).collect();
        by_call.sort_unstable_by_key(|&r| spans[r as usize].0);
        let mut opens = Self {
            by_call,
            spans,
            lists: Vec::new(),
            begins: Vec::new(),
        };
        let let_in = opens.let_in(0, 0);
        opens.begins.push((0, let_in));
        opens
    }

    /// The list of the last configuration, in order of ends.
    pub fn last(&self) -> &[u32] {
        let begin = self.begins.last().map_or(0, |&(begin, _)| begin);
        &self.lists[begin..]
    }

    /// The moment before which a call must lie to be in the list of the last configuration.
    pub fn deadline(&self) -> u64 {
        self.last().first().map_or(u64::MAX, |&r| self.spans[r as usize].1)
    }

    /// Operations in order of their calls.
    pub fn by_call(&self) -> &[u32] {
        &self.by_call
    }

    /// How many of [`by_call`](Self::by_call) the list of the last configuration or those before it have let in. The others
    /// are not placed.
    pub fn let_in_count(&self) -> usize {
        self.begins.last().map_or(0, |&(_, let_in)| let_in)
    }

    /// When the operation began.
    pub fn call(&self, r: u32) -> u64 {
        self.spans[r as usize].0
    }

    /// Goes on to the configuration after `r`. The last configuration's own list is given up if nobody will ask for it
    /// again.
    pub fn place(&mut self, r: u32, gives_up: bool) {
        let &(begin, let_in) = self.begins.last().expect("the first configuration stays");
        let place = begin + self.last().partition_point(|&other| other < r);
        assert!(self.lists.get(place) == Some(&r), "operation {r} may be placed here");
        let begin = if gives_up {
            self.lists.remove(place);
            begin
        } else {
            let end = self.lists.len();
            self.lists.extend_from_within(begin..place);
            self.lists.extend_from_within(place + 1..end);
            end
        };
        let let_in = self.let_in(begin, let_in);
        self.begins.push((begin, let_in));
    }

    /// Comes back from the last configuration.
    pub fn take_back(&mut self) {
        let last = self.begins.pop();
        self.lists.truncate(last.map_or(0, |(begin, _)| begin));
    }

    /// Lets in what begins before the first end of the list at `begin` of which `let_in` is the count. Returns the new
    /// count.
    fn let_in(&mut self, begin: usize, mut let_in: usize) -> usize {
        while let Some(&r) = self.by_call.get(let_in) {
            let first = self
                .lists
                .get(begin)
                .map_or(u64::MAX, |&first| self.spans[first as usize].1);
            if self.spans[r as usize].0 > first {
                break;
            }
            let place = begin + self.lists[begin..].partition_point(|&other| other < r);
            self.lists.insert(place, r);
            let_in += 1;
        }
        let_in
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        20 * self.spans.len() + 4 * self.lists.capacity() + 16 * self.begins.capacity()
    }
}
