//! One run, from its options to its verdict.

use super::chance::Chance;
use super::counts::Counts;
use super::defect::Mischief;
use super::hostile::Hostile;
use super::network::Network;
use super::options::{CALM, HEALTHY, Options};
use super::oracle::{Oracle, Rules};
use super::player::{Player, Role};
use super::scene::Scene;
use super::server::Server;
use super::storage::Ending;
use super::trace::Story;
use crate::disk::CrashStyle;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// When faults stop, something of what is owed arrives within so many virtual milliseconds, until
/// nothing is left.
const PATIENCE_MS: u64 = 180_000;

/// More turns than this in one virtual millisecond: time stands still. What a disk that takes no
/// time does for the segments of the log comes on top: see `Storage::upkeep_maximum`.
const TURNS_PER_INSTANT: u64 = 20_000;

/// In a crowd, time goes on by so many milliseconds.
const CROWD_STEP_MS: u64 = 10;

/// In a crowd, so many lines break at once: one for so many clients.
const CROWD_PER_LINE: usize = 40;

/// The turns of one virtual millisecond.
#[derive(Clone, Copy, Default)]
struct Turns {
    at: u64,
    count: u64,
    /// Of these, those for which nothing was due but the disk.
    of_disk: u64,
}

impl Turns {
    /// Counts one more. Whether there are still no more than there may be, when the log may need
    /// `upkeep_maximum` operations for its segments.
    fn count(&mut self, now: u64, is_of_disk: bool, upkeep_maximum: u64) -> bool {
        if self.at != now {
            *self = Self {
                at: now,
                ..Self::default()
            };
        }
        self.count += 1;
        self.of_disk += u64::from(is_of_disk);
        self.count - self.of_disk.min(upkeep_maximum) <= TURNS_PER_INSTANT
    }
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub options: Options,
    /// What is wrong, if anything is.
    pub violation: Option<String>,
    /// What was done and injected.
    pub counts: Counts,
    /// One number for everything that the broker put out.
    pub trace: u64,
    /// How long it took, in virtual milliseconds.
    pub virtual_ms: u64,
}

/// Carries out a run. A panic is a violation like others.
#[must_use]
pub fn run(options: &Options) -> Report {
    let mut simulation = Simulation::new(options);
    let outcome = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    if outcome.is_err() {
        simulation.scene.oracle.fail("it panics, see above".into());
    }
    let scene = simulation.scene;
    Report {
        options: options.clone(),
        violation: scene
            .oracle
            .violation()
            .map(|what| format!("at {} ms: {what}", scene.now)),
        counts: scene.counts,
        trace: simulation.server.trace.sum(),
        virtual_ms: scene.now,
    }
}

struct Simulation<'a> {
    options: &'a Options,
    scene: Scene,
    server: Server,
    players: Vec<Player>,
    hostiles: Vec<Hostile>,
    next_fault_at: u64,
    turns: Turns,
}

impl<'a> Simulation<'a> {
    fn new(options: &'a Options) -> Self {
        let rules = Rules {
            queues_overflow: options.may_drop(),
            memory_is_small: options.memory_bytes.is_some(),
            has_secrets: options.has_rules,
        };
        let story = Story {
            is_told: options.is_told,
        };
        let mut scene = Scene {
            now: 0,
            weather: CALM,
            disk: HEALTHY,
            is_calm: false,
            is_crowd: options.is_crowd(),
            long_absences: options.long_absences,
            no_local: options.no_local,
            pause_ms: options.pause_ms,
            chance: Chance::new(options.seed, 2),
            network: Network::default(),
            oracle: Oracle::new(rules, story),
            story,
            counts: Counts::default(),
            mischief: Mischief::new(options.defect, options.seed),
            sharers: Vec::new(),
            twins_said: BTreeSet::new(),
        };
        let players = vec![Player::new(0, Role::Watcher, &mut scene)];
        let hostiles = (0..options.hostiles)
            .map(|index| Hostile::new(index, &mut scene))
            .collect();
        Self {
            options,
            scene,
            server: Server::new(options),
            players,
            hostiles,
            next_fault_at: u64::MAX,
            turns: Turns::default(),
        }
    }

    fn run(&mut self) {
        self.turn_until(|simulation| simulation.players[0].is_ready);
        self.scene.weather = self.options.weather;
        self.scene.disk = self.options.disk;
        self.next_fault_at = self.scene.now + self.options.fault_ms;
        for index in 1..self.options.players {
            let player = Player::new(index, Role::Any, &mut self.scene);
            self.players.push(player);
        }
        let end = self.scene.now + self.options.safety_ms;
        self.turn_until(|simulation| simulation.scene.now >= end);
        self.calm_down();
        self.come_to_rest();
        let has_hostiles = self.options.hostiles > 0;
        self.server.check_leaks(&mut self.scene, has_hostiles);
        // Whatever was promised is on the disk.
        let ending = Ending::PowerCut(CrashStyle::LosesAll);
        self.server.end(ending, &mut self.scene);
        self.come_to_rest();
        let auditor = Player::new(self.players.len(), Role::Auditor, &mut self.scene);
        self.players.push(auditor);
        self.turn_until(|simulation| simulation.players.last().is_some_and(|p| p.is_ready));
        let heard = self.scene.now + 3_000;
        self.turn_until(|simulation| simulation.scene.now >= heard);
        self.come_to_rest();
        let retained = self.players.last().map(|player| player.retained.clone());
        let now = self.scene.now;
        let retained = retained.unwrap_or_default();
        self.server.tell_refused(&mut self.scene);
        self.scene.oracle.finish(&retained, now);
    }

