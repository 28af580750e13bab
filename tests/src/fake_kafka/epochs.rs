//! The leader epochs of one log and where each began, as Kafka's leader epoch cache keeps them.

/// Epochs with their first offsets, in order.
#[derive(Clone, Debug, Default)]
pub struct Epochs(Vec<(i32, i64)>);

impl Epochs {
    /// An epoch begins at an offset. What was said of it or of later ones, or of that offset or later ones, goes.
    pub fn assign(&mut self, epoch: i32, start: i64) {
        if self.0.last().is_some_and(|(last, _)| *last == epoch) {
            return;
        }
        self.0.retain(|(known, begun)| *known < epoch && *begun < start);
        self.0.push((epoch, start));
    }

    /// The log ends here now.
    pub fn truncate_from(&mut self, end: i64) {
        self.0.retain(|(_, start)| *start < end);
    }

    /// The log begins here now.
    pub fn truncate_before(&mut self, start: i64) {
        let before = self.0.partition_point(|(_, begun)| *begun <= start);
        if let Some(last) = before.checked_sub(1) {
            self.0.drain(..last);
            self.0[0].1 = start;
        }
    }

    /// The newest one.
    pub fn latest(&self) -> Option<i32> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// The one at an offset.
    pub fn at(&self, offset: i64) -> Option<i32> {
        self.0.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// Where an epoch ended: the epoch itself or the largest below it, and the offset after its last one. Nothing for one
    /// that is newer than all.
    pub fn end_of(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some((epoch, log_end));
        }
        let higher = self.0.iter().find(|(known, _)| *known > epoch)?;
        let floor = self.0.iter().rev().find(|(known, _)| *known <= epoch);
        Some((floor.map_or(epoch, |(known, _)| *known), higher.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_where_the_next_epoch_began() {
        let mut epochs = Epochs::default();
        for (epoch, start) in [(2, 0), (5, 10), (6, 20)] {
            epochs.assign(epoch, start);
        }
        let end = |epoch| epochs.end_of(epoch, 30);
        assert_eq!(end(6), Some((6, 30)));
        assert_eq!((end(5), end(4), end(2)), (Some((5, 20)), Some((2, 10)), Some((2, 10))));
        assert_eq!((end(1), end(7), end(-1)), (Some((1, 0)), None, None));
    }

    #[test]
    fn an_epoch_without_records_gives_way() {
        let mut epochs = Epochs::default();
        for (epoch, start) in [(0, 0), (1, 10), (2, 10)] {
            epochs.assign(epoch, start);
        }
        assert_eq!(epochs.end_of(1, 10), Some((0, 10)));
        epochs.truncate_from(5);
        assert_eq!(epochs.end_of(0, 5), Some((0, 5)));
        epochs.assign(3, 5);
        epochs.truncate_before(8);
        assert_eq!(epochs.end_of(0, 9), Some((0, 8)));
    }
}
