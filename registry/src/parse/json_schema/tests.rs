//! Parsing, placeholders
