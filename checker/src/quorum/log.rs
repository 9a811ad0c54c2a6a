//! A node's log as its own evidence tells it: the term of every entry, and the chain where a batch ended.

use std::collections::VecDeque;

use tribunal_history::evidence::{Chain, Position};
use tribunal_history::{LogIndex, Term};

/// How many ends of batches are remembered; what is older was committed long ago.
const POINTS_MAX: usize = 1024;

/// Entries that a node said are durable, or that it recovered.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Entries of one term each, in order; what is between two runs is not known.
    runs: VecDeque<Run>,
    points: VecDeque<Position>,
    last: Option<LogIndex>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    from: LogIndex,
    to: LogIndex,
    term: Term,
}

impl Log {
    /// The last entry.
    pub fn last(&self) -> Option<LogIndex> {
        self.last
    }

    /// The term of an entry, if it is known.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        let place = self.runs.partition_point(|run| run.to < index);
        let run = self.runs.get(place)?;
        (run.from <= index).then_some(run.term)
    }

    /// The chain up to an entry, if it is known.
    pub fn chain(&self, index: LogIndex) -> Option<Chain> {
        let place = self.points.partition_point(|point| point.index < index);
        let point = self.points.get(place)?;
        (point.index == index).then_some(point.chain)
    }

    /// Adds entries `from` to `end`, all of one term.
    pub(super) fn extend(&mut self, from: LogIndex, end: Position) {
        self.cut(from.0.checked_sub(1).map(LogIndex));
        match self.runs.back_mut() {
            Some(run) if run.term == end.term && run.to.0 + 1 == from.0 => run.to = end.index,
            _ => self.runs.push_back(Run {
                from,
                to: end.index,
                term: end.term,
            }),
        }
        self.points.push_back(end);
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
        self.last = Some(end.index);
    }

    /// Removes everything after an entry.
    pub(super) fn cut(&mut self, after: Option<LogIndex>) {
        let goes = |index: LogIndex| after.is_none_or(|after| index > after);
        while self.runs.back().is_some_and(|run| goes(run.from)) {
            self.runs.pop_back();
        }
        if let (Some(run), Some(after)) = (self.runs.back_mut(), after) {
            run.to = run.to.min(after);
        }
        while self.points.back().is_some_and(|point| goes(point.index)) {
            self.points.pop_back();
        }
        self.last = self.last.and_then(|last| if goes(last) { after } else { Some(last) });
    }

    /// Removes everything up to an entry; the log may start after one that it never held.
    pub(super) fn purge(&mut self, upto: Position) {
        while self.runs.front().is_some_and(|run| run.to <= upto.index) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.from = run.from.max(LogIndex(upto.index.0 + 1));
        }
        while self.points.front().is_some_and(|point| point.index < upto.index) {
            self.points.pop_front();
        }
        if self.last.is_none_or(|last| last <= upto.index) {
            self.last = Some(upto.index);
            self.points.clear();
            self.points.push_back(upto);
        }
    }

    /// What a node recovered: it ends with `last`, and what is not known of it stays unknown.
    pub(super) fn recover(&mut self, last: Option<Position>) {
        let Some(last) = last else {
            *self = Self::default();
            return;
        };
        self.cut(Some(last.index));
        if self.last != Some(last.index) || self.term(last.index).is_some_and(|term| term != last.term) {
            self.extend(last.index, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64, term: u64) -> Position {
        Position {
            index: LogIndex(index),
            term: Term(term),
            chain: Chain(u128::from(index * 100 + term)),
        }
    }

    #[test]
    fn terms_are_known_and_gaps_are_not() {
        let mut log = Log::default();
        log.extend(LogIndex(0), at(4, 1));
        log.extend(LogIndex(5), at(7, 2));
        assert_eq!(log.term(LogIndex(4)), Some(Term(1)));
        assert_eq!(log.term(LogIndex(5)), Some(Term(2)));
        assert_eq!(log.chain(LogIndex(7)), Some(Chain(702)));
        assert_eq!(log.chain(LogIndex(6)), None);
        log.cut(Some(LogIndex(5)));
        assert_eq!((log.last(), log.term(LogIndex(6))), (Some(LogIndex(5)), None));
        log.recover(Some(at(9, 3)));
        assert_eq!((log.last(), log.term(LogIndex(8))), (Some(LogIndex(9)), None));
        assert_eq!(log.term(LogIndex(9)), Some(Term(3)));
        log.purge(at(5, 2));
        assert_eq!((log.term(LogIndex(5)), log.term(LogIndex(9))), (None, Some(Term(3))));
        log.purge(at(20, 4));
        assert_eq!(
            (log.last(), log.chain(LogIndex(20))),
            (Some(LogIndex(20)), Some(Chain(2004)))
        );
        log.cut(None);
        assert_eq!(log.last(), None);
    }
}
