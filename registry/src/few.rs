//! A sorted set that mostly holds one value, without an allocation for it: of such sets there are three for each schema.

use std::collections::BTreeSet;

/// A set; the same values are always held in the same way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Few<T> {
    /// At most one.
    One(Option<T>),
    /// Two at least.
    Many(BTreeSet<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::One(None)
    }
}

impl<T: Ord> Few<T> {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::One(None))
    }

    pub(crate) fn insert(&mut self, value: T) {
        match self {
            Self::One(None) => *self = Self::One(Some(value)),
            Self::One(Some(known)) if *known == value => (),
            Self::One(known) => *self = Self::Many(known.take().into_iter().chain([value]).collect()),
            Self::Many(known) => drop(known.insert(value)),
        }
    }

    pub(crate) fn remove(&mut self, value: &T) {
        match self {
            Self::One(known) => drop(known.take_if(|known| known == value)),
            Self::Many(known) => {
                known.remove(value);
                if known.len() == 1 {
                    *self = Self::One(known.pop_first());
                }
            }
        }
    }

    /// The values, the lowest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        let (one, many) = match self {
            Self::One(one) => (one.as_ref(), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_sorted_set(steps in prop::collection::vec((any::<bool>(), 0_u8..4), 0..40)) {
            let (mut few, mut set) = (Few::default(), BTreeSet::new());
            for (adds, value) in steps {
                if adds {
                    few.insert(value);
                    set.insert(value);
                } else {
                    few.remove(&value);
                    set.remove(&value);
                }
                prop_assert!(few.iter().eq(set.iter()) && few.is_empty() == set.is_empty());
                prop_assert_eq!(matches!(few, Few::One(_)), set.len() < 2);
            }
        }
    }
}
