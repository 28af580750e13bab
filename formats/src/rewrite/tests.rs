//! The rewriter beside a slow model: records as owned values, of which the model changes ids byte by byte and which are
//! then encoded again.

mod lanes;
mod million;
mod model;
mod same_bytes;
