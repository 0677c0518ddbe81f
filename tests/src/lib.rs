//! Helpers shared by the whole-broker tests.
