//! CRC-32C (Castagnoli), eight bytes a step.
//!
//! Written here because it is forty lines, needs no `unsafe` and no detection of the processor, and
//! because the disk, not this loop, bounds the log (a table-driven CRC passes more than a gigabyte
//! a second on the machines that reach a tenth of it in synced writes).

/// The reflected form of the polynomial 0x1EDC6F41.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `TABLES[k][b]`: what byte `b` contributes when `k` more bytes follow it in the same step.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0_u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "byte < 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// A checksum being computed. A value, so that a common prefix (the seed of a segment) is computed
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crc32c(u32);

impl Crc32c {
    pub(crate) const fn new() -> Self {
        Self(!0)
    }

    /// The one that must have been there before `bytes` for this one to be there after them.
    pub(crate) fn before(self, bytes: &[u8]) -> Self {
        let mut crc = self.0;
        for byte in bytes.iter().rev() {
            for _ in 0..8 {
                crc = if crc >> 31 == 1 {
                    (crc ^ POLYNOMIAL) << 1 | 1
                } else {
                    crc << 1
                };
            }
            crc ^= u32::from(*byte);
        }
        Self(crc)
    }

    /// The one whose [`finish`](Self::finish) gave `sum`.
    pub(crate) const fn finished(sum: u32) -> Self {
        Self(!sum)
    }

    /// The four bytes that lead from this one to `after`.
    pub(crate) fn bytes_to(self, after: Self) -> [u8; 4] {
        (self.0 ^ after.before(&[0; 4]).0).to_le_bytes()
    }

    pub(crate) fn update(self, bytes: &[u8]) -> Self {
        let mut crc = self.0;
        let (steps, rest) = bytes.as_chunks::<8>();
        for step in steps {
            let [a, b, c, d, e, f, g, h] = *step;
            let [a, b, c, d] = (crc ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
            crc = TABLES[7][usize::from(a)]
                ^ TABLES[6][usize::from(b)]
                ^ TABLES[5][usize::from(c)]
                ^ TABLES[4][usize::from(d)]
                ^ TABLES[3][usize::from(e)]
                ^ TABLES[2][usize::from(f)]
                ^ TABLES[1][usize::from(g)]
                ^ TABLES[0][usize::from(h)];
        }
        for byte in rest {
            let [low, ..] = crc.to_le_bytes();
            crc = crc >> 8 ^ TABLES[0][usize::from(low ^ byte)];
        }
        Self(crc)
    }

    pub(crate) const fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Crc32c;
    use alloc::vec::Vec;

    fn crc(bytes: &[u8]) -> u32 {
        Crc32c::new().update(bytes).finish()
    }

    /// The vectors of RFC 3720, appendix B.4, and the usual check value.
    #[test]
    fn known_values() {
        assert_eq!(crc(b""), 0);
        assert_eq!(crc(b"123456789"), 0xE306_9283);
        assert_eq!(crc(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc(&[0xFF; 32]), 0x62A8_AB43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc(&ascending), 0x46DD_794E);
    }

    #[test]
    fn any_split_gives_the_same_sum() {
        let bytes: Vec<u8> = (0..=255).collect();
        let whole = crc(&bytes);
        for at in 0..bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(Crc32c::new().update(left).update(right).finish(), whole);
        }
    }
}
