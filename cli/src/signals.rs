//! The signals the program listens to.

use std::io;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop. The name of the signal.
    Stop(&'static str),
    /// Write the statistics to the log.
    #[cfg(unix)]
    Report,
    /// Take the configuration over as it is now.
    #[cfg(unix)]
    Reload,
}

/// SIGINT, SIGTERM, SIGHUP and SIGUSR1, from now on.
#[cfg(all(unix, feature = "tokio"))]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    report: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
}

#[cfg(all(unix, feature = "tokio"))]
impl Signals {
    /// Takes the signals; they no longer end the process. Call it inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn take() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            report: signal(SignalKind::user_defined1())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.report.recv() => Signal::Report,
            _ = self.reload.recv() => Signal::Reload,
        }
    }
}

/// SIGINT, SIGTERM, SIGHUP and SIGUSR1, from now on. A thread of its own waits for them.
#[cfg(all(unix, not(feature = "tokio")))]
pub(crate) struct Signals(async_channel::Receiver<i32>);

#[cfg(all(unix, not(feature = "tokio")))]
impl Signals {
    /// Takes the signals; they no longer end the process.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn take() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
        let mut taken = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
        let (sender, signals) = async_channel::unbounded();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                taken
                    .forever()
                    .all(|signal| sender.try_send(signal).is_ok())
            })?;
        Ok(Self(signals))
    }

    /// The next one.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "as with the other runtime")]
    pub(crate) async fn next(&mut self) -> Signal {
        use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1};
        match self.0.recv().await {
            Ok(SIGHUP) => Signal::Reload,
            Ok(SIGUSR1) => Signal::Report,
            Ok(SIGTERM) => Signal::Stop("SIGTERM"),
            Ok(_) => Signal::Stop("SIGINT"),
            Err(_) => core::future::pending().await,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Nothing to prepare.
    pub(crate) fn take() -> io::Result<Self> {
        Ok(Self)
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Stop("Ctrl-C"),
            Err(_) => core::future::pending().await,
        }
    }
}
