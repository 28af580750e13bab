//! The minimal loops: the references that ours is measured against. One thread, one blocking connection, the work that
//! cannot be left out, and nothing else: no memory limit, no commit, no resume, no index, one topic, one broker.
//!
//! They share no code with `pipeline` and `formats`. They run as processes of their own (hidden subcommands).

pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod kernel;
pub(crate) mod produce;
pub(crate) mod restore;
pub(crate) mod s3;
pub(crate) mod sink;
pub(crate) mod wire;
