//! Everything about a run that its seed decides. Printed whole when a run fails.

use super::chance::Chance;
use super::defect::Defect;
use super::network::Weather;
use super::scene::{SECRET, is_secret_to};
use std::sync::Arc;
use whimbrel_core::Config;
use whimbrel_core::access::rule::{Effect, Name, Operation, Operations, Pattern, Rule, Who};
use whimbrel_core::access::rules::{RuleSet, Rules, WideSubscriptions};
use whimbrel_core::config::{AccessConfig, Limits, Protocol, SessionConfig, SharedStrategy};
use whimbrel_core::log::LogConfig;
use whimbrel_core::recording::RecordOptions;

/// More clients than this are a crowd: each of them has most to do with those of its district.
const FEW: usize = 20;

/// More clients in one run would show nothing new.
pub(super) const PLAYERS_MAXIMUM: usize = 5_000;

/// What a disk does wrong, each once in so many operations; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskFaults {
    /// An operation takes up to so many milliseconds.
    pub(super) operation_ms: u64,
    pub(super) lag_one_in: u64,
    pub(super) error_one_in: u64,
    /// Of what the broker reads back. Nothing, or not what was kept.
    pub(super) reads_one_in: u64,
    /// Once in so many recoveries.
    pub(super) in_recovery_one_in: u64,
}

/// How many shards there are, and how they hear of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shards {
    /// The first process has so many.
    count: u16,
    /// Every other one has another number of them.
    varies: bool,
    /// A letter takes up to so many milliseconds.
    pub(super) letter_ms: u64,
}

impl Shards {
    /// The same with at least two, always.
    fn several(self) -> Self {
        Self {
            count: self.count.max(2),
            varies: false,
            ..self
        }
    }

