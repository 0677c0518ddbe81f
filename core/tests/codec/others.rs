//! The packet tables of other projects, read from the folder that `WHIMBREL_CONFORMANCE` names.
