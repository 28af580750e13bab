//! `replevin registry serve` as a container runs it: variables, files and flags in, HTTP and metrics out. No server is needed.

mod guide;
mod serve;
mod support;
