//! The contract of `Broker`, line by line.
