//! What came out of a run: one number for everything that the broker put out, and when, so that
//! equal runs have equal ones; and the story of it in words, for those who look for a defect.

/// FNV-1a over all outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Trace {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    pub(super) const fn sum(self) -> u64 {
        self.0
    }
}

/// Tells what happens, if anybody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Story {
    pub(super) is_told: bool,
}

impl Story {
    pub(super) fn tell(self, now: u64, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{now:>7} {}", what());
        }
    }
}

/// Bytes of which most may be text.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    text.replace("....", "").escape_debug().to_string()
}
