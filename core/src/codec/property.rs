//! placeholder until the codec lands
#![allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);
impl Properties<'_> {
    pub const EMPTY: Self = Self(&[]);
}
