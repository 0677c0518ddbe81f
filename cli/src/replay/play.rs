//! Playing all shards of a recording, by time, and telling of it.

use super::line::{Teller, number_of, plain, seconds, wall};
use super::row::{Findings, Open, Parts, Row};
use super::save::Saved;
use super::silence::{Silences, Where};
use super::timeline::Timeline;
use super::{Failure, Replay, Summary, Until};
use crate::output::complain;
use std::collections::BTreeSet;
use std::io::{self, Write};
use whimbrel_core::Event;
use whimbrel_core::action::Action;
use whimbrel_core::recording::{Replay as Player, ReplayError, Step};

/// What is being played.
pub(super) struct Play<'a, W> {
    wanted: &'a Replay,
    until: Option<Until>,
    rows: Vec<Row<'a>>,
    saved: Saved,
    timeline: Timeline,
    silences: Silences<'a>,
    /// Those of the clients that were asked for who were there.
    seen: BTreeSet<String>,
    /// All processes, by time, with the numbers of their shards.
    processes: Vec<(u64, u16)>,
    /// Whether there was a message of those that were asked for.
    is_explained: bool,
    /// Where to stop was reached.
    has_stopped: bool,
    summary: Summary,
    out: W,
}

impl<'a, W: Write> Play<'a, W> {
    pub(super) fn new(
        wanted: &'a Replay,
        until: Option<Until>,
        (rows, saved): (Vec<Parts>, Saved),
        out: W,
    ) -> Self {
        let client = wanted.client.as_deref();
        let rows: Vec<_> = rows
            .into_iter()
            .map(|parts| Row::new(parts, client))
            .collect();
        Self {
            silences: Silences::new(wanted),
            wanted,
            until,
            rows,
            saved,
            timeline: Timeline::default(),
            seen: BTreeSet::new(),
            processes: Vec::new(),
            is_explained: false,
            has_stopped: false,
            summary: Summary::default(),
            out,
        }
    }

    /// Plays all of it.
    pub(super) fn run(mut self) -> Result<Summary, Failure> {
        // The ring of one shard may reach further back than that of another one.
        let mut first: Vec<_> = (0..self.rows.len())
            .filter_map(|row| Some((row, self.load_next(row)?)))
            .collect();
        first.sort_by_key(|(_, open)| open.player.now().wall);
        for (row, open) in first {
            self.place(row, open);
        }
        while !self.has_stopped
            && let Some(row) = self.earliest()
        {
            self.turn(row)?;
        }
        self.check_processes();
        for line in self.silences.end() {
            self.write(&line);
        }
        let never_came = matches!(self.until, Some(Until::Client(_))) && !self.has_stopped;
        if !never_came {
            for line in self.saved.write(&self.rows, None)? {
                self.write(&line);
            }
        }
        self.conclude()?;
        Ok(self.summary)
    }

    /// The shard whose turn it is.
    fn earliest(&self) -> Option<usize> {
        let rows = self.rows.iter().enumerate().filter(|(_, row)| !row.is_over);
        let times = rows.filter_map(|(at, row)| Some((row.open.as_ref()?.now(), at)));
        times.min().map(|(_, at)| at)
    }

    /// Plays a shard until it is another time there.
    fn turn(&mut self, at: usize) -> Result<(), Failure> {
        self.begin(at);
        loop {
            let Some(open) = self.rows[at].open.as_mut() else {
                return Ok(());
            };
            let error = match open.player.step() {
                Ok(Some(step)) => {
                    let is_other_time = matches!(step, Step::Time(_));
                    if is_other_time {
                        open.same_step = open.player.step_count();
                    }
                    self.step(at, &step);
                    if is_other_time || self.has_stopped {
                        return Ok(());
                    }
                    continue;
                }
                Ok(None) => None,
                Err(ReplayError::Differs { after, before, .. }) => {
                    let began = self.timeline.began();
                    let [after, before] =
                        [after, before].map(|time| seconds(open.at(time).saturating_sub(began)));
                    return Err(self.differs(at, &after, &before));
                }
                Err(error) => Some(error),
            };
            self.next(at, error);
            return Ok(());
        }
    }

    fn step(&mut self, at: usize, step: &Step) {
        self.summary.count(step);
        if let Step::Action(Action::Event(event)) = step {
            self.see_event(event);
        }
        let (wanted, began) = (self.wanted, self.timeline.began());
        let Some(open) = self.rows[at].open.as_mut() else {
            return;
        };
        if wanted.trace || wanted.client.is_some() {
            let _ = open.teller.tell(&open.player, step, &mut self.out);
        }
        match (&self.until, step) {
            (Some(Until::Time(ms)), Step::Time(_)) => {
                self.rows[at].is_over = open.now() > began.saturating_add(*ms);
            }
            (
                Some(Until::Client(name)),
                Step::Action(Action::Event(Event::Connected { client_id, .. })),
            ) => self.has_stopped = **client_id == **name,
            _ => {}
        }
        if wanted.explain.is_some() {
            self.explain(at);
        }
    }