    fn is_over(&self) -> bool {
        self.scene.oracle.violation().is_some()
    }

    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) {
        let begun = self.scene.now;
        while !self.is_over() && !done(self) {
            self.turn();
            if self.scene.now - begun > PATIENCE_MS {
                self.scene.oracle.fail("somebody waits for ever".into());
            }
        }
    }

    /// Faults stop.
    fn calm_down(&mut self) {
        self.scene.is_calm = true;
        self.scene.weather = CALM;
        self.scene.disk = HEALTHY;
        self.scene.pause_ms = 100.max(self.options.players as u64);
        self.server.set_capacity(None);
        self.server.hurry();
        if self.options.memory_bytes.is_some() {
            // Somebody gives it more memory.
            self.server.limit(&self.options.with_ample_memory());
            self.server.end(Ending::Killed, &mut self.scene);
        }
    }

    /// Everybody gets what is owed, however much it is: some of it before patience ends, each time.
    fn come_to_rest(&mut self) {
        let begun = self.scene.now;
        let (mut least, mut least_at) = (u64::MAX, begun);
        while !self.is_over() {
            self.turn();
            let now = self.scene.now;
            let waiting = self.server.waiting_messages();
            if waiting < least {
                (least, least_at) = (waiting, now);
            }
            let is_content = || self.players.iter().all(Player::is_content);
            let has_heard = || !self.scene.network.is_stalled(now);
            if now - begun > 5_000 && is_content() && has_heard() && self.server.is_quiet() {
                return;
            }
            if now - least_at > PATIENCE_MS {
                let who: Vec<usize> = (0..self.players.len())
                    .filter(|index| !self.players[*index].is_content())
                    .collect();
                let quiet = self.server.is_quiet();
                self.scene.oracle.fail(format!(
                    "it does not come to rest; waiting: {who:?}; broker quiet: {quiet}"
                ));
            }
        }
    }

    /// One turn of the loop: time goes on to what happens next, and that happens.
    fn turn(&mut self) {
        let scene = &mut self.scene;
        let now = scene.now;
        let players = self.players.iter().map(|player| player.wake_at);
        let hostiles = self.hostiles.iter().map(|hostile| hostile.act_at);
        let others = players
            .chain(hostiles)
            .chain(self.server.next_at(scene))
            .chain(scene.network.next_at())
            .min();
        let disk = self.server.disk_next_at(scene);
        let next = others.into_iter().chain(disk).min();
        // Never further than a second, so that nobody waits for nothing. In a crowd several things
        // happen at once.
        let step_ms = if scene.is_crowd { CROWD_STEP_MS } else { 1 };
        let next = next.unwrap_or(now).clamp(now, now + 1_000);
        scene.now = next.next_multiple_of(step_ms);
        let now = scene.now;
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let is_of_disk = is_due(disk) && !is_due(others);
        let upkeep_maximum = self.server.upkeep_maximum();
        if !self.turns.count(scene.now, is_of_disk, upkeep_maximum) {
            scene.oracle.fail("time stands still".into());
        }
        let scene = &mut self.scene;
        if !self.server.is_up() && self.server.restart_at <= scene.now {
            scene.counts.operation("start of the broker");
            self.server.start(scene);
        }
        self.server.read(scene);
        self.server.work(scene);
        for hostile in &mut self.hostiles {
            hostile.read(scene);
            hostile.work(scene);
        }
        let mail = scene.network.mail(scene.now);
        for (index, player) in self.players.iter_mut().enumerate() {
            player.turn(mail.contains(&index), scene);
        }
        self.server.drain(scene);
        self.server.check_limits(scene);
        scene.network.sweep(&mut scene.counts);
        if !scene.is_calm && scene.now >= self.next_fault_at {
            self.next_fault_at = scene.now + scene.chance.between(1, self.options.fault_ms);
            self.strike();
        }
    }

    /// Something breaks.
    fn strike(&mut self) {
        let what = self.scene.chance.below(13);
        let scene = &mut self.scene;
        match what {
            0..=2 => self.strike_lines(Self::cut_line),
            3..=5 => self.strike_lines(Self::stall_line),
            6..=8 if self.options.crashes => self.crash(),
            9 if self.options.full_disks => {
                let spare = scene.chance.below(40_000) as usize;
                self.server.set_capacity(Some(spare));
                scene.counts.fault("disk filled");
            }
            10 if self.options.full_disks => self.server.set_capacity(None),
            11 if self.options.clock_jumps => {
                let seconds = scene.chance.pick(&[1, 3_600, 1_000_000, 300_000_000]);
                let forward = scene.chance.one_in(2);
                let ms = scene.chance.below(seconds * 1_000) as i64;
                scene.oracle.clock_jumped();
                self.server.wall_offset += if forward { ms } else { -ms };
                scene.counts.fault(match forward {
                    true => "clock jumps ahead",
                    false => "clock jumps back",
                });
            }
            12 => {
                let (shard, until) = (
                    scene.chance.number(),
                    scene.now + scene.chance.between(1, 3_000),
                );
                if self.server.stall(shard, until) {
                    scene.counts.fault("shard stalls");
                }
            }
            _ => {}
        }
    }

    /// One line, or some in a crowd.
    fn strike_lines(&mut self, strike: impl Fn(&mut Scene)) {
        for _ in 0..=self.options.players / CROWD_PER_LINE {
            strike(&mut self.scene);
        }
    }

    fn cut_line(scene: &mut Scene) {
        let (client_ms, broker_ms) = (
            scene.chance.between(1, 5_000),
            scene.chance.between(1, 20_000),
        );
        let direction = scene.chance.below(3);
        if let Some(line) = some_line(scene)
            && let Some(line) = scene.network.lines.get_mut(&line)
        {
            let (client_at, broker_at) = (scene.now + client_ms, scene.now + broker_ms);
            scene.counts.fault(match direction {
                0 => {
                    line.cut(client_at, broker_at);
                    "line cut"
                }
                1 => {
                    line.cut_upwards(broker_at);
                    "line cut upwards"
                }
                _ => {
                    line.down.cut(client_at);
                    "line cut downwards"
                }
            });
        }
    }

    fn stall_line(scene: &mut Scene) {
        let until = scene.now + scene.chance.between(50, 15_000);
        let upwards = scene.chance.one_in(2);
        if let Some(line) = some_line(scene) {
            if let Some(line) = scene.network.lines.get_mut(&line) {
                let pipe = if upwards {
                    &mut line.up
                } else {
                    &mut line.down
                };
                pipe.stall(until);
            }
            scene.counts.fault(if upwards {
                "line stalls upwards"
            } else {
                "line stalls downwards"
            });
        }
    }

    fn crash(&mut self) {
        let scene = &mut self.scene;
        if !self.server.is_up() {
            return;
        }
        let ending = match scene.chance.below(5) {
            0 | 1 => Ending::Killed,
            2 => Ending::PowerCut(CrashStyle::LosesAll),
            3 => Ending::PowerCut(CrashStyle::KeepsAll),
            _ => Ending::PowerCut(CrashStyle::Mixed),
        };
        scene.counts.fault(match ending {
            Ending::Killed => "process killed",
            Ending::PowerCut(CrashStyle::LosesAll) => "power cut, all unsynced lost",
            Ending::PowerCut(CrashStyle::KeepsAll) => "power cut, all written kept",
            Ending::PowerCut(CrashStyle::Mixed) => "power cut, writes torn",
        });
        self.server.end(ending, scene);
    }
}

