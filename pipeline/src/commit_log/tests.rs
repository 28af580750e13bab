//! Tests of the log. The model runs random histories; the others prove one fact each.

mod chance;
mod clients;
mod cost;
mod damage;
mod fencing;
mod model;
mod network;
mod oracle;
mod rules;
mod sample;
mod scripted;
mod tail_finding;
