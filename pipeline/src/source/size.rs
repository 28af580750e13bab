//! How large an answer a connection asks for: more where answers come full and there is memory, less where memory is waited for. So a few
//! brokers get large answers, and many get their turn in the same memory.

/// Less is not worth a request.
const LEAST: usize = 1 << 20;

/// The bytes that the next answer should have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnswerSize {
    now: usize,
    most: usize,
}

impl AnswerSize {
    /// Begins with the least.
    pub(super) fn up_to(most: usize) -> Self {
        Self { now: LEAST.min(most), most }
    }

    /// Learns from an answer of so many bytes, and from whether somebody waits for memory.
    pub(super) fn learn(&mut self, answered: usize, is_pressed: bool) {
        if is_pressed {
            self.now = (self.now / 2).max(LEAST.min(self.most));
        } else if answered >= self.now / 4 * 3 {
            self.now = (self.now * 2).min(self.most);
        }
    }

    pub(super) fn bytes(self) -> i32 {
        i32::try_from(self.now).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_answers_grow_until_memory_is_waited_for() {
        let mut size = AnswerSize::up_to(10 << 20);
        assert_eq!(size.bytes(), 1 << 20);
        size.learn(100, false);
        assert_eq!(size.bytes(), 1 << 20, "what there is came");
        for expected in [2, 4, 8, 10, 10] {
            size.learn(size.bytes() as usize, false);
            assert_eq!(size.bytes(), expected << 20);
        }
        for expected in [5 << 20, 5 << 19, 5 << 18, 1 << 20, 1 << 20] {
            size.learn(size.bytes() as usize, true);
            assert_eq!(size.bytes(), expected);
        }
        assert_eq!(AnswerSize::up_to(1000).bytes(), 1000);
    }
}
