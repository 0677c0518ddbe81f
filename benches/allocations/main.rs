//! What the core asks of the allocator, counted. Asserted, not just reported: these numbers depend
//! on nothing but the code.

mod budget;
mod memory;
mod messages;

#[global_allocator]
static ALLOCATOR: whimbrel_benches::counting::Counting = whimbrel_benches::counting::Counting;