    /// Goes on with the next part.
    fn next(&mut self, at: usize, error: Option<ReplayError>) {
        let mut findings = Findings::default();
        let row = &mut self.rows[at];
        row.close(error, &mut findings);
        if let Some(open) = &row.open {
            self.timeline.reached(open.now());
            self.summary.reached(open.now());
        }
        self.tell_findings(findings);
        if let Some(open) = self.load_next(at) {
            self.place(at, open);
        }
    }

    fn load_next(&mut self, at: usize) -> Option<Open<'a>> {
        let mut findings = Findings::default();
        let open = self.rows[at].open_next(&mut findings);
        self.tell_findings(findings);
        open
    }

    /// Puts a part where it belongs by its time, unless that is behind the end.
    fn place(&mut self, at: usize, mut open: Open<'a>) {
        let process = open.player.process();
        let known = self.processes.iter().any(|(known, _)| *known == process);
        if !known {
            self.processes.push((process, open.player.shard_count()));
        }
        self.summary.finds(&open.player, at);
        open.place(self.timeline.offset(process, open.player.now()));
        if let Some(Until::Time(ms)) = self.until
            && open.now() > self.timeline.began().saturating_add(ms)
        {
            self.rows[at].is_over = true;
            return;
        }
        self.rows[at].play(open);
    }

    /// Says which part it is that begins, if it does.
    fn begin(&mut self, at: usize) {
        let row = &mut self.rows[at];
        let Some(open) = row.open.as_mut().filter(|open| !open.has_begun) else {
            return;
        };
        open.has_begun = true;
        let wanted = self.wanted;
        self.summary.begins(&open.player);
        open.begins(self.timeline.began());
        let tenant = wanted.tenant.as_deref().unwrap_or_default();
        let until = match &self.until {
            Some(Until::Client(name)) => Some(&**name),
            _ => None,
        };
        for client in wanted.clients().chain(until) {
            if open.player.broker().has_session(tenant, client) {
                self.seen.insert(client.to_owned());
            }
        }
        if let (Some(client), Some(topic)) = (&wanted.explain, wanted.topic()) {
            open.player.explain(tenant, client, topic);
        }
        let text = format!(
            "{} {}: shard {} from {} on{}",
            seconds(open.now().saturating_sub(self.timeline.began())),
            open.name,
            open.player.shard(),
            wall(open.player.now().wall),
            if open.is_new_process {
                ", a process that was not recorded before"
            } else {
                ""
            }
        );
        self.remark(text);
    }

    /// Tells what became of messages.
    fn explain(&mut self, at: usize) {
        let Some(open) = self.rows[at].open.as_mut() else {
            return;
        };
        let open_now = open.now();
        let mut explanations = Vec::new();
        let number = self.wanted.number();
        while let Some(explanation) = open.player.poll_explanation() {
            let is_it = |number| explanation.message.map(number_of).as_deref() == Some(number);
            if number.is_none_or(is_it) {
                explanations.push(explanation);
            }
        }
        let lost = open.player.explanations_lost();
        let more = lost - core::mem::replace(&mut open.lost, lost);
        for explanation in explanations {
            self.is_explained = true;
            let Some(Open { teller, player, .. }) = self.rows[at].open.as_ref() else {
                return;
            };
            let tell = |explanation: &_| {
                let mut line = Vec::new();
                let _ = teller.explain(player, explanation, &mut line);
                String::from_utf8_lossy(&line).into_owned()
            };
            if self.rows.len() == 1 {
                let _ = self.out.write_all(tell(&explanation).as_bytes());
                continue;
            }
            let rows = &self.rows;
            let place = Where {
                process: player.process(),
                now: open_now,
                player_of: &|shard| {
                    let recorded = rows.iter().filter(|row| !row.has_lapsed);
                    let mut players = recorded.filter_map(|row| Some(&row.open.as_ref()?.player));
                    players.find(|player| player.shard() == shard)
                },
            };
            self.silences.hears(&explanation, &place, &tell);
        }
        while let Some(line) = self.silences.ready() {
            self.write(&line);
        }
        if more > 0 {
            self.remark(format!("{more} more answers of this step were not kept"));
        }
    }

    fn see_event(&mut self, event: &Event) {
        let (Event::Connected { client_id, .. }
        | Event::Refused { client_id, .. }
        | Event::Disconnected { client_id, .. }
        | Event::SessionEnded { client_id, .. }) = event
        else {
            return;
        };
        if self.wanted.clients().any(|client| *client == **client_id) {
            self.seen.insert(client_id.to_string());
        }
    }

    fn tell_findings(&mut self, Findings { defects, killed }: Findings) {
        for defect in defects {
            self.remark(defect.clone());
            let _ = self.out.flush();
            complain(&defect);
            self.summary.defects += 1;
        }
        self.summary.killed.extend(killed);
    }

    /// Something else comes out: shows what.
    fn differs(&mut self, at: usize, after: &str, before: &str) -> Failure {
        let Some(open) = self.rows[at].open.as_ref() else {
            unreachable!("it was played just now")
        };
        let (from, to) = (open.same_step, open.player.step_count());
        let file = open.name.clone();
        let saved = self.saved.write(&self.rows, Some((at, to)));
        let saved = saved.unwrap_or_else(|failure| {
            complain(&failure.to_string());
            Vec::new()
        });
        if !self.wanted.trace {
            let part = std::fs::read(&open.path);
            let (shard, began) = (open.player.shard(), self.timeline.began());
            let offset = open
                .at(whimbrel_core::time::Timestamp(0))
                .wrapping_sub(began);
            let mut teller = Teller::new(shard, None);
            teller.set_offset(offset);
            self.write("--- the turn in which it differs, as it is now:\n");
            if let Ok(part) = part {
                let _ = show_turn(&part, from, &mut teller, &mut self.out);
            }
        }
        let differs = Failure::Differs {
            after: after.to_owned(),
            before: before.to_owned(),
            from,
            to,
            file,
        };
        for line in self.silences.end().into_iter().chain(saved) {
            self.write(&line);
        }
        differs
    }

    /// Says what was asked for and did not come.
    fn conclude(&mut self) -> Result<(), Failure> {
        let wanted = self.wanted;
        if let Some(topic) = wanted.message.as_ref().filter(|_| !self.is_explained) {
            let tenant = wanted.tenant.as_ref();
            let tenant = tenant.map_or_else(String::new, |name| format!(" of tenant {name}"));
            let text = match wanted.number() {
                Some(number) => format!("there was no message {number}{tenant} in what was played"),
                None => format!("nothing was published to {topic}{tenant} in what was played"),
            };
            self.write(&format!("{}\n", plain(&text)));
        }
        for client in wanted.clients() {
            if !self.seen.contains(client) {
                let text = format!("no client {client} was ever here in what was played");
                self.write(&format!("{}\n", plain(&text)));
            }
        }
        let latest = self.rows.iter().filter_map(|row| row.open.as_ref());
        for open in latest {
            self.summary.reached(open.now());
        }
        self.summary.steps = self.rows.iter().map(Row::steps).sum();
        self.summary.began = self.timeline.began();
        if let Some(Until::Time(ms)) = self.until {
            let end = self.summary.began.saturating_add(ms);
            self.summary.ended = self.summary.ended.min(end);
        }
        match &self.until {
            Some(Until::Client(name)) if !self.has_stopped => Err(Failure::NeverCame {
                client: name.clone(),
                has_session: self.seen.contains(name),
            }),
            _ => Ok(()),
        }
    }

    /// Each shard of a process was recorded, unless its ring does not reach so far back.
    fn check_processes(&mut self) {
        let mut findings = Findings::default();
        for row in &self.rows {
            let Some(open) = row.open.as_ref().filter(|_| !row.has_unknown) else {
                continue;
            };
            let mut has_earlier = false;
            for (process, shard_count) in &self.processes {
                if row.processes.contains(process) {
                    has_earlier = true;
                } else if has_earlier && open.player.shard() < *shard_count && !self.has_stopped {
                    findings.defects.push(format!(
                        "of shard {} there is nothing of a process that other shards have",
                        open.player.shard()
                    ));
                }
            }
        }
        self.tell_findings(findings);
    }

    /// Says something between what is told, if anything is.
    fn remark(&mut self, text: String) {
        let line = format!("--- {}\n", plain(&text));
        let wanted = self.wanted;
        if wanted.trace || wanted.client.is_some() {
            self.write(&line);
        } else if wanted.explain.is_some() && self.rows.len() > 1 {
            self.silences.push(line);
        } else if wanted.explain.is_some() {
            self.write(&line);
        }
    }

    fn write(&mut self, text: &str) {
        // Whoever closed the pipe has read enough.
        let _ = self.out.write_all(text.as_bytes());
    }
}

/// Tells what happens behind this step, until it differs.
fn show_turn(
    part: &[u8],
    from: u64,
    teller: &mut Teller<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let Ok(mut player) = Player::new(part) else {
        return Ok(());
    };
    while let Ok(Some(step)) = player.step() {
        // Also what comes before, so that it knows who is who.
        match player.step_count() > from {
            true => teller.tell(&player, &step, out)?,
            false => teller.tell(&player, &step, &mut io::sink())?,
        }
    }
    Ok(())
}