/// A line that is in use.
fn some_line(scene: &mut Scene) -> Option<u64> {
    let lines: Vec<u64> = scene
        .network
        .lines
        .iter()
        .filter(|(_, line)| line.is_client_there)
        .map(|(id, _)| *id)
        .collect();
    (!lines.is_empty()).then(|| scene.chance.pick(&lines))
}

#[cfg(test)]
mod tests {
    use super::{TURNS_PER_INSTANT, Turns};

    /// How many turns of one instant there are before time stands still.
    fn turns(is_of_disk: impl Fn(u64) -> bool, upkeep_maximum: u64) -> usize {
        let mut turns = Turns::default();
        let counts = (1..).map(|turn| turns.count(5, is_of_disk(turn), upkeep_maximum));
        counts.take_while(|may_go_on| *may_go_on).count()
    }

    /// What the log does for its segments is on top of what else there may be, and nothing else is:
    /// a crowd with a quick disk had too few for the checkpoint of some thousand segments. (Seed
    /// 8945384 of b306025.)
    #[test]
    fn a_disk_without_delay_gets_what_its_segments_need_and_no_more() {
        let usual = TURNS_PER_INSTANT as usize;
        assert_eq!(turns(|_| false, 500), usual, "the broker is busy");
        assert_eq!(turns(|_| true, 500), usual + 500, "the disk is");
        assert_eq!(turns(|turn| turn <= 300, 500), usual + 300, "first one");
        assert_eq!(turns(|turn| turn % 2 == 0, 500), usual + 500, "in turn");
        assert_eq!(turns(|_| true, 0), usual, "there is no log");
    }
}
