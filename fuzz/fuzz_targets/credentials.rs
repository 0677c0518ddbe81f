//! See `whimbrel_tests::fuzz::credentials`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| whimbrel_tests::fuzz::credentials(data));
