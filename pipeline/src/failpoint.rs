//! Named places around durable writes where a test may let the process die: compiled in only with the `failpoints` feature.
//!
//! `REPLEVIN_FAILPOINT=name` kills the process (as SIGKILL would: nothing is flushed, nothing is dropped) the first time
//! that the place is reached; `name:3` the third time.

/// Dies here if the environment says so.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static HITS: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("REPLEVIN_FAILPOINT").ok()?;
        let (name, nth) = text.split_once(':').unwrap_or((text.as_str(), "1"));
        Some((name.to_owned(), nth.parse().unwrap_or(1)))
    });
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && HITS.fetch_add(1, Ordering::AcqRel) + 1 == *nth
    {
        std::process::abort();
    }
}

/// Does nothing in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}
