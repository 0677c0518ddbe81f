//! The one timer of a shard. Deadlines mostly move away, so it is only set anew when one comes
//! nearer; when it fires too early, that costs one turn with nothing to do.

use core::pin::Pin;
use core::task::{Context, Waker};
use tokio::time::{Instant, Sleep, sleep_until};
use whimbrel_core::Timestamp;
use whimbrel_host::Clock;

pub(crate) struct Timer {
    clock: Clock,
    sleep: Pin<Box<Sleep>>,
    waker: Waker,
    armed_for: Option<Timestamp>,
}

impl Timer {
    /// Must be called inside a runtime.
    pub(crate) fn new(clock: Clock, waker: Waker) -> Self {
        Self {
            clock,
            sleep: Box::pin(sleep_until(Instant::now())),
            waker,
            armed_for: None,
        }
    }

    /// It has fired, and fires again only when it is armed.
    pub(crate) const fn fired(&mut self) {
        self.armed_for = None;
    }

    /// Makes sure that it fires at `deadline` or earlier.
    pub(crate) fn arm(&mut self, deadline: Timestamp) {
        if self.armed_for.is_some_and(|armed| armed <= deadline) {
            return;
        }
        self.armed_for = Some(deadline);
        self.sleep
            .as_mut()
            .reset(self.clock.instant(deadline).into());
        if self
            .sleep
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
            .is_ready()
        {
            self.waker.wake_by_ref();
        }
    }
}
