//! Whimbrel on smol: the skeleton of the small runtime.
