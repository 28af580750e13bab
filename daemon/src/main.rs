//! The binary.

#[allow(dead_code, unused_imports, reason = "no command reads job files yet")]
mod config;

fn main() {}
