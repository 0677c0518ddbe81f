//! The one call in which a thread sleeps: until something that is watched is ready, or somebody
//! rings.

use polling::{Event, PollMode, Poller};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::task::Wake;
use whimbrel_host::socket::Interest;

/// Wakes the thread that sleeps in this poller.
#[derive(Debug)]
pub(crate) struct Bell(pub(crate) Poller);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0
            .notify()
            .expect("an event queue can be woken as long as it is there");
    }
}

/// Has a source reported under this key for as long as it is ready; not at all when nothing is
/// wanted.
///
/// The poller wants a source to be removed before it is closed, so as not to report another one
/// that gets its number. All that are watched belong to one thread, which removes them when it lets
/// go of them; a report that comes all the same is one of a source that is not ready, and harmless.
///
/// # Errors
///
/// The system cannot watch it.
#[expect(
    unsafe_code,
    reason = "there is no safe way to name a source to the poller"
)]
pub(crate) fn watch(
    poller: &Poller,
    source: &(impl AsFd + AsRawFd),
    key: usize,
    before: Option<Interest>,
    wanted: Interest,
) -> io::Result<()> {
    let interest = Event::new(key, wanted.read, wanted.write);
    let was_watched = before.is_some_and(|before| before != Interest::NONE);
    match (was_watched, wanted != Interest::NONE) {
        (false, false) => Ok(()),
        // SAFETY: see above. No memory depends on it: the kernel forgets a file when it is closed.
        (false, true) => unsafe { poller.add_with_mode(source, interest, PollMode::Level) },
        (true, false) => poller.delete(source),
        (true, true) => poller.modify_with_mode(source, interest, PollMode::Level),
    }
}
