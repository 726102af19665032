//! Sans-IO: what keeps a block from being collected, in eight bits beside its place.
//!
//! A block is *kept* when a walk from something that must stay has met it, and *young* when it was put, or asked for to be
//! kept, in a generation that still counts. A generation ends when a collection begins; those of additions that are under
//! way count until these end. So whatever an addition has put, or has found there already and relies on, stays until its
//! root is known.

use std::collections::BTreeMap;

/// Bits of a word that are not marks: lengths of meta parts fit.
pub(super) const LENGTH_BITS: u32 = 24;
const LENGTH: u32 = (1 << LENGTH_BITS) - 1;
const KEPT: u32 = 1 << LENGTH_BITS;
const WALKED_SHIFT: u32 = LENGTH_BITS + 1;
const WALKED: u32 = 3 << WALKED_SHIFT;
const BORN_SHIFT: u32 = LENGTH_BITS + 3;
const BORN: u32 = !0 << BORN_SHIFT;
/// Names that generations have; 0 is any that counts no more.
const NAMES: u64 = (1 << (32 - BORN_SHIFT)) - 1;

/// The length in a word.
pub(super) fn length(word: u32) -> u32 {
    word & LENGTH
}

/// The word with another length.
pub(super) fn with_length(word: u32, length: u32) -> u32 {
    (word & !LENGTH) | length
}

/// The word of a block that was put or asked for now.
pub(super) fn touched(word: u32, now: Name) -> u32 {
    (word & !BORN) | (u32::from(now.0) << BORN_SHIFT)
}

/// The word of a block that is kept.
pub(super) fn kept(word: u32) -> u32 {
    word | KEPT
}

/// Whether a walk has met it.
pub(super) fn is_kept(word: u32) -> bool {
    word & KEPT != 0
}

/// The word of a block whose links were followed, as a block of that sort.
pub(super) fn walked(word: u32, sort: Sort) -> u32 {
    (word & !WALKED) | KEPT | ((sort as u32) << WALKED_SHIFT)
}

/// Whether its links were followed as those of a block of this sort. Of other sorts that is not remembered here.
pub(super) fn was_walked(word: u32, sort: Sort) -> bool {
    sort != Sort::Other && (word & WALKED) >> WALKED_SHIFT == sort as u32
}

/// The word before a collection: kept by nothing, and young only if its generation counts.
pub(super) fn cleared(word: u32, young: Young) -> u32 {
    let born = if young.holds(word) { word & BORN } else { 0 };
    (word & LENGTH) | born
}

/// How a block's links are found: by its codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    DagPb = 1,
    DagCbor = 2,
    Other = 3,
}

/// A generation's name; names are used again when they are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(u8);

/// The generations that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Young(u32);

impl Young {
    /// Whether the block with this word is of one of them.
    pub(super) fn holds(self, word: u32) -> bool {
        self.0 & (1 << (word >> BORN_SHIFT)) != 0
    }

    /// Whether the block with this word must stay.
    pub(super) fn spares(self, word: u32) -> bool {
        is_kept(word) || self.holds(word)
    }
}

/// Which generation it is, and those in which additions under way began.
#[derive(Debug, Default)]
pub(super) struct Generations {
    now: u64,
    adding: BTreeMap<u64, usize>,
}

impl Generations {
    fn name_of(generation: u64) -> Name {
        Name((generation % NAMES) as u8 + 1)
    }

    /// The name of this generation.
    pub(super) fn name(&self) -> Name {
        Self::name_of(self.now)
    }

    /// An addition begins; gives what it has to say at its end.
    pub(super) fn enter(&mut self) -> u64 {
        *self.adding.entry(self.now).or_default() += 1;
        self.now
    }

    /// An addition ends.
    pub(super) fn leave(&mut self, began: u64) {
        if let Some(count) = self.adding.get_mut(&began) {
            *count -= 1;
            if *count == 0 {
                self.adding.remove(&began);
            }
        }
    }

    /// A collection begins, and with it a generation; gives those that count. While an addition outlasts more
    /// collections than there are names, the generation stays, and what is older is spared too.
    pub(super) fn advance(&mut self) -> Young {
        let oldest = |this: &Self| this.adding.keys().next().copied().unwrap_or(this.now);
        if self.now + 1 - oldest(self) < NAMES - 1 {
            self.now += 1;
        }
        let first = self.adding.keys().next().copied().unwrap_or(self.now);
        Young((first..=self.now).fold(0, |names, generation| names | (1 << Self::name_of(generation).0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_marks_share_a_word() {
        let mut all = Generations::default();
        let (now, young) = (all.name(), all.advance());
        let next = all.name();
        let word = touched(with_length(0, 8 << 20), next);
        assert_eq!((length(word), young.spares(word), is_kept(word)), (8 << 20, true, false));
        let old = touched(word, now);
        assert!(!young.spares(old) && young.spares(kept(old)));
        let cbor = walked(old, Sort::DagCbor);
        assert!(is_kept(cbor) && was_walked(cbor, Sort::DagCbor) && !was_walked(cbor, Sort::DagPb));
        assert!(!was_walked(walked(old, Sort::Other), Sort::Other));
        assert_eq!((cleared(cbor, young), cleared(kept(word), young)), (8 << 20, word));
    }

    /// Additions and collections in a random order: what an addition has touched is spared until it ends, and what was
    /// touched before a collection, by nobody who is still at work, is not.
    #[test]
    fn what_additions_under_way_have_touched_is_spared() {
        let seed = crate::base::random::u64();
        println!("seed {seed}");
        let mut state = seed | 1;
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut all = Generations::default();
        // Additions under way, each with when it began and what it touched; words as an index holds them.
        let mut adding: Vec<(u64, Vec<usize>)> = Vec::new();
        let mut words: Vec<u32> = Vec::new();
        let mut stuck = 0;
        for _ in 0..20_000 {
            match below(8) {
                0 if adding.len() < 4 => adding.push((all.enter(), Vec::new())),
                1 if !adding.is_empty() => {
                    let ended = adding.swap_remove(below(adding.len() as u64) as usize);
                    all.leave(ended.0);
                }
                2 => {
                    let before = all.now;
                    let young = all.advance();
                    words.iter_mut().for_each(|word| *word = cleared(*word, young));
                    for held in adding.iter().flat_map(|(_, held)| held) {
                        assert!(young.spares(words[*held]));
                    }
                    if adding.is_empty() {
                        assert!(words.iter().all(|word| !young.spares(*word)));
                    }
                    stuck += u64::from(all.now == before);
                }
                _ => {
                    let at = below(words.len() as u64 + 1) as usize;
                    if at == words.len() {
                        words.push(0);
                    }
                    words[at] = touched(words[at], all.name());
                    if !adding.is_empty() {
                        let which = below(adding.len() as u64) as usize;
                        adding[which].1.push(at);
                    }
                }
            }
        }
        adding.iter().for_each(|(began, _)| all.leave(*began));
        // One that outlasts every name.
        let long = all.enter();
        let held = touched(0, all.name());
        for _ in 0..100 {
            let young = all.advance();
            assert!(young.spares(cleared(held, young)));
        }
        all.leave(long);
        assert!(!all.advance().spares(held), "{stuck}");
    }
}
