//! Starts whole systems for the tests: real servers, the binary, and what they share.
