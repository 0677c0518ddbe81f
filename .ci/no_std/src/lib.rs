//! Opens a broker, feeds it CONNECT, SUBSCRIBE and PUBLISH, and takes the bytes out: without std.

#![no_std]

extern crate alloc;

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};
use whimbrel_core::{Action, Broker, Config, Now, Peer, Verdict};

/// Hands out memory from one block and never takes it back: enough for a probe.
struct Bump;

const ARENA_BYTES: usize = 1 << 20;
static mut ARENA: [u8; ARENA_BYTES] = [0; ARENA_BYTES];
static USED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every block lies inside the arena, is aligned, and is handed out once.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = &raw mut ARENA as usize;
        let size = layout.size() + layout.align();
        let start = USED.fetch_add(size, Ordering::Relaxed);
        if start + size > ARENA_BYTES {
            return core::ptr::null_mut();
        }
        let address = (base + start).next_multiple_of(layout.align());
        address as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static MEMORY: Bump = Bump;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The number of bytes that came out: a CONNACK, a SUBACK and the message, if all went well.
#[unsafe(no_mangle)]
pub extern "C" fn probe() -> usize {
    const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a";
    const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01#\0";
    const PUBLISH: &[u8] = b"\x30\x05\0\x01thi";
    let now = Now::default();
    let Ok(mut broker) = Broker::new(Config::default(), 1, now) else { return 0 };
    let client = broker.accept(now, Peer::default());
    let mut out = Vec::new();
    for bytes in [CONNECT, SUBSCRIBE, PUBLISH] {
        broker.receive(now, client, bytes);
        while let Some(action) = broker.poll_action() {
            match action {
                Action::Authenticate { connection, .. } => {
                    broker.authenticated(now, connection, Verdict::accept());
                }
                Action::Send(connection) => broker.transmit(now, connection, &mut out),
                _ => {}
            }
        }
    }
    out.len()
}
