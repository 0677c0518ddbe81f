//! See `whimbrel_tests::fuzz::recording`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| whimbrel_tests::fuzz::recording(data));
