//! In which order things can be done that wait for each other. Nothing here calls itself: a chain may be as long as it likes.

use std::collections::{BTreeSet, HashMap, HashSet};

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

/// Circles among places that were left: sets in which each leads to all others, and so to itself in the end. What only waits for one
/// is in none.
pub(super) fn circles(ahead: &[Vec<usize>], left: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
    // Tarjan's: places in the order in which they are found, and the earliest one that each leads back to.
    let mut found: HashMap<usize, usize> = HashMap::new();
    let mut leads_to: HashMap<usize, usize> = HashMap::new();
    let (mut open, mut is_open) = (Vec::new(), HashSet::new());
    let mut circles = Vec::new();
    for first in left {
        let mut steps: Vec<(usize, usize)> =
            if found.contains_key(first) { Vec::new() } else { vec![(*first, 0)] };
        while let Some((place, mut edge)) = steps.pop() {
            let back = match edge {
                0 => {
                    found.insert(place, found.len());
                    open.push(place);
                    is_open.insert(place);
                    found[&place]
                }
                // Back from the one before.
                _ => Some(ahead[place][edge - 1])
                    .filter(|other| is_open.contains(other))
                    .map_or(leads_to[&place], |other| leads_to[&place].min(leads_to[&other])),
            };
            leads_to.insert(place, back);
            let mut deeper = None;
            while let (Some(other), None) = (ahead[place].get(edge), deeper) {
                edge += 1;
                match found.get(other) {
                    None if left.contains(other) => deeper = Some(*other),
                    Some(at) if is_open.contains(other) => {
                        leads_to.insert(place, leads_to[&place].min(*at));
                    }
                    _ => {}
                }
            }
            if let Some(other) = deeper {
                steps.extend([(place, edge), (other, 0)]);
            } else if leads_to[&place] == found[&place] {
                let begin = open.iter().rposition(|other| *other == place).unwrap_or_default();
                let circle: BTreeSet<usize> = open.drain(begin..).collect();
                circle.iter().for_each(|other| {
                    is_open.remove(other);
                });
                if circle.len() > 1 || ahead[place].contains(&place) {
                    circles.push(circle);
                }
            }
        }
    }
    circles
}

/// A way through a circle: each waits for the next, and the last for the first.
pub(super) fn way(of: usize, ahead: &[Vec<usize>], circle: &BTreeSet<usize>) -> Vec<usize> {
    // Found by the way back: from everything that waits for it, whatever that waits for, until it comes round.
    let mut before: HashMap<usize, usize> = HashMap::new();
    let mut steps = std::collections::VecDeque::from([of]);
    while let Some(place) = steps.pop_front() {
        for other in ahead[place].iter().filter(|other| circle.contains(other)) {
            if *other == of {
                let mut way = vec![place];
                while let Some(earlier) = before.get(&way[way.len() - 1]) {
                    way.push(*earlier);
                }
                way.reverse();
                return way;
            }
            if !before.contains_key(other) {
                before.insert(*other, place);
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
        assert_eq!(circles(&ahead, &left), [BTreeSet::from([1, 2])]);
        assert_eq!(way(1, &ahead, &left), [1, 2]);
        assert_eq!(circles(&[vec![0]], &BTreeSet::from([0])), [BTreeSet::from([0])]);
        assert_eq!(way(0, &[vec![0]], &BTreeSet::from([0])), [0]);
    }

    #[test]
    fn a_hundred_thousand_behind_a_circle_and_as_many_circles_are_told_apart() {
        let mut ahead: Vec<Vec<usize>> = (0..100_000).map(|n| vec![n + 1]).collect();
        // The last of them waits for the one before, and then there are pairs.
        ahead.push(vec![99_999]);
        (100_001..200_001).for_each(|n| ahead.push(vec![if n % 2 == 1 { n + 1 } else { n - 1 }]));
        let left: BTreeSet<usize> = (0..ahead.len()).collect();
        let found = circles(&ahead, &left);
        assert_eq!((found.len(), &found[0]), (50_001, &BTreeSet::from([99_999, 100_000])));
        assert!(found.iter().all(|circle| way(*circle.first().expect("a place"), &ahead, circle).len() == 2));
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
        fn circles_are_what_leads_back_to_itself(edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..30)) {
            let mut ahead = vec![Vec::new(); 12];
            edges.iter().for_each(|(one, other)| ahead[*one].push(*other));
            let left: BTreeSet<usize> = (0..12).collect();
            let found = circles(&ahead, &left);
            let mut reached = vec![BTreeSet::new(); 12];
            for (first, reached) in reached.iter_mut().enumerate() {
                let mut steps = vec![first];
                while let Some(place) = steps.pop() {
                    steps.extend(ahead[place].iter().filter(|other| reached.insert(**other)));
                }
            }
            for one in 0..12 {
                let circle = found.iter().find(|circle| circle.contains(&one));
                prop_assert_eq!(circle.is_some(), reached[one].contains(&one));
                for other in (0..12).filter(|_| circle.is_some()) {
                    let both = reached[one].contains(&other) && reached[other].contains(&one);
                    prop_assert_eq!(circle.is_some_and(|circle| circle.contains(&other)), both);
                }
            }
        }

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
