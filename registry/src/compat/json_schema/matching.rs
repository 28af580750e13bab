//! Maximum matching in a bipartite graph, by augmenting paths. At most (members on the left) x (edges) steps.

use std::collections::VecDeque;

/// For each left vertex its partner on the right, such that no other choice has more pairs.
pub(super) fn maximum(edges: &[Vec<usize>], right: usize) -> Vec<Option<usize>> {
    let mut partner_of_left = vec![None; edges.len()];
    let mut partner_of_right: Vec<Option<usize>> = vec![None; right];
    for start in 0..edges.len() {
        // Breadth first from an unmatched vertex; each right vertex remembers from where it was reached.
        let mut reached_from: Vec<Option<usize>> = vec![None; right];
        let mut queue = VecDeque::from([start]);
        let mut end = None;
        'search: while let Some(left) = queue.pop_front() {
            for &next in &edges[left] {
                if reached_from[next].is_some() {
                    continue;
                }
                reached_from[next] = Some(left);
                match partner_of_right[next] {
                    None => {
                        end = Some(next);
                        break 'search;
                    }
                    Some(other) => queue.push_back(other),
                }
            }
        }
        // Back along the path, giving everyone on it the partner through whom it was reached.
        while let Some(right) = end {
            let Some(left) = reached_from[right] else { break };
            end = partner_of_left[left].replace(right);
            partner_of_right[right] = Some(left);
        }
    }
    partner_of_left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(edges: &[Vec<usize>], right: usize) -> usize {
        let partners = maximum(edges, right);
        let mut used: Vec<usize> = partners.iter().flatten().copied().collect();
        for (left, partner) in partners.iter().enumerate() {
            assert!(partner.is_none_or(|partner| edges[left].contains(&partner)));
        }
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), partners.iter().flatten().count(), "two have one partner");
        used.len()
    }

    fn tried(edges: &[Vec<usize>], taken: u32) -> usize {
        let Some((first, rest)) = edges.split_first() else { return 0 };
        let with =
            first.iter().filter(|n| taken & (1 << **n) == 0).map(|n| 1 + tried(rest, taken | (1 << n)));
        with.chain([tried(rest, taken)]).max().unwrap_or(0)
    }

    #[test]
    fn who_came_first_may_have_to_move() {
        assert_eq!(pairs(&[vec![0, 1], vec![0], vec![1, 2]], 3), 3);
        assert_eq!(pairs(&[vec![0], vec![0]], 2), 1);
        assert_eq!(pairs(&[], 2), 0);
    }

    proptest! {
        #[test]
        fn no_choice_has_more_pairs(edges in prop::collection::vec(prop::collection::vec(0..6_usize, 0..5), 0..6)) {
            prop_assert_eq!(pairs(&edges, 6), tried(&edges, 0));
        }
    }
}
