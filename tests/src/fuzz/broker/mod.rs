//! A whole broker under a script: many connections, every input there is, in any order, with
//! whatever the script makes of time, verdicts, storage and peers.
//!
//! What must hold is checked as it happens: what clients hear (see `line`), and, whenever the
//! broker has nothing left to do, what it says about itself. A script may be played twice, to the
//! same letter.

mod config;
mod line;
mod packets;
mod play;

use super::script::Script;
use crate::recorded::Parts;
use play::Play;
use whimbrel_core::Broker;
use whimbrel_core::recording::RecordOptions;
use whimbrel_core::restore::Restorer;

/// Plays a script.
pub fn broker(data: &[u8]) {
    let mut script = Script::new(data);
    let twice = script.flag();
    let config = config::config(&mut script);
    let beginning = script.clone();
    let play = Play::perform(&config, script);
    if twice {
        let again = Play::perform(&config, beginning);
        assert_eq!(
            play.transcript(),
            again.transcript(),
            "the same again, to the letter"
        );
    }
    if config.durable {
        check_restored(&play);
    }
}

/// Plays a script as a broker that is recorded.
pub(super) fn recorded(script: &mut Script<'_>) -> Parts {
    let config = config::config(script);
    let options = RecordOptions {
        part_bytes: script.choose(&[64 << 20, 1, 6_000]),
        // What is refused because its payload is no text is accepted without it.
        redact_payloads: script.flag() && !config.protocol.check_payload_format,
        ..RecordOptions::default()
    };
    let length = script.u16();
    Play::record(&config, Script::new(script.take(length.into())), options)
}

/// What was persisted makes the same broker again.
fn check_restored(play: &Play<'_>) {
    let budget = play.config().limits.queued_payload_memory_bytes;
    let mut restorer = Restorer::within(budget);
    for batch in play.batches() {
        restorer
            .apply(batch)
            .expect("the broker understands its own records");
    }
    for id in restorer.wanted() {
        let value = play.stored(id).expect("what is retained is there");
        assert!(
            restorer.supply(id, value),
            "what is read is what was written"
        );
    }
    let restored = Broker::restore(play.config().clone(), 1, play.now(), restorer)
        .expect("the configuration has run before");
    if play.is_restorable() {
        let (old, new) = (play.statistics(), restored.statistics());
        assert_eq!(new.sessions, old.sessions, "sessions are restored");
        assert_eq!(
            new.subscriptions, old.subscriptions,
            "subscriptions are restored"
        );
        // With two shards, the other one tells the log about half of them.
        if play.config().identity.shards == 1 {
            assert_eq!(
                new.retained_messages, old.retained_messages,
                "retained messages are restored"
            );
        }
    }
}
