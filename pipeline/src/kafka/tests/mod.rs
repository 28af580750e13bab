//! Faults of a broker, played by a scripted one over real sockets.

mod faults;
mod hostile;
mod scripted;
