//! The memory that ranges of files are read into, used again: fresh memory costs a page fault every 4 KiB, which was seen to
//! cost as much as the reading itself.
//!
//! Whoever reads has charged the bytes to a budget of its own; what waits here for its next use is bounded by [`KEPT`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller buffers are left to the allocator, which keeps them.
const SMALLEST: usize = 256 << 10;
/// Bytes that wait for their next use at most.
const KEPT: usize = 16 << 20;

/// Buffers that wait for their next use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// A buffer that comes back when its last slice is dropped.
struct Lent {
    buffer: Vec<u8>,
    used: usize,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.used]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.take_back(std::mem::take(&mut self.buffer));
    }
}

impl Buffers {
    /// So many bytes, filled by `fill`, which must fill all of them or fail: they may hold what was read before.
    pub(super) fn filled<E>(
        self: &Arc<Self>,
        used: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        if used < SMALLEST {
            let mut buffer = vec![0; used];
            fill(&mut buffer)?;
            return Ok(buffer.into());
        }
        // Of twice the size a buffer would hold on to more memory than its reader has charged.
        let fits = |buffer: &Vec<u8>| (used..=used + used / 4).contains(&buffer.len());
        let mut kept = self.kept();
        let found = kept.iter().position(fits).map(|at| kept.swap_remove(at));
        drop(kept);
        let room = used.next_multiple_of(SMALLEST);
        let mut lent = Lent { buffer: found.unwrap_or_else(|| vec![0; room]), used, home: Arc::clone(self) };
        fill(&mut lent.buffer[..used])?;
        Ok(Bytes::from_owner(lent))
    }

    fn take_back(&self, buffer: Vec<u8>) {
        let mut kept = self.kept();
        kept.push(buffer);
        while kept.iter().map(Vec::len).sum::<usize>() > KEPT {
            kept.remove(0);
        }
    }

    /// A poisoned lock leaves a list that is whole: nothing that holds it panics half-way.
    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffers: &Arc<Buffers>, used: usize, byte: u8) -> Bytes {
        let filled = buffers.filled(used, |bytes| {
            bytes.fill(byte);
            Ok::<(), ()>(())
        });
        filled.unwrap()
    }

    #[test]
    fn buffers_are_used_again_and_show_only_what_was_asked_for() {
        let buffers = Arc::new(Buffers::default());
        let first = read(&buffers, 4 << 20, 1);
        let (address, slice) = (first.as_ptr(), first.slice(5..9));
        drop(first);
        assert!(buffers.kept().is_empty(), "a slice is still there");
        drop(slice);
        let second = read(&buffers, (4 << 20) - 70_000, 2);
        assert_eq!((second.as_ptr(), second.len()), (address, (4 << 20) - 70_000));
        assert!(second.iter().all(|byte| *byte == 2));
        assert_ne!(read(&buffers, 1 << 20, 3).len(), second.len());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Arc::new(Buffers::default());
        let many: Vec<_> = (0..9).map(|_| read(&buffers, 4 << 20, 0)).collect();
        drop(many);
        assert_eq!(buffers.kept().iter().map(Vec::len).sum::<usize>(), KEPT);
        drop(read(&buffers, KEPT + 1, 0));
        assert!(buffers.kept().iter().map(Vec::len).sum::<usize>() <= KEPT);
        assert!(buffers.filled(SMALLEST, |_| Err(())).is_err());
    }
}
