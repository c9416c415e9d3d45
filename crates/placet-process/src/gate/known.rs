//! What was decided of what a tree starts and whom it connects to, for as long as it holds, in bounded memory.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use placet_types::Millis;

use super::holds::{Again, Asks, No, Waiting};

/// How it stands with one thing.
enum Known<Y, C> {
    Yes(Y),
    No(No<C>),
}

/// What was decided by what it was decided of: `Y` is a yes, `C` the call that was asked about.
pub(super) struct Table<K, Y, C> {
    known: BTreeMap<K, Known<Y, C>>,
    again: Again,
    /// Distinct things that are remembered: each is a record, and those permitted are executions.
    max: usize,
    /// How long a no holds at most.
    no_holds_max: Duration,
}

/// What the table says about one thing.
pub(super) enum Found<'a, Y, C> {
    Yes(&'a Y),
    /// In words.
    No(&'a str),
    /// It is another one, and there are too many.
    Full,
    /// It is to be asked about.
    Ask(Asks<C>),
}

/// What came out of a question.
pub(super) enum Decided<Y, C> {
    Yes(Y),
    /// In words; with what waits for approvals.
    No(String, Option<Waiting<C>>),
}

impl<K: Ord, Y, C> Table<K, Y, C> {
    pub(super) fn new(max: usize, no_holds_max: Duration) -> Self {
        Self {
            known: BTreeMap::new(),
            again: Again::default(),
            max,
            no_holds_max,
        }
    }

    pub(super) fn find<Q>(&mut self, key: &Q, at: (Duration, Millis)) -> Found<'_, Y, C>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let is_full = self.known.len() >= self.max;
        match self.known.get_mut(key) {
            Some(Known::Yes(yes)) => Found::Yes(yes),
            Some(Known::No(no)) => {
                let asks = no.asks(&mut self.again, at);
                asks.map_or_else(|| Found::No(no.why()), Found::Ask)
            }
            None if is_full => Found::Full,
            None => Found::Ask(Asks::Anew),
        }
    }

    /// The yes about one thing, if that was the answer.
    pub(super) fn yes<Q>(&self, key: &Q) -> Option<&Y>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match self.known.get(key) {
            Some(Known::Yes(yes)) => Some(yes),
            Some(Known::No(_)) | None => None,
        }
    }

    pub(super) fn yeses(&self) -> impl Iterator<Item = (&K, &Y)> {
        self.known.iter().filter_map(|(key, known)| match known {
            Known::Yes(yes) => Some((key, yes)),
            Known::No(_) => None,
        })
    }

    pub(super) fn permit(&mut self, key: K, yes: Y) {
        self.known.insert(key, Known::Yes(yes));
    }

    /// A no at `now`: it holds longer each time.
    pub(super) fn deny(&mut self, key: K, why: String, waits: Option<Waiting<C>>, now: Duration) {
        let before = match self.known.get(&key) {
            Some(Known::No(no)) => Some(no),
            Some(Known::Yes(_)) | None => None,
        };
        let no = No::new(why, waits, before, (now, self.no_holds_max));
        self.known.insert(key, Known::No(no));
    }

    /// Another bundle is in force: it may permit what the one before did not.
    pub(super) fn lift(&mut self) {
        for known in self.known.values_mut() {
            if let Known::No(no) = known {
                no.lift();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);
    const HOLDS_MAX: Duration = Duration::from_secs(60);

    fn at(now: Duration) -> (Duration, Millis) {
        (now, Millis::new(0))
    }

    #[test]
    fn it_is_bounded_and_goes_on_to_know_what_it_knows() {
        let mut table = Table::<usize, (), ()>::new(3, HOLDS_MAX);
        for number in 0..3 {
            let found = table.find(&number, at(NOW));
            assert!(matches!(found, Found::Ask(Asks::Anew)));
            table.deny(number, "no".into(), None, NOW);
        }
        assert!(matches!(table.find(&3, at(NOW)), Found::Full));
        assert!(matches!(table.find(&2, at(NOW)), Found::No("no")));
        table.permit(2, ());
        assert!(matches!(table.find(&2, at(NOW)), Found::Yes(())));
        assert_eq!(table.yeses().count(), 1);
        assert!(table.yes(&1).is_none() && table.yes(&2).is_some());
    }

    #[test]
    fn another_bundle_ends_each_no_and_no_yes() {
        let mut table = Table::<u8, (), ()>::new(9, HOLDS_MAX);
        table.deny(1, "no".into(), None, NOW);
        table.permit(2, ());
        table.lift();
        assert!(matches!(table.find(&1, at(NOW)), Found::Ask(Asks::Anew)));
        assert!(matches!(table.find(&2, at(NOW)), Found::Yes(())));
    }
}