    /// How many the next process has.
    pub(super) fn draw(self, chance: &mut Chance) -> u16 {
        match self.varies {
            true => chance.pick(&[1, 2, 3]),
            false => self.count,
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Decides everything else.
    pub seed: u64,
    /// What is deliberately wrong.
    pub defect: Option<Defect>,
    /// The run tells what happens, on standard error.
    pub is_told: bool,
    pub(super) shards: Shards,
    /// Clients that keep to the rules.
    pub(super) players: usize,
    /// Clients that do not.
    pub(super) hostiles: usize,
    /// How long there are faults, in virtual milliseconds.
    pub(super) safety_ms: u64,
    /// A client does something every 1 to so many milliseconds.
    pub(super) pause_ms: u64,
    pub(super) weather: Weather,
    pub(super) disk: DiskFaults,
    /// Something breaks every 1 to so many milliseconds.
    pub(super) fault_ms: u64,
    pub(super) crashes: bool,
    pub(super) full_disks: bool,
    pub(super) clock_jumps: bool,
    /// Deliveries of one step of a fan-out.
    pub(super) fanout_step: u32,
    pub(super) inflight_maximum: u16,
    pub(super) receive_maximum: u16,
    pub(super) shared_strategy: SharedStrategy,
    pub(super) segment_bytes: u64,
    pub(super) checkpoint_bytes: u64,
    /// So few messages may wait for one client that some are dropped.
    pub(super) small_queues: bool,
    /// And so many bytes of them.
    queue_bytes_maximum: u32,
    /// Bytes of queued messages that stay in memory.
    pub(super) queue_memory_bytes: u64,
    /// Every process records what it does; when it ends, that is played back.
    pub(super) recording: Option<RecordOptions>,
    /// Publishers wait when so much is on its way to one of their subscribers.
    pub(super) unsent_bytes_pause: u32,
    /// No message is begun for a client to which so many bytes are in flight.
    pub(super) inflight_bytes_maximum: u32,
    /// Clients stay away for longer than their wills wait, now and then.
    pub(super) long_absences: bool,
    /// The broker has so much memory as long as there are faults, and limits that fit into it.
    pub(super) memory_bytes: Option<u64>,
    /// Some clients of 5.0 do not want to hear what they say themselves.
    pub(super) no_local: bool,
    /// There are access rules, by which some members of a group may not have all of it.
    pub(super) has_rules: bool,
}

impl Options {
    /// Draws the options of a run.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let chance = &mut chance;
        // What has come later is drawn by itself, so that a seed decides all else as before.
        let later = &mut Chance::new(seed, 3);
        let mut options = Self {
            seed,
            defect: None,
            is_told: false,
            shards: Shards {
                count: chance.pick(&[1, 2, 2, 3]),
                varies: chance.one_in(3),
                letter_ms: chance.pick(&[0, 2, 20, 500]),
            },
            players: chance.between(3, 9) as usize,
            hostiles: chance.below(3) as usize,
            safety_ms: chance.between(4_000, 25_000),
            pause_ms: chance.pick(&[40, 150, 500]),
            weather: Weather {
                latency_ms: chance.pick(&[1, 5, 40, 300]),
                split_percent: chance.pick(&[0, 10, 60]),
                socket_bytes: chance.pick(&[64, 1_024, 65_536]),
            },
            disk: DiskFaults {
                operation_ms: chance.pick(&[0, 2, 30]),
                lag_one_in: chance.pick(&[0, 40, 400]),
                error_one_in: chance.pick(&[0, 0, 300]),
                reads_one_in: 0,
                in_recovery_one_in: chance.pick(&[0, 2, 5]),
            },
            fault_ms: chance.pick(&[300, 1_500, 5_000]),
            crashes: chance.percent(80),
            full_disks: chance.percent(25),
            clock_jumps: chance.percent(50),
            fanout_step: chance.pick(&[1, 2, 1_024]),
            inflight_maximum: chance.pick(&[1, 3, 1_024]),
            receive_maximum: chance.pick(&[2, 8, 1_024]),
            shared_strategy: chance.pick(&[
                SharedStrategy::RoundRobin,
                SharedStrategy::Sticky,
                SharedStrategy::Random,
                SharedStrategy::LeastInflight,
            ]),
            segment_bytes: chance.pick(&[16 << 10, 64 << 10]),
            checkpoint_bytes: chance.pick(&[20 << 10, 100 << 10]),
            small_queues: chance.percent(15),
            queue_memory_bytes: chance.pick(&[256 << 20, 2_000, 0]),
            recording: chance.one_in(3).then(|| RecordOptions {
                part_bytes: chance.pick(&[500, 20_000, 1 << 20]),
                redact_payloads: chance.one_in(2),
                ..RecordOptions::default()
            }),
            unsent_bytes_pause: chance.pick(&[256 << 10, 256 << 10, 200]),
            inflight_bytes_maximum: chance.pick(&[4 << 20, 4 << 20, 2_000]),
            long_absences: later.one_in(3),
            queue_bytes_maximum: later.pick(&[u32::MAX, 12_000, 1_500]),
            memory_bytes: later.pick(&[
                None,
                None,
                None,
                None,
                None,
                Some(128 << 10),
                Some(256 << 10),
            ]),
            no_local: false,
            has_rules: false,
        };
        options.disk.reads_one_in = later.pick(&[0, 5, 40]);
        if later.one_in(200) {
            options = options.with_players(later.between(200, 1_000) as usize);
        }
        Self {
            no_local: later.one_in(2),
            has_rules: later.one_in(3),
            ..options
        }
    }

    /// The same with so many clients. Where they are many each does less, and has time to come
    /// back, so that a run takes seconds and something happens in it.
    #[must_use]
    pub fn with_players(self, players: usize) -> Self {
        let options = Self { players, ..self };
        match options.is_crowd() {
            true => Self {
                memory_bytes: (self.memory_bytes).map(|bytes| bytes * players as u64 / FEW as u64),
                pause_ms: self.pause_ms.max(players as u64),
                safety_ms: self.safety_ms.clamp(15_000, 25_000),
                fault_ms: self.fault_ms.max(1_500),
                ..options
            },
            false => options,
        }
    }

    pub(super) const fn is_crowd(&self) -> bool {
        self.players > FEW
    }

    /// The same without what has come later, for seeds that were found before.
    #[must_use]
    pub fn as_before(self) -> Self {
        Self {
            long_absences: false,
            queue_bytes_maximum: u32::MAX,
            memory_bytes: None,
            disk: DiskFaults {
                reads_one_in: 0,
                ..self.disk
            },
            ..self.before_rules()
        }
    }

    /// The same where everybody may have everything, and wants to, and where reads fail only in a
    /// process that goes on to the end, for seeds that were found before.
    #[must_use]
    pub fn before_rules(self) -> Self {
        let reads_one_in = match self.has_one_process() {
            true => self.disk.reads_one_in,
            false => 0,
        };
        Self {
            no_local: false,
            has_rules: false,
            disk: DiskFaults {
                reads_one_in,
                ..self.disk
            },
            ..self
        }
    }

    /// The same with all the memory there is.
    pub(super) fn with_ample_memory(&self) -> Self {
        Self {
            memory_bytes: None,
            ..self.clone()
        }
    }

    /// The same with something wrong, for the oracle to find, and what it takes to show it: nothing
    /// is recorded.
    #[must_use]
    pub fn with(mut self, defect: Defect) -> Self {
        self.defect = Some(defect);
        self.recording = None;
        match defect {
            Defect::IgnoresLimits | Defect::DropsInSilence => self.small_queues = true,
            Defect::IgnoresQueueBytes => {
                self.small_queues = true;
                self.queue_bytes_maximum = 1_500;
            }
            Defect::IgnoresTheBudget => self.memory_bytes = Some(128 << 10),
            Defect::SwallowsADelayedWill => self.long_absences = true,
            Defect::LosesWhatItReads => {
                self.queue_memory_bytes = 0;
                self.disk.reads_one_in = 0;
            }
            Defect::HidesAnError => {
                self.crashes = false;
                self.memory_bytes = None;
                self.queue_memory_bytes = 0;
                self.disk.reads_one_in = 2;
                self.disk.error_one_in = 0;
            }
            Defect::ForgetsAnAuthor => {
                self.no_local = true;
                self.crashes = true;
                self.players = 9;
                // Much has to come together: it takes its time.
                self.hostiles = 0;
                self.safety_ms = 60_000;
            }
            _ => {}
        }
        if defect.is_between_shards() {
            self.shards = self.shards.several();
        }
        // Who has published something moves away from what is retained of it.
        self.shards.varies |= defect == Defect::ForgetsAnAuthor;
        self
    }

    /// Whether the process that begins goes on to the end.
    const fn has_one_process(&self) -> bool {
        !self.crashes && self.disk.error_one_in == 0 && self.memory_bytes.is_none()
    }

    /// Whether messages may be dropped for want of room.
    pub(super) const fn may_drop(&self) -> bool {
        self.small_queues || self.memory_bytes.is_some()
    }

    /// What the broker runs with.
    pub(super) fn broker(&self) -> Config {
        let mut config = self.promised();
        let session = &mut config.session;
        match self.defect {
            Some(Defect::IgnoresLimits) => {
                session.queue_messages_maximum = u32::MAX;
                session.queue_bytes_maximum = u32::MAX;
                session.inflight_bytes_maximum = u32::MAX;
            }
            Some(Defect::IgnoresQueueBytes) => session.queue_bytes_maximum = u32::MAX,
            Some(Defect::IgnoresTheBudget) => config.limits = self.with_ample_memory().limits(),
            _ => {}
        }
        config
    }

    /// What the broker is to keep to.
    pub(super) fn promised(&self) -> Config {
        let within = self.within();
        Config {
            durable: true,
            protocol: Protocol {
                receive_maximum: self.receive_maximum.min(within.protocol.receive_maximum),
                shared_strategy: self.shared_strategy,
                ..within.protocol
            },
            session: self.session(),
            limits: self.limits(),
            access: self.access(),
            ..Config::default()
        }
    }

    /// Who may have what.
    fn access(&self) -> AccessConfig {
        let topics = |filter| vec![Pattern::new(filter).expect("a filter")];
        let secrets = Rule {
            who: Who {
                // Without any, it would be a rule for all.
                clients: (0..FEW)
                    .filter(|index| is_secret_to(*index))
                    .map(|index| Name::new(&format!("player-{index}")))
                    .collect(),
                ..Who::default()
            },
            ..Rule::new(
                Effect::Deny,
                Operations::default().with(Operation::Receive),
                topics(SECRET),
            )
        };
        let all_else = Rule::new(Effect::Allow, Operations::ALL, topics("#"));
        let rules = self.has_rules.then(|| {
            Arc::new(Rules::new(RuleSet {
                rules: vec![secrets, all_else],
                wide_subscriptions: WideSubscriptions::Filter,
                ..RuleSet::default()
            }))
        });
        AccessConfig {
            rules,
            ..AccessConfig::default()
        }
    }

    /// The limits that fit into the memory there is.
    fn within(&self) -> Config {
        self.memory_bytes
            .map_or_else(Config::default, Config::for_memory)
    }

    fn limits(&self) -> Limits {
        let within = self.within().limits;
        Limits {
            fanout_step: self.fanout_step,
            unsent_bytes_pause: self.unsent_bytes_pause.min(within.unsent_bytes_pause),
            queued_payload_memory_bytes: self
                .queue_memory_bytes
                .min(within.queued_payload_memory_bytes),
            // What is dropped is told.
            events_maximum: Limits::default().events_maximum,
            ..within
        }
    }

    /// What sessions may have.
    fn session(&self) -> SessionConfig {
        let within = self.within().session;
        // Else so many that none is ever dropped: who comes back again and again sends all that is
        // not acknowledged again.
        let (messages, bytes) = match (self.small_queues, self.memory_bytes) {
            (true, _) => (5, self.queue_bytes_maximum),
            (false, Some(_)) => (within.queue_messages_maximum, within.queue_bytes_maximum),
            (false, None) => (u32::MAX, u32::MAX),
        };
        SessionConfig {
            inflight_maximum: self.inflight_maximum.min(within.inflight_maximum),
            inflight_bytes_maximum: self.inflight_bytes_maximum,
            queue_messages_maximum: messages,
            queue_bytes_maximum: bytes,
            // A jump of the clock while the process is down is time that has passed.
            expiry_maximum_s: u32::MAX,
            expiry_3x_s: u32::MAX,
            ..within
        }
    }

    pub(super) fn log(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            checkpoint_min_bytes: self.checkpoint_bytes,
            ..LogConfig::default()
        }
    }
}

/// Weather without faults.
pub(super) const CALM: Weather = Weather {
    latency_ms: 2,
    split_percent: 0,
    socket_bytes: 1 << 20,
};

/// A disk that does what it is told.
pub(super) const HEALTHY: DiskFaults = DiskFaults {
    operation_ms: 1,
    lag_one_in: 0,
    error_one_in: 0,
    reads_one_in: 0,
    in_recovery_one_in: 0,
};
