//! See `whimbrel_tests::fuzz::proxy`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| whimbrel_tests::fuzz::proxy(data));
