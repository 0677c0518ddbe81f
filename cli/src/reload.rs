//! What a running broker can take over: everything is read and checked first, then taken over at
//! once; or nothing is, and the reason is told.

use crate::config::{Flags, Loaded, Problem, Settings, changed, gather, in_order, take_over};
use crate::logging;
use crate::runtime::Handle;
use crate::surroundings::Surroundings;
use tracing::{error, info, warn};
use whimbrel_auth::{Authority, Prepared};
use whimbrel_core::runtime::Stopped;

/// Reads what decides who may connect, and changes nothing.
///
/// # Errors
///
/// Every mistake, with the place of the setting that names the file it is in.
fn prepare(loaded: &Loaded) -> Result<Prepared, Vec<Problem>> {
    let settings = &loaded.settings;
    Prepared::read(&settings.authentication, &settings.server.listeners).map_err(|problems| {
        let with_place = |problem: whimbrel_auth::Problem| Problem {
            place: loaded.place_or_default(&format!("authentication.{}", problem.key)),
            message: problem.to_string(),
        };
        problems.into_iter().map(with_place).collect()
    })
}

/// The same for a configuration of which these problems are known. So that every mistake is told at
/// once, whatever it is about.
pub(crate) fn judge(loaded: &Loaded, mut problems: Vec<Problem>) -> Result<Prepared, Vec<Problem>> {
    match prepare(loaded) {
        Ok(prepared) if problems.is_empty() => return Ok(prepared),
        Ok(_) => {}
        Err(more) => problems.extend(more),
    }
    Err(in_order(problems))
}

/// Reloads a broker again and again.
pub(crate) struct Reloader {
    /// Where the configuration comes from, as at the start.
    pub(crate) file: Option<String>,
    pub(crate) flags: Flags,
    /// What holds now.
    pub(crate) settings: Settings,
    pub(crate) authority: Authority,
}

impl Reloader {
    /// Takes over what has changed, or says why not.
    pub(crate) async fn reload(&mut self, broker: &Handle) -> Result<(), Stopped> {
        let (file, running) = (self.file.as_deref(), Some(&self.settings));
        let (new, problems) = gather(file, std::env::vars_os(), &self.flags, running);
        let (loaded, waits) = self.fit(new);
        let certificates = broker.read_certificates(&loaded.settings.server.listeners);
        let (prepared, certificates) = match (judge(&loaded, problems), certificates) {
            (Ok(prepared), Ok(certificates)) => (prepared, certificates),
            (judged, certificates) => {
                for problem in judged.err().into_iter().flatten() {
                    warn!("{problem}");
                }
                for error in certificates.err().into_iter().flatten() {
                    warn!("{error}");
                }
                error!("not reloaded: everything stays as it was; see the lines above");
                return Ok(());
            }
        };
        certificates.apply();
        for warning in prepared.warnings() {
            warn!("{warning}");
        }
        for note in &loaded.notes {
            warn!("{note}");
        }
        let found = Surroundings::of_listeners(&loaded);
        for finding in found.errors.iter().chain(&found.notes) {
            warn!("{finding}");
        }
        // Before anybody is asked about again, so that nobody gets in meanwhile by what was.
        self.authority.replace(prepared);
        let access = loaded.settings.server.broker.access.clone();
        let has_changed = access != self.settings.server.broker.access;
        self.settings = loaded.settings;
        logging::set_level(self.settings.log.level);
        if has_changed {
            broker.set_access(access).await?;
        }
        let disconnected = broker.reconsider().await?;
        let disconnected_clients = (disconnected > 0).then_some(disconnected);
        info!(disconnected_clients, "reloaded");
        if !waits.is_empty() {
            warn!(
                "changed, and taken over by a restart only: {}",
                waits.join(", ")
            );
        }
        Ok(())
    }

    /// The settings that hold, with the new values of those that can be taken over; and the names
    /// of those that have changed and cannot.
    fn fit(&self, new: Loaded) -> (Loaded, Vec<String>) {
        let waits = changed(&self.settings, &new.settings);
        let mut settings = self.settings.clone();
        take_over(&mut settings, &new.settings);
        (new.with(settings), waits)
    }
}
