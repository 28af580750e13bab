//! In which order things can be done that wait for each other. Nothing here calls itself: a chain may be as long as it likes.

use std::collections::BTreeSet;

/// Places so that each comes after those in `ahead` of it, and, where that is possible, after its `elder`; as near to the order in
/// which they are given as that allows. Besides those that wait for each other in a circle, or for such a circle.
pub(super) fn sorted(ahead: &[Vec<usize>], elder: &[Option<usize>]) -> (Vec<usize>, Vec<usize>) {
    let count = ahead.len();
    let mut unmet = vec![0_usize; count];
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut younger: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (place, before) in ahead.iter().enumerate() {
        let before: BTreeSet<usize> = before.iter().copied().collect();
        unmet[place] = before.len();
        before.into_iter().for_each(|other| behind[other].push(place));
        if let Some(elder) = elder[place] {
            younger[elder].push(place);
        }
    }
    let mut done = vec![false; count];
    // What waits for nothing; of these what waits for no elder either.
    let mut ready: BTreeSet<usize> = (0..count).filter(|place| unmet[*place] == 0).collect();
    let mut free: BTreeSet<usize> = ready.iter().copied().filter(|place| elder[*place].is_none()).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(place) = free.first().or_else(|| ready.first()).copied() {
        free.remove(&place);
        ready.remove(&place);
        done[place] = true;
        order.push(place);
        for other in &behind[place] {
            unmet[*other] -= 1;
            if unmet[*other] == 0 {
                ready.insert(*other);
                if elder[*other].is_none_or(|elder| done[elder]) {
                    free.insert(*other);
                }
            }
        }
        free.extend(younger[place].iter().filter(|other| ready.contains(other)));
    }
    let left = (0..count).filter(|place| !done[*place]).collect();
    (order, left)
}

/// A circle among places that were left: each waits for the next, and the last for the first. Empty where the place only waits
/// for one.
pub(super) fn circle(of: usize, ahead: &[Vec<usize>], left: &BTreeSet<usize>) -> Vec<usize> {
    // Found by the way back: from everything that waits for it, whatever that waits for, until it comes round.
    let mut before: Vec<Option<usize>> = vec![None; ahead.len()];
    let mut steps = std::collections::VecDeque::from([of]);
    while let Some(place) = steps.pop_front() {
        for other in ahead[place].iter().filter(|other| left.contains(other)) {
            if *other == of {
                let mut circle = vec![place];
                while let Some(earlier) = before[circle[circle.len() - 1]] {
                    circle.push(earlier);
                }
                circle.reverse();
                return circle;
            }
            if before[*other].is_none() {
                before[*other] = Some(place);
                steps.push_back(*other);
            }
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_circle_and_what_waits_for_it_are_left() {
        let ahead = vec![vec![1], vec![2], vec![1], vec![]];
        let (order, left) = sorted(&ahead, &[None; 4]);
        assert_eq!((order, left.clone()), (vec![3], vec![0, 1, 2]));
        let left: BTreeSet<usize> = left.into_iter().collect();
        assert_eq!(circle(1, &ahead, &left), [1, 2]);
        assert_eq!(circle(0, &ahead, &left), [] as [usize; 0]);
        assert_eq!(circle(0, &[vec![0]], &BTreeSet::from([0])), [0]);
    }

    #[test]
    fn an_elder_that_waits_for_the_younger_one_does_not_hold_it_up() {
        // 1 is younger than 0, and 0 refers to 1.
        let (order, left) = sorted(&[vec![1], vec![]], &[None, Some(0)]);
        assert_eq!((order, left), (vec![1, 0], vec![]));
    }

    #[test]
    fn a_hundred_thousand_in_a_chain_are_sorted() {
        let ahead: Vec<Vec<usize>> =
            (0..100_000).map(|n| if n + 1 < 100_000 { vec![n + 1] } else { vec![] }).collect();
        let (order, left) = sorted(&ahead, &vec![None; ahead.len()]);
        assert_eq!((order[0], order.len(), left.len()), (99_999, 100_000, 0));
    }

    proptest! {
        #[test]
        fn everything_comes_after_what_it_waits_for(edges in prop::collection::vec((0_usize..30, 0_usize..30), 0..60)) {
            let mut ahead = vec![Vec::new(); 30];
            // Without circles: only smaller ones are waited for.
            edges.iter().filter(|(one, other)| other < one).for_each(|(one, other)| ahead[*one].push(*other));
            let (order, left) = sorted(&ahead, &[None; 30]);
            prop_assert!(left.is_empty());
            let mut seen = [false; 30];
            for place in order {
                prop_assert!(ahead[place].iter().all(|other| seen[*other]));
                seen[place] = true;
            }
        }
    }
}
