//! The codec, seen from outside: vectors, statements of the specification, round trips.

mod any;
mod notation;
mod others;
mod properties;
mod round_trip;
mod statements;
mod wire;
