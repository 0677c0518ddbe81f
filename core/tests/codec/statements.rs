//! Statements of the specification that the codec decides.
