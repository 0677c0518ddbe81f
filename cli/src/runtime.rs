//! The runtime this program is built with: `whimbrel-tokio`, or `whimbrel-smol` for small devices.
//! Both have one shape, and everything else here is written once.

#[cfg(not(any(feature = "tokio", feature = "smol")))]
compile_error!("choose a runtime: --features tokio, or --no-default-features --features smol");

use core::ops::RangeInclusive;
use core::time::Duration;
pub(crate) use futures_lite::future::or;
use std::io;
#[cfg(all(feature = "smol", not(feature = "tokio")))]
pub(crate) use whimbrel_smol::{CertificateFinding, Handle, Server, check_certificates, client};
#[cfg(feature = "tokio")]
pub(crate) use whimbrel_tokio::{CertificateFinding, Handle, Server, check_certificates, client};

/// How many threads can serve clients; 0 is one for each core.
pub(crate) const THREADS: RangeInclusive<u16> = match cfg!(feature = "tokio") {
    true => 0..=64,
    false => 1..=1,
};

/// Whether what happens can be recorded.
pub(crate) const RECORDS: bool = cfg!(feature = "tokio");

/// Runs a future on this thread. Threads of its own keep a broker or a connection going meanwhile.
///
/// # Errors
///
/// The system gives no thread or event queue.
#[cfg(feature = "tokio")]
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}

/// Runs a future on this thread. Threads of its own keep a broker or a connection going meanwhile.
///
/// # Errors
///
/// None, in this runtime.
#[cfg(all(feature = "smol", not(feature = "tokio")))]
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    Ok(futures_lite::future::block_on(future))
}

/// Waits. On a thread, as not every runtime has timers for others; there is one such wait at most.
pub(crate) async fn sleep(duration: Duration) {
    let (done, elapsed) = async_channel::bounded::<()>(1);
    std::thread::spawn(move || {
        std::thread::sleep(duration);
        drop(done);
    });
    // Nothing is ever sent: its end is the message.
    let _ = elapsed.recv().await;
}
